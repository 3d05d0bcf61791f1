"""``hcs-qc sensitivity``: which simulated artefacts are missed, and how severe ones."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from napari_hcs_qc.cli.arguments import OUT_HELP, add_assay, add_device, names, parameters
from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.cli.outcome_text import shown_path
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Job
from napari_hcs_qc.study.api.comparing import sensitivity
from napari_hcs_qc.study.cli.flags import add_flags
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_assay(parser)
    texts = {
        "out": ("DIR", OUT_HELP),
        "encoder": (
            "E[=FILE]",
            "repeatable; FILE.safetensors: its weights; hand-made: the baseline of image features",
        ),
        "weights": ("FILE", "weights for the encoder (with one --encoder)"),
        "recipe": ("R", "nucleus (default), nucleus-mean, ..."),
        "head": ("H", "linear (default), linear-paper, knn, forest"),
        "kinds": (
            "A,B",
            "gaussian, defocus, saturation, debris, debris-unfocused, fibre, fibre-unfocused, "
            "haze, noise, dead, empty; default: all",
        ),
        "severities": ("S,T", "comma-separated; above 0, at most 1"),
        "seeds": ("N", "number of cross-validation repeats"),
        "cells": ("N", "maximum number of cells to modify"),
        "train_on_simulated": ("A,B", "also train on simulated cells of these kinds, and compare"),
        "numerical_aperture": ("NA", "of the objective"),
        "pixel_size": ("UM", "if the plate has none"),
    }
    read = {"kinds": names, "severities": _numbers, "train_on_simulated": names}
    add_flags(parser, sensitivity, texts, read)
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
    from napari_hcs_qc.study.artefacts.sensitivity_results import curves_of

    result = sensitivity(**parameters(options), job=Job(bars))
    measured = result.sensitivity
    lines = [
        f"Artefacts were added to {count_of(measured.provenance.n_spoiled, 'normal cell')}; "
        "half of them detected from:"
    ]
    for curve in curves_of(measured.results):
        half = "never" if curve.half_at is None else f"severity {curve.half}"
        trained = "" if curve.trained == "real" else " + simulated"
        lines.append(
            f"  {curve.kind:16} {curve.encoder}{trained}: {half} ({curve.untouched.percent} % of "
            "the unmodified)"
        )
    lines.append(f"Page: {shown_path(result.written[-1])}")
    data = {
        "provenance": asdict(measured.provenance),
        "results": [row.plain() for row in measured.results],
        "accuracy": [row.plain() for row in measured.accuracy],
        "written": [str(path) for path in result.written],
    }
    return Outcome(lines, data)


COMMAND = Command(
    "sensitivity", "Measure which simulated artefacts an encoder misses.", _add_arguments, _run
)
