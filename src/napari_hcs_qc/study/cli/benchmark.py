"""``hcs-qc benchmark``: compare encoders and heads, in three tables."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_hcs_qc.cli.arguments import OUT_HELP, names, parameters
from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.cli.outcome_text import shown_path
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Job
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from napari_hcs_qc.cli.bars import Bars


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "spec", metavar="SPEC.toml", type=Path, nargs="?", help="instead of the flags below"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help=OUT_HELP)
    _add_sources(parser)
    group = parser.add_argument_group("rows and columns")
    group.add_argument("--preset", choices=["grouped", "paper"], help="sets all of the below")
    group.add_argument(
        "--protocol", choices=["grouped", "paper"], help="split by well, or by cell as in the paper"
    )
    group.add_argument(
        "--encoder",
        metavar="NAME[=WEIGHTS]",
        action="append",
        default=[],
        help="or ASSAY/encoders/NAME; in addition to the preset's; repeatable, like the next two",
    )
    group.add_argument(
        "--recipe", metavar="R", action="append", default=[], help="how crops are cut"
    )
    group.add_argument(
        "--head", metavar="H", action="append", default=[], help="see 'hcs-qc train --help'"
    )
    group.add_argument(
        "--sizes",
        metavar="N,N",
        type=_sizes,
        default=(),
        help="numbers of annotated cells, such as all,50,10",
    )
    group.add_argument("--seeds", metavar="N", type=int, help="number of draws")
    group.add_argument(
        "--fine-tuned-seeds",
        metavar="N",
        type=int,
        help="number of draws for fine-tuned heads, which take minutes each; 0: all",
    )
    group.add_argument(
        "--fine-tuned-matched",
        action=argparse.BooleanOptionalAction,
        help="measure fine-tuned heads only on the crops they were designed for: finetune-paper on "
        "paper-128px, finetune on all others (default with --preset paper)",
    )
    group.add_argument(
        "--no-baseline",
        dest="baseline",
        action="store_false",
        help="omit the row of hand-made features",
    )
    group.add_argument(
        "--no-plate-directions",
        dest="plate_directions",
        action="store_false",
        help="do not give the head linear a sample of the plate's other cells",
    )


def _add_sources(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "labelled cells (repeatable; NAME=PATH sets the name; default: last part of the path)"
    )
    for flag, metavar, text in (
        ("--plate", "PLATE", "images, with --labels"),
        ("--assay", "ASSAY", "an assay's annotations"),
        ("--folder", "DIR", "crops as <class>/*.png or .tif"),
        ("--arrays", "FILE", ".npz with crops, classes, groups; or .npy of crops and a CSV"),
    ):
        group.add_argument(flag, metavar=metavar, action="append", default=[], help=text)
    group.add_argument(
        "--labels",
        metavar="CSV",
        type=Path,
        action="append",
        default=[],
        help="one per --plate, then per .npy (columns class,group; default: X.csv for X.npy)",
    )
    group.add_argument(
        "--abnormal",
        metavar="A,B",
        type=names,
        default=(),
        help="crop classes that count as abnormal (default: abnormal)",
    )
    group.add_argument(
        "--group", metavar="REGEX", help="first group: the plate name within a crop's file name"
    )
    group.add_argument(
        "--transfer",
        metavar="A:B",
        action="append",
        default=[],
        help="train on A, test on B (default: train on the first, test on the others)",
    )


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
    from napari_hcs_qc.study.api.comparing import benchmark

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
