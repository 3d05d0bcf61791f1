"""The steps that are not about one opened assay."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from napari_hcs_qc.api.options import import_options, label_options, train_options
from napari_hcs_qc.api.person import user_name
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates import open_plate
from napari_hcs_qc.plates.remote import as_location

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_hcs_qc.plates.ome_zarr.convert import Conversion, NgffVersion
    from napari_hcs_qc.plates.open import TimePoint
    from napari_hcs_qc.plates.plate import Projection
    from napari_hcs_qc.screen.running import ScreenResult
    from napari_hcs_qc.screen.screen_plan import ScreenPlan
    from napari_hcs_qc.workflow.encoder_list import EncoderList
    from napari_hcs_qc.workflow.steps import RunResult


def encoders(
    *, assay: str | Path | None = None, speed: bool = False, backend: str = "auto"
) -> EncoderList:
    """List the encoders, and what each still needs.

    Parameters
    ----------
    assay
        Folder of an assay, whose custom encoders are listed, too.
    speed
        Measure crops a second on this computer.
    backend
        What runs encoders on the CPU: ``"auto"``, ``"torch"``, ``"onnxruntime"``,
        ``"openvino"`` or ``"openvino-bf16"``.

    Returns
    -------
    EncoderList

    Raises
    ------
    HcsQcError
        When there is no such assay or backend.

    Examples
    --------
    >>> from napari_hcs_qc import encoders
    >>> [info.name for info in encoders().encoders if info.ready][0]
    'efficientnet-lite0'
    """
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.workflow.encoder_list import encoder_list

    folder = None if assay is None else AssayFolder.open(Path(assay))
    return encoder_list(folder, speed=speed, backend=backend)


def run(
    assay: str | Path,
    plate: str | Path,
    *,
    out: str | Path,
    labels: str | Path | None = None,
    pattern: str | None = None,
    image_root: str | Path | None = None,
    plate_name: str | None = None,
    plate_shape: str | None = None,
    time: TimePoint | None = None,
    allow_remote: bool = False,
    platemap: str | Path | None = None,
    include_cut: bool | None = None,
    cells_from: str | Path | None = None,
    channel: str | int | None = None,
    z: Projection | None = None,
    detector: str | None = None,
    annotator: str | None = None,
    add_kind: Iterable[str] = (),
    classes: Mapping[str, str] | None = None,
    positions_are: Iterable[str] = (),
    image_table: str | Path | None = None,
    accept_positions: bool = False,
    encoder: str | None = None,
    weights: str | Path | None = None,
    recipe: str | None = None,
    rgb: Sequence[str] = (),
    head: str = "linear",
    simulated: Sequence[str] = (),
    seeds: int = 5,
    seed: int = 0,
    device: str = "auto",
    backend: str = "auto",
    keep_kinds: Iterable[str] = (),
    exclude_unreviewed: bool = False,
    job: Job = NO_JOB,
) -> RunResult:
    """Do all steps: assay, cells, annotations, training, tables, report.

    Started again after it was stopped or killed, it goes on where it was.

    Parameters
    ----------
    assay
        Folder of the assay; made when there is none.
    plate
        Folder, LoadData table or OME-Zarr.
    out
        Folder for the tables and ``report.html``.
    labels
        CSV of annotated cells, see `Assay.annotate`. Without it those count that the assay has;
        where it has none, cells are classified by what is known of artefacts in general, see
        `Assay.predict`.
    pattern, image_root, plate_name, plate_shape, time, allow_remote, platemap, include_cut
        See `Assay.new`.
    cells_from, channel, z, detector
        See `Assay.cells`.
    annotator, add_kind, classes
        See `Assay.annotate`.
    positions_are, image_table, accept_positions
        See `Assay.annotate`; of `labels` and of `cells_from`.
    encoder, weights, recipe, rgb, head, simulated, seeds, seed, device, backend
        See `Assay.train`.
    keep_kinds, exclude_unreviewed
        See `Assay.export`.
    job
        Reports progress and cancels.

    Returns
    -------
    RunResult

    Raises
    ------
    HcsQcError
        When a step cannot be done; what was done before stays.
    Cancelled
        When `job` was cancelled.

    Examples
    --------
    >>> from napari_hcs_qc import run
    >>> result = run(
    ...     folder / "run", plate_path, labels=labels, out=folder / "results", head="knn", seeds=1
    ... )
    >>> result.report.name
    'report.html'
    """
    from napari_hcs_qc.workflow import steps
    from napari_hcs_qc.workflow.cell_options import CellOptions

    root = None if image_root is None else as_location(image_root)
    source = None if cells_from is None else Path(cells_from)
    importing = import_options(
        positions_are=positions_are, image_table=image_table, accept_positions=accept_positions
    )
    return steps.run(
        Path(assay),
        steps.PlateSource(
            as_location(plate),
            pattern=pattern,
            image_root=root,
            name=plate_name,
            plate_shape=plate_shape,
            time=time,
            allow_remote=allow_remote,
        ),
        None if labels is None else Path(labels),
        Path(out),
        annotator=annotator or user_name(),
        platemap=None if platemap is None else Path(platemap),
        include_cut=include_cut,
        cell_options=CellOptions(
            source=source, channel=channel, projection=z, detector=detector, importing=importing
        ),
        train_options=train_options(
            encoder=encoder,
            weights=weights,
            recipe=recipe,
            rgb=rgb,
            head=head,
            simulated=simulated,
            seeds=seeds,
            seed=seed,
            device=device,
            backend=backend,
        ),
        add_kind=add_kind,
        keep_kinds=keep_kinds,
        exclude_unreviewed=exclude_unreviewed,
        label_options=label_options(importing, classes or {}),
        accept_positions=accept_positions,
        job=job,
    )


@overload
def screen(
    spec: str | Path,
    *,
    out: str | Path,
    dry_run: Literal[False] = False,
    cores: int | None = None,
    jobs: int | None = None,
    threads: int | None = None,
    profile: str | None = None,
    executor: str | None = None,
    device: str = "auto",
    snakemake: Sequence[str] = (),
    job: Job = NO_JOB,
) -> ScreenResult: ...
@overload
def screen(
    spec: str | Path, *, out: str | Path, dry_run: Literal[True], job: Job = NO_JOB
) -> ScreenPlan: ...
def screen(
    spec: str | Path,
    *,
    out: str | Path,
    dry_run: bool = False,
    cores: int | None = None,
    jobs: int | None = None,
    threads: int | None = None,
    profile: str | None = None,
    executor: str | None = None,
    device: str = "auto",
    snakemake: Sequence[str] = (),
    job: Job = NO_JOB,
) -> ScreenResult | ScreenPlan:
    """Score every plate of a screen, and report on all of them together.

    The plates are jobs of Snakemake, here or on a cluster. Started again after it was stopped, it
    does only what is missing.

    Parameters
    ----------
    spec
        TOML file: the plates, and the assay with the model.
    out
        Folder for the results; kept and resumed.
    dry_run
        Open the plates and tell what is to be done; write nothing.
    cores
        Processors of this computer; all by default.
    jobs
        Most jobs at once on a cluster.
    threads
        Of each job; 4 at most by default.
    profile
        Folder or name of a Snakemake profile.
    executor
        ``"slurm"``, or another executor plugin of Snakemake.
    device
        Where encoders run: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    snakemake
        Further arguments of Snakemake, such as ``["--retries", "2"]``.
    job
        Reports progress and cancels.

    Returns
    -------
    ScreenResult or ScreenPlan
        The plan where `dry_run`.

    Raises
    ------
    HcsQcError
        When the file is not valid, there is no model, or Snakemake is not installed.
    Cancelled
        When `job` was cancelled.

    Examples
    --------
    >>> from napari_hcs_qc import screen
    >>> spec = folder / "screen.toml"
    >>> _ = spec.write_text(f'''
    ...     assay = "{assay_path.as_posix()}"
    ...     [[plate]]
    ...     path = "{plate_path.as_posix()}"
    ... ''')
    >>> plan = screen(spec, out=folder / "screen", dry_run=True)
    >>> [planned.plate.name for planned in plan.to_do()]
    ['SIM']
    """
    from napari_hcs_qc.screen.running import RunOptions, run_screen
    from napari_hcs_qc.screen.screen_plan import plan_screen
    from napari_hcs_qc.screen.screen_spec import read_screen

    for name, number in (("cores", cores), ("jobs", jobs), ("threads", threads)):
        if number is not None and number < 1:
            raise HcsQcError(f"The number of {name} is {number}; at least 1 was expected.")
    read = read_screen(Path(spec))
    if dry_run:
        return plan_screen(read, Path(out), job=job)
    options = RunOptions(
        cores=cores,
        jobs=jobs,
        threads=threads,
        device=device,
        profile=profile,
        executor=executor,
        more=tuple(snakemake),
    )
    return run_screen(read, Path(out), options, job=job)


def convert(
    plate: str | Path,
    out: str | Path,
    *,
    ngff: NgffVersion = "0.5",
    pattern: str | None = None,
    image_root: str | Path | None = None,
    plate_name: str | None = None,
    plate_shape: str | None = None,
    time: TimePoint | None = None,
    allow_remote: bool = False,
    job: Job = NO_JOB,
) -> Conversion:
    """Write a plate as OME-Zarr (pyramidal, resumable).

    Parameters
    ----------
    plate
        Folder, LoadData table or OME-Zarr.
    out
        Folder of the OME-Zarr plate, such as ``plate.zarr``.
    ngff
        Version of the format: ``"0.4"`` or ``"0.5"``.
    pattern, image_root, plate_name, plate_shape, time, allow_remote
        How the plate is read, see `open_plate`; ``time="all"`` is the default.
    job
        Reports progress and cancels.

    Returns
    -------
    Conversion

    Raises
    ------
    HcsQcError
        When the plate cannot be opened, or `out` holds something else.
    Cancelled
        When `job` was cancelled; the next call goes on from there.

    Examples
    --------
    >>> from napari_hcs_qc import convert
    >>> convert(plate_path, folder / "SIM.zarr").n_sites
    8
    """
    from napari_hcs_qc.plates.ome_zarr.convert import convert_plate

    opened = open_plate(
        plate,
        pattern=pattern,
        image_root=image_root,
        name=plate_name,
        plate_shape=plate_shape,
        time=None if time == "all" else time,
        allow_remote=allow_remote,
    )
    return convert_plate(opened, Path(out), version=ngff, job=job)
