"""The rows above a gallery that fills the window: filters, measurements, and many at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QDoubleSpinBox, QLabel, QMenu, QSlider, QToolButton, QWidget

from napari_hcs_qc.gui.gallery.gallery_filters import (
    CellFilter,
    ClassFilter,
    Measurement,
    annotators,
    measurements,
)
from napari_hcs_qc.gui.gallery.gallery_sheet import MAX_TILE_PX, MIN_TILE_PX
from napari_hcs_qc.gui.widgets.controls import (
    add_choices,
    check_box,
    combo_box,
    lay_out,
    line_edit,
    name_parts,
    push_button,
    row,
    select,
    tool_button,
)

if TYPE_CHECKING:
    from qtpy.QtWidgets import QComboBox

    from napari_hcs_qc.gui.session.session import Session

FETCHES = {
    "random": "20 random cells",
    "uncertain": "20 doubtful cells",
    "normal": "20 cells predicted normal",
    "abnormal": "20 cells predicted abnormal",
}
"""What can be fetched: cells that nobody has annotated, in an order of the gallery."""


class FilterBar(QWidget):
    """Chooses which cells are shown, the measurement by which they are sorted, and their size."""

    value_changed = Signal(object)
    measurement_chosen = Signal(object)
    tile_px_changed = Signal(int)
    accept_pressed = Signal()
    fetch_pressed = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._value = CellFilter()
        self._class = combo_box(
            {name: "any class" if name == "any" else name for name in get_args(ClassFilter)},
            "Class that people gave the cells, or that the model predicts.",
            least=8,
        )
        self._kind = combo_box({"": "any kind"}, "Kind, annotated or else predicted.", least=7)
        self._wells = line_edit("Wells to show, such as B03 C* D0?.", "wells, such as B03 C*")
        self._wells.setMaximumWidth(150)
        self._annotator = combo_box(
            {"": "any annotator"}, "Only cells that this person has annotated.", least=9
        )
        self._novel = check_box(
            "novel", "Only cells farther from all annotated cells than is usual."
        )
        self._low, self._high = _probability("Least abnormal score."), _probability("Greatest.")
        self._measurement = combo_box(
            {"": "sort by measurement"}, "Sorts the cells by a measurement.", least=12
        )
        self._falling = tool_button("↓", "Largest first, or smallest first.", self._turn)
        self._size = QSlider(Qt.Orientation.Horizontal)
        self._size.setRange(MIN_TILE_PX, MAX_TILE_PX)
        self._size.setMaximumWidth(120)
        self._size.setToolTip("Size of the tiles (Ctrl+wheel).")
        self._fetch = QToolButton()
        self._fetch.setText("Fetch")
        self._fetch.setToolTip("Shows 20 cells that nobody has annotated.")
        self._fetch.setStyleSheet("QToolButton { padding-right: 14px; }")
        self._fetch.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self._fetch)
        for order, text in FETCHES.items():
            menu.addAction(text, lambda order=order: self.fetch_pressed.emit(order))
        self._fetch.setMenu(menu)
        self._accept = push_button(
            "Accept predictions in sight",
            "Annotates all tiles in sight that nobody has annotated as the model predicts them.",
            self.accept_pressed.emit,
            takes_focus=False,
        )
        self._reset = push_button(
            "Show all", "Removes all filters.", lambda: self.set_value(CellFilter())
        )
        lay_out(
            self,
            row(
                self._class,
                self._kind,
                self._wells,
                self._annotator,
                self._novel,
                QLabel("score"),
                self._low,
                QLabel("to"),
                self._high,
                self._reset,
                None,
                spacing=4,
            ),
            row(
                self._measurement,
                self._falling,
                QLabel("Tiles"),
                self._size,
                None,
                self._fetch,
                self._accept,
                spacing=4,
            ),
        )
        name_parts(self)
        self._high.setValue(1.0)
        for box in (self._class, self._kind, self._annotator):
            box.activated.connect(self._edited)
        self._wells.editingFinished.connect(self._edited)
        self._novel.toggled.connect(self._edited)
        for spin in (self._low, self._high):
            spin.valueChanged.connect(self._edited)
        self._measurement.activated.connect(self._choose_measurement)
        self._size.valueChanged.connect(self.tile_px_changed)

    def value(self) -> CellFilter:
        """Give what a cell has to be."""
        return self._value

    def set_value(self, value: CellFilter) -> None:
        """Show other cells."""
        if value == self._value:
            return
        self._value = value
        widgets: tuple[Any, ...] = (self._novel, self._low, self._high)
        blockers = [QSignalBlocker(widget) for widget in widgets]
        select(self._class, value.cls)
        select(self._kind, value.kind, adds=True)
        select(self._annotator, value.annotator, adds=True)
        self._wells.setText(value.wells)
        self._novel.setChecked(value.is_novel)
        self._low.setValue(value.p_low)
        self._high.setValue(value.p_high)
        del blockers
        self.value_changed.emit(value)

    def offer(self, session: Session) -> None:
        """Let the kinds, annotators and measurements of now be chosen."""
        kinds = {kind.name: kind.name for kind in session.assay.kinds}
        _offer(self._kind, {"": "any kind"} | kinds)
        people = {name: name for name in annotators(session)}
        _offer(self._annotator, {"": "any annotator"} | people)
        titles = {name: name.replace("_", " ") for name in measurements(session)}
        _offer(self._measurement, {"": "sort by measurement"} | titles)

    def set_blind(self, is_blind: bool) -> None:
        """Hide what would tell the predictions."""
        for widget in (self._low, self._high, self._accept, self._novel):
            widget.setEnabled(not is_blind)

    def set_tile_px(self, tile_px: int) -> None:
        """Show the size of the tiles."""
        with QSignalBlocker(self._size):
            self._size.setValue(tile_px)

    def forget_measurement(self) -> None:
        """Show that the cells are sorted by something else."""
        self._measurement.setCurrentIndex(0)

    def _edited(self, *_: object) -> None:
        self.set_value(
            replace(
                self._value,
                cls=self._class.currentData(),
                kind=self._kind.currentData(),
                wells=self._wells.text(),
                annotator=self._annotator.currentData(),
                is_novel=self._novel.isChecked(),
                p_low=round(self._low.value(), 2),
                p_high=round(self._high.value(), 2),
                n_most=None,
            )
        )

    def _turn(self) -> None:
        self._falling.setText("↑" if self._falling.text() == "↓" else "↓")
        self._choose_measurement()

    def _choose_measurement(self, *_: object) -> None:
        name = self._measurement.currentData()
        is_rising = self._falling.text() == "↑"
        self.measurement_chosen.emit(Measurement(name, is_rising) if name else None)


def _probability(tip: str) -> QDoubleSpinBox:
    spin = QDoubleSpinBox()
    spin.setRange(0.0, 1.0)
    spin.setSingleStep(0.05)
    spin.setToolTip(tip)
    line = spin.lineEdit()
    if line is not None:
        line.setToolTip(tip)
    return spin


def _offer(box: QComboBox, choices: dict[str, str]) -> None:
    chosen = box.currentData()
    box.clear()
    add_choices(box, choices)
    select(box, chosen)
