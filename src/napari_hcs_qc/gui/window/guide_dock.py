"""First steps: what to do next, from opening a plate to reviewing its wells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import platformdirs
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_hcs_qc.gui.canvas.workspace import workspace_of
from napari_hcs_qc.gui.plate.plate_opening import open_assay_folder
from napari_hcs_qc.gui.session.job_bar import JobBar
from napari_hcs_qc.gui.session.message_line import MessageLine
from napari_hcs_qc.plugins import SAMPLE_ASSAY, load
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from pathlib import Path

    import napari.components

    from napari_hcs_qc.gui.canvas.workspace import Workspace
    from napari_hcs_qc.gui.session.session import Session

FEW = 10
"""Annotations of each class with which a first model is worth a look."""

STEPS = ("Open", "Find cells", "Annotate", "Retrain", "Review")


def sample_folder() -> Path:
    """Give the folder in which the sample plate is made, the user's own data folder."""
    return platformdirs.user_data_path("napari-hcs-qc") / "sample-assay"


def next_step(session: Session) -> tuple[int, str]:
    """Tell which of `STEPS` is next, and what to do, in a sentence or two."""
    if session.assay is None:
        return 0, (
            "Open an assay or a plate with the buttons of the Plate panel, drop one onto the "
            "window, or try the simulated sample plate."
        )
    if session.state is None:
        if session.plate is None:
            return 0, "The images of this plate have moved or are missing; see the message below."
        return 1, (
            "Press Find cells: the nuclei of every site are found, which takes a few minutes per "
            "plate. You can look at its sites meanwhile."
        )
    live = session.live
    classes = [] if live is None else live.table["class"].tolist()
    n_normal, n_abnormal = classes.count("normal"), classes.count("abnormal")
    if min(n_normal, n_abnormal) < FEW and session.model is None:
        return 2, (
            "Point at a cell and press N if it is normal, A if it is abnormal (out of focus, "
            "saturated, debris, dead). Space jumps to the most informative cell. So far "
            f"{n_normal} normal and {n_abnormal} abnormal; {FEW} of each are enough to start."
        )
    if session.model is None:
        return 3, (
            "Press Retrain (Ctrl+R). The first time, all cells are embedded, which takes minutes; "
            "after that, retraining takes about a second."
        )
    n_open = sum(1 for entry in session.queue if not entry.is_done)
    if n_open:
        return 4, (
            f"{count_of(n_open, 'flagged well')} to review in the Review panel: K keeps a well, X "
            "excludes it, L marks it to look at again. Then export the tables there."
        )
    return 4, (
        "All flagged wells are reviewed. Export the tables in the Review panel, or improve the "
        "model: the gallery of the Annotate panel shows the cells it is least sure of."
    )


class GuideDock(QWidget):
    """The next step, in words, with what is running and the last message."""

    value_changed = Signal(int)

    # The annotation is what napari looks for, letter by letter, to pass its viewer.
    def __init__(
        self, viewer: napari.components.ViewerModel, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._workspace: Workspace = workspace_of(viewer)
        session = self._workspace.session
        self._step = -1
        self._path = QLabel()
        self._path.setTextFormat(Qt.TextFormat.RichText)
        self._path.setWordWrap(True)
        self._path.setToolTip(
            "The steps from a new plate to a reviewed one; the next step is bold."
        )
        self._advice = QLabel()
        self._advice.setWordWrap(True)
        self._advice.setTextFormat(Qt.TextFormat.PlainText)
        for label in (self._path, self._advice):  # as narrow as the dock, whatever it says
            label.setMinimumWidth(80)
        self._sample = QPushButton("Try the sample plate")
        self._sample.setToolTip(
            "Simulates a small plate with known artefacts in your data folder and opens it."
        )
        self._sample.clicked.connect(self.open_sample)
        self._jobs = JobBar(session.jobs)
        self._messages = MessageLine(session)
        row = QHBoxLayout()
        row.addWidget(self._sample)
        row.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 4, 6, 4)
        layout.setSpacing(4)
        layout.addWidget(self._path)
        layout.addWidget(self._advice)
        layout.addLayout(row)
        layout.addWidget(self._jobs)
        layout.addWidget(self._messages)
        layout.addStretch(1)
        for signal in (
            session.assay_changed,
            session.plate_changed,
            session.settled,
        ):
            signal.connect(self.refresh)
        self.refresh()

    def value(self) -> int:
        """Give the number of the step that is next, an index of `STEPS`."""
        return self._step

    def refresh(self, *_: object) -> None:
        """Find out what is next and say it."""
        step, advice = next_step(self._workspace.session)
        shown = []
        for number, name in enumerate(STEPS):
            text = f"✓ {name}" if number < step else name
            shown.append(f"<b>{text}</b>" if number == step else text)
        self._path.setText(" → ".join(shown))
        self._advice.setText(advice)
        self._sample.setVisible(self._workspace.session.assay is None)
        if step != self._step:
            self._step = step
            self.value_changed.emit(step)

    def open_sample(self) -> None:
        """Make the sample plate, or find it, and open it."""
        session = self._workspace.session
        job = session.jobs.start(
            "Sample plate", load(SAMPLE_ASSAY), sample_folder(), slot="open sample"
        )
        job.finished.connect(lambda path: open_assay_folder(session, path))
        job.failed.connect(lambda text: session.told.emit("error", text))
