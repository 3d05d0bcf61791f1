"""The panel in which a person says what cells are: on the image by click, and in the gallery."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, get_args

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QCursor
from qtpy.QtWidgets import QButtonGroup, QLabel, QPushButton

from napari_hcs_qc.assay.views.annotation_summary import Counts, count_annotations, find_conflicts
from napari_hcs_qc.assay.views.label_issues_list import label_issues
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.gui.annotate.cell_list import CellList
from napari_hcs_qc.gui.annotate.cell_menu import show_cell_menu
from napari_hcs_qc.gui.annotate.class_buttons import ClassButtons
from napari_hcs_qc.gui.annotate.kind_dialog import KindDialog
from napari_hcs_qc.gui.canvas.clicking import Clicking, Mode
from napari_hcs_qc.gui.canvas.dock import Dock
from napari_hcs_qc.gui.gallery.gallery_orders import GalleryOptions
from napari_hcs_qc.gui.gallery.gallery_panel import GalleryPanel
from napari_hcs_qc.gui.keys.key_actions import KeyActions
from napari_hcs_qc.gui.keys.key_names import NEXT, REDO, UNDO
from napari_hcs_qc.gui.keys.own_keys import shown
from napari_hcs_qc.gui.widgets.controls import check_box, line_edit, push_button, row
from napari_hcs_qc.gui.widgets.following import follow
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from napari_hcs_qc.assay.views.annotation_summary import Conflict
    from napari_hcs_qc.assay.views.label_issues_list import LabelIssue

_MODES: dict[Mode, tuple[str, str]] = {
    "look": ("Look", "A click on the image selects a cell without labelling it."),
    "normal": ("Normal", "A click on the image labels the cell there as normal."),
    "abnormal": ("Abnormal", "A click on the image labels the cell there as abnormal."),
}


@dataclass(frozen=True, kw_only=True)
class AnnotateOptions:
    """How a person annotates."""

    annotator: str  # name that is recorded
    is_blind: bool = False  # whether predictions are hidden
    mode: Mode = "look"  # what a click on the image does
    is_live: bool = True  # whether predictions follow each annotation
    goes_on: bool = True  # whether the next suggested cell follows an annotated one by itself
    gallery: GalleryOptions = field(default_factory=GalleryOptions)  # order and filter


class AnnotateDock(Dock):
    """Who annotates and how, what was annotated so far, and the gallery."""

    value_changed = Signal(object)

    def _make(self) -> None:
        self._clicking = Clicking.of(self._workspace.viewer)
        self._make_widgets()
        name = QLabel("Annotator")
        name.setBuddy(self._annotator)
        self._lay_out(
            row(
                name,
                (self._annotator, 1),
                self._blind,
                self._goes_on,
                self._undo,
                self._redo,
                spacing=4,
            ),
            row(QLabel("Click"), *self._mode_buttons, self._live, None, self._target, spacing=2),
            self._buttons,
            (self.gallery, 1),
            self._conflicts,
            self._label_issues,
        )
        self._follow()
        self._show_kinds()
        self._show_person()
        self._show_mode(self._clicking.mode)
        self._assay_changed()
        self._show_target()

    def _make_widgets(self) -> None:
        annotations = self._session.annotations
        self._annotator = line_edit("Your name, stored with each annotation.", "your name")
        self._blind = check_box(
            "Blind",
            "Hide predictions, flags and the annotations of others everywhere, so that they do not "
            "influence you.",
        )
        # The gallery keeps the keyboard.
        self._undo = push_button("Undo", "", annotations.undo, takes_focus=False)
        self._redo = push_button("Redo", "", annotations.redo, takes_focus=False)
        self._modes = QButtonGroup(self)
        self._mode_buttons: list[QPushButton] = []
        for mode in get_args(Mode):
            button = push_button(*_MODES[mode], takes_focus=False)
            button.setCheckable(True)
            button.setProperty("mode", mode)
            button.setObjectName(f"mode {mode}")
            self._mode_buttons.append(button)  # a group of buttons does not keep them
            self._modes.addButton(button)
        self._goes_on = check_box("Go on", "")
        self._goes_on.setChecked(self._session.target.goes_on)
        self._live = check_box(
            "Live",
            "Predictions on the image and in the gallery follow each annotation. Wells, flags and "
            "exported tables are those of the model until you press Retrain.",
        )
        self._live.setChecked(self._session.live.is_on)
        self._buttons = ClassButtons()
        self._target = QLabel()
        self._target.setToolTip(
            "What keys and the buttons below annotate, in a bright frame on the image and in the "
            "gallery: the cell under the cursor, or the selected cells."
        )
        self._conflicts = CellList(
            lambda n: f"≠ Annotators disagree about {count_of(n, 'cell')}",
            "Cells that one annotator labelled normal and another abnormal; no model is trained "
            "on them until the annotators agree.",
        )
        self._label_issues = CellList(
            lambda n: f"? {count_of(n, 'annotation')} to review",
            "These annotations disagree with those of all other wells. Some are mistakes, others "
            "just hard cells; correct the mistakes, and retrain.",
        )
        self.gallery = GalleryPanel(self._workspace)

    def _write_keys(self) -> None:
        self._undo.setToolTip(f"Undo your last action, annotation or verdict ({shown(UNDO)}).")
        self._redo.setToolTip(f"Redo the last undone action ({shown(REDO)}).")
        self._goes_on.setToolTip(
            f"After {shown(NEXT)} and a class key, go on to the next suggested cell by itself; in "
            f"the gallery to the next one that nobody has annotated. {shown(NEXT)} skips a cell."
        )
        self._buttons.write_keys()
        self.gallery.write_keys()

    def _follow(self) -> None:
        session = self._session
        self._annotator.editingFinished.connect(self._named)
        self._blind.toggled.connect(self._blinded)
        self._modes.buttonClicked.connect(
            lambda button: self._clicking.set_mode(button.property("mode"))
        )
        self._goes_on.toggled.connect(self._set_goes_on)
        self._live.toggled.connect(self._set_live)
        self._buttons.pressed.connect(session.target.annotate)
        self._buttons.add_pressed.connect(self._add_kind)
        self._buttons.remove_pressed.connect(self._remove_kind)
        session.assay.kinds_changed.connect(self._show_kinds)
        self._conflicts.activated.connect(self._show_cell)
        self._label_issues.activated.connect(self._show_cell)
        self._workspace.training.model_changed.connect(self._list_label_issues)
        self.gallery.value_changed.connect(self._emit_value)
        actions, view = KeyActions.of(self._workspace), self.gallery.view
        view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        view.customContextMenuRequested.connect(
            lambda point: show_cell_menu(session, actions, view.mapToGlobal(point), self)
        )
        follow(
            self._clicking.menu_requested,
            self,
            lambda: show_cell_menu(session, actions, QCursor.pos(), self),
        )
        follow(
            actions.similar_requested,
            self,
            lambda: self.gallery.set_value(replace(self.gallery.value(), order="similar")),
        )
        actions.site_requested.connect(self._clicking.select_site)
        self.gallery.cells_changed.connect(self._show_target)
        self.gallery.view.sight_changed.connect(self._show_target)
        session.target.changed.connect(self._show_target)
        self._clicking.mode_changed.connect(self._show_mode)
        session.annotations.person_changed.connect(self._show_person)
        session.annotations.person_changed.connect(self._count)
        session.assay.changed.connect(self._assay_changed)
        session.settled.connect(self._count)

    # ---- value ---------------------------------------------------------------------------

    def value(self) -> AnnotateOptions:
        """Give what is set."""
        session = self._session
        return AnnotateOptions(
            annotator=session.annotations.annotator,
            is_blind=session.annotations.is_blind,
            mode=self._clicking.mode,
            is_live=session.live.is_on,
            goes_on=session.target.goes_on,
            gallery=self.gallery.value(),
        )

    def set_value(self, options: AnnotateOptions) -> None:
        """Set everything."""
        session = self._session
        session.annotations.annotator = options.annotator
        session.annotations.is_blind = options.is_blind
        self._clicking.set_mode(options.mode)
        self._goes_on.setChecked(options.goes_on)
        self._live.setChecked(options.is_live)
        if options.gallery != self.gallery.value():
            self.gallery.set_value(options.gallery)

    def counts(self) -> Counts:
        """Give how many positions of the assay are annotated."""
        return self._buttons.value()

    def conflicts(self) -> tuple[Conflict | LabelIssue, ...]:
        """Give the cells of the assay about which people disagree, as last looked for."""
        return self._conflicts.value()

    def label_issues(self) -> tuple[Conflict | LabelIssue, ...]:
        """Give the cells whose annotation the model in use doubts; none in blind mode."""
        return self._label_issues.value()

    # ---- what the person does ------------------------------------------------------------

    def _named(self) -> None:
        self._session.annotations.annotator = self._annotator.text()
        self._show_person()  # a name of blanks is not taken

    def _blinded(self, is_blind: bool) -> None:
        self._session.annotations.is_blind = is_blind

    def _add_kind(self) -> None:
        dialog = KindDialog(self._session.assay.kinds, self)
        if dialog.exec():
            try:
                self._session.assay.add_kind(dialog.value())
            except HcsQcError as error:
                self._session.message.emit("error", str(error))

    def _remove_kind(self, name: str) -> None:
        try:
            self._session.assay.remove_kind(name)
        except HcsQcError as error:
            self._session.message.emit("info", str(error))

    def _set_goes_on(self, goes_on: bool) -> None:
        self._session.target.goes_on = goes_on
        self._emit_value()

    def _set_live(self, is_live: bool) -> None:
        self._session.live.is_on = is_live
        self._emit_value()

    def _show_target(self) -> None:
        target = self._session.target
        n, n_shown = len(target.cells), len(self.gallery.view.cells())
        if n == 1:
            ((site, _),) = target.cells
            text = f"1 cell of {site}"
        else:
            text = f"{n:,} of {n_shown:,} cells" if n else count_of(n_shown, "cell")
        n_hidden = n - len(target.in_sight(target.cells)) if n > 1 else 0
        self._target.setText(f"{text}, {n_hidden:,} out of view" if n_hidden else text)

    def _show_cell(self, cell: Conflict | LabelIssue) -> None:
        self._session.go_to_annotated(cell.plate, cell.site, cell.y_px, cell.x_px)

    # ---- following -----------------------------------------------------------------------

    def _emit_value(self, *_: object) -> None:
        self.value_changed.emit(self.value())

    def _show_person(self) -> None:
        session = self._session
        self._annotator.setText(session.annotations.annotator)
        with QSignalBlocker(self._blind):
            self._blind.setChecked(session.annotations.is_blind)
        self._emit_value()

    def _show_kinds(self) -> None:
        self._buttons.set_kinds(self._session.assay.kinds)

    def _show_mode(self, mode: Mode) -> None:
        for button in self._modes.buttons():
            button.setChecked(button.property("mode") == mode)
        self._emit_value()

    def _assay_changed(self) -> None:
        is_open = self._session.assay.folder is not None
        for widget in (self._undo, self._redo, self._buttons):
            widget.setEnabled(is_open)
        self._conflicts.set_value(())
        self._label_issues.set_value(())
        self._count()

    def _count(self, *_: object) -> None:
        session = self._session
        cache = session.annotations.shown
        if cache is None:
            self._buttons.set_value(Counts({}, {}))
            return
        self._buttons.set_value(count_annotations(cache.table))
        self._list_label_issues()
        if session.annotations.is_blind:
            self._conflicts.set_value(())
            return
        states = {item.name: item.state for item in session.assay.plates if item.state is not None}
        job = session.start(
            "Comparing annotators",
            find_conflicts,
            states,
            cache.table,
            slot="conflicts",
            quiet=True,
            failure="warning",
        )
        job.finished.connect(self._conflicts.set_value)

    def _list_label_issues(self) -> None:
        session = self._session
        model, cache = session.models.model, session.annotations.cache
        if model is None or cache is None or session.annotations.is_blind:
            self._label_issues.set_value(())
        else:
            self._label_issues.set_value(label_issues(model.manifest, cache.table))
