"""What a screen has to do: the job of each plate, and which of them are missing."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_hcs_qc import __version__
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import explained_writes, fingerprint, read_json, sha256_of
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.screen.bundle import bundle_facts
from napari_hcs_qc.screen.documents import (
    PLAN,
    CellsTask,
    DoneDocument,
    ExportTask,
    JobContent,
    PlanDocument,
    PlateTask,
    Stamp,
)
from napari_hcs_qc.screen.plate_folder import PlateFolder, Standing
from napari_hcs_qc.workflow.steps import PlateSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_hcs_qc.screen.documents import BundleFacts
    from napari_hcs_qc.screen.screen_spec import ScreenPlate, ScreenSpec

_OWN = frozenset({"screen.lock", "engine.lock"})
_AT_ONCE = 8  # plates opened side by side: on a network disk opening is waiting


@dataclass(frozen=True, kw_only=True)
class PlannedPlate:
    """One plate, its job and where it stands."""

    plate: ScreenPlate  # as the spec names it
    folder: PlateFolder  # its folder
    job: JobContent
    standing: Standing  # with this job
    trouble: str = ""  # why the plate cannot be opened, else empty

    @property
    def is_to_do(self) -> bool:
        """Whether the plate has no results of its job."""
        return self.standing.state != "done"


@dataclass(frozen=True)
class ScreenPlan:
    """A screen, ready to be worked on."""

    spec: ScreenSpec
    out: Path  # the folder of all of it
    model: BundleFacts
    plates: tuple[PlannedPlate, ...]  # in the order of the spec

    @property
    def bundle(self) -> str:
        """Folder of the model, from `out`."""
        return f"model/{self.model.mark}"

    def to_do(self) -> tuple[PlannedPlate, ...]:
        """Give the plates without results."""
        return tuple(plate for plate in self.plates if plate.is_to_do)

    def as_of_now(self) -> Iterator[tuple[PlannedPlate, Standing]]:
        """Look again where each plate stands, after the jobs have ended."""
        for plate in self.plates:
            yield plate, plate.folder.after(plate.job)


def plan_screen(spec: ScreenSpec, out: Path, *, job: Job = NO_JOB) -> ScreenPlan:
    """Open every plate and tell what is to be done; nothing is written."""
    check_out(out)
    model = bundle_facts(AssayFolder.open(spec.assay), spec.model)
    planned = []
    with ThreadPoolExecutor(_AT_ONCE, "hcs-qc screen") as pool:
        try:
            results = pool.map(lambda plate: _planned(spec, plate, out, model), spec.plates)
            for done, (source, result) in enumerate(
                zip(spec.plates, results, strict=True), start=1
            ):
                job.check()
                job.report(done, len(spec.plates), f"Checking plate {source.name}")
                planned += result
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    names = Counter(each.plate.key.casefold() for each in planned)
    twice = sorted(each.plate.name for each in planned if names[each.plate.key.casefold()] > 1)
    if twice:
        raise HcsQcError(
            f"Two plates of the screen would be called {twice[0]}, one of them a time point of a "
            "series; give one of them another name."
        )
    return ScreenPlan(spec, out, model, tuple(planned))


def write_plan(plan: ScreenPlan, *, threads: int, device: str) -> None:
    """Write the jobs, and the plan that the workflow reads."""
    # First, so that the folder is known as a screen's whatever comes.
    PlanDocument(
        version=__version__,
        spec=None if plan.spec.source is None else str(plan.spec.source),
        assay=str(plan.spec.assay.resolve()),
        model=plan.model,
        bundle=plan.bundle,
        plates=tuple(planned.plate.key for planned in plan.to_do()),
        threads=threads,
        device=device,
    ).save(plan.out / PLAN)
    for planned in plan.to_do():
        planned.folder.write_job(planned.job)
        # The workflow asks for this file: one that belongs to another job must not satisfy it.
        with explained_writes(planned.folder.done_path):
            planned.folder.done_path.unlink(missing_ok=True)


def check_out(out: Path) -> None:
    """Refuse a folder that is not one of a screen."""
    if out.exists() and not out.is_dir():
        raise HcsQcError(f"{out} is a file; a folder for the screen was expected.")
    names = [path.name for path in out.iterdir()] if out.exists() else []
    # A temporary plan is of a full disk.
    foreign = [name for name in names if name not in _OWN and not name.startswith(".plan")]
    if foreign and not _is_plan(out / PLAN):
        raise HcsQcError(
            f"{out} is not empty and not the folder of a screen: it holds {foreign[0]}. Choose a "
            "new or empty folder."
        )


def _is_plan(path: Path) -> bool:
    own = PlanDocument.model_fields["format"].default
    return path.is_file() and read_json(path).get("format") == own


def _planned(
    spec: ScreenSpec, plate: ScreenPlate, out: Path, model: BundleFacts
) -> list[PlannedPlate]:
    """Plan a plate; where all of its time points are wanted each of them."""
    try:
        plates = PlateSource(
            plate.path,
            pattern=plate.pattern,
            image_root=plate.image_root,
            name=plate.chosen_name,
            plate_shape=plate.plate_shape,
            time=plate.time,
            allow_remote=plate.allow_remote,
        ).open()
        if plate.time != "all":
            return [_planned_with(spec, plate, out, model, plates[0].fingerprint)]
        return [
            _planned_with(
                spec,
                replace(plate, name=each.name, time=each.time_points[0], is_of_series=True),
                out,
                model,
                each.fingerprint,
            )
            for each in plates
        ]
    except (HcsQcError, OSError) as error:
        return [_planned_with(spec, plate, out, model, None, trouble=str(error))]


def _planned_with(
    spec: ScreenSpec,
    plate: ScreenPlate,
    out: Path,
    model: BundleFacts,
    images: str | None,
    trouble: str = "",
) -> PlannedPlate:
    folder = PlateFolder(out / "plates" / plate.key)
    job = JobContent(
        plate=PlateTask(
            name=plate.name,
            path=str(plate.path),
            pattern=plate.pattern,
            image_root=None if plate.image_root is None else str(plate.image_root),
            chosen_name=plate.chosen_name,
            plate_shape=plate.plate_shape,
            time=plate.time,
            is_of_series=plate.is_of_series or None,
            allow_remote=plate.allow_remote or None,
        ),
        images=images,
        platemap=_stamp(plate.platemap, by_content=True),
        cells=CellsTask(
            source=_stamp(plate.cells, by_content=False), channel=spec.channel, z=spec.projection
        ),
        export=ExportTask(
            exclude_kinds=spec.keep_kinds, exclude_unreviewed=spec.exclude_unreviewed
        ),
        model=model.mark,
        bundle=f"model/{model.mark}",
        version=__version__,
    )
    job = _archived(folder, job) or job
    return PlannedPlate(
        plate=plate, folder=folder, job=job, standing=folder.standing(job), trouble=trouble
    )


def _archived(folder: PlateFolder, job: JobContent) -> JobContent | None:
    """Give the job as it was when the plate was done, where only its images are gone since.

    A plate that went to the archive keeps its results.
    """
    done = None if job.images is not None else DoneDocument.load_if_valid(folder.done_path)
    if done is None or done.job.model_copy(update={"images": None}) != job:
        return None
    return done.job


def _stamp(path: Path | None, *, by_content: bool) -> Stamp | None:
    """Tell a file (or the files of a folder) from another: by content, or by sizes and dates."""
    if path is None:
        return None
    if by_content:
        return Stamp(path=str(path), sha256=sha256_of(path) if path.is_file() else None)
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = [(file, file.stat()) for file in files if file.is_file()]
    marks = [[str(file), stat.st_size, stat.st_mtime_ns] for file, stat in stats]
    return Stamp(path=str(path), files=fingerprint({"files": marks}))
