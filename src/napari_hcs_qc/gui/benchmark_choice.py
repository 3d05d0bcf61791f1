"""What a benchmark compares: encoders, heads, crops, numbers of annotations, and how."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_hcs_qc.cells.recipe import PRESETS
from napari_hcs_qc.encoders.registry import list_encoders
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.benchmark.spec import BenchmarkSpec, EncoderSpec, preset_values
from napari_hcs_qc.heads.registry import FINE_TUNED, HEAD_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_hcs_qc.evaluation.benchmark.spec import SourceSpec

_PROTOCOLS = {
    "grouped": (
        "whole wells held out",
        "Wells (or plates) are tested that no training cell comes from: how good the model will "
        "be on wells nobody annotated. Mean and sd over the draws.",
    ),
    "paper": (
        "by cell, as the paper",
        "As Masud, Cohen et al. (2022): balanced, split by cell, so that cells of one well are on "
        "both sides. The figures are too good for a new plate.",
    ),
}
_MINUTES = "trains the encoder as well: minutes for each draw without a graphics card"


class BenchmarkChoice(QWidget):
    """Rows and columns of the tables.

    Parameters
    ----------
    parent
        Qt parent.

    Attributes
    ----------
    value_changed : Signal()
        Something else is chosen.
    """

    value_changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._extra: tuple[EncoderSpec, ...] = ()
        self._protocol = QComboBox()
        for name, (words, tip) in _PROTOCOLS.items():
            self._protocol.addItem(words, name)
            self._protocol.setItemData(self._protocol.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self._encoders = _List("Encoders that look at the crops")
        self._heads = _List("Heads that decide")
        self._recipes = _List("How crops are cut")
        self._sizes = QLineEdit()
        self._sizes.setToolTip(
            "Numbers of annotated cells to train on, separated by commas; all: as many as there are"
        )
        self._n_seeds = QSpinBox()
        self._n_seeds.setRange(1, 100)
        self._n_seeds.setToolTip("Divisions into training and test cells; more take longer.")
        self._n_fine_tuned = QSpinBox()
        self._n_fine_tuned.setRange(1, 100)
        self._n_fine_tuned.setToolTip(
            "Divisions that fine-tuned heads are measured with; each of them takes minutes."
        )
        self._matched = QCheckBox("fine-tune on matching crops only")
        self._matched.setToolTip(
            "The paper's fine-tuned head on the paper's crops, ours on all others; without it each "
            "fine-tuned head is measured on all crops that are ticked, which takes twice as long."
        )
        self._baseline = QCheckBox("hand-made features")
        self._baseline.setToolTip(
            "A row of image quality features, as CellProfiler's MeasureImageQuality defines them, "
            "with a random forest: what there is without an encoder."
        )
        self._lay_out()
        self._recipes.set_names([(name, "") for name in PRESETS])
        self._heads.set_names([(one, _MINUTES if one in FINE_TUNED else "") for one in HEAD_NAMES])
        self._list_encoders()
        self._take_protocol()
        self._protocol.activated.connect(self._choose_protocol)
        for one in (self._encoders, self._heads, self._recipes):
            one.itemChanged.connect(lambda _: self.value_changed.emit())
        self._sizes.editingFinished.connect(self.value_changed)
        self._n_seeds.valueChanged.connect(lambda _: self.value_changed.emit())
        self._n_fine_tuned.valueChanged.connect(lambda _: self.value_changed.emit())
        for box in (self._matched, self._baseline):
            box.toggled.connect(lambda _: self.value_changed.emit())

    def value(self, sources: Sequence[SourceSpec]) -> BenchmarkSpec:
        """Give what is chosen, for some labelled cells.

        Raises
        ------
        HcsQcError
            With everything that cannot be as it is.
        """
        known = {one.name: one for one in self._extra}
        transfers = tuple((one.name, other.name) for one in sources for other in sources
                          if one is sources[0] and other is not one)  # fmt: skip
        return BenchmarkSpec(
            sources=tuple(sources),
            transfers=transfers,
            encoders=tuple(known.get(name, EncoderSpec(name)) for name in self._encoders.chosen()),
            recipes=self._recipes.chosen(),
            heads=self._heads.chosen(),
            sizes=_sizes(self._sizes.text()),
            seeds=tuple(range(self._n_seeds.value())),
            fine_tuned_seeds=self._n_fine_tuned.value(),
            fine_tuned_matched=self._matched.isChecked(),
            protocol=self._protocol.currentData(),
            baseline=self._baseline.isChecked(),
        )

    def add_encoder(self, encoder: EncoderSpec) -> None:
        """Offer an encoder with a weights file of its own, and choose it."""
        self._extra = (*(one for one in self._extra if one.name != encoder.name), encoder)
        chosen = self._encoders.chosen()
        self._list_encoders()
        self._encoders.choose({*chosen, encoder.name})

    def _list_encoders(self) -> None:
        told = [
            (info.name, "" if info.ready else f"cannot run here yet: needs {info.needs}")
            for info in list_encoders()
        ]
        known = {name for name, _ in told}
        extra = [
            (one.name, f"weights: {one.weights}") for one in self._extra if one.name not in known
        ]
        self._encoders.set_names(told + extra)

    def _take_protocol(self) -> None:
        values: dict[str, Any] = preset_values(self._protocol.currentData())
        defaults = BenchmarkSpec.__dataclass_fields__

        def of(name: str) -> Any:
            field = defaults[name]
            return values.get(name, field.default)

        self._encoders.choose({one.name for one in of("encoders")})
        self._heads.choose(set(of("heads")))
        self._recipes.choose(set(of("recipes")))
        self._sizes.setText(", ".join("all" if size == 0 else str(size) for size in of("sizes")))
        n_seeds = len(values.get("seeds", range(10)))
        self._n_seeds.setValue(n_seeds)
        self._n_fine_tuned.setValue(of("fine_tuned_seeds") or n_seeds)
        self._matched.setChecked(of("fine_tuned_matched"))
        self._baseline.setChecked(True)
        self._protocol.setToolTip(_PROTOCOLS[self._protocol.currentData()][1])

    def _choose_protocol(self) -> None:
        self.blockSignals(True)
        self._take_protocol()
        self.blockSignals(False)
        self.value_changed.emit()

    def _lay_out(self) -> None:
        lists = QHBoxLayout()
        lists.addWidget(self._encoders, 5)
        lists.addWidget(self._heads, 4)
        lists.addWidget(self._recipes, 4)
        numbers = QHBoxLayout()
        numbers.addWidget(self._sizes, 1)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Split", self._protocol)
        form.addRow("Annotations", numbers)
        draws = QHBoxLayout()
        draws.addWidget(self._n_seeds)
        draws.addWidget(QLabel("fine-tuned"))
        draws.addWidget(self._n_fine_tuned)
        draws.addStretch(1)
        form.addRow("Draws", draws)
        boxes = QHBoxLayout()
        boxes.addWidget(self._baseline)
        boxes.addWidget(self._matched)
        boxes.addStretch(1)
        form.addRow("", boxes)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(lists)
        layout.addLayout(form)


class _List(QListWidget):
    """Names that are ticked or not."""

    def __init__(self, tip: str) -> None:
        super().__init__()
        self.setToolTip(tip)
        self.setMinimumWidth(60)
        self.setMaximumHeight(118)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def set_names(self, names: Iterable[tuple[str, str]]) -> None:
        """Show names with what there is to know of each; none is ticked."""
        self.blockSignals(True)
        self.clear()
        for name, words in names:
            item = QListWidgetItem(name, self)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Unchecked)
            item.setToolTip(f"{name}: {words}" if words else name)
        self.blockSignals(False)

    def choose(self, names: set[str]) -> None:
        """Tick names, and no others."""
        self.blockSignals(True)
        for item in self._items():
            is_chosen = item.text() in names
            item.setCheckState(Qt.CheckState.Checked if is_chosen else Qt.CheckState.Unchecked)
        self.blockSignals(False)

    def chosen(self) -> tuple[str, ...]:
        """Give the names that are ticked."""
        return tuple(
            item.text() for item in self._items() if item.checkState() == Qt.CheckState.Checked
        )

    def _items(self) -> list[QListWidgetItem]:
        found = (self.item(row) for row in range(self.count()))
        return [item for item in found if item is not None]


def _sizes(text: str) -> tuple[int, ...]:
    words = [word for word in re.split(r"[,;\s]+", text.strip().lower()) if word]
    wrong = [word for word in words if word != "all" and not word.isdecimal()]
    if wrong or not words:
        raise HcsQcError(
            f"The numbers of annotations are {text.strip() or 'empty'!r}; numbers and 'all' are "
            "expected, such as: all, 100, 50, 25, 10."
        )
    return tuple(dict.fromkeys(0 if word == "all" else int(word) for word in words))
