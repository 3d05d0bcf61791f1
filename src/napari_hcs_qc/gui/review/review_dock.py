"""The review panel: flagged wells by severity, their pictures, and what a person decides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_hcs_qc.assay.scoring.review_queue import next_open, progress, seen_now
from napari_hcs_qc.assay.views.montage import well_montage
from napari_hcs_qc.gui.canvas.layers import picture_style
from napari_hcs_qc.gui.canvas.workspace import workspace_of
from napari_hcs_qc.gui.gallery.montage_view import MontageView
from napari_hcs_qc.gui.review.review_table import ReviewTable
from napari_hcs_qc.gui.session.job_bar import JobBar
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.qc.rule import FLAG_CODES
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    import napari.components

    from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate
    from napari_hcs_qc.assay.scoring.review_queue import QueueEntry
    from napari_hcs_qc.assay.views.montage import Montage
    from napari_hcs_qc.gui.canvas.workspace import Workspace

_STATES = ("to decide", "all", "kept", "excluded", "look again", "changed since")
_VERDICT_OF = {"kept": "keep", "excluded": "exclude", "look again": "look again"}


class ReviewDock(QWidget):
    """The queue of flagged wells, with keys to decide, undo, and the export."""

    value_changed = Signal(object)

    # The annotation is what napari looks for, letter by letter, to pass its viewer.
    def __init__(
        self, viewer: napari.components.ViewerModel, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._workspace: Workspace = workspace_of(viewer)
        session = self._workspace.session
        self._entries: tuple[QueueEntry, ...] = ()
        self._pictured: tuple[str, float] | None = None  # what the montage was chosen by
        self._progress = QLabel()
        self._progress.setToolTip("Flagged wells with a verdict, of all flagged wells.")
        self._state, self._reason = QComboBox(), QComboBox()
        self._state.addItems(_STATES)
        for box in (self._state, self._reason):
            box.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            box.setMinimumContentsLength(9)
        self._state.setToolTip("Verdict of the wells to list.")
        self._reason.addItem("any reason", "")
        for code, words in FLAG_CODES.items():
            self._reason.addItem(words, code)
        self._reason.setToolTip("Flag reason of the wells to list.")
        self._table = ReviewTable()
        self._words = QLabel()
        self._words.setWordWrap(True)
        self._words.setMinimumWidth(100)
        self._words.setTextFormat(Qt.TextFormat.PlainText)
        self._words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._montage = MontageView()
        self._note = QLineEdit()
        self._note.setPlaceholderText("note, stored with the verdict (optional)")
        self._note.setToolTip(
            "Reason for your decision; stored in the journal with the verdict. Enter returns to "
            "the list."
        )
        self._export_all = QCheckBox("also exclude undecided wells")
        self._export_all.setToolTip(
            "Flagged wells that no reviewer has kept are outliers in the tables, like excluded "
            "ones."
        )
        self._export = QPushButton("Export tables and report…")
        self._export.setToolTip("Cells, sites and wells as Parquet and CSV, AnnData and a report.")
        self._jobs = JobBar(session.jobs, ("export",))
        self._buttons: dict[str, QPushButton] = {}
        self._lay_out()

        self._table.value_changed.connect(self._chosen)
        self._table.activated.connect(self._go_to)
        self._state.currentIndexChanged.connect(self._fill)
        self._reason.currentIndexChanged.connect(self._fill)
        self._montage.activated.connect(self._show_cell)
        self._note.returnPressed.connect(self._table.setFocus)  # where the keys decide
        self._export.clicked.connect(self._choose_folder)
        for signal in (session.assay_changed, session.settled, session.verdicts_changed):
            signal.connect(self.refresh)
        self.refresh()

    def _lay_out(self) -> None:
        decisions = QHBoxLayout()
        for key, name, tip, act in (
            ("K", "Keep", "The well is fine; it stays in the tables.", "keep"),
            ("X", "Exclude", "The well is unusable; the tables mark it as an outlier.", "exclude"),
            ("L", "Look again", "Undecided; it stays in the queue, marked.", "look again"),
        ):
            decisions.addWidget(self._button(key, name, tip, lambda act=act: self.decide(act)))
        more = QHBoxLayout()
        more.addWidget(
            self._button(
                "S",
                "Exclude site",
                "Only the site on screen is unusable; the rest of the well stays in the tables.",
                self.exclude_site,
            )
        )
        more.addWidget(
            self._button("Backspace", "Remove", "Remove the verdict.", lambda: self.decide(None))
        )
        more.addWidget(
            self._button("Ctrl+Z", "Undo", "Undo your last action.", self._workspace.session.undo)
        )
        filters = QHBoxLayout()
        filters.addWidget(self._progress, 1)
        filters.addWidget(self._state)
        filters.addWidget(self._reason)
        out = QHBoxLayout()
        out.addWidget(self._export)
        out.addWidget(self._export_all)
        out.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.setSpacing(4)
        layout.addLayout(filters)
        layout.addWidget(self._table, 1)
        # What a decision needs first, so that no long reason pushes it out of sight.
        layout.addLayout(decisions)
        layout.addWidget(self._note)
        layout.addWidget(self._words)
        layout.addWidget(self._montage)
        layout.addLayout(more)
        layout.addLayout(out)
        layout.addWidget(self._jobs)

    def _button(self, key: str, name: str, tip: str, act: Any) -> QPushButton:
        button = QPushButton(f"{name} ({'⌫' if key == 'Backspace' else key})")
        button.setMinimumWidth(60)
        button.setToolTip(f"{tip} Key: {key}.")
        button.clicked.connect(lambda: act())
        self._buttons[name] = button
        shortcut = QShortcut(QKeySequence(key), self)
        shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        shortcut.activated.connect(button.click)
        return button

    # ---- the queue -----------------------------------------------------------------------

    def value(self) -> QueueEntry | None:
        """Give the well that is looked at."""
        return self._table.value()

    def set_value(self, plate: str, well: str) -> None:
        """Look at a well of the queue, and show it."""
        self._table.set_value(plate, well)
        entry = self.value()
        if entry is not None and entry.key == (plate, well):
            self._go_to(entry)

    @property
    def entries(self) -> tuple[QueueEntry, ...]:
        """Wells that are listed."""
        return self._table.entries

    def refresh(self) -> None:
        """List the wells anew, after predictions or verdicts have changed."""
        self._entries = self._workspace.session.queue
        done, total = progress(self._entries)
        self._progress.setText(f"{done} of {total} decided" if total else "No well is flagged.")
        if not self._workspace.session.all_scored:
            self._progress.setText("Nothing was classified yet; annotate cells and press Retrain.")
        self._fill()

    def _fill(self, *_: object) -> None:
        state, code = self._state.currentText(), self._reason.currentData()
        shown = [
            entry
            for entry in self._entries
            if (not code or code in entry.codes) and _is_in(entry, state)
        ]
        self._table.set_entries(shown)
        self._look_at(self._table.value())

    def _chosen(self, entry: QueueEntry | None) -> None:
        """Follow the person through the list: the plate panel shows the well's sites as well."""
        self._look_at(entry)
        if entry is not None:
            self._go_to(entry)

    def _look_at(self, entry: QueueEntry | None) -> None:
        for button in self._buttons.values():
            button.setEnabled(entry is not None or button is self._buttons["Undo"])
        if entry is None:
            self._words.setText(
                "No well in this list." if self._entries else "The queue of flagged wells is empty."
            )
            self._montage.set_value(None)
        else:
            self._words.setText(_told(entry))
            self._show_pictures(entry)
        self.value_changed.emit(entry)

    def _scored(self, plate: str) -> ScoredPlate | None:
        for scored in self._workspace.session.all_scored:
            if scored.state.plate.name == plate:
                return scored
        return None

    def _show_pictures(self, entry: QueueEntry) -> None:
        session = self._workspace.session
        scored = self._scored(entry.plate)
        shown = session.scored
        if scored is None:
            return
        if shown is None or shown.state.plate.name != entry.plate or session.cache is None:
            # Pictures come from the plate on screen; choosing the well shows its plate.
            self._montage.set_value(None)
            return
        known = self._montage.value()
        by = (scored.prediction.model, scored.threshold)
        is_same_well = known is not None and known.well == entry.well
        if is_same_well and self._pictured == by:
            return
        self._pictured = by
        if not is_same_well:
            self._montage.set_value(None)
        job = session.jobs.start(
            f"Cells of {entry.well}",
            well_montage,
            scored,
            entry.well,
            session.cache,
            picture_style(scored.state.plate),
            slot="montage",
            quiet=True,
        )
        job.finished.connect(self._take_montage)

    def _take_montage(self, montage: Montage) -> None:
        entry = self.value()
        if entry is not None and entry.well == montage.well:
            self._montage.set_value(montage)

    def _go_to(self, entry: QueueEntry) -> None:
        session = self._workspace.session
        if session.open_plate is None or session.open_plate.name != entry.plate:
            session.show_plate(entry.plate)
        session.go_to(SiteKey(entry.well, entry.worst_site))

    def _show_cell(self, row: int) -> None:
        scored = self._workspace.session.scored
        if scored is None:
            return
        cell = scored.state.cells.iloc[row]
        site = SiteKey(str(cell["well"]), int(cell["site"]))
        plate = scored.state.plate.name
        self._workspace.session.go_to_cell(plate, site, float(cell["y_px"]), float(cell["x_px"]))

    # ---- deciding ------------------------------------------------------------------------

    def decide(self, verdict: str | None) -> bool:
        """Record a verdict on the well that is looked at, and go on to the next undecided one."""
        entry = self.value()
        if entry is None:
            return False
        following = next_open(self._entries, entry)
        if not self._record(entry, verdict, None):
            return False
        if verdict is not None and following is not None:
            self._table.set_value(following.plate, following.well)
        # Where the list has moved up under the mark, nothing has told that another well has it.
        now, site = self.value(), self._workspace.session.site
        if now is not None and now.key != entry.key and (site is None or site.well != now.well):
            self._go_to(now)
        return True

    def exclude_site(self) -> bool:
        """Exclude the site on screen; the verdict on its well stays as it is."""
        entry, site = self.value(), self._workspace.session.site
        if entry is None or site is None or site.well != entry.well:
            self._workspace.session.told.emit(
                "info", "Show a site of this well first (Enter), then exclude it."
            )
            return False
        return self._record(entry, "exclude", site.site)

    def _record(self, entry: QueueEntry, verdict: str | None, site: int | None) -> bool:
        scored = self._scored(entry.plate)
        is_said = self._workspace.session.decide(
            entry.plate,
            entry.well,
            verdict,
            site=site,
            note=self._note.text() or None,
            seen=None if scored is None else seen_now(scored, entry.well, site),
        )
        if is_said:
            self._note.clear()
        return is_said

    # ---- export --------------------------------------------------------------------------

    def export_to(self, folder: Path) -> None:
        """Write tables and report to a folder, in the background."""
        self._workspace.tasks.export(folder, exclude_unreviewed=self._export_all.isChecked())

    def _choose_folder(self) -> None:
        assay = self._workspace.session.assay
        start = "" if assay is None else str(assay.path.parent)
        chosen = QFileDialog.getExistingDirectory(self, "Folder for the tables", start)
        if chosen:
            self.export_to(Path(chosen))


def _is_in(entry: QueueEntry, state: str) -> bool:
    if state == "to decide":
        return not entry.is_done or bool(entry.change)
    if state == "changed since":
        return bool(entry.change)
    return state == "all" or entry.verdict == _VERDICT_OF[state]


def _told(entry: QueueEntry) -> str:
    lines = [f"{entry.plate} {entry.well}: {entry.reason or 'not flagged'}."]
    lines.append(
        f"{count_of(entry.n_cells, 'cell')}, {entry.share_abnormal:.0%} abnormal; severity "
        f"{entry.severity:.1f}; worst site {entry.worst_site}."
    )
    if entry.verdict is not None:
        note = f" “{entry.note}”" if entry.note else ""
        lines.append(f"Verdict of {entry.reviewer}: {entry.verdict}{note}.")
    lines.extend(
        f"Site {one.site}: {one.verdict} by {one.reviewer}."
        + (f" Since then: {one.change}." if one.change else "")
        for one in entry.site_verdicts
    )
    if entry.change:
        lines.append(f"Since then: {entry.change}.")
    return "\n".join(lines)
