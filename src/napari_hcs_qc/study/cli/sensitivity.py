"""``hcs-qc sensitivity``: which simulated artefacts are missed, and how severe ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.cli.arguments import OUT_HELP, add_assay, add_device, names, parameters
from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.cli.outcome_text import shown_path
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Job
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_assay(parser)
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help=OUT_HELP)
    parser.add_argument(
        "--encoder",
        metavar="E[=FILE]",
        action="append",
        default=[],
        help="repeatable; FILE.safetensors: its weights; hand-made: the baseline of image features",
    )
    parser.add_argument(
        "--weights", metavar="FILE", type=Path, help="weights for the encoder (with one --encoder)"
    )
    parser.add_argument("--recipe", metavar="R", help="nucleus (default), nucleus-mean, ...")
    parser.add_argument(
        "--head",
        metavar="H",
        default="linear",
        help="linear (default), linear-paper, knn, forest",
    )
    parser.add_argument(
        "--kinds",
        metavar="A,B",
        type=names,
        help="gaussian, defocus, saturation, debris, debris-unfocused, fibre, fibre-unfocused, "
        "haze, noise, dead, empty; default: all",
    )
    parser.add_argument(
        "--severities", metavar="S,T", type=_numbers, help="comma-separated; above 0, at most 1"
    )
    parser.add_argument(
        "--seeds", metavar="N", type=int, default=1, help="number of cross-validation repeats"
    )
    parser.add_argument(
        "--cells", metavar="N", type=int, default=300, help="maximum number of cells to modify"
    )
    parser.add_argument(
        "--train-on-simulated",
        metavar="A,B",
        type=names,
        default=(),
        help="also train on simulated cells of these kinds, and compare",
    )
    parser.add_argument("--numerical-aperture", metavar="NA", type=float, default=0.5)
    parser.add_argument("--pixel-size", metavar="UM", type=float, help="if the plate has none")
    add_device(parser)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in names(text))
    except ValueError:
        raise HcsQcError(
            f"--severities is {text!r}; numbers above 0, at most 1, separated by commas were "
            "expected: 0.1,0.5,1."
        ) from None


def _run(options: argparse.Namespace, bars: Bars) -> Outcome:
    from napari_hcs_qc.study.api.comparing import sensitivity
    from napari_hcs_qc.study.artefacts.sensitivity_page import summary_rows

    result = sensitivity(**parameters(options), job=Job(bars))
    measured = result.sensitivity
    lines = [
        f"Artefacts were added to {count_of(measured.provenance['n_spoiled'], 'normal cell')}; "
        "half of them detected from:"
    ]
    for row in summary_rows(measured.results):
        half = "never" if row["half_at"] is None else f"severity {row['half_at']:.2f}"
        false = f"{100 * row['untouched']['called_abnormal']:.0f} % of the unmodified"
        trained = "" if row["trained"] == "real" else " + simulated"
        lines.append(f"  {row['kind']:16} {row['encoder']}{trained}: {half} ({false})")
    lines.append(f"Page: {shown_path(result.written[-1])}")
    data = {
        "provenance": measured.provenance,
        "results": measured.results,
        "accuracy": measured.accuracy,
        "written": [str(path) for path in result.written],
    }
    return Outcome(lines, data)


COMMAND = Command(
    "sensitivity",
    "Measure which simulated artefacts an encoder misses.",
    _add_arguments,
    _run,
)
