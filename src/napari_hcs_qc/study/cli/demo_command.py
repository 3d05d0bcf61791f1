"""The demo: the main job on the sample plate, and napari on its outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hcs_qc.cli.window import show_assay, why_no_window
from napari_hcs_qc.files import explained_writes
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.study.simulation.synthetic import sample_spec, simulate_plate
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def run(out: Path, *, job: Job = NO_JOB) -> steps.RunResult:
    """Make the sample plate in `out` and run the main job on it; again, only what is missing."""
    sample = out / "sample"
    spec = sample_spec()
    labels, platemap = sample / "labels.csv", sample / "platemap.csv"
    with explained_writes(out):
        out.mkdir(parents=True, exist_ok=True)
    if not labels.is_file():
        simulate_plate(sample, spec, job=job)
    return steps.run(
        out / "assay",
        steps.PlateSource(sample / spec.name),
        labels,
        out / "results",
        annotator="simulation",
        platemap=platemap,
        job=job,
    )


def show(result: steps.RunResult, lines: Sequence[str]) -> list[str]:
    """Open napari on the judged plate; return what is left to be told.

    Where there is no screen or no napari, that is told instead.
    """
    reason = why_no_window()
    if reason:
        return [*lines, reason]
    for line in lines:
        print(line, flush=True)
    show_assay(result.assay.path)
    return []
