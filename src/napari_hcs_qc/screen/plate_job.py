"""The job of one plate: cells, predictions, tables and report, in a folder of its own."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

from napari_hcs_qc.assay.models.training import versions
from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate, score
from napari_hcs_qc.assay.scoring.prediction import predict
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.saved_model import load_model
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import atomic_path, explained_writes, read_json, write_json
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.qc.plate_level.plate_flags import QUALITY
from napari_hcs_qc.qc.plate_level.position_effects import places_of
from napari_hcs_qc.screen.bundle import Bundle, copy_model, load_bundle
from napari_hcs_qc.workflow import steps
from napari_hcs_qc.workflow.export import export, report

if TYPE_CHECKING:
    import pandas as pd

    from napari_hcs_qc.plates.plate import Plate
    from napari_hcs_qc.screen.plate_folder import PlateFolder

WELL_COLUMNS = ("well", "row", "column", "role", "n_sites", "n_unreadable", "n_cells", "n_scored",
                "n_abnormal", "share_abnormal", "cells_per_site", "is_flagged", "flag_codes",
                "flag_reason", "verdict")  # fmt: skip
"""Columns of a plate's ``wells.parquet``; row and column count from 0."""


def do_plate(
    folder: PlateFolder,
    *,
    device: str = "auto",
    job: Job = NO_JOB,
) -> bool:
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
        task = read_json(folder.job_path)
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


def _work(
    folder: PlateFolder,
    task: dict[str, Any],
    device: str,
    job: Job,
) -> None:
    began = time.monotonic()
    bundle = load_bundle(folder.path.parent.parent / task["bundle"])
    assay, plate = _assay_of(folder, task, bundle)
    said = task["cells"]
    masks = None if said["source"] is None else Path(said["source"]["path"])
    options = steps.CellOptions(
        masks,
        bundle.channel if said["channel"] is None else said["channel"],
        bundle.projection if said["z"] is None else said["z"],
    )
    # That cells were found otherwise, or masks have changed since, only this setting tells.
    has_cells = (assay.plate_folder(plate.name) / "cells.json").is_file()
    is_other = has_cells and assay.settings.get("screen_cells") != said
    if not has_cells:  # before, so that a job that is killed in between goes on from there
        assay.update_settings(screen_cells=said)
    steps.cells(assay, options, [plate.name], again=True if is_other else None, job=job)
    if is_other:
        assay.update_settings(screen_cells=said)
    model = load_model(assay.models_folder / bundle.model.id)
    predict(assay, [plate.name], model, device=device, reference=bundle.reference, job=job)
    kinds = tuple(task["export"]["exclude_kinds"])
    # Before anything is read of it: what is clicked meanwhile must be seen as new.
    n_actions = folder.n_actions()
    scored = score(assay, [plate.name], model=model, keep_kinds=kinds)
    export(
        assay,
        folder.results,
        keep_kinds=kinds,
        exclude_unreviewed=task["export"]["exclude_unreviewed"],
        scored=scored,
        job=job,
    )
    report(assay, folder.results / "report.html", keep_kinds=kinds, scored=scored, job=job)
    with atomic_path(folder.wells_path) as temporary:
        _wells(scored[0]).to_parquet(temporary, index=False)
    write_json(
        folder.done_path,
        {
            "fingerprint": task["fingerprint"],
            "job": {key: task[key] for key in task if key != "fingerprint"},
            "n_actions": n_actions,
            "figures": _figures(scored[0]),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "duration_s": round(time.monotonic() - began, 1),
            "versions": versions(),
        },
    )


def _assay_of(
    folder: PlateFolder, task: dict[str, Any], bundle: Bundle
) -> tuple[AssayFolder, Plate]:
    """Make the plate's assay, or bring it to what the job says."""
    said = task["plate"]
    root = said["image_root"]
    source = steps.PlateSource(
        Path(said["path"]),
        said["pattern"],
        None if root is None else Path(root).resolve(),
        said["chosen_name"],
    )
    plate = source.open()
    have = [channel.name for channel in plate.channels]
    if have != list(bundle.channels):
        raise HcsQcError(
            f"Plate {plate.name} has the channels {', '.join(have)}; the model was trained on "
            f"{', '.join(bundle.channels)}. One model needs the same channels in the same order; "
            "put this plate into another screen."
        )
    assay = AssayFolder.open_or_create(folder.assay)
    for entry in assay.plates:
        asked = (source.path.resolve(), source.pattern, source.image_root, plate.name)
        if (entry.source, entry.pattern, entry.image_root, entry.name) != asked:
            assay.remove_plate(entry.name)  # what people said of it stays
    platemap = None if task["platemap"] is None else Path(task["platemap"]["path"])
    if platemap is None:
        with explained_writes(assay.platemap_path):
            assay.platemap_path.unlink(missing_ok=True)
    assay, opened = steps.new(folder.assay, [source], platemap=platemap)
    copy_model(bundle.folder, assay.models_folder / bundle.model.id)
    assay.update_settings(**bundle.settings, model=bundle.model.id)
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


def _figures(scored: ScoredPlate) -> dict[str, Any]:
    """Give what the plate is compared by, and what is told of it, as plain data."""
    wells, plate = scored.scores.wells, scored.state.plate
    samples = _wells(scored)
    compared = samples[samples["role"] != "empty"]
    quality = scored.state.found.quality
    files = sorted(set(plate.planes["path"]))
    return {
        "name": plate.name,
        "shape": list(plate.shape),
        "n_wells": len(wells),
        "n_flagged": int(wells["is_flagged"].sum()),
        **{
            name: int(wells[name].sum())
            for name in ("n_sites", "n_unreadable", "n_cells", "n_scored", "n_abnormal")
        },
        "share_abnormal": _median(compared["share_abnormal"]),
        "cells_per_site": _median(compared["cells_per_site"]),
        "quality": {
            measure: {
                str(channel): _median(values)
                for channel, values in quality.groupby("channel")[measure]
                if _median(values) is not None
            }
            for measure in QUALITY
        },
        "novelty": scored.prediction.shift.get("sentence", "")
        if scored.prediction.shift.get("is_novel")
        else "",
        "shift": scored.prediction.shift.get("value"),
        "warnings": list(scored.warnings),
        "unreadable": [str(problem) for problem in scored.unreadable[:200]],
        "model": scored.prediction.model,
        "threshold": scored.threshold,
        "first_image": _first_image(files),
    }


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
