"""The review panel: flagged wells by severity, their pictures, and what a person decides."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeySequence, QShortcut

from napari_hcs_qc.assay.scoring.review_queue import next_open, progress
from napari_hcs_qc.assay.views.montage import well_montage
from napari_hcs_qc.gui.canvas.dock import Dock
from napari_hcs_qc.gui.canvas.layers import picture_style
from napari_hcs_qc.gui.gallery.montage_view import MontageView
from napari_hcs_qc.gui.keys.key_names import UNDO
from napari_hcs_qc.gui.keys.own_keys import shown
from napari_hcs_qc.gui.review.export_dialog import ExportDialog
from napari_hcs_qc.gui.review.review_table import ReviewTable
from napari_hcs_qc.gui.review.well_pictures import WellPictures
from napari_hcs_qc.gui.session.job_bar import JobBar
from napari_hcs_qc.gui.widgets.controls import check_box, combo_box, line_edit, push_button, row
from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.qc.rule import FLAG_CODES
from napari_hcs_qc.text import count_of, percent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qtpy.QtWidgets import QPushButton

    from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate
    from napari_hcs_qc.assay.scoring.review_queue import QueueEntry
    from napari_hcs_qc.assay.views.montage import Montage

_EVERY = "every well"
_STATES = ("to decide", "all", "kept", "excluded", "look again", "changed since", _EVERY)
_VERDICT_OF = {"kept": "keep", "excluded": "exclude", "look again": "look again"}


class ReviewDock(Dock):
    """The queue of flagged wells, with keys to decide, undo, and the export.

    The row that is marked is that of the well on screen, and a verdict is on that well.
    """

    value_changed = Signal(object)

    def _make(self) -> None:
        self._entries: tuple[QueueEntry, ...] = ()
        self._pictured: tuple[str, float] | None = None  # what the montage was chosen by
        self._make_widgets()
        self._lay_out(
            row((self._progress, 1), self._state, self._reason),
            (self._table, 1),
            # What a decision needs first, so that no long reason pushes it out of sight.
            row(*(self._buttons[name] for name in ("Keep", "Exclude", "Look again"))),
            self._note,
            self._about,
            self._montage,
            row(*(self._buttons[name] for name in ("Exclude site", "Remove", "Undo"))),
            self._export_all,
            self._export,
            self._jobs,
        )
        self._table.value_changed.connect(self._go_to)
        self._table.activated.connect(self._go_to)
        self._state.currentIndexChanged.connect(self._list_wells)
        self._reason.currentIndexChanged.connect(self._list_wells)
        self._montage.activated.connect(self._show_cell)
        self._note.returnPressed.connect(self._table.setFocus)  # where the keys decide
        session = self._session
        for signal in (
            session.assay.changed,
            session.settled,
            session.models.verdicts_changed,
            session.annotations.person_changed,
        ):
            signal.connect(self.refresh)
        for signal in (session.selection.site_changed, session.selection.plate_changed):
            signal.connect(self._follow_screen)
        self.refresh()

    def _make_widgets(self) -> None:
        self._progress = WrappedLabel()
        self._progress.setToolTip("Flagged wells with a verdict, of all flagged wells.")
        self._state = combo_box(
            {state: state for state in _STATES},
            "Verdict of the wells to list; flagged or not: every well.",
            least=6,
        )
        self._reason = combo_box(
            {"": "any reason"} | FLAG_CODES, "Flag reason of the wells to list.", least=6
        )
        self._table = ReviewTable()
        self._pictures = WellPictures(self._session, self._table)
        self._about = WrappedLabel()
        self._montage = MontageView()
        self._note = line_edit(
            "Reason for your decision; stored in the journal with the verdict. Enter returns to "
            "the list.",
            "note, stored with the verdict (optional)",
        )
        self._export_all = check_box(
            "also exclude undecided wells",
            "Flagged wells that no reviewer has kept are outliers in the tables, like excluded "
            "ones.",
        )
        self._export = push_button(
            "Export tables and report…",
            "Cells, sites and wells as Parquet and CSV, AnnData and a report.",
            self._choose_folder,
        )
        self._jobs = JobBar(self._session.jobs, ("export",))
        self._buttons: dict[str, QPushButton] = {}
        self._shortcuts: dict[str, tuple[str, str, QShortcut]] = {}
        for key, name, tip, act in (
            ("K", "Keep", "The well is fine; it stays in the tables.", lambda: self.decide("keep")),
            (
                "X",
                "Exclude",
                "The well is unusable; the tables mark it as an outlier.",
                lambda: self.decide("exclude"),
            ),
            (
                "L",
                "Look again",
                "Undecided; it stays in the queue, marked.",
                lambda: self.decide("look again"),
            ),
            (
                "S",
                "Exclude site",
                "Only the site on screen is unusable; the rest of the well stays in the tables.",
                self.exclude_site,
            ),
            ("Backspace", "Remove", "Remove the verdict.", lambda: self.decide(None)),
            (UNDO, "Undo", "Undo your last action.", self._session.annotations.undo),
        ):
            self._buttons[name] = self._button(key, name, tip, act)

    def _button(self, key: str, name: str, tip: str, act: Callable[[], object]) -> QPushButton:
        button = push_button(name, "", act)
        button.setMinimumWidth(60)
        button.setObjectName(name.lower())
        shortcut = QShortcut(self)
        self._shortcuts[name] = key, tip, shortcut
        shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        shortcut.activated.connect(act)  # where the button is not enabled, too: it says why
        return button

    def _write_keys(self) -> None:
        for name, (default, tip, shortcut) in self._shortcuts.items():
            key = shown(default)
            shortcut.setKey(QKeySequence(key))
            self._buttons[name].setText(f"{name} ({'⌫' if key == 'Backspace' else key})")
            self._buttons[name].setToolTip(f"{tip} Key: {key}.")

    # ---- the queue -----------------------------------------------------------------------

    def value(self) -> QueueEntry | None:
        """Give the well on screen, or on its way there; None where it is not listed."""
        return self._table.value()

    def set_value(self, plate: str, well: str) -> None:
        """Show a well of the queue; one that is not listed changes nothing."""
        for entry in self.entries:
            if entry.key == (plate, well):
                self._go_to(entry)

    @property
    def entries(self) -> tuple[QueueEntry, ...]:
        """Wells that are listed."""
        return self._table.entries

    def refresh(self) -> None:
        """List the wells again, after predictions or verdicts have changed."""
        is_blind = self._session.annotations.is_blind
        self._entries = () if is_blind else self._session.models.queue
        done, total = progress(self._entries)
        self._progress.setText(f"{done} of {total} decided" if total else "No well is flagged.")
        if is_blind:
            self._progress.setText("Blind mode hides predictions and flags.")
        elif not self._session.models.all_scored:
            self._progress.setText("Nothing was classified yet; annotate cells and press Retrain.")
        self._list_wells()

    def _list_wells(self, *_: object) -> None:
        state, code = self._state.currentText(), self._reason.currentData()
        listed = self._entries
        if state == _EVERY and not self._session.annotations.is_blind:
            listed = self._session.models.wells
        shown = [
            entry for entry in listed if (not code or code in entry.codes) and _is_in(entry, state)
        ]
        self._table.set_entries(shown)
        self._pictures.set_on(state == _EVERY)
        self._follow_screen()

    def _follow_screen(self, *_: object) -> None:
        selection = self._session.selection
        plate, site = selection.plate, selection.site
        self._table.set_value(None if plate is None or site is None else (plate.name, site.well))
        self._look_at(self._table.value())

    def _look_at(self, entry: QueueEntry | None) -> None:
        for button in self._buttons.values():
            button.setEnabled(entry is not None or button is self._buttons["Undo"])
        if entry is None:
            text = "The well on screen is not in this list; click a row to see its well."
            if not self.entries:
                text = "No well in this list."
            if not self._entries and not self.entries:
                text = "The queue of flagged wells is empty."
            self._about.setText(text)
            self._montage.set_value(None)
        else:
            self._about.setText(_describe(entry))
            self._show_pictures(entry)
        self.value_changed.emit(entry)

    def _scored(self, plate: str) -> ScoredPlate | None:
        for scored in self._session.models.all_scored:
            if scored.state.plate.name == plate:
                return scored
        return None

    def _show_pictures(self, entry: QueueEntry) -> None:
        session = self._session
        scored = self._scored(entry.plate)
        shown = session.models.scored
        if scored is None:
            return
        if (
            shown is None
            or shown.state.plate.name != entry.plate
            or session.selection.cache is None
        ):
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
            session.selection.cache,
            picture_style(scored.state.plate),
            slot="montage",
            quiet=True,
        )
        job.finished.connect(self._show_montage)

    def _show_montage(self, montage: Montage) -> None:
        entry = self.value()
        if entry is not None and entry.well == montage.well:
            self._montage.set_value(montage)

    def _go_to(self, entry: QueueEntry | None) -> None:
        session, selection = self._session, self._session.selection
        if entry is None:
            return
        site = SiteKey(entry.well, entry.worst_site)
        if selection.plate is not None and selection.plate.name == entry.plate:
            if selection.site != site:
                selection.go_to(site)
            return
        for item in session.assay.plates:  # its folder may have been renamed since
            if item.plate is not None and item.plate.name == entry.plate:
                selection.show_plate(item.name, site)

    def _show_cell(self, row: int) -> None:
        scored = self._session.models.scored
        if scored is None:
            return
        cell = scored.state.cells.iloc[row]
        site = SiteKey(str(cell["well"]), int(cell["site"]))
        plate = scored.state.plate.name
        self._session.selection.go_to_cell(plate, site, float(cell["y_px"]), float(cell["x_px"]))

    # ---- deciding ------------------------------------------------------------------------

    def decide(self, verdict: str | None) -> bool:
        """Record a verdict on the well on screen, and show the next undecided one of the list."""
        entry = self._on_screen()
        if entry is None:
            return False
        following = next_open(self.entries, entry)
        if not self._record(entry, verdict, None):
            return False
        if verdict is not None:
            self._go_to(following)
        return True

    def exclude_site(self) -> bool:
        """Exclude the site on screen; the verdict on its well stays as it is."""
        entry, site = self._on_screen(), self._session.selection.site
        return entry is not None and site is not None and self._record(entry, "exclude", site.site)

    def _on_screen(self) -> QueueEntry | None:
        """Give the well whose picture is shown; says why there is none."""
        entry = self.value()
        if entry is None:
            self._session.message.emit(
                "info", "Show a well of the list first: click its row, or press Enter in the list."
            )
        elif self._workspace.view.on_screen != self._session.selection.site:
            self._session.message.emit(
                "info", f"{entry.well} is still being read; decide when it is shown."
            )
            return None
        return entry

    def _record(self, entry: QueueEntry, verdict: str | None, site: int | None) -> bool:
        note = self._note.text() or None
        annotations = self._session.annotations
        is_recorded = annotations.decide(entry.plate, entry.well, verdict, site=site, note=note)
        if is_recorded:
            self._note.clear()
        return is_recorded

    # ---- export --------------------------------------------------------------------------

    def export_to(self, folder: Path) -> None:
        """Write tables and report to a folder, in the background."""
        self._workspace.tasks.export(folder, exclude_unreviewed=self._export_all.isChecked())

    def _choose_folder(self) -> None:
        assay = self._session.assay.folder
        if assay is None:
            self._session.message.emit("info", "Open an assay first (Plate panel).")
            return
        dialog = ExportDialog(assay.path, parent=self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._session.assay.changed.connect(dialog.reject)  # another assay is exported elsewhere
        dialog.accepted.connect(lambda: self.export_to(dialog.value()))
        dialog.open()


def _is_in(entry: QueueEntry, state: str) -> bool:
    if state == "to decide":
        return not entry.is_done or bool(entry.change)
    if state == "changed since":
        return bool(entry.change)
    return state in ("all", _EVERY) or entry.verdict == _VERDICT_OF[state]


def _describe(entry: QueueEntry) -> str:
    lines = [f"{entry.plate} {entry.well}: {entry.reason or 'not flagged'}."]
    is_known = math.isfinite(entry.share_abnormal)  # not in a well without judged cells
    share = f", {percent(entry.share_abnormal)} abnormal" if is_known else ""
    cut = f" ({entry.n_cut:,} cut by the image border, not counted)" if entry.n_cut else ""
    lines.append(
        f"{count_of(entry.n_cells, 'cell')}{cut}{share}; severity {entry.severity:.1f}; worst site "
        f"{entry.worst_site}."
    )
    if entry.verdict is not None:
        note = f" “{entry.note}”" if entry.note else ""
        lines.append(f"Verdict of {entry.reviewer}: {entry.verdict}{note}.")
    lines.extend(
        f"Site {decision.site}: {decision.verdict} by {decision.reviewer}."
        + (f" Since then: {decision.change}." if decision.change else "")
        for decision in entry.site_verdicts
    )
    if entry.change:
        lines.append(f"Since then: {entry.change}.")
    return "\n".join(lines)
