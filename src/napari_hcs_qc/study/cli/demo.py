"""``hcs-qc demo``: the whole pipeline on the sample plate, and napari on its outcome."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.cli.outcome_text import run_outcome
from napari_hcs_qc.cli.window import show_assay, why_no_window
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars
    from napari_hcs_qc.workflow.steps import RunResult


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("demo"),
        help="folder for the sample plate, its assay and the results",
    )
    parser.add_argument("--no-window", action="store_true", help="do not open napari")


def run_demo(out: Path, *, job: Job = NO_JOB) -> RunResult:
    """Make the sample plate in `out` and run the pipeline on it; again, only what is missing."""
    from napari_hcs_qc.study.simulation.sample_assay import make_sample_plate
    from napari_hcs_qc.workflow import steps

    sample = make_sample_plate(out, job=job)
    return steps.run(
        out / "assay",
        steps.PlateSource(sample.plate_dir),
        sample.labels,
        out / "results",
        annotator="simulation",
        platemap=sample.platemap,
        job=job,
    )


def _run(options: argparse.Namespace, bars: Bars) -> Outcome:
    result = run_demo(options.out, job=Job(bars))
    outcome = run_outcome(result)
    if options.no_window:
        return outcome
    bars.close()
    lines = [] if options.json else outcome.lines
    reason = why_no_window()
    if reason:
        return Outcome([*lines, reason], outcome.data)
    for line in lines:  # before the window opens, which stays until the user closes it
        print(line, flush=True)
    show_assay(result.assay.path)
    return Outcome([], outcome.data)


COMMAND = Command(
    "demo",
    "Run the whole pipeline on the sample plate and open it in napari.",
    _add_arguments,
    _run,
)
