"""First steps: what to do next, from opening a plate to reviewing its wells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QLabel, QPushButton

from napari_hcs_qc.gui.canvas.dock import Dock
from napari_hcs_qc.gui.keys.key_names import GALLERY, HELP, NEXT, RETRAIN
from napari_hcs_qc.gui.keys.own_keys import shown
from napari_hcs_qc.gui.plate.plate_opening import open_assay_folder
from napari_hcs_qc.gui.session.job_bar import JobBar
from napari_hcs_qc.gui.widgets.controls import push_button, row
from napari_hcs_qc.gui.window.message_line import MessageLine
from napari_hcs_qc.plugins import SAMPLE_ASSAY, load
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from napari_hcs_qc.gui.session.session import Session

FEW = 10
"""Annotations of each class with which a first model is worth a look."""

STEPS = ("Open", "Find cells", "Annotate", "Retrain", "Review")


def sample_folder() -> Path:
    """Give the folder in which the sample plate is made, the user's own data folder."""
    return platformdirs.user_data_path("napari-hcs-qc") / "sample-assay"


def next_step(session: Session) -> tuple[int, str]:
    """Give which of `STEPS` is next, and what to do, in a sentence or two."""
    if session.assay.folder is None:
        return 0, (
            "Open an assay or a plate under Open in the Plate panel, drop one onto the window, or "
            "try the simulated sample plate."
        )
    if session.selection.state is None:
        if session.selection.plate is None:
            return 0, "The images of this plate have moved or are missing; see the message below."
        return 1, (
            "Press Find cells: the nuclei of every site are found, which takes a few minutes per "
            "plate. You can look at its sites meanwhile."
        )
    cache = session.annotations.cache
    classes = [] if cache is None else cache.table["class"].tolist()
    n_normal, n_abnormal = classes.count("normal"), classes.count("abnormal")
    model = session.models.model
    rule = None if model is None else model.manifest.rule
    is_first = rule is None and (model is None or model.manifest.is_before_annotations)
    if min(n_normal, n_abnormal) < FEW and is_first:
        judged, not_judged = "", ""
        if model is not None:
            judged = (
                "The cells were classified by what artefacts look like in general: sort the "
                "gallery by score to see them. Annotations make the model this assay's own. "
            )
        elif session.models.embeddings is None:
            not_judged = (
                " Compute embeddings, in the Encoder panel, has the cells classified without "
                "annotations, by what artefacts look like in general."
            )
        return 2, judged + (
            "Point at a cell, which gets a frame, and press "
            f"{shown('N')} if it is normal, {shown('A')} if it is abnormal "
            "(out of focus, saturated, debris, dead). "
            f"The key {shown(NEXT)} frames the most informative cell, and each key goes on to the "
            f"next. So far {n_normal} normal and {n_abnormal} abnormal; {FEW} of each are "
            "enough to start." + not_judged
        )
    if is_first:
        return 3, (
            f"Press Retrain ({shown(RETRAIN)}). The first time, all cells are embedded, which "
            "takes minutes; after that, retraining takes about a second."
        )
    if session.annotations.is_blind:
        return 2, (
            "Blind mode hides predictions, flags and the annotations of others; switch it off in "
            "the Annotate panel to go on to the review."
        )
    n_open = sum(1 for entry in session.models.queue if not entry.is_done)
    ruled = (
        ""
        if rule is None
        else f"Cells are classified by a rule, in {Path(rule.source).name}: sort the gallery by "
        f"score to see what it calls abnormal. {shown('N')} or {shown('A')} overrules it for a "
        "cell; Retrain would classify the images instead. "
    )
    if n_open:
        return 4, ruled + (
            f"{count_of(n_open, 'flagged well')} to review in the Review panel: "
            f"{shown('K')} keeps a well, {shown('X')} excludes it, {shown('L')} marks it to look "
            "at again. Then export the tables there."
        )
    reviewed = "All flagged wells are reviewed." if session.models.queue else "No well is flagged."
    return 4, ruled + reviewed + (
        " Export the tables in the Review panel, or improve the model: the gallery of the Annotate "
        "panel shows the cells it is least sure of."
    )


class GuideDock(Dock):
    """The next step, with what is running and the last message."""

    value_changed = Signal(int)
    layers_toggled = Signal(bool)

    def _make(self) -> None:
        session = self._session
        self._step = -1
        self._path, self._advice = QLabel(), QLabel()
        self._path.setToolTip(
            "The steps from a new plate to a reviewed one; the next step is bold."
        )
        self._path.setTextFormat(Qt.TextFormat.RichText)
        self._advice.setTextFormat(Qt.TextFormat.PlainText)
        for label in (self._path, self._advice):  # as narrow as the dock, whatever the text
            label.setWordWrap(True)
            label.setMinimumWidth(80)
        self._sample = push_button(
            "Try the sample plate",
            "Simulates a small plate with known artefacts in your data folder and opens it.",
            self.open_sample,
        )
        self._jobs = JobBar(session.jobs)
        self._messages = MessageLine(session)
        self._layers = _switch(
            "Layers", "Show napari's layers and their controls, as tabs beside the plate; or not."
        )
        self._gallery = _switch("Gallery", "")
        self._show_keys = push_button("Keys", "", self._keys.help_requested.emit)
        self._lay_out(
            row(self._layers, self._gallery, self._show_keys, None),
            self._path,
            self._jobs,  # above the texts: in sight however long they are
            self._messages,
            self._advice,
            row(self._sample, None),
            None,
        )
        self._layers.toggled.connect(self.layers_toggled)
        self._gallery.clicked.connect(self._keys.gallery_requested)
        for signal in (
            session.assay.changed,
            session.selection.plate_changed,
            session.settled,
            session.annotations.person_changed,
        ):
            signal.connect(self.refresh)
        self.refresh()

    def _write_keys(self) -> None:
        self._gallery.setToolTip(
            f"The gallery of cells in the whole window, or not (key {shown(GALLERY)})."
        )
        self._show_keys.setText(f"Keys {shown(HELP)}")
        self._show_keys.setToolTip(f"All keys, and what the mouse does (key {shown(HELP)}).")
        self.refresh()

    def value(self) -> int:
        """Give the number of the step that is next, an index of `STEPS`."""
        return self._step

    def set_layers_shown(self, are_shown: bool) -> None:
        """Show whether napari's layers are shown."""
        with QSignalBlocker(self._layers):
            self._layers.setChecked(are_shown)

    def set_gallery_shown(self, is_shown: bool) -> None:
        """Show whether the gallery fills the window."""
        self._gallery.setChecked(is_shown)

    def refresh(self, *_: object) -> None:
        """Show what is next."""
        step, advice = next_step(self._session)
        shown = []
        for number, name in enumerate(STEPS):
            text = f"✓ {name}" if number < step else name
            shown.append(f"<b>{text}</b>" if number == step else text)
        self._path.setText(" → ".join(shown))
        self._advice.setText(advice)
        self._sample.setVisible(self._session.assay.folder is None)
        if step != self._step:
            self._step = step
            self.value_changed.emit(step)

    def open_sample(self) -> None:
        """Make the sample plate, or find it, and open it."""
        session = self._session
        job = session.start("Sample plate", load(SAMPLE_ASSAY), sample_folder(), slot="open sample")
        job.finished.connect(lambda path: open_assay_folder(session, path))


def _switch(text: str, tip: str) -> QPushButton:
    button = push_button(text, tip, takes_focus=False)
    button.setCheckable(True)
    return button
