"""``hcs-qc benchmark``: compare encoders and heads, in three tables."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_hcs_qc.cli.arguments import OUT_HELP, names, parameters
from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.cli.outcome_text import shown_path
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Job
from napari_hcs_qc.study.api.comparing import benchmark
from napari_hcs_qc.study.cli.flags import add_flags
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "spec", metavar="SPEC.toml", type=Path, nargs="?", help="instead of the flags below"
    )
    add_flags(parser, benchmark, {"out": ("DIR", OUT_HELP)})
    group = parser.add_argument_group(
        "labelled cells (repeatable; NAME=PATH sets the name; default: last part of the path)"
    )
    files = "one per --plate, then per .npy (columns class,group; default: X.csv for X.npy)"
    texts = {
        "plate": ("PLATE", "images, with --labels"),
        "assay": ("ASSAY", "an assay's annotations"),
        "folder": ("DIR", "crops as <class>/*.png or .tif"),
        "arrays": ("FILE", ".npz with crops, classes, groups; or .npy of crops and a CSV"),
        "labels": ("CSV", files),
        "abnormal": ("A,B", "crop classes that count as abnormal (default: abnormal)"),
        "group": ("REGEX", "first group: the plate name within a crop's file name"),
        "transfer": (
            "A:B",
            "train on A, test on B (default: train on the first, test on the others)",
        ),
    }
    add_flags(group, benchmark, texts, {"abnormal": names})
    group = parser.add_argument_group("rows and columns")
    matched = (
        "measure fine-tuned heads only on the crops they were designed for: finetune-paper on "
        "paper-128px, finetune on all others (default with --preset paper)"
    )
    choices = {
        "preset": ("", "sets all of the below"),
        "protocol": ("", "split by well, or by cell as in the paper"),
        "encoder": (
            "NAME[=WEIGHTS]",
            "or ASSAY/encoders/NAME; in addition to the preset's; repeatable, like the next two",
        ),
        "recipe": ("R", "how crops are cut"),
        "head": ("H", "see 'hcs-qc train --help'"),
        "sizes": ("N,N", "numbers of annotated cells, such as all,50,10"),
        "seeds": ("N", "number of draws"),
        "fine_tuned_seeds": (
            "N",
            "number of draws for fine-tuned heads, which take minutes each; 0: all",
        ),
        "fine_tuned_matched": ("", matched),
        "baseline": ("", "omit the row of hand-made features"),
        "plate_directions": ("", "do not give the head linear a sample of the plate's other cells"),
    }
    add_flags(group, benchmark, choices, {"sizes": _sizes})


def _sizes(text: str) -> tuple[int | Literal["all"], ...]:
    sizes: list[int | Literal["all"]] = []
    for size in names(text):
        if size == "all":
            sizes.append("all")
        elif size.isdecimal():
            sizes.append(int(size))
        else:
            raise HcsQcError(
                f"--sizes contains {size!r}; numbers and 'all' were expected: 350,100,all."
            )
    return tuple(sizes)


def _run(options: argparse.Namespace, bars: Bars) -> Outcome:
    result = benchmark(**parameters(options), job=Job(bars))
    planned = result.benchmark.planned
    counts = Counter(entry.state for entry in planned)
    reasons: dict[str, dict[str, None]] = {}
    for entry in planned:
        if entry.reason:
            reasons.setdefault(entry.group, {})[entry.subject] = None
    lines = [
        f"{count_of(counts['done'], 'table entry', 'table entries')} filled, "
        f"{counts['cannot run']} cannot run" + (":" if reasons else "."),
        *(f"  {group}: {', '.join(subjects)}" for group, subjects in reasons.items()),
        f"Page: {shown_path(result.written[-1])}",
    ]
    data = {"states": dict(counts), "written": [str(path) for path in result.written]}
    return Outcome(lines, data)


COMMAND = Command(
    "benchmark",
    "Compare encoders and heads on labelled cells, in three tables.",
    _add_arguments,
    _run,
)
