"""What a benchmark compares: encoders, heads, crops, numbers of annotations, and how."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QLabel, QWidget

from napari_hcs_qc.cells.recipe import PRESETS
from napari_hcs_qc.encoders.registry import list_encoders
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.gui.widgets.controls import form, lay_out, line_edit, name_parts, row, spin_box
from napari_hcs_qc.gui.widgets.option_form import Option, OptionForm
from napari_hcs_qc.gui.widgets.tick_list import Line, TickList
from napari_hcs_qc.heads.head_names import FINE_TUNED, HEAD_NAMES
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
_OFFERED = {
    "protocol": Option(tip="", choices=_PROTOCOLS),
    "fine_tuned_seeds": Option(
        tip="Number of splits for fine-tuned heads; each takes minutes.", low=1, high=100
    ),
    "fine_tuned_matched": Option(
        tip="The head finetune-paper on the crops paper-128px, finetune on all others; if not "
        "ticked, each fine-tuned head is measured on all selected crops, which takes twice as "
        "long.",
        text="fine-tune on matching crops only",
    ),
    "baseline": Option(
        tip="A row of image quality features, as CellProfiler's MeasureImageQuality defines them, "
        "with a random forest: the baseline without an encoder.",
        text="hand-made features",
    ),
}


@dataclass(frozen=True)
class _Offer:
    """An encoder of the list."""

    spec: EncoderSpec
    about: str = ""
    is_ready: bool = True


class BenchmarkChoice(QWidget):
    """Rows and columns of the tables."""

    value_changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._added: dict[str, EncoderSpec] = {}
        self._trained: tuple[EncoderInfo, ...] = ()
        self._in_use: EncoderSpec | None = None
        self._encoders = TickList("Encoders to compare")
        self._heads = TickList("Heads to compare")
        self._recipes = TickList("How crops are cut")
        # Two by hand: they are tuples of the specification, written in one line or as a number.
        self._sizes = line_edit(
            "Numbers of annotated cells to train on, separated by commas; all: every annotated cell"
        )
        self._n_seeds = spin_box(
            1, 100, "Number of splits into training and test cells; more take longer."
        )
        self._options = OptionForm(BenchmarkSpec, _OFFERED, self)
        self._lay_out()
        name_parts(self)
        self._recipes.set_lines(Line(name) for name in PRESETS)
        self._heads.set_lines(Line(offer, _MINUTES * (offer in FINE_TUNED)) for offer in HEAD_NAMES)
        self._use_protocol()
        self._options.value_changed.connect(self._edited)
        # On every choice: the same protocol chosen once more sets the usual values again.
        self._options["protocol"].activated.connect(lambda _: self._choose_protocol())
        for ticks in (self._encoders, self._heads, self._recipes):
            ticks.itemChanged.connect(lambda _: self.value_changed.emit())
        self._sizes.editingFinished.connect(self.value_changed)
        self._n_seeds.valueChanged.connect(lambda _: self.value_changed.emit())

    def value(self, sources: Sequence[SourceSpec]) -> BenchmarkSpec:
        """Give what is chosen, for some labelled cells."""
        offers = self._offers()
        transfers = tuple((offer.name, another.name) for offer in sources for another in sources
                          if offer is sources[0] and another is not offer)  # fmt: skip
        return BenchmarkSpec(
            sources=tuple(sources),
            transfers=transfers,
            encoders=tuple(offers[name].spec for name in self._encoders.chosen()),
            recipes=self._recipes.chosen(),
            heads=self._heads.chosen(),
            sizes=_sizes(self._sizes.text()),
            seeds=tuple(range(self._n_seeds.value())),
            **self._options.value(),
        )

    def add_encoder(self, encoder: EncoderSpec) -> None:
        """Offer an encoder with a weights file of its own, and choose it."""
        self._added[encoder.name] = encoder
        self._list_encoders(encoder.name)

    def set_custom(self, encoders: Sequence[EncoderInfo], in_use: EncoderSpec | None) -> None:
        """Offer the encoders of an assay, and no longer those of another."""
        is_new = in_use is not None and in_use != self._in_use
        self._trained, self._in_use = tuple(encoders), in_use
        self._list_encoders(*([in_use.name] if in_use is not None and is_new else []))

    def _list_encoders(self, *also: str) -> None:
        self._encoders.set_lines(
            Line(name, offer.about, offer.is_ready) for name, offer in self._offers().items()
        )
        self._encoders.choose({*self._encoders.chosen(), *also})

    def _offers(self) -> dict[str, _Offer]:
        """Give the encoders of the list by name, of which the tables have one each."""
        offers = {
            info.name: _Offer(
                EncoderSpec(info.name),
                "" if info.ready else f"not yet available: needs {info.needs}",
                info.ready,
            )
            for info in list_encoders()
        }
        offers |= {name: _with_file(offer) for name, offer in self._added.items()}
        # After what was added, perhaps for another assay: a name means first what it means here.
        offers |= {info.name: _of_assay(info) for info in self._trained}
        used = self._in_use
        if used is not None and (used.name not in offers or offers[used.name].spec != used):
            offers[used.name] = _with_file(used)
        if self._protocol() == "paper":
            for name in SSL_METHODS:
                offers.setdefault(name, _Offer(EncoderSpec(name), _NOT_TRAINED, is_ready=False))
        return offers

    def _use_protocol(self) -> None:
        """Choose what is usual for the protocol."""
        values = preset_values(self._protocol())
        usual = {
            name: values.get(name, field.default)
            for name, field in BenchmarkSpec.model_fields.items()
        }
        self._list_encoders()
        used = [] if self._in_use is None else [self._in_use.name]
        self._encoders.choose({encoder.name for encoder in usual["encoders"]} | set(used))
        self._heads.choose(set(usual["heads"]))
        self._recipes.choose(set(usual["recipes"]))
        self._sizes.setText(", ".join(str(size or "all") for size in usual["sizes"]))
        n_seeds = len(usual["seeds"])
        self._n_seeds.setValue(n_seeds)
        self._options.set_value(
            fine_tuned_seeds=usual["fine_tuned_seeds"] or n_seeds,
            fine_tuned_matched=usual["fine_tuned_matched"],
            baseline=True,
        )
        self._options["protocol"].setToolTip(_PROTOCOLS[self._protocol()][1])

    def _protocol(self) -> str:
        return str(self._options.value()["protocol"])

    def _choose_protocol(self) -> None:
        with QSignalBlocker(self):
            self._use_protocol()
        self.value_changed.emit()

    def _edited(self, name: str) -> None:
        if name != "protocol":
            self.value_changed.emit()

    def _lay_out(self) -> None:
        options = self._options
        for box in (self._n_seeds, options["fine_tuned_seeds"]):
            box.setMaximumWidth(_DRAWS_PX)
        draws = (self._n_seeds, QLabel("fine-tuned"), options["fine_tuned_seeds"], None)
        lay_out(
            self,
            # As their longest names are: at 400 pixels none is cut off.
            row((self._encoders, 24), (self._heads, 20), (self._recipes, 19), spacing=4),
            form(
                ("Split", options["protocol"]),
                ("Annotations", self._sizes),
                ("Draws", row(*draws)),
                # One below the other: side by side they are wider than a narrow panel.
                ("", options["baseline"]),
                ("", options["fine_tuned_matched"]),
            ),
            spacing=None,
        )


def _with_file(encoder: EncoderSpec) -> _Offer:
    return _Offer(encoder, f"weights: {encoder.weights}")


def _of_assay(info: EncoderInfo) -> _Offer:
    if not info.ready:
        # Without the file, so that the table has a row that says it cannot run.
        return _Offer(EncoderSpec(info.name), f"cannot run: {info.needs}", is_ready=False)
    note = f" ▲ {info.note}" if info.note else ""
    about = f"{info.architecture}, of this assay: {info.source}; weights: {info.weights}.{note}"
    return _Offer(EncoderSpec(info.name, info.weights), about)


def _sizes(text: str) -> tuple[int, ...]:
    entries = [entry for entry in re.split(r"[,;\s]+", text.strip().lower()) if entry]
    wrong = [entry for entry in entries if entry != "all" and not entry.isdecimal()]
    if wrong or not entries:
        raise HcsQcError(
            f"The numbers of annotations are {text.strip() or 'empty'!r}; numbers and 'all' were "
            "expected, such as: all, 100, 50, 25, 10."
        )
    return tuple(dict.fromkeys(0 if entry == "all" else int(entry) for entry in entries))
