"""Comparing encoders and heads, on labelled cells and on simulated artefacts."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import NO_JOB, Cancelled, Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hcs_qc.study.api.benchmark_flags import Size
    from napari_hcs_qc.study.artefacts.sensitivity_results import Sensitivity
    from napari_hcs_qc.study.benchmark.benchmark_spec import EncoderSpec
    from napari_hcs_qc.study.benchmark.sources import Benchmark


@dataclass(frozen=True, kw_only=True)
class BenchmarkResult:
    """Tables of a benchmark.

    Parameters
    ----------
    benchmark
        What was compared, with every entry of the tables.
    written
        The files; the last is the page.

    Examples
    --------
    >>> from napari_hcs_qc import BenchmarkResult
    >>> [field for field in BenchmarkResult.__annotations__]
    ['benchmark', 'written']
    """

    benchmark: Benchmark
    written: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True)
class SensitivityResult:
    """Which simulated artefacts are missed.

    Parameters
    ----------
    sensitivity
        What was measured.
    written
        The files; the last is the page.

    Examples
    --------
    >>> from napari_hcs_qc import SensitivityResult
    >>> [field for field in SensitivityResult.__annotations__]
    ['sensitivity', 'written']
    """

    sensitivity: Sensitivity
    written: tuple[Path, ...]


def benchmark(
    spec: str | Path | None = None,
    *,
    out: str | Path,
    plate: Sequence[str | Path] = (),
    assay: Sequence[str | Path] = (),
    folder: Sequence[str | Path] = (),
    arrays: Sequence[str | Path] = (),
    labels: Sequence[str | Path] = (),
    abnormal: Sequence[str] = (),
    group: str | None = None,
    transfer: Sequence[str] = (),
    preset: Literal["grouped", "paper"] | None = None,
    protocol: Literal["grouped", "paper"] | None = None,
    encoder: Sequence[str] = (),
    recipe: Sequence[str] = (),
    head: Sequence[str] = (),
    sizes: Sequence[Size] = (),
    seeds: int | None = None,
    fine_tuned_seeds: int | None = None,
    fine_tuned_matched: bool | None = None,
    baseline: bool = True,
    plate_directions: bool = True,
    job: Job = NO_JOB,
) -> BenchmarkResult:
    """Compare encoders and heads on labelled cells, in the three tables of the paper.

    Results are kept in `out`; started again, only what is missing is computed. When it is
    stopped, the tables are written as they stand.

    Parameters
    ----------
    spec
        TOML file, instead of what follows after `out`.
    out
        Folder for tables and page; kept and resumed.
    plate, assay, folder, arrays
        Labelled cells: plates with `labels`, annotated assays, folders of crops
        (``<class>/*.png`` or ``.tif``), ``.npz`` files with crops, classes and groups (or
        ``.npy`` with `labels`). Each is a path or ``NAME=PATH``.
    labels
        CSV of each plate, then of each ``.npy`` in turn.
    abnormal
        Classes of crops that are abnormal; ``abnormal`` by default.
    group
        Regular expression; its first group is the plate in a crop's file name.
    transfer
        Pairs ``TRAIN:TEST``; by default the first on each other.
    preset
        Protocol, rows and columns: ``"grouped"`` or ``"paper"``.
    protocol
        Split by well (``"grouped"``), or by cell as in the paper.
    encoder
        ``NAME`` or ``NAME=WEIGHTS``, or the folder of an assay's encoder; beside the preset's.
    recipe, head
        How crops are cut, and heads, see `Assay.train`.
    sizes
        Numbers of annotations; ``"all"`` for all.
    seeds
        Number of draws.
    fine_tuned_seeds
        Draws for fine-tuned heads, which take minutes each; 0 for all.
    fine_tuned_matched
        Fine-tuned heads only on the crops they were made for.
    baseline
        With a row of hand-made features.
    plate_directions
        The head ``linear`` with a sample of the plate's other cells.
    job
        Reports progress and cancels.

    Returns
    -------
    BenchmarkResult

    Raises
    ------
    HcsQcError
        When the file or a source is not valid.
    Cancelled
        When `job` was cancelled.

    Examples
    --------
    >>> from napari_hcs_qc import benchmark
    >>> result = benchmark(
    ...     out=folder / "bench", assay=[assay_path], preset="grouped", head=["knn"],
    ...     recipe=["nucleus"], sizes=["all"], seeds=1,
    ... )
    >>> result.written[-1].name
    'benchmark.html'
    """
    arguments = locals()
    from napari_hcs_qc.study.api.benchmark_flags import BenchmarkFlags, spec_from
    from napari_hcs_qc.study.benchmark.output.paper_tables import write_tables
    from napari_hcs_qc.study.benchmark.results import read_results
    from napari_hcs_qc.study.benchmark.sources import run_benchmark

    begun: list[Benchmark] = []
    flags = {field.name: arguments[field.name] for field in fields(BenchmarkFlags)}
    chosen = spec_from(None if spec is None else Path(spec), BenchmarkFlags(**flags))
    try:
        done = run_benchmark(chosen, Path(out), on_plan=begun.append, job=job)
    except (KeyboardInterrupt, Cancelled, HcsQcError):
        for stopped in begun:
            planned = stopped.as_it_stands()
            # A second Ctrl+C, or a disk that is full, must not hide that it was stopped.
            with contextlib.suppress(HcsQcError):
                write_tables(planned, read_results(stopped.folder, planned), stopped.folder)
        raise
    written = write_tables(list(done.planned), done.results, Path(out))
    return BenchmarkResult(benchmark=done, written=tuple(written))


def sensitivity(
    assay: str | Path,
    *,
    out: str | Path,
    encoder: Sequence[str] = (),
    weights: str | Path | None = None,
    recipe: str | None = None,
    head: str = "linear",
    kinds: Sequence[str] | None = None,
    severities: Sequence[float] | None = None,
    seeds: int = 1,
    cells: int = 300,
    train_on_simulated: Sequence[str] = (),
    numerical_aperture: float = 0.5,
    pixel_size: float | None = None,
    device: str = "auto",
    job: Job = NO_JOB,
) -> SensitivityResult:
    """Measure which simulated artefacts an encoder misses.

    Parameters
    ----------
    assay
        Folder of an annotated assay.
    out
        Folder for tables and page; kept and resumed.
    encoder
        ``NAME`` or ``NAME=FILE.safetensors``; ``hand-made`` is the baseline.
    weights
        Of the one encoder named.
    recipe, head
        How crops are cut, and the head, see `Assay.train`.
    kinds
        Artefacts by name, such as ``"defocus"``; all by default.
    severities
        Above 0, at most 1.
    seeds
        Divisions into folds.
    cells
        Normal cells that are changed at most.
    train_on_simulated
        Also train on simulated cells of these kinds, and tell what it changes.
    numerical_aperture
        Of the objective.
    pixel_size
        In µm, where the plate lacks it.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    job
        Reports progress and cancels.

    Returns
    -------
    SensitivityResult

    Raises
    ------
    HcsQcError
        When too few cells are annotated, or a name is not known.
    Cancelled
        When `job` was cancelled.

    Examples
    --------
    >>> from napari_hcs_qc import sensitivity
    >>> result = sensitivity(
    ...     assay_path, out=folder / "sensitivity", encoder=["hand-made"], head="knn",
    ...     kinds=["gaussian"], severities=[1.0], cells=8,
    ... )
    >>> result.written[-1].name
    'sensitivity.html'
    """
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.cells.recipe import DEFAULT_RECIPE
    from napari_hcs_qc.study.artefacts.sensitivity import measure_sensitivity
    from napari_hcs_qc.study.artefacts.sensitivity_options import (
        DEFAULT_SEVERITIES,
        SensitivityOptions,
    )
    from napari_hcs_qc.study.artefacts.sensitivity_page import write_sensitivity

    options = SensitivityOptions(
        encoders=_encoders(encoder, None if weights is None else Path(weights)),
        recipe=recipe or DEFAULT_RECIPE,
        head=head,
        kinds=None if kinds is None else tuple(kinds),
        severities=DEFAULT_SEVERITIES if severities is None else tuple(severities),
        seeds=seeds,
        n_cells=cells,
        simulated=tuple(train_on_simulated),
        numerical_aperture=numerical_aperture,
        pixel_size_um=pixel_size,
        device=device,
    )
    folder = AssayFolder.open(Path(assay))
    done = measure_sensitivity(folder, options, Path(out), job=job)
    written = write_sensitivity(done, Path(out))
    return SensitivityResult(sensitivity=done, written=tuple(written))


def _encoders(names: Sequence[str], weights: Path | None) -> tuple[EncoderSpec, ...]:
    from napari_hcs_qc.encoders.registry import DEFAULT_ENCODER
    from napari_hcs_qc.study.benchmark.benchmark_spec import EncoderSpec

    specs = []
    for name in names or [DEFAULT_ENCODER]:
        plain, separator, file = name.partition("=")
        specs.append(EncoderSpec(plain, Path(file) if separator else None))
    if weights is not None:
        without = [spec for spec in specs if spec.weights is None and spec.name != DEFAULT_ENCODER]
        if len(without) != 1:
            raise HcsQcError(
                f"--weights {weights} could belong to {len(without)} of the encoders; with several "
                "encoders use --encoder NAME=FILE.safetensors."
            )
        specs[specs.index(without[0])] = EncoderSpec(without[0].name, weights)
    if len({spec.name for spec in specs}) < len(specs):
        raise HcsQcError("An encoder is given twice; give each once.")
    missing = [spec.weights for spec in specs if spec.weights and not spec.weights.is_file()]
    if missing:
        raise HcsQcError(
            f"The weights file {missing[0]} does not exist; give an existing .safetensors file."
        )
    return tuple(specs)
