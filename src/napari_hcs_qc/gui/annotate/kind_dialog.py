"""The dialog that adds a kind of abnormal cells to an assay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QColorDialog, QDialog

from napari_hcs_qc.assay.annotations.kind_colours import next_colours
from napari_hcs_qc.assay.annotations.kinds import free_keys, new_kind
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.gui.annotate.class_buttons import class_icon
from napari_hcs_qc.gui.widgets.controls import combo_box, form, lay_out, line_edit, name_parts
from napari_hcs_qc.gui.widgets.path_row import enable_ok, ok_or_cancel
from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtWidgets import QWidget

    from napari_hcs_qc.assay.annotations.kinds import Kind

_OFFERED_COLOURS = 8


class KindDialog(QDialog):
    """Asks for name, key and colour of a kind; says what is wrong until it can be added."""

    def __init__(self, kinds: Sequence[Kind], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._kinds = kinds
        self.setWindowTitle("Add a kind")
        self.setMinimumWidth(360)
        self._name = line_edit("Name of the kind; up to 30 letters.", "such as fibre")
        keys: dict[str | None, str] = {key: key for key in free_keys(kinds)}
        keys = keys or {None: "none is free"}
        self._key = combo_box(keys, "Key that labels the framed cells so.")
        other = {None: "Other…"}
        self._colour = combo_box(other, "Colour of these cells, on the image and in the legend.")
        for colour in next_colours([kind.colour for kind in kinds], _OFFERED_COLOURS):
            self._offer(colour)
        self._colour.setCurrentIndex(0)
        self._problem = WrappedLabel()
        self._buttons = ok_or_cancel(self)
        fields = form(("Name", self._name), ("Key", self._key), ("Colour", self._colour))
        about = WrappedLabel("Kinds say why a cell is abnormal. Yours are kept in this assay.")
        parts = (about, fields, self._problem, self._buttons)
        lay_out(self, *parts, margins=(9, 9, 9, 9), spacing=None)
        name_parts(self)
        self._name.textChanged.connect(self._check)
        self._colour.activated.connect(self._choose_other)
        self._colour.currentIndexChanged.connect(self._check)
        self._check()

    def value(self) -> Kind:
        """Give the kind as it is set."""
        colour, key = self._colour.currentData(), self._key.currentData()
        return new_kind(self._kinds, self._name.text(), colour, key)

    def _offer(self, colour: str) -> None:
        last = self._colour.count() - 1
        self._colour.insertItem(last, class_icon("abnormal", colour), colour, colour)
        self._colour.setCurrentIndex(last)

    def _choose_other(self, index: int) -> None:
        if self._colour.itemData(index) is not None:
            return
        chosen = QColorDialog.getColor(parent=self)
        if chosen.isValid():
            self._offer(chosen.name())
        else:
            self._colour.setCurrentIndex(0)

    def _check(self, *_: object) -> None:
        problem = ""
        if self._name.text().strip():
            try:
                self.value()
            except HcsQcError as error:
                problem = str(error)
        self._problem.setText(problem)
        enable_ok(self._buttons, bool(self._name.text().strip()) and not problem)
