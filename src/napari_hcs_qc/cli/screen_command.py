"""The verb ``screen``: judge every plate of a screen, and report on all of them."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.cli.outcome_text import shown_path
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Job
from napari_hcs_qc.screen.running import RunOptions, ScreenResult, run_screen
from napari_hcs_qc.screen.screen_plan import ScreenPlan, plan_screen
from napari_hcs_qc.screen.screen_spec import read_screen

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars

SOME_FAILED = 1
"""Exit code when plates have no results."""


def screen(options: argparse.Namespace, bars: Bars) -> tuple[list[str], dict[str, Any], int]:
    """Run a screen; gives lines for a person, the same as plain data, and the exit code."""
    spec = read_screen(options.spec)
    if options.dry_run:
        plan = plan_screen(spec, options.out, job=Job(bars))
        bars.close()
        return *_planned(plan), 0
    result = run_screen(spec, options.out, _run_options(options), job=Job(bars))
    bars.close()
    return *_ran(result), SOME_FAILED if result.gathered.failed else 0


def _run_options(options: argparse.Namespace) -> RunOptions:
    for name in ("cores", "jobs", "threads"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise HcsQcError(f"--{name} is {value}; at least 1 was expected.")
    try:
        more = tuple(shlex.split(options.snakemake))
    except ValueError as error:
        raise HcsQcError(f"--snakemake {options.snakemake!r} cannot be split: {error}.") from error
    return RunOptions(
        cores=options.cores,
        jobs=options.jobs,
        threads=options.threads,
        device=options.device,
        profile=options.profile,
        executor=options.executor,
        more=more,
    )


def _planned(plan: ScreenPlan) -> tuple[list[str], dict[str, Any]]:
    states = Counter(one.standing.state for one in plan.plates)
    lines = [
        f"{len(plan.plates)} plates with model {plan.model.model} of {plan.spec.assay}: "
        f"{states['done']} done, {len(plan.to_do())} to do."
    ]
    data = []
    for one in plan.plates:
        words = {"failed": f"to do again, failed: {one.standing.why}", "done": "done"}
        told = words.get(one.standing.state, f"to do ({one.standing.why})")
        lines.append(f"  {one.plate.name}: {told}")
        if one.trouble:
            lines.append(f"    cannot be opened: {one.trouble}")
        data.append(
            {
                "plate": one.plate.name,
                "path": str(one.plate.path),
                "folder": str(one.folder.path),
                "state": one.standing.state,
                "why": one.standing.why,
                "trouble": one.trouble,
            }
        )
    return lines, {"model": plan.model, "plates": data}


def _ran(result: ScreenResult) -> tuple[list[str], dict[str, Any]]:
    found = result.gathered
    flagged = {name: flags for name, flags in found.flags.items() if flags}
    lines = [f"Failed: {name}: {why}" for name, why in found.failed]
    lines += [
        f"Flagged: {name}: {'; '.join(flag.text for flag in flags)}"
        for name, flags in flagged.items()
    ]
    lines += [
        f"{len(found.flags)} of {len(result.plan.plates)} plates judged ({result.n_done_now} now), "
        f"{len(found.failed)} failed, {len(flagged)} flagged.",
        f"Report: {shown_path(found.report)}",
    ]
    data = {
        "n_plates": len(result.plan.plates),
        "n_done_now": result.n_done_now,
        "failed": [{"plate": name, "why": why} for name, why in found.failed],
        "plates": [
            {
                "plate": figures.name,
                "n_wells": figures.n_wells,
                "n_flagged": figures.n_flagged,
                "n_cells": figures.n_cells,
                "n_abnormal": figures.n_abnormal,
                "flags": [
                    {"code": flag.code, "severity": flag.severity, "text": flag.text}
                    for flag in found.flags[figures.name]
                ],
            }
            for figures in found.figures
        ],
        "report": str(found.report),
        "files": [str(path) for path in found.files],
    }
    return lines, data
