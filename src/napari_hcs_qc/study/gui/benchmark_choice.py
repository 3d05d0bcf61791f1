"""What a benchmark compares: encoders, heads, crops, numbers of annotations, and how."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_hcs_qc.cells.recipe import PRESETS
from napari_hcs_qc.encoders.registry import list_encoders
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.gui.widgets.tick_list import Line, TickList
from napari_hcs_qc.heads.head_registry import FINE_TUNED, HEAD_NAMES
from napari_hcs_qc.study.benchmark.benchmark_spec import (
    SSL_METHODS,
    BenchmarkSpec,
    EncoderSpec,
    preset_values,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hcs_qc.encoders.registry import EncoderInfo
    from napari_hcs_qc.study.benchmark.benchmark_spec import SourceSpec

_PROTOCOLS = {
    "grouped": (
        "whole wells held out",
        "No training cell comes from the tested wells (or plates): estimates how good the model "
        "is on wells without annotations. Mean and sd over the draws.",
    ),
    "paper": (
        "by cell, as in the paper",
        "As in Masud, Cohen et al. (2022): balanced, split by cell, so that cells of one well are "
        "on both sides. The figures are too optimistic for a new plate.",
    ),
}
_MINUTES = "trains the encoder as well: takes minutes per draw without a GPU"
_DRAWS_PX = 92  # of the boxes for the draws; by themselves they take more than a narrow panel has
_NOT_TRAINED = (
    "a self-supervised encoder of the paper that this assay does not have; train or import it "
    "first (Encoder panel, hcs-qc pretrain)"
)


@dataclass(frozen=True)
class _Offer:
    """An encoder of the list."""

    spec: EncoderSpec
    words: str = ""
    is_ready: bool = True


class BenchmarkChoice(QWidget):
    """Rows and columns of the tables."""

    value_changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._added: dict[str, EncoderSpec] = {}
        self._own: tuple[EncoderInfo, ...] = ()
        self._in_use: EncoderSpec | None = None
        self._protocol = QComboBox()
        for name, (words, tip) in _PROTOCOLS.items():
            self._protocol.addItem(words, name)
            self._protocol.setItemData(self._protocol.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self._encoders = TickList("Encoders to compare")
        self._heads = TickList("Heads to compare")
        self._recipes = TickList("How crops are cut")
        self._sizes = QLineEdit()
        self._sizes.setToolTip(
            "Numbers of annotated cells to train on, separated by commas; all: every annotated cell"
        )
        self._n_seeds = QSpinBox()
        self._n_seeds.setRange(1, 100)
        self._n_seeds.setToolTip("Number of splits into training and test cells; more take longer.")
        self._n_fine_tuned = QSpinBox()
        self._n_fine_tuned.setRange(1, 100)
        self._n_fine_tuned.setToolTip("Number of splits for fine-tuned heads; each takes minutes.")
        self._matched = QCheckBox("fine-tune on matching crops only")
        self._matched.setToolTip(
            "The head finetune-paper on the crops paper-128px, finetune on all others; if not "
            "ticked, each fine-tuned head is measured on all selected crops, which takes twice as "
            "long."
        )
        self._baseline = QCheckBox("hand-made features")
        self._baseline.setToolTip(
            "A row of image quality features, as CellProfiler's MeasureImageQuality defines them, "
            "with a random forest: the baseline without an encoder."
        )
        self._lay_out()
        self._recipes.set_lines(Line(name) for name in PRESETS)
        self._heads.set_lines(Line(one, _MINUTES * (one in FINE_TUNED)) for one in HEAD_NAMES)
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
        """Give what is chosen, for some labelled cells."""
        offers = self._offers()
        transfers = tuple((one.name, other.name) for one in sources for other in sources
                          if one is sources[0] and other is not one)  # fmt: skip
        return BenchmarkSpec(
            sources=tuple(sources),
            transfers=transfers,
            encoders=tuple(offers[name].spec for name in self._encoders.chosen()),
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
        self._added[encoder.name] = encoder
        self._list_encoders(encoder.name)

    def set_custom(self, own: Sequence[EncoderInfo], in_use: EncoderSpec | None) -> None:
        """Offer the encoders of an assay, and no longer those of another."""
        is_new = in_use is not None and in_use != self._in_use
        self._own, self._in_use = tuple(own), in_use
        self._list_encoders(*([in_use.name] if in_use is not None and is_new else []))

    def _list_encoders(self, *also: str) -> None:
        self._encoders.set_lines(
            Line(name, one.words, one.is_ready) for name, one in self._offers().items()
        )
        self._encoders.choose({*self._encoders.chosen(), *also})

    def _offers(self) -> dict[str, _Offer]:
        """Give the encoders of the list by name, of which the tables have one each."""
        found = {
            info.name: _Offer(
                EncoderSpec(info.name),
                "" if info.ready else f"not yet available: needs {info.needs}",
                info.ready,
            )
            for info in list_encoders()
        }
        found |= {name: _with_file(one) for name, one in self._added.items()}
        # After what was added, perhaps for another assay: a name means first what it means here.
        found |= {info.name: _of_assay(info) for info in self._own}
        used = self._in_use
        if used is not None and (used.name not in found or found[used.name].spec != used):
            found[used.name] = _with_file(used)
        if self._protocol.currentData() == "paper":
            for name in SSL_METHODS:
                found.setdefault(name, _Offer(EncoderSpec(name), _NOT_TRAINED, is_ready=False))
        return found

    def _take_protocol(self) -> None:
        values: dict[str, Any] = preset_values(self._protocol.currentData())
        defaults = BenchmarkSpec.__dataclass_fields__

        def of(name: str) -> Any:
            field = defaults[name]
            return values.get(name, field.default)

        self._list_encoders()
        used = [] if self._in_use is None else [self._in_use.name]
        self._encoders.choose({one.name for one in of("encoders")} | set(used))
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
        lists.setSpacing(4)
        # As their longest names are: at 400 pixels none is cut off.
        lists.addWidget(self._encoders, 24)
        lists.addWidget(self._heads, 20)
        lists.addWidget(self._recipes, 19)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Split", self._protocol)
        form.addRow("Annotations", self._sizes)
        draws = QHBoxLayout()
        for box in (self._n_seeds, self._n_fine_tuned):
            box.setMaximumWidth(_DRAWS_PX)
        draws.addWidget(self._n_seeds)
        draws.addWidget(QLabel("fine-tuned"))
        draws.addWidget(self._n_fine_tuned)
        draws.addStretch(1)
        form.addRow("Draws", draws)
        # One below the other: side by side they are wider than a narrow panel.
        form.addRow("", self._baseline)
        form.addRow("", self._matched)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(lists)
        layout.addLayout(form)


def _with_file(encoder: EncoderSpec) -> _Offer:
    return _Offer(encoder, f"weights: {encoder.weights}")


def _of_assay(info: EncoderInfo) -> _Offer:
    if not info.ready:
        # Without the file, so that the table has a row that says it cannot run.
        return _Offer(EncoderSpec(info.name), f"cannot run: {info.needs}", is_ready=False)
    note = f" ▲ {info.note}" if info.note else ""
    words = f"{info.architecture}, of this assay: {info.source}; weights: {info.weights}.{note}"
    return _Offer(EncoderSpec(info.name, info.weights), words)


def _sizes(text: str) -> tuple[int, ...]:
    words = [word for word in re.split(r"[,;\s]+", text.strip().lower()) if word]
    wrong = [word for word in words if word != "all" and not word.isdecimal()]
    if wrong or not words:
        raise HcsQcError(
            f"The numbers of annotations are {text.strip() or 'empty'!r}; numbers and 'all' were "
            "expected, such as: all, 100, 50, 25, 10."
        )
    return tuple(dict.fromkeys(0 if word == "all" else int(word) for word in words))
