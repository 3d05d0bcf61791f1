"""Labelled cells of plates and assays as sources of the benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_hcs_qc.assay.embeddings.plate_sample import sampled_embeddings
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_state import PlateState, load_plate
from napari_hcs_qc.cells.crops import cut_crops
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import fingerprint, sha256_of
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.study.benchmark.benchmark_engine import OnCell, display_crops, run
from napari_hcs_qc.study.benchmark.benchmark_plan import plan
from napari_hcs_qc.study.benchmark.crop_heads import fine_tuned_heads
from napari_hcs_qc.study.benchmark.labelled import LabelledCells, open_crops
from napari_hcs_qc.study.benchmark.results import Mistake, mistakes, read_results
from napari_hcs_qc.text import count_of
from napari_hcs_qc.text_columns import none_if_missing
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.encoder import Encoder
    from napari_hcs_qc.study.benchmark.benchmark_spec import BenchmarkSpec, SourceSpec
    from napari_hcs_qc.study.benchmark.results import Planned, Result, Results


@dataclass(frozen=True, eq=False, kw_only=True)
class AssayCells(LabelledCells):
    """The annotated cells of an assay."""

    states: tuple[PlateState, ...]
    where: tuple[tuple[int, SiteKey, float, float], ...]  # plate, site, row and column in px
    kinds: NDArray[np.object_]  # that people gave, ``(n_cells,)``; None where they gave none
    # Where whole plates may be embedded already; None where they are not looked for
    stores: Path | None = None

    def crops(self, recipe: CropRecipe, rows: NDArray[np.int64]) -> torch.Tensor:
        """Cut the crops of some cells, each site read once."""
        at: dict[tuple[int, SiteKey], list[int]] = {}
        for place, row in enumerate(rows.tolist()):
            at.setdefault(self.where[row][:2], []).append(place)
        crops: list[torch.Tensor | None] = [None] * len(rows)
        for (number, key), places in at.items():
            state = self.states[number]
            sized = recipe.with_diameter(self.states[0].plate_cells.diameter_px)
            groups = sized.channel_groups([channel.name for channel in state.plate.channels])
            raw = state.plate.read_site(key, projection=state.plate_cells.projection)
            pixels = state.plate_cells.ranges.scale(raw, range(len(raw)))
            y, x = zip(*(self.where[int(rows[place])][2:] for place in places), strict=True)
            for place, crop in zip(places, cut_crops(pixels, y, x, sized, groups), strict=True):
                crops[place] = crop
        return torch.stack([crop for crop in crops if crop is not None])

    @property
    def n_unlabelled(self) -> int:
        """Count the cells that were found on the plates."""
        return sum(len(state.plate_cells.cells) for state in self.states)

    def distinct_channels(self, recipe: CropRecipe) -> tuple[int, ...]:
        """List the channels of the crops that are not those before them once more."""
        names = [channel.name for channel in self.states[0].plate.channels]
        group = recipe.channel_groups(names)[0]
        return tuple(place for place, channel in enumerate(group) if group.index(channel) == place)

    def sample(
        self, recipe: CropRecipe, encoder: Encoder, folder: Path, job: Job
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Embed a sample of the found cells of all plates, see `sampled_embeddings`."""
        sized = recipe.with_diameter(self.states[0].plate_cells.diameter_px)
        return sampled_embeddings(
            self.states,
            sized,
            encoder,
            folder / "samples",
            stores=self.stores or folder / "samples",
            job=job,
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Benchmark:
    """A benchmark as it stands."""

    spec: BenchmarkSpec  # what is compared
    folder: Path  # in which results are kept
    sources: Mapping[str, LabelledCells]  # the labelled cells, by name
    planned: tuple[Planned, ...]  # all cells of the tables
    results: Results  # of those that are done, by key

    def as_it_stands(self) -> list[Planned]:
        """List the cells of the tables as they stand on disk now."""
        return plan(self.spec, self.sources, self.folder, fine_tuned_heads())


def run_benchmark(
    spec: BenchmarkSpec,
    folder: Path,
    *,
    on_plan: Callable[[Benchmark], None] | None = None,
    on_cell: OnCell | None = None,
    job: Job = NO_JOB,
) -> Benchmark:
    """Fill the tables of a benchmark; what was filled before stays."""
    sources = open_sources(spec, folder, job=job)
    heads = fine_tuned_heads()

    def as_it_stands(planned: list[Planned]) -> Benchmark:
        return Benchmark(
            spec=spec,
            folder=folder,
            sources=sources,
            planned=tuple(planned),
            results=read_results(folder, planned),
        )

    if on_plan is not None:
        on_plan(as_it_stands(plan(spec, sources, folder, heads)))
    return as_it_stands(run(spec, sources, folder, crop_heads=heads, on_cell=on_cell, job=job))


def wrong_crops(
    benchmark: Benchmark, row: Planned, result: Result, most: int, *, job: Job = NO_JOB
) -> tuple[list[Mistake], NDArray[np.float32]]:
    """Give the cells that a row classified wrongly, and the crops of the gravest mistakes."""
    wrong = mistakes(result)
    job.check()
    job.report(0, 1, "Cutting crops")
    shown = [mistake.cell for mistake in wrong[:most]]
    if not shown:
        return wrong, np.empty((0, 1, 1), np.float32)
    return wrong, display_crops(benchmark.sources[row.cell.test], shown)


def open_sources(spec: BenchmarkSpec, folder: Path, job: Job = NO_JOB) -> dict[str, LabelledCells]:
    """Open the labelled cells of a benchmark."""
    opened: dict[str, LabelledCells] = {}
    for source in spec.sources:
        job.check()
        if source.kind in ("folder", "arrays"):
            opened[source.name] = open_crops(source)
        else:
            opened[source.name] = annotated_cells(_assay(source, folder, job), source.name)
    return opened


def _assay(source: SourceSpec, folder: Path, job: Job) -> AssayFolder:
    if source.kind == "assay":
        return AssayFolder.open(source.path)
    assert source.labels is not None  # checked by the spec
    # The name changes with the labels: an assay never forgets what a former file had.
    inputs = {"plate": str(source.path.resolve()), "labels": sha256_of(source.labels)}
    path = folder / "assays" / fingerprint(inputs)
    assay, _ = steps.new(path, [steps.PlateSource(source.path)])
    steps.annotate(assay, source.labels, "labels", any_kind=True)
    steps.cells(assay, job=job)
    return assay


def annotated_cells(assay: AssayFolder, name: str) -> AssayCells:
    """Give the annotated cells of all plates of an assay."""
    annotations = assay.journal().annotations()
    # As in training: a plate that nobody annotated may have vanished, or wait for its cells.
    annotated = set(annotations["plate"])
    states = tuple(
        load_plate(assay, plate.name, annotations)
        for plate in assay.plates
        if plate.name in annotated
    )
    return cells_of(states, name, assay.embeddings_folder)


def cells_of(
    states: tuple[PlateState, ...],
    name: str,
    stores: Path | None = None,
    *,
    with_unreadable: bool = False,
) -> AssayCells:
    """Give the annotated cells of plates that are open."""
    where, classes, groups, ids = [], [], [], []
    kinds: list[str | None] = []
    states = tuple(state for state in states if len(state.training))
    n_unread = 0
    for number, state in enumerate(states):
        annotations = state.training
        is_unread = [
            not with_unreadable and SiteKey(str(well), int(site)) in state.plate_cells.unreadable
            for well, site in zip(annotations["well"], annotations["site"], strict=True)
        ]
        n_unread += sum(is_unread)
        annotations = annotations[~np.array(is_unread, dtype=bool)]
        groups.extend(state.groups(annotations["well"]).tolist())
        kinds.extend(none_if_missing(annotations["kind"]))
        columns = ["well", "site", "y_px", "x_px", "class"]
        rows = annotations[columns].itertuples(index=False, name=None)
        for well, site, y, x, class_name in rows:
            where.append((number, SiteKey(str(well), int(site)), float(y), float(x)))
            classes.append(str(class_name))
            ids.append(f"{state.plate.name}/{well}/s{site}/y{y:.1f}/x{x:.1f}")
    if len(set(classes)) < 2:
        raise HcsQcError(
            f"The source {name} has {count_of(len(classes), 'annotated cell')}, but not of both "
            "classes."
        )
    inputs = {
        "cells": [f"{cell}:{name}" for cell, name in zip(ids, classes, strict=True)],
        "plates": [
            [
                state.plate.fingerprint,
                state.plate_cells.diameter_px,
                state.plate_cells.ranges.fingerprint,
                state.plate_cells.projection,
                len(state.plate_cells.cells),
            ]
            for state in states
        ],
    }
    return AssayCells(
        states=states,
        where=tuple(where),
        classes=np.array(classes),
        groups=np.array(groups),
        ids=np.array(ids),
        fingerprint=fingerprint(inputs),
        note=f"{name}: crops centred on the click, intensities scaled by the plate's range"
        + (f"; {n_unread} annotated cells of unreadable sites are left out" if n_unread else ""),
        origins=frozenset(
            f"{states[number].plate.fingerprint}/{key.well}" for number, key, *_ in where
        ),
        kinds=np.array(kinds, dtype=object),
        stores=stores,
    )
