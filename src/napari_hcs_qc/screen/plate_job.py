"""The job of one plate: cells, predictions, tables and report, in a folder of its own."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock, Timeout

from napari_hcs_qc.assay.models.versions import versions
from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate, score
from napari_hcs_qc.assay.scoring.prediction import predict
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_cells import cells_document
from napari_hcs_qc.assay.store.plate_entry import PlateEntry
from napari_hcs_qc.assay.store.saved_model import load_model
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import atomic_path, explained_writes
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.qc.plate_level.plate_flags import QUALITY
from napari_hcs_qc.qc.plate_level.position_effects import places_of
from napari_hcs_qc.screen.bundle import Bundle, copy_model, load_bundle
from napari_hcs_qc.screen.documents import DoneDocument, PlateSummary
from napari_hcs_qc.workflow import steps
from napari_hcs_qc.workflow.cell_options import CellOptions
from napari_hcs_qc.workflow.export import export, report

if TYPE_CHECKING:
    import pandas as pd

    from napari_hcs_qc.plates.plate import Plate
    from napari_hcs_qc.screen.documents import JobContent
    from napari_hcs_qc.screen.plate_folder import PlateFolder

WELL_COLUMNS = ("well", "row", "column", "role", "n_sites", "n_unreadable", "n_cells", "n_scored",
                "n_abnormal", "share_abnormal", "cells_per_site", "is_flagged", "flag_codes",
                "flag_reason", "verdict")  # fmt: skip
"""Columns of a plate's ``wells.parquet``; row and column count from 0."""


def do_plate(folder: PlateFolder, *, device: str = "auto", job: Job = NO_JOB) -> bool:
    """Do the job that stands in a plate's folder, or what of it is missing.

    Another process at the same plate is waited for; what it has done is not done again.
    """
    lock = FileLock(folder.path / ".job.lock")
    with explained_writes(folder.path):
        while True:
            job.check()
            try:
                lock.acquire(timeout=1.0)
                break
            except Timeout:
                job.report(0, 0, "Waiting for another process that works on this plate")
    try:
        task = folder.read_job()
        if folder.standing(task).state == "done":
            return False
        with explained_writes(folder.path):
            folder.problem_path.unlink(missing_ok=True)
            folder.done_path.unlink(missing_ok=True)
            # Those of an earlier job: should this one fail, nobody must take them for its own.
            folder.wells_path.unlink(missing_ok=True)
            if folder.results.exists():
                shutil.rmtree(folder.results)
        _work(folder, task, device, job)
        return True
    finally:
        lock.release()


def _work(folder: PlateFolder, task: JobContent, device: str, job: Job) -> None:
    began = time.monotonic()
    bundle = load_bundle(folder.path.parent.parent / task.bundle)
    assay, plate = _assay_of(folder, task, bundle)
    requested = task.cells
    options = CellOptions(
        source=None if requested.source is None else Path(requested.source.path),
        channel=bundle.channel if requested.channel is None else requested.channel,
        projection=bundle.projection if requested.z is None else requested.z,
    )
    # That cells were found otherwise, or masks have changed since, only this setting tells.
    has_cells = cells_document(assay.plate_folder(plate.name)) is not None
    plain = requested.model_dump(mode="json")
    is_other = has_cells and assay.settings.screen_cells != plain
    if not has_cells:  # before, so that a job that is killed in between goes on from there
        assay.update_settings(screen_cells=plain)
    steps.cells(assay, options, [plate.name], again=True if is_other else None, job=job)
    if is_other:
        assay.update_settings(screen_cells=plain)
    model = load_model(assay.models_folder / bundle.model.id)
    predict(assay, [plate.name], model, device=device, reference=bundle.reference, job=job)
    kinds = task.export.exclude_kinds
    # Before anything is read of it: what is clicked meanwhile must be seen as new.
    n_actions = folder.n_actions()
    scored = score(assay, [plate.name], model=model, keep_kinds=kinds)
    export(
        assay,
        folder.results,
        keep_kinds=kinds,
        exclude_unreviewed=task.export.exclude_unreviewed,
        scored=scored,
        job=job,
    )
    report(assay, folder.results / "report.html", keep_kinds=kinds, scored=scored, job=job)
    with atomic_path(folder.wells_path) as temporary:
        _wells(scored[0]).to_parquet(temporary, index=False)
    DoneDocument(
        fingerprint=task.fingerprint,
        job=task,
        n_actions=n_actions,
        figures=_summary(scored[0]),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        duration_s=round(time.monotonic() - began, 1),
        versions=versions(),
    ).save(folder.done_path)


def _assay_of(folder: PlateFolder, task: JobContent, bundle: Bundle) -> tuple[AssayFolder, Plate]:
    """Make the plate's assay, or bring it to what the job says."""
    root = task.plate.image_root
    source = steps.PlateSource(
        Path(task.plate.path),
        pattern=task.plate.pattern,
        image_root=None if root is None else Path(root).resolve(),
        name=task.plate.chosen_name,
        plate_shape=task.plate.plate_shape,
        time=task.plate.time,
        is_of_series=bool(task.plate.is_of_series),
        allow_remote=bool(task.plate.allow_remote),
    )
    plate = source.open()[0].named_like(bundle.channels)
    have = [channel.name for channel in plate.channels]
    if have != list(bundle.channels):
        raise HcsQcError(
            f"Plate {plate.name} has the channels {', '.join(have)}; the model was trained on "
            f"{', '.join(bundle.channels)}. One model needs the same channels in the same order; "
            "put this plate into another screen."
        )
    assay = AssayFolder.open_or_create(folder.assay)
    for entry in assay.plates:
        requested = PlateEntry(
            name=plate.name,
            source=source.path.resolve(),
            **source.options(plate),
            fingerprint=entry.fingerprint,
        )
        if entry != requested:
            assay.remove_plate(entry.name)  # its annotations stay
    platemap = None if task.platemap is None else Path(task.platemap.path)
    if platemap is None:
        with explained_writes(assay.platemap_path):
            assay.platemap_path.unlink(missing_ok=True)
    assay, opened = steps.new(folder.assay, [source], platemap=platemap, channels=bundle.channels)
    copy_model(bundle.folder, assay.models_folder / bundle.model.id)
    settings = bundle.settings
    assay.update_settings(
        threshold=settings.threshold,
        flag_rule=settings.flag_rule,
        include_cut=settings.include_cut,
        detector=settings.detector,
        model=bundle.model.id,
    )
    return assay, opened[0]


def _wells(scored: ScoredPlate) -> pd.DataFrame:
    wells = scored.scores.wells.copy()
    wells["row"], wells["column"] = places_of(wells["well"])
    platemap = scored.roles.platemap
    roles = {} if platemap is None else dict(zip(platemap["well"], platemap["role"], strict=True))
    wells["role"] = [roles.get(str(well), "sample") for well in wells["well"]]
    whole = scored.verdicts[scored.verdicts["site"].isna()]
    verdicts = dict(zip(whole["well"], whole["verdict"], strict=True))
    wells["verdict"] = [verdicts.get(str(well), "") for well in wells["well"]]
    return wells[list(WELL_COLUMNS)]


def _summary(scored: ScoredPlate) -> PlateSummary:
    wells, plate, shift = scored.scores.wells, scored.state.plate, scored.prediction.shift
    samples = _wells(scored)
    compared = samples[samples["role"] != "empty"]
    quality = scored.state.plate_cells.quality
    return PlateSummary(
        name=plate.name,
        shape=plate.shape,
        n_wells=len(wells),
        n_flagged=int(wells["is_flagged"].sum()),
        n_sites=int(wells["n_sites"].sum()),
        n_unreadable=int(wells["n_unreadable"].sum()),
        n_cells=int(wells["n_cells"].sum()),
        n_scored=int(wells["n_scored"].sum()),
        n_abnormal=int(wells["n_abnormal"].sum()),
        share_abnormal=_median(compared["share_abnormal"]),
        cells_per_site=_median(compared["cells_per_site"]),
        quality={
            measure: {
                str(channel): median
                for channel, values in quality.groupby("channel")[measure]
                if (median := _median(values)) is not None
            }
            for measure in QUALITY
        },
        novelty=shift.sentence if shift is not None and shift.is_novel else "",
        shift=None if shift is None else shift.value,
        warnings=scored.warnings,
        unreadable=tuple(str(problem) for problem in scored.unreadable[:200]),
        model=scored.prediction.model,
        threshold=scored.threshold,
        first_image=_first_image(sorted(set(plate.planes["path"]))),
    )


def _median(values: pd.Series[float]) -> float | None:
    known = values.to_numpy(np.float64)
    known = known[np.isfinite(known)]
    return float(np.median(known)) if len(known) else None


def _first_image(paths: list[str]) -> str | None:
    """When the oldest image file was written; None where that cannot be asked."""
    times = []
    for path in paths:
        try:
            times.append(Path(path).stat().st_mtime)
        except OSError:
            continue
    if not times:
        return None
    return datetime.fromtimestamp(min(times), UTC).isoformat(timespec="seconds")
