"""The list of encoders: what is ready, what each gives, how quick it was here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QSizePolicy, QTreeWidget, QTreeWidgetItem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qtpy.QtWidgets import QWidget

    from napari_hcs_qc.assay.models.encoder_speed import EncoderSpeed
    from napari_hcs_qc.encoders.registry import EncoderInfo

_NAME, _STATE, _FEATURES, _SPEED = range(4)
_HEADINGS = ("Encoder", "State", "Features", "Crops/s")
_TIPS = (
    "Name; the default one comes with the plugin",
    "Whether its weights are on this computer",
    "Number of features of a crop from its last stage; recipes with inner stages give another "
    "number",
    "Crops per second on this computer, once measured",
)
_NOT_MEASURED = "Not measured yet; press Measure speed"
_ROLE = Qt.ItemDataRole.UserRole
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


class EncoderTable(QTreeWidget):
    """Encoders in groups, of which one is chosen."""

    value_changed = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._items: dict[str, QTreeWidgetItem] = {}
        self.setHeaderLabels(_HEADINGS)
        heading = self.headerItem()
        assert heading is not None
        for column, tip in enumerate(_TIPS):
            heading.setToolTip(column, tip)
        for column in (_FEATURES, _SPEED):
            heading.setTextAlignment(column, _RIGHT)
        header = self.header()
        assert header is not None
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(40)
        header.setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Stretch)
        for column in (_STATE, _FEATURES, _SPEED):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.setIndentation(12)
        self.setRootIsDecorated(False)
        self.setItemsExpandable(False)
        self.setUniformRowHeights(True)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
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
            # All lines are as high as the first, see setUniformRowHeights.
            group.setSizeHint(_NAME, QSize(0, self.fontMetrics().height() + 5))
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
            item.setToolTip(_SPEED, _NOT_MEASURED if speed is None else _speed_words(speed))

    def value(self) -> str:
        """Name of the encoder that is chosen; empty when none of the list is."""
        for item in self.selectedItems():
            return str(item.data(_NAME, _ROLE) or "")
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

    def sizeHint(self) -> QSize:
        """Give room for all lines, so that only the panel scrolls."""
        n_lines = 0
        for row in range(self.topLevelItemCount()):
            group = self.topLevelItem(row)
            n_lines += 1 + (0 if group is None else group.childCount())
        header = self.header()
        top = 0 if header is None else header.sizeHint().height()
        line = self.sizeHintForRow(0)
        return QSize(380, top + n_lines * line + 2 * self.frameWidth() + 2)

    def minimumSizeHint(self) -> QSize:
        """As `sizeHint`, but narrow."""
        return QSize(240, self.sizeHint().height())

    def _chosen(self) -> None:
        name = self.value()
        if name:
            self.value_changed.emit(name)


def _speed_words(speed: EncoderSpeed) -> str:
    return (
        f"{speed.crops_per_s:,.1f} crops per second on this computer ({speed.ran_on}), "
        f"{speed.n_features} features per crop with the recipe selected then"
    )


def _line(group: QTreeWidgetItem, info: EncoderInfo) -> QTreeWidgetItem:
    state = "ready" if info.ready else "download"
    item = QTreeWidgetItem(group, [info.name, state, f"{info.n_features:,}", "–"])
    item.setData(_NAME, _ROLE, info.name)
    item.setToolTip(_NAME, f"{info.architecture}, {info.licence}, from {info.source}")
    item.setToolTip(
        _STATE, "Its weights are on this computer" if info.ready else f"Needs {info.needs}"
    )
    item.setToolTip(_SPEED, _NOT_MEASURED)
    for column in (_FEATURES, _SPEED):
        item.setTextAlignment(column, _RIGHT)
    return item
