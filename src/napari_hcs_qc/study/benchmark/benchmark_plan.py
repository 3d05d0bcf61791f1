"""The cells of the three tables, and which of them can run."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, NamedTuple, Self

from napari_hcs_qc import __version__
from napari_hcs_qc.cells.recipe import get_recipe
from napari_hcs_qc.encoders.registry import list_encoders
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import fingerprint, sha256_of
from napari_hcs_qc.heads.linear.plate_directions import MIN_CELLS
from napari_hcs_qc.study.benchmark.benchmark_spec import BASELINE, CROP_HEADS, MIN_SIZE, SSL_METHODS
from napari_hcs_qc.study.benchmark.protocol import (
    PAPER_TEST,
    PAPER_TRAIN,
    grouped_draw,
    paper_sizes,
)
from napari_hcs_qc.study.benchmark.results import Planned, TableCell, missing_seeds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_hcs_qc.study.benchmark.benchmark_spec import BenchmarkSpec, EncoderSpec
    from napari_hcs_qc.study.benchmark.labelled import LabelledCells

VERSION = 3  # of what a result holds and how it is computed


class _Reason(NamedTuple):
    """Why a cell cannot run; for summaries, what cells have in common and what differs."""

    reason: str
    group: str
    subject: str

    @classmethod
    def fewer(cls, text: str, n_train: int, why: str = "") -> Self:
        """Explain that a source has fewer cells than requested."""
        return cls(
            f"{text}, not {n_train}{why}", f"{text}{why}, fewer than requested", str(n_train)
        )


def plan(
    spec: BenchmarkSpec,
    sources: Mapping[str, LabelledCells],
    folder: Path,
    crop_heads: Mapping[str, object] | None = None,
) -> list[Planned]:
    """List the cells of the tables and how each stands."""
    encoders = {encoder.name: encoder for encoder in spec.encoders}
    digests = {
        name: sha256_of(encoder.weights) if encoder.weights else ""
        for name, encoder in encoders.items()
    }
    ready = {info.name for info in list_encoders() if info.ready}
    planned = []
    for cell in _cells(spec, sources):
        inputs = asdict(cell)
        del inputs["table"], inputs["seeds"]
        inputs |= {
            "version": VERSION,
            "package": __version__,  # heads and encoders are what they are in a release
            "recipe": get_recipe(cell.recipe).fingerprint,
            "weights": digests.get(cell.encoder, ""),
            "sources": [sources[name].fingerprint for name in (cell.train, cell.test)],
        }
        key = fingerprint(inputs)
        reason = _encoder_reason(encoders.get(cell.encoder), ready) or _reason(
            cell, sources[cell.train], sources[cell.test], crop_heads or {}
        )
        if reason is not None:
            entry = Planned(cell=cell, key=key, state="cannot run", **reason._asdict())
        else:
            is_done = not missing_seeds(folder, key, cell.seeds)
            entry = Planned(cell=cell, key=key, state="done" if is_done else "to do")
        planned.append(entry)
    return planned


def _cells(spec: BenchmarkSpec, sources: Mapping[str, LabelledCells]) -> Iterator[TableCell]:
    rows = [
        (encoder.name, recipe, head)
        for encoder in spec.encoders
        for recipe in spec.recipes
        for head in spec.heads
        if spec.takes(head, recipe)
    ]
    if spec.baseline:
        rows.extend((BASELINE, recipe, "forest") for recipe in spec.recipes)
    pairs = [(source.name, source.name) for source in spec.sources] + list(spec.transfers)
    for train, test in pairs:
        sizes = _sizes(spec, sources[train])
        largest = 0 if 0 in sizes else _largest(spec, sources[train], sizes, train != test)
        is_sampled = spec.plate_directions and sources[train].n_unlabelled >= MIN_CELLS
        for encoder, recipe, head in rows:
            cell = TableCell(
                table=3 if train != test else 1,
                train=train,
                test=test,
                encoder=encoder,
                recipe=recipe,
                head=head,
                n_train=largest,
                protocol=spec.protocol,
                seeds=spec.seeds_of(head),
                directions=is_sampled and head == "linear",
            )
            if train != test:
                yield replace(cell, seeds=cell.seeds[:1]) if is_one_draw(cell) else cell
                continue
            if head not in CROP_HEADS:
                yield cell
            for size in sizes:
                yield replace(cell, table=2, n_train=size)


def _sizes(spec: BenchmarkSpec, cells: LabelledCells) -> list[int]:
    if spec.protocol != "paper":
        return list(spec.sizes)
    most = paper_sizes(cells.classes)[0]
    given = {size or most for size in spec.sizes}
    if any(size > most for size in given):
        given.add(most)  # beside the empty column: the largest set there is
    return sorted(given, reverse=True)


def _largest(spec: BenchmarkSpec, cells: LabelledCells, sizes: list[int], is_transfer: bool) -> int:
    """Give the largest number of annotations that can be had; the least asked for, where none."""
    if spec.protocol == "paper":
        most = paper_sizes(cells.classes)[0]
    elif is_transfer:
        most = len(cells.classes)
    else:
        try:
            most = _fewest_training(cells, spec.seeds)
        except HcsQcError:
            most = 0  # `_split_reason` says why
    return max([size for size in sizes if size <= most], default=min(sizes))


def _fewest_training(cells: LabelledCells, seeds: Sequence[int]) -> int:
    return min(len(grouped_draw(cells.classes, cells.groups, seed).train) for seed in seeds)


def is_one_draw(cell: TableCell) -> bool:
    """Whether every draw would train on the same cells and test on the same cells."""
    return cell.train != cell.test and not cell.n_train and cell.protocol == "grouped"


def _encoder_reason(encoder: EncoderSpec | None, ready: set[str]) -> _Reason | None:
    if encoder is None or encoder.weights is not None or encoder.name in ready:
        return None
    if encoder.name in SSL_METHODS:
        text = (
            "self-supervised: train it (hcs-qc pretrain) and give it (--encoder "
            "METHOD=ASSAY/encoders/NAME)"
        )
        return _Reason(f"{encoder.name} is {text}", text, encoder.name)
    text = "are not available (download them, or give a local file)"
    return _Reason(f"the weights of {encoder.name} {text}", f"weights {text}", encoder.name)


def _reason(
    cell: TableCell, train: LabelledCells, test: LabelledCells, crop_heads: Mapping[str, object]
) -> _Reason | None:
    if cell.head in CROP_HEADS and cell.head not in crop_heads:
        text = "not part of this version"
        return _Reason(f"the head {cell.head} is {text}", f"heads that are {text}", cell.head)
    if cell.train != cell.test and (shared := len(train.origins & test.origins)):
        text = (
            f"{cell.train} and {cell.test} share {shared} wells or crops, so cells would be tested "
            "that were trained on"
        )
        return _Reason(text, text, "")
    if cell.protocol == "paper":
        most = paper_sizes(train.classes)[0]
        text = f"{cell.train} has balanced cells for {most} annotations"
        if most < MIN_SIZE:
            text += f"; {MIN_SIZE} or more are needed"
            return _Reason(text, text, "")
        if cell.n_train > most:
            why = f" (the paper's {PAPER_TRAIN} + {PAPER_TEST} need 240 of each class)"
            return _Reason.fewer(text, cell.n_train, why)
    elif cell.train == cell.test:
        return _split_reason(cell, train)
    elif cell.n_train > len(train.classes):
        return _Reason.fewer(f"{cell.train} has {len(train.classes)} cells", cell.n_train)
    return None


def _split_reason(cell: TableCell, cells: LabelledCells) -> _Reason | None:
    try:
        fewest = _fewest_training(cells, cell.seeds)
    except HcsQcError as error:
        text = f"{cell.train}: {error}"
        return _Reason(text, text, "")
    if cell.n_train <= fewest:
        return None
    text = f"{cell.train} leaves {fewest} training cells when whole wells or plates are tested"
    return _Reason.fewer(text, cell.n_train)
