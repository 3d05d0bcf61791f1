"""The panel in which a person says what cells are: on the image by click, and in the gallery."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, get_args

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_hcs_qc.assay.annotations.label_issues_list import label_issues
from napari_hcs_qc.assay.views.annotation_summary import Counts, count_annotations, find_conflicts
from napari_hcs_qc.gui.annotate.cell_list import CellList
from napari_hcs_qc.gui.annotate.class_buttons import ClassButtons
from napari_hcs_qc.gui.canvas.clicking import Clicking, Mode
from napari_hcs_qc.gui.canvas.workspace import workspace_of
from napari_hcs_qc.gui.gallery.gallery_orders import GalleryOptions
from napari_hcs_qc.gui.gallery.gallery_panel import GalleryPanel
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    import napari.components
    import numpy as np
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.annotations.label_issues_list import LabelIssue
    from napari_hcs_qc.assay.views.annotation_summary import Conflict
    from napari_hcs_qc.gui.canvas.workspace import Workspace

_MODES: dict[Mode, tuple[str, str]] = {
    "look": ("Look", "A click on the image selects a cell without labelling it."),
    "normal": ("Normal", "A click on the image labels the cell there as normal."),
    "abnormal": ("Abnormal", "A click on the image labels the cell there as abnormal."),
}


@dataclass(frozen=True)
class AnnotateOptions:
    """How a person annotates."""

    annotator: str  # name that is recorded
    is_blind: bool = False  # whether predictions are hidden
    mode: Mode = "look"  # what a click on the image does
    gallery: GalleryOptions = field(default_factory=GalleryOptions)  # order and filter


class AnnotateDock(QWidget):
    """Who annotates and how, what was said so far, and the gallery."""

    value_changed = Signal(object)

    # The annotation is what napari looks for, letter by letter, to pass its viewer.
    def __init__(
        self, viewer: napari.components.ViewerModel, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._workspace: Workspace = workspace_of(viewer)
        self._clicking = Clicking.of(viewer)
        # Of gallery and image the buttons act on the one where cells were chosen last.
        self._acts_on_image = False
        self._annotator = QLineEdit()
        self._annotator.setToolTip("Your name, stored with each annotation.")
        self._annotator.setPlaceholderText("your name")
        self._blind = QCheckBox("Blind")
        self._blind.setToolTip(
            "Hide predictions, on the image and in the gallery, so that they do not influence you."
        )
        self._undo, self._redo = QPushButton("Undo"), QPushButton("Redo")
        self._undo.setToolTip("Undo your last action, annotation or verdict (Ctrl+Z).")
        self._redo.setToolTip("Redo the last undone action (Ctrl+Y).")
        self._modes = QButtonGroup(self)
        self._buttons = ClassButtons()
        self._about = QLabel()
        self._about.setToolTip(
            "What the buttons below act on: the cells selected in the gallery, or on the image."
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
        self._lay_out()
        self._follow()
        self._show_person()
        self._show_mode(self._clicking.mode)
        self._assay_changed()
        self._say_about()

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.setSpacing(4)
        name = QLabel("Annotator")
        name.setBuddy(self._annotator)
        top.addWidget(name)
        top.addWidget(self._annotator, 1)
        top.addWidget(self._blind)
        for button in (self._undo, self._redo):
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # the gallery keeps the keyboard
            top.addWidget(button)
        modes = QHBoxLayout()
        modes.setSpacing(2)
        modes.addWidget(QLabel("Click on image"))
        for mode in get_args(Mode):
            text, tip = _MODES[mode]
            button = QPushButton(text)
            button.setCheckable(True)
            button.setToolTip(tip)
            button.setProperty("mode", mode)
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            self._modes.addButton(button)
            modes.addWidget(button)
        modes.addStretch(1)
        modes.addWidget(self._about)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 4, 6, 4)
        layout.setSpacing(4)
        layout.addLayout(top)
        layout.addLayout(modes)
        layout.addWidget(self._buttons)
        layout.addWidget(self.gallery, 1)
        layout.addWidget(self._conflicts)
        layout.addWidget(self._label_issues)

    def _follow(self) -> None:
        session = self._workspace.session
        self._annotator.editingFinished.connect(self._named)
        self._blind.toggled.connect(self._blinded)
        self._undo.clicked.connect(session.undo)
        self._redo.clicked.connect(session.redo)
        self._modes.buttonClicked.connect(
            lambda button: self._clicking.set_mode(button.property("mode"))
        )
        self._buttons.said.connect(self.say)
        self._conflicts.activated.connect(self._show_cell)
        self._label_issues.activated.connect(self._show_cell)
        self._workspace.tasks.model_changed.connect(self._list_label_issues)
        self.gallery.value_changed.connect(self._tell)
        self.gallery.selected_changed.connect(self._gallery_selected)
        self.gallery.cells_changed.connect(self._say_about)
        self._clicking.chosen_changed.connect(self._image_chosen)
        self._clicking.mode_changed.connect(self._show_mode)
        session.person_changed.connect(self._show_person)
        session.person_changed.connect(self._list_label_issues)
        session.assay_changed.connect(self._assay_changed)
        session.settled.connect(self._count)

    # ---- value ---------------------------------------------------------------------------

    def value(self) -> AnnotateOptions:
        """Give what is set."""
        session = self._workspace.session
        return AnnotateOptions(
            session.annotator, session.is_blind, self._clicking.mode, self.gallery.value()
        )

    def set_value(self, options: AnnotateOptions) -> None:
        """Set everything."""
        session = self._workspace.session
        session.annotator = options.annotator
        session.is_blind = options.is_blind
        self._clicking.set_mode(options.mode)
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

    def say(self, cls: str | None, kind: str | None = None) -> bool:
        """Say something of the cells chosen last, in the gallery or on the image."""
        if self._acts_on_image:
            return self._clicking.act(cls, kind)
        return self.gallery.say(cls, kind)

    # ---- what the person does ------------------------------------------------------------

    def _named(self) -> None:
        self._workspace.session.annotator = self._annotator.text()
        self._show_person()  # a name of blanks is not taken

    def _blinded(self, is_blind: bool) -> None:
        self._workspace.session.is_blind = is_blind

    def _gallery_selected(self, rows: NDArray[np.int64]) -> None:
        # When no cell is selected any more, those chosen on the image are the last.
        self._acts_on_image = not len(rows) and bool(self._clicking.chosen)
        self._say_about()

    def _image_chosen(self, chosen: frozenset[int]) -> None:
        self._acts_on_image = bool(chosen)
        self._say_about()

    def _say_about(self) -> None:
        if self._acts_on_image:
            words = f"{len(self._clicking.chosen):,} selected on image"
        else:
            n_shown, n_selected = len(self.gallery.view.cells()), len(self.gallery.selected())
            words = (
                f"{n_selected:,} of {n_shown:,}" if n_selected else f"{count_of(n_shown, 'cell')}"
            )
        self._about.setText(words)

    def _show_cell(self, cell: Conflict | LabelIssue) -> None:
        session = self._workspace.session
        for one in session.plates:  # a folder may have been renamed since the assay was made
            if one.plate is not None and one.plate.name == cell.plate:
                session.go_to_cell(one.name, cell.site, cell.y_px, cell.x_px)

    # ---- following -----------------------------------------------------------------------

    def _tell(self, *_: object) -> None:
        self.value_changed.emit(self.value())

    def _show_person(self) -> None:
        session = self._workspace.session
        self._annotator.setText(session.annotator)
        was_blocked = self._blind.blockSignals(True)
        self._blind.setChecked(session.is_blind)
        self._blind.blockSignals(was_blocked)
        self._tell()

    def _show_mode(self, mode: Mode) -> None:
        for button in self._modes.buttons():
            button.setChecked(button.property("mode") == mode)
        self._tell()

    def _assay_changed(self) -> None:
        is_open = self._workspace.session.assay is not None
        for widget in (self._undo, self._redo, self._buttons):
            widget.setEnabled(is_open)
        self._conflicts.set_value(())
        self._label_issues.set_value(())
        self._count()

    def _count(self, *_: object) -> None:
        session = self._workspace.session
        live = session.live
        if live is None:
            self._buttons.set_value(Counts({}, {}))
            return
        self._buttons.set_value(count_annotations(live.table))
        self._list_label_issues()
        states = {one.name: one.state for one in session.plates if one.state is not None}
        job = session.jobs.start(
            "Comparing annotators",
            find_conflicts,
            states,
            live.table,
            slot="conflicts",
            quiet=True,
        )
        job.finished.connect(self._conflicts.set_value)
        job.failed.connect(lambda words: session.told.emit("warning", words))

    def _list_label_issues(self) -> None:
        session = self._workspace.session
        model, live = session.model, session.live
        if model is None or live is None or session.is_blind:
            self._label_issues.set_value(())
        else:
            self._label_issues.set_value(label_issues(model.manifest, live.table))
