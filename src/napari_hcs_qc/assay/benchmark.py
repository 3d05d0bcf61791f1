"""Labelled cells of plates and assays as sources of the benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_hcs_qc.assay import loop
from napari_hcs_qc.assay.folder import AssayFolder
from napari_hcs_qc.assay.plate_state import PlateState, load_plate
from napari_hcs_qc.cells.crops import cut_crops
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.benchmark.labelled import LabelledCells, open_crops
from napari_hcs_qc.files import fingerprint, sha256_of
from napari_hcs_qc.jobs import OnProgress, ShouldStop, check_stop, never_stop, no_progress
from napari_hcs_qc.plates.plate import SiteKey

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.evaluation.benchmark.spec import BenchmarkSpec, SourceSpec


@dataclass(frozen=True, eq=False)
class AssayCells:
    """The annotated cells of an assay; see `LabelledCells`."""

    states: tuple[PlateState, ...]
    where: tuple[tuple[int, SiteKey, float, float], ...]
    classes: NDArray[np.str_]
    groups: NDArray[np.str_]
    ids: NDArray[np.str_]
    fingerprint: str
    note: str

    def crops(self, recipe: CropRecipe, rows: NDArray[np.int64]) -> torch.Tensor:
        """Cut the crops of some cells, each site read once.

        Raises
        ------
        UnreadableSiteError
            When the pixels of a site cannot be had.
        """
        at: dict[tuple[int, SiteKey], list[int]] = {}
        for place, row in enumerate(rows.tolist()):
            at.setdefault(self.where[row][:2], []).append(place)
        crops: list[torch.Tensor | None] = [None] * len(rows)
        for (number, key), places in at.items():
            state = self.states[number]
            sized = recipe.with_diameter(state.found.diameter_px)
            groups = sized.channel_groups([channel.name for channel in state.plate.channels])
            raw = state.plate.read_site(key)
            pixels = state.found.ranges.scale(raw, range(len(raw)))
            y, x = zip(*(self.where[int(rows[place])][2:] for place in places), strict=True)
            for place, crop in zip(places, cut_crops(pixels, y, x, sized, groups), strict=True):
                crops[place] = crop
        return torch.stack([crop for crop in crops if crop is not None])


def open_sources(
    spec: BenchmarkSpec,
    folder: Path,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> dict[str, LabelledCells]:
    """Open the labelled cells of a benchmark.

    Parameters
    ----------
    spec
        What is compared.
    folder
        Of the benchmark; assays of plates with a CSV of labels are made in it.
    on_progress, should_stop
        See `napari_hcs_qc.jobs`.

    Raises
    ------
    HcsQcError
        When a source cannot be used.
    """
    opened: dict[str, LabelledCells] = {}
    for source in spec.sources:
        check_stop(should_stop)
        if source.kind in ("folder", "arrays"):
            opened[source.name] = open_crops(source)
        else:
            opened[source.name] = _annotated(
                _assay(source, folder, on_progress, should_stop), source.name
            )
    return opened


def _assay(
    source: SourceSpec, folder: Path, on_progress: OnProgress, should_stop: ShouldStop
) -> AssayFolder:
    if source.kind == "assay":
        return AssayFolder.open(source.path)
    assert source.labels is not None  # checked by the spec
    # The name changes with the labels: an assay never forgets what a former file said.
    told = {"plate": str(source.path.resolve()), "labels": sha256_of(source.labels)}
    path = folder / "assays" / fingerprint(told)
    assay, _ = loop.new(path, [loop.PlateSource(source.path)])
    loop.annotate(assay, source.labels, "labels")
    loop.cells(assay, on_progress=on_progress, should_stop=should_stop)
    return assay


def _annotated(assay: AssayFolder, name: str) -> AssayCells:
    states = tuple(load_plate(assay, entry.name) for entry in assay.plates)
    where, classes, groups, ids = [], [], [], []
    for number, state in enumerate(states):
        said = state.training
        groups.extend(state.groups(said["well"]).tolist())
        columns = ["well", "site", "y_px", "x_px", "class"]
        for well, site, y, x, word in said[columns].itertuples(index=False, name=None):
            where.append((number, SiteKey(str(well), int(site)), float(y), float(x)))
            classes.append(str(word))
            ids.append(f"{state.plate.name}/{well}/s{site}/y{y:.1f}/x{x:.1f}")
    if len(set(classes)) < 2:
        raise HcsQcError(
            f"The source {name} has {len(classes)} annotated cells, and not of both classes."
        )
    told = {
        "cells": [f"{one}:{word}" for one, word in zip(ids, classes, strict=True)],
        "plates": [
            [state.plate.fingerprint, state.found.diameter_px, state.found.ranges.fingerprint]
            for state in states
        ],
    }
    return AssayCells(
        states,
        tuple(where),
        np.array(classes),
        np.array(groups),
        np.array(ids),
        fingerprint(told),
        f"{name}: crops cut where the person clicked, intensities scaled by the plate's range",
    )
