"""Open an assay with everything that is known of it, for a person to work on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_hcs_qc.assay.annotations.annotation_cache import AnnotationCache
from napari_hcs_qc.assay.models.model_in_use import model_in_use
from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate, score
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_state import PlateState, load_plate, open_assay_plate
from napari_hcs_qc.assay.store.saved_model import model_folders
from napari_hcs_qc.cells.intensity import IntensityRanges, measure_intensity
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.assay.store.saved_model import Model
    from napari_hcs_qc.plates.plate import Plate

_CONTRAST_SITES = 2  # of measure_intensity: few, since a person waits


@dataclass(frozen=True, eq=False, kw_only=True)
class OpenPlate:
    """One plate of an open assay."""

    name: str  # of the plate
    plate: Plate | None  # its images; None when they are gone
    # Intensity ranges: those of the cells step, or of a few sites before it
    ranges: IntensityRanges | None
    state: PlateState | None  # with its cells and annotations; None before the cells step
    scored: ScoredPlate | None  # none before a model has judged it
    problem: str = ""  # what is wrong with it, in words; empty when nothing is


@dataclass(frozen=True, eq=False, kw_only=True)
class OpenAssay:
    """An assay with its plates loaded."""

    folder: AssayFolder  # the assay
    live: AnnotationCache  # what people say
    plates: dict[str, OpenPlate]  # by name, in the assay's order
    model: Model | None  # the one in use; None before the first, and where it cannot be loaded
    threshold: float  # P(abnormal) from which a cell counts as abnormal
    problem: str = ""  # what is wrong with the model, in words; empty when nothing is


def open_assay(path: Path, *, job: Job = NO_JOB) -> OpenAssay:
    """Load all that is known of an assay; what is wrong with a plate is told, not raised."""
    folder = AssayFolder.open(path)
    threshold = folder.threshold
    live = AnnotationCache(folder.journal())
    model, problem = _model_of(folder)
    plates = {}
    for done, entry in enumerate(folder.plates):
        job.check()
        job.report(done, len(folder.plates), f"Opening plate {entry.name}")
        plates[entry.name] = load_open_plate(folder, entry.name, live, model, job)
    return OpenAssay(
        folder=folder, live=live, plates=plates, model=model, threshold=threshold, problem=problem
    )


def _model_of(folder: AssayFolder) -> tuple[Model | None, str]:
    """Load the model in use, if there is one, and say what is wrong with it."""
    if not model_folders(folder.models_folder):
        return None, ""
    try:
        return model_in_use(folder)
    except HcsQcError as error:
        return None, f"The model in use cannot be loaded: {error} Retrain, or restore another one."


def load_open_plate(
    folder: AssayFolder,
    name: str,
    annotations: AnnotationCache,
    model: Model | None,
    job: Job = NO_JOB,
) -> OpenPlate:
    """Load what is known of one plate; what is wrong with it is told, not raised."""
    try:
        plate = open_assay_plate(folder, name)
    except HcsQcError as error:
        return OpenPlate(
            name=name, plate=None, ranges=None, state=None, scored=None, problem=str(error)
        )
    try:
        state: PlateState | None = load_plate(folder, name, annotations.table, plate=plate)
    except HcsQcError as error:
        if (folder.plate_folder(name) / "cells.json").is_file():
            return _without_cells(name, plate, str(error), job)
        return _without_cells(name, plate, "", job)
    assert state is not None
    scored = None
    if model is not None:
        try:
            scored = score(folder, [name], model=model, states={name: state}, partial=True)[0]
        except HcsQcError:  # not predicted with this model yet
            scored = None
    return OpenPlate(
        name=name, plate=state.plate, ranges=state.plate_cells.ranges, state=state, scored=scored
    )


def _without_cells(name: str, plate: Plate, problem: str, job: Job) -> OpenPlate:
    try:
        ranges = measure_intensity(plate, n_sites=_CONTRAST_SITES, job=job.silent())
    except HcsQcError as error:
        return OpenPlate(
            name=name,
            plate=plate,
            ranges=None,
            state=None,
            scored=None,
            problem=problem or str(error),
        )
    return OpenPlate(
        name=name, plate=plate, ranges=ranges, state=None, scored=None, problem=problem
    )
