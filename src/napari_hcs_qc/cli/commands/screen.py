"""``hcs-qc screen``: score every plate of a screen, and report on all of them."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.cli.arguments import OUT_HELP, add_device, parameters
from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.cli.outcome_text import shown_path
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Job
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars
    from napari_hcs_qc.screen.running import ScreenResult
    from napari_hcs_qc.screen.screen_plan import ScreenPlan

SOME_FAILED = 1
"""Exit code when plates have no results."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "spec", metavar="SCREEN.toml", type=Path, help="plates, and the assay with the model"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help=OUT_HELP)
    parser.add_argument(
        "--dry-run", action="store_true", help="only show what would be done, and why"
    )
    group = parser.add_argument_group("running the jobs (with Snakemake)")
    group.add_argument("--cores", metavar="N", type=int, help="CPU cores to use; default: all")
    group.add_argument(
        "--jobs", metavar="N", type=int, help="maximum number of cluster jobs at once"
    )
    group.add_argument("--threads", metavar="N", type=int, help="threads per job; default: up to 4")
    group.add_argument("--profile", metavar="P", help="folder or name of a Snakemake profile")
    group.add_argument("--executor", metavar="E", help="slurm, or another executor plugin")
    add_device(group)
    group.add_argument(
        "--snakemake",
        metavar="OPTIONS",
        type=_split,
        default=(),
        help="further Snakemake options as one string, for example --snakemake='--retries 2'",
    )


def _split(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise HcsQcError(f"--snakemake {text!r} cannot be split: {error}.") from error


def _run(options: argparse.Namespace, bars: Bars) -> Outcome:
    from napari_hcs_qc.api.functions import screen
    from napari_hcs_qc.screen.screen_plan import ScreenPlan

    result = screen(**parameters(options), job=Job(bars))
    return _planned(result) if isinstance(result, ScreenPlan) else _ran(result)


def _planned(plan: ScreenPlan) -> Outcome:
    states = Counter(planned.standing.state for planned in plan.plates)
    lines = [
        f"{count_of(len(plan.plates), 'plate')} with model {plan.model.model} of "
        f"{plan.spec.assay}: {states['done']} done, {len(plan.to_do())} to do."
    ]
    data = []
    for planned in plan.plates:
        standing = planned.standing
        texts = {"failed": f"to do again, failed: {standing.why}", "done": "done"}
        text = texts.get(standing.state, f"to do ({standing.why})")
        lines.append(f"  {planned.plate.name}: {text}")
        if planned.trouble:
            lines.append(f"    cannot be opened: {planned.trouble}")
        data.append(
            {
                "plate": planned.plate.name,
                "path": str(planned.plate.path),
                "folder": str(planned.folder.path),
                "state": standing.state,
                "why": standing.why,
                "trouble": planned.trouble,
            }
        )
    return Outcome(lines, {"model": plan.model.model_dump(mode="json"), "plates": data})


def _ran(result: ScreenResult) -> Outcome:
    gathered = result.gathered
    flagged = {name: flags for name, flags in gathered.flags.items() if flags}
    lines = [f"Failed: {name}: {why}" for name, why in gathered.failed]
    lines += [
        f"Flagged: {name}: {'; '.join(flag.text for flag in flags)}"
        for name, flags in flagged.items()
    ]
    lines += [
        f"{len(gathered.flags)} of {count_of(len(result.plan.plates), 'plate')} classified "
        f"({result.n_done_now} now), {len(gathered.failed)} failed, {len(flagged)} flagged.",
        f"Report: {shown_path(gathered.report)}",
    ]
    data = {
        "n_plates": len(result.plan.plates),
        "n_done_now": result.n_done_now,
        "failed": [{"plate": name, "why": why} for name, why in gathered.failed],
        "plates": [
            {
                "plate": figures.name,
                "n_wells": figures.n_wells,
                "n_flagged": figures.n_flagged,
                "n_cells": figures.n_cells,
                "n_abnormal": figures.n_abnormal,
                "flags": [
                    {"code": flag.code, "severity": flag.severity, "text": flag.text}
                    for flag in gathered.flags[figures.name]
                ],
            }
            for figures in gathered.figures
        ],
        "report": str(gathered.report),
        "files": [str(path) for path in gathered.files],
    }
    return Outcome(lines, data, SOME_FAILED if gathered.failed else 0)


SCREEN = Command(
    "screen", "Classify every plate of a screen, and report on all of them.", _add_arguments, _run
)
