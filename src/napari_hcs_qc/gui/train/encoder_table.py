"""The list of encoders: what is ready, what each gives, how quick it was here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QTreeWidgetItem

from napari_hcs_qc.gui.widgets.tables import RIGHT, ROLE, Column, LineTree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qtpy.QtWidgets import QWidget

    from napari_hcs_qc.assay.models.encoder_speed import EncoderSpeed
    from napari_hcs_qc.encoders.registry import EncoderInfo

_NAME, _STATE, _LAST_STAGE, _SPEED = range(4)
_COLUMNS = (
    Column("Encoder", "Name; the default one comes with the plugin"),
    Column("State", "Whether its weights are on this computer"),
    Column(
        "Last stage",
        "Features of its last stage; a recipe with inner stages or several views gives more",
        is_number=True,
    ),
    Column("Crops/s", "number", is_number=True),
)
_NOT_MEASURED = "Not measured yet; press Measure speed"


class EncoderTable(LineTree):
    """Encoders in groups, of which one is chosen."""

    value_changed = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(_COLUMNS, stretched=_NAME, parent=parent)
        self._items: dict[str, QTreeWidgetItem] = {}
        header = self.header()
        assert header is not None
        header.setMinimumSectionSize(40)
        self.setIndentation(12)
        self.setItemsExpandable(False)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setTabKeyNavigation(False)
        self.itemSelectionChanged.connect(self._chosen)

    def set_encoders(self, groups: Sequence[tuple[str, Sequence[EncoderInfo], str]]) -> None:
        """Show groups of encoders."""
        before = self.value()
        self.blockSignals(True)
        self.clear()
        self._items = {}
        for title, encoders, if_none in groups:
            group = QTreeWidgetItem(self, [title])
            group.setFlags(Qt.ItemFlag.ItemIsEnabled)
            group.setFirstColumnSpanned(True)
            font = group.font(_NAME)
            font.setBold(True)
            group.setFont(_NAME, font)
            group.setSizeHint(_NAME, QSize(0, self.line_px()))
            for info in encoders:
                self._items[info.name] = _line(group, info)
            if not encoders:
                note = QTreeWidgetItem(group, [if_none])
                note.setFlags(Qt.ItemFlag.ItemIsEnabled)
                note.setToolTip(_NAME, if_none)
                note.setFirstColumnSpanned(True)
            group.setExpanded(True)
        self.blockSignals(False)
        self.updateGeometry()
        self.set_value(before)

    def set_speeds(self, speeds: Mapping[str, EncoderSpeed]) -> None:
        """Show what was measured, by the encoders' names; nothing for the others."""
        for name, item in self._items.items():
            speed = speeds.get(name)
            item.setText(_SPEED, "–" if speed is None else f"{speed.crops_per_s:,.0f}")
            item.setToolTip(_SPEED, _NOT_MEASURED if speed is None else _speed_text(speed))

    def value(self) -> str:
        """Name of the encoder that is chosen; empty when none of the list is."""
        for item in self.selectedItems():
            return str(item.data(_NAME, ROLE) or "")
        return ""

    def set_value(self, name: str) -> None:
        """Choose an encoder; none when it is not of the list."""
        self.blockSignals(True)
        self.clearSelection()
        item = self._items.get(name)
        if item is not None:
            item.setSelected(True)
            self.setCurrentItem(item)
        self.blockSignals(False)

    def n_lines(self) -> int:
        """Count groups and what is in them."""
        groups = [self.topLevelItem(row) for row in range(self.topLevelItemCount())]
        return sum(1 + group.childCount() for group in groups if group is not None)

    def _chosen(self) -> None:
        name = self.value()
        if name:
            self.value_changed.emit(name)


def _speed_text(speed: EncoderSpeed) -> str:
    return (
        f"{speed.crops_per_s:,.1f} crops per second on this computer ({speed.ran_on}), "
        f"{speed.n_features} features per crop with the recipe selected then"
    )


def _line(group: QTreeWidgetItem, info: EncoderInfo) -> QTreeWidgetItem:
    state = "ready" if info.ready else "download"
    item = QTreeWidgetItem(group, [info.name, state, f"{info.n_features:,}", "–"])
    item.setData(_NAME, ROLE, info.name)
    item.setToolTip(_NAME, f"{info.architecture}, {info.licence}, from {info.source}")
    item.setToolTip(
        _STATE, "Its weights are on this computer" if info.ready else f"Needs {info.needs}"
    )
    item.setToolTip(_SPEED, _NOT_MEASURED)
    for column in (_LAST_STAGE, _SPEED):
        item.setTextAlignment(column, RIGHT)
    return item
