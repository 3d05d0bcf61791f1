"""The cells of the three tables, and which of them can run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from napari_hcs_qc import __version__
from napari_hcs_qc.cells.recipe import get_recipe
from napari_hcs_qc.encoders.registry import list_encoders
from napari_hcs_qc.evaluation.benchmark.protocol import PAPER_TRAIN, grouped_draw, paper_sizes
from napari_hcs_qc.evaluation.benchmark.spec import BASELINE, CROP_HEADS, SSL_METHODS
from napari_hcs_qc.files import fingerprint, sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from napari_hcs_qc.evaluation.benchmark.labelled import LabelledCells
    from napari_hcs_qc.evaluation.benchmark.spec import BenchmarkSpec, EncoderSpec

VERSION = 1  # of what a result holds and how it is computed


@dataclass(frozen=True)
class TableCell:
    """One cell of the tables.

    Parameters
    ----------
    table
        1: frozen encoder, largest set; 2: over the number of annotations; 3: another screen.
    train, test
        Names of the sources; the same in tables 1 and 2.
    encoder, recipe, head
        The row.
    n_train
        Number of annotations; 0 is all.
    protocol
        ``paper`` or ``grouped``.
    seeds
        One split each.
    """

    table: int
    train: str
    test: str
    encoder: str
    recipe: str
    head: str
    n_train: int
    protocol: str
    seeds: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "seeds": list(self.seeds)}


@dataclass(frozen=True)
class Planned:
    """A cell of the tables, its content address, and how it stands.

    Parameters
    ----------
    cell
        Which.
    key
        Of everything that decides its figures; the name of its file. Cells of tables 1 and 2 that
        are the same measurement share one.
    state
        ``done``, ``to do`` or ``cannot run``.
    reason
        Why it cannot run.
    """

    cell: TableCell
    key: str
    state: Literal["done", "to do", "cannot run"]
    reason: str = ""


def plan(
    spec: BenchmarkSpec,
    sources: Mapping[str, LabelledCells],
    folder: Path,
    crop_heads: Mapping[str, object] | None = None,
) -> list[Planned]:
    """List the cells of the tables and how each stands.

    Parameters
    ----------
    spec
        What is compared.
    sources
        The labelled cells, by name.
    folder
        Where results are kept.
    crop_heads
        Heads that are fitted on crops and are there, by name.
    """
    encoders = {one.name: one for one in spec.encoders}
    digests = {
        one.name: "" if one.weights is None else sha256_of(one.weights) for one in spec.encoders
    }
    ready = {info.name for info in list_encoders() if info.ready}
    planned = []
    for cell in _cells(spec, sources):
        told = cell.to_dict()
        del told["table"]
        told |= {
            "version": VERSION,
            "package": __version__,  # heads and encoders are what they are in a release
            "recipe": get_recipe(cell.recipe).fingerprint,
            "weights": digests.get(cell.encoder, ""),
            "sources": [sources[name].fingerprint for name in (cell.train, cell.test)],
        }
        key = fingerprint(told)
        reason = _encoder_reason(encoders.get(cell.encoder), ready) or _reason(
            cell, sources[cell.train], crop_heads or {}
        )
        if reason:
            planned.append(Planned(cell, key, "cannot run", reason))
        else:
            is_done = result_path(folder, key).is_file()
            planned.append(Planned(cell, key, "done" if is_done else "to do"))
    return planned


def result_path(folder: Path, key: str) -> Path:
    """Where the result of a cell is kept."""
    return folder / "cells" / f"{key}.json"


def _cells(spec: BenchmarkSpec, sources: Mapping[str, LabelledCells]) -> Iterator[TableCell]:
    rows = [(one.name, recipe, head) for one in spec.encoders for recipe in spec.recipes
            for head in spec.heads]  # fmt: skip
    if spec.baseline:
        rows.extend((BASELINE, recipe, "forest") for recipe in spec.recipes)
    pairs = [(one.name, one.name) for one in spec.sources] + list(spec.transfers)
    for train, test in pairs:
        sizes = _sizes(spec, sources[train])
        largest = 0 if 0 in sizes else max(_possible(spec, sources[train], sizes), default=0)
        for encoder, recipe, head in rows:
            end = (spec.protocol, spec.seeds)
            if train != test:
                yield TableCell(3, train, test, encoder, recipe, head, largest, *end)
                continue
            if head not in CROP_HEADS:
                yield TableCell(1, train, test, encoder, recipe, head, largest, *end)
            for size in sizes:
                yield TableCell(2, train, test, encoder, recipe, head, size, *end)


def _sizes(spec: BenchmarkSpec, cells: LabelledCells) -> list[int]:
    if spec.protocol != "paper":
        return list(spec.sizes)
    most = paper_sizes(cells.classes)[0]
    given = {size or most for size in spec.sizes}
    if any(size > most for size in given):
        given.add(most)  # beside the empty column: the largest set there is
    return sorted(given, reverse=True)


def _possible(spec: BenchmarkSpec, cells: LabelledCells, sizes: list[int]) -> list[int]:
    if spec.protocol != "paper":
        return sizes
    return [size for size in sizes if size <= paper_sizes(cells.classes)[0]]


def _encoder_reason(encoder: EncoderSpec | None, ready: set[str]) -> str:
    if encoder is None or encoder.weights is not None or encoder.name in ready:
        return ""
    if encoder.name in SSL_METHODS:
        return "no self-supervised encoder has been trained"
    return f"the weights of {encoder.name} are not at hand (download them, or name a local file)"


def _reason(cell: TableCell, cells: LabelledCells, crop_heads: Mapping[str, object]) -> str:
    if cell.head in CROP_HEADS and cell.head not in crop_heads:
        return f"the head {cell.head} is not part of this version"
    if cell.protocol == "paper":
        most = paper_sizes(cells.classes)[0]
        if cell.n_train > most:
            return (
                f"{cell.train} has balanced cells for {most} annotations, not {cell.n_train} "
                f"(the paper's {PAPER_TRAIN} + 130 need 240 of each class)"
            )
    elif cell.train == cell.test and cell.n_train:
        fewest = min(len(grouped_draw(cells.classes, cells.groups, s).train) for s in cell.seeds)
        if cell.n_train > fewest:
            return (
                f"{cell.train} leaves {fewest} training cells when whole wells or plates are "
                f"tested, not {cell.n_train}"
            )
    return ""
