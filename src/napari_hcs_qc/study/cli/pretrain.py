"""``hcs-qc pretrain``: train an encoder without labels, alone or under ``torchrun``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.cli.arguments import add_assay, add_device, names, parameters
from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.cli.outcome_text import shown_path
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Job, duration
from napari_hcs_qc.study.api.pretraining import pretrain
from napari_hcs_qc.study.cli.flags import add_flags
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars
    from napari_hcs_qc.encoders.custom_encoder import CustomEncoder
    from napari_hcs_qc.study.ssl.training_state import Report


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_assay(parser)
    group = parser.add_argument_group("training")
    texts = {
        "method": (
            "M",
            "deepclusterv2 (default; with the preset default the only one better than an untrained "
            "network on BBBC022), simclr, barlow-twins, vicreg, swav",
        ),
        "preset": ("", "training settings"),
        "epochs": ("N", "default: the preset's"),
        "batch_size": ("N", "batch size (sum over processes)"),
        "lr": ("X", "maximum learning rate"),
        "seed": ("N", "of all random numbers"),
    }
    add_flags(group, pretrain, texts)
    group.add_argument(
        "--set",
        dest="settings",
        metavar="NAME=VALUE",
        action="append",
        type=_setting,
        default=[],
        help="any other setting, such as temperature=0.2; repeatable",
    )
    add_device(group)
    texts = {
        "plate": ("NAME", "only this plate (repeatable)"),
        "cells": ("N", "size of a random sample; default: all cells"),
        "recipe": ("R", "nucleus (default), nucleus-mean, paper-128px"),
        "rgb": ("R,G,B", "channels of a colour recipe"),
        "input_px": ("N", "size of the training crops"),
    }
    add_flags(parser.add_argument_group("cells"), pretrain, texts, {"rgb": names})
    group = parser.add_argument_group("encoder")
    start = "an encoder (resnet18: ImageNet) or .safetensors file; default: random ResNet18"
    texts = {
        "name": ("NAME", "name of the encoder; default: the method"),
        "start_from": ("E|FILE", start),
        "weights": ("FILE", "local weights for --start-from"),
        "again": ("", "replace the encoder of that name"),
        "compare": (
            "",
            "do not compare it with untrained networks on the annotated cells afterwards",
        ),
    }
    add_flags(group, pretrain, texts)
    group.add_argument(
        "--import",
        dest="import_from",
        metavar="PATH",
        type=Path,
        help="do not train: import an encoder from another assay (ASSAY/encoders/NAME)",
    )


def _setting(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator:
        raise HcsQcError(f"--set is {text!r}; NAME=VALUE was expected: temperature=0.2.")
    try:
        return name.strip(), json.loads(value)  # numbers, true, false, null
    except ValueError:
        return name.strip(), value.strip()


def _run(options: argparse.Namespace, bars: Bars) -> Outcome:
    shown: list[str] = []

    def on_report(report: Report) -> None:
        for warning in report.warnings[len(shown) :]:
            shown.append(warning)
            bars.note(f"Warning: {warning}")

    encoder = pretrain(**parameters(options), on_report=on_report, job=Job(bars))
    assay = shown_path(options.assay)
    if options.import_from is None:
        lines = _lines(encoder)
    else:
        lines = [f"Encoder {encoder.name} is now in {assay}."]
    data = {
        "encoder": encoder.name,
        "folder": str(encoder.folder),
        "manifest": dict(encoder.manifest),
    }
    return Outcome([*lines, f"Use it: hcs-qc train {assay} --encoder {encoder.name}"], data)


def _lines(encoder: CustomEncoder) -> list[str]:
    manifest = encoder.manifest
    data, history = manifest["data"], manifest["history"]
    unreadable = (*data["unreadable_before"], *data["unreadable"])
    losses = [epoch["loss"] for epoch in history["epochs"]]
    lines = [
        f"Encoder {encoder.name}: {manifest['method']}, preset {manifest['preset']}, "
        f"{count_of(data['n_cells'], 'cell')} of {count_of(data['n_sites'], 'site')}, "
        f"{count_of(len(losses), 'epoch')} in {duration(history['seconds'])} on "
        f"{history['device']}.",
        f"Left out: {count_of(data['n_sites_without_cells'], 'site')} without cells, "
        f"{len(unreadable)} that cannot be read.",
        *(f"  {line}" for line in unreadable),
        f"Loss {losses[0]:.4g} in the first epoch, {losses[-1]:.4g} in the last.",
    ]
    comparison = manifest.get("comparison")
    if comparison is None:
        lines.append(
            "Not compared with untrained networks: too few annotated cells, or --no-compare."
        )
    else:
        lines.extend(
            f"  {head}: weighted F1 {scores['trained']:.3f}, untrained {scores['untrained']:.3f} "
            f"(95 % interval {scores['interval'][0]:.3f}–{scores['interval'][1]:.3f})"
            for head, scores in comparison["heads"].items()
        )
    return [*lines, *(f"Warning: {warning}" for warning in encoder.warnings)]


COMMAND = Command(
    "pretrain",
    "Train an encoder on the assay's unlabelled cells (self-supervised); resumable.",
    _add_arguments,
    _run,
)
