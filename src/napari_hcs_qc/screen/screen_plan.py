"""What a screen has to do: the job of each plate, and which of them are missing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_hcs_qc import __version__
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import explained_writes, fingerprint, read_json, sha256_of, write_json
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates import open_plate
from napari_hcs_qc.screen.bundle import bundle_facts
from napari_hcs_qc.screen.plate_folder import PlateFolder, Standing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_hcs_qc.screen.screen_spec import ScreenPlate, ScreenSpec

PLAN = "plan.json"
_FORMAT = "napari-hcs-qc screen"
_OWN = frozenset({"screen.lock", "engine.lock"})
_AT_ONCE = 8  # plates opened side by side: on a network disk opening is waiting


@dataclass(frozen=True)
class PlannedPlate:
    """One plate, its job and where it stands."""

    plate: ScreenPlate  # as the spec names it
    folder: PlateFolder  # its folder
    job: dict[str, Any]  # plain data; ``images`` is None where the plate cannot be opened
    standing: Standing  # with this job
    trouble: str = ""  # why the plate cannot be opened, else empty

    @property
    def is_to_do(self) -> bool:
        """Whether the plate has no results of its job."""
        return self.standing.state != "done"


@dataclass(frozen=True)
class ScreenPlan:
    """A screen, ready to be worked on."""

    spec: ScreenSpec  # what, and the folder of all of it
    out: Path  # what, and the folder of all of it
    model: dict[str, Any]  # from `bundle_facts`
    plates: tuple[PlannedPlate, ...]  # in the order of the spec

    @property
    def bundle(self) -> str:
        """Folder of the model, from `out`."""
        return f"model/{self.model['mark']}"

    def to_do(self) -> tuple[PlannedPlate, ...]:
        """Give the plates without results."""
        return tuple(one for one in self.plates if one.is_to_do)

    def as_of_now(self) -> Iterator[tuple[PlannedPlate, Standing]]:
        """Look again where each plate stands, after the jobs have ended."""
        for one in self.plates:
            yield one, one.folder.after(one.job)


def plan_screen(
    spec: ScreenSpec,
    out: Path,
    *,
    job: Job = NO_JOB,
) -> ScreenPlan:
    """Open every plate and tell what is to be done; nothing is written."""
    check_out(out)
    model = bundle_facts(AssayFolder.open(spec.assay), spec.model)
    planned = []
    with ThreadPoolExecutor(_AT_ONCE, "hcs-qc screen") as pool:
        try:
            found = pool.map(lambda plate: _planned(spec, plate, out, model), spec.plates)
            for done, one in enumerate(found, start=1):
                job.check()
                job.report(done, len(spec.plates), f"Checking plate {one.plate.name}")
                planned.append(one)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return ScreenPlan(spec, out, model, tuple(planned))


def write_plan(plan: ScreenPlan, *, threads: int, device: str) -> None:
    """Write the jobs, and the plan that the workflow reads."""
    # First, so that the folder is known as a screen's whatever comes.
    write_json(
        plan.out / PLAN,
        {
            "format": _FORMAT,
            "version": __version__,
            "spec": None if plan.spec.source is None else str(plan.spec.source),
            "assay": str(plan.spec.assay.resolve()),
            "model": plan.model,
            "bundle": plan.bundle,
            "plates": [one.plate.key for one in plan.to_do()],
            "threads": threads,
            "device": device,
        },
    )
    for one in plan.to_do():
        one.folder.write_job(one.job)
        # The workflow asks for this file: one that belongs to another job must not satisfy it.
        with explained_writes(one.folder.done_path):
            one.folder.done_path.unlink(missing_ok=True)


def check_out(out: Path) -> None:
    """Refuse a folder that is not one of a screen."""
    if out.exists() and not out.is_dir():
        raise HcsQcError(f"{out} is a file; a folder for the screen was expected.")
    foreign = [one.name for one in out.iterdir() if one.name not in _OWN] if out.exists() else []
    foreign = [name for name in foreign if not name.startswith(".plan")]  # of a full disk
    if foreign and (not (out / PLAN).is_file() or read_json(out / PLAN).get("format") != _FORMAT):
        raise HcsQcError(
            f"{out} is not empty and not the folder of a screen: it holds {foreign[0]}. Choose a "
            "new or empty folder."
        )


def _planned(
    spec: ScreenSpec, plate: ScreenPlate, out: Path, model: dict[str, Any]
) -> PlannedPlate:
    images, trouble = None, ""
    try:
        images = open_plate(
            plate.path,
            pattern=plate.pattern,
            image_root=plate.image_root,
            name=plate.chosen_name,
        ).fingerprint
    except (HcsQcError, OSError) as error:
        trouble = str(error)
    folder = PlateFolder(out / "plates" / plate.key)
    job = {
        "plate": {
            "name": plate.name,
            "path": str(plate.path),
            "pattern": plate.pattern,
            "image_root": None if plate.image_root is None else str(plate.image_root),
            "chosen_name": plate.chosen_name,
        },
        "images": images,
        "platemap": _stamp(plate.platemap, by_content=True),
        "cells": {
            "source": _stamp(plate.cells, by_content=False),
            "channel": spec.channel,
            "z": spec.projection,
        },
        "export": {
            "exclude_kinds": list(spec.keep_kinds),
            "exclude_unreviewed": spec.exclude_unreviewed,
        },
        "model": model["mark"],
        "bundle": f"model/{model['mark']}",
        "version": __version__,
    }
    job = _kept(folder, job) or job
    job["fingerprint"] = fingerprint(job)
    return PlannedPlate(plate, folder, job, folder.standing(job), trouble)


def _kept(folder: PlateFolder, job: dict[str, Any]) -> dict[str, Any] | None:
    """Give the job as it was when the plate was done, where only its images are gone since.

    A plate that went to the archive keeps its results.
    """
    if job["images"] is not None or not folder.done_path.is_file():
        return None
    try:
        before = read_json(folder.done_path)["job"]
    except (HcsQcError, KeyError):
        return None
    return dict(before) if {**before, "images": None} == job else None


def _stamp(path: Path | None, *, by_content: bool) -> dict[str, Any] | None:
    """Tell a file (or the files of a folder) from another: by content, or by sizes and dates."""
    if path is None:
        return None
    if by_content:
        return {"path": str(path), "sha256": sha256_of(path) if path.is_file() else None}
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = [(one, one.stat()) for one in files if one.is_file()]
    marks = [[str(one), stat.st_size, stat.st_mtime_ns] for one, stat in stats]
    return {"path": str(path), "files": fingerprint({"files": marks})}
