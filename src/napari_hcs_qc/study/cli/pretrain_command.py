"""The verb ``pretrain``: train an encoder without labels, alone or under ``torchrun``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.assay.models.custom_encoders import compare_encoder, import_encoder
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.cli.outcome_text import shown_path
from napari_hcs_qc.encoders.encoder import choose_device
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Job, duration
from napari_hcs_qc.study.ssl.distributed import join_world
from napari_hcs_qc.study.ssl.pretrain_assay import PretrainOptions, pretrain_encoder
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from napari_hcs_qc.cli.bars import Bars
    from napari_hcs_qc.encoders.custom_encoder import CustomEncoder
    from napari_hcs_qc.study.ssl.training_report import Report


def pretrain(options: argparse.Namespace, bars: Bars) -> tuple[list[str], dict[str, Any]]:
    """Train or import an encoder; gives lines for a person, and the same as plain data."""
    assay = AssayFolder.open(options.assay)
    if options.import_from is not None:
        own = import_encoder(assay, options.import_from, options.name)
        return [f"Encoder {own.name} is now in {shown_path(assay.path)}.", _how_to(assay, own)], {
            "encoder": own.name,
            "folder": str(own.folder),
            "manifest": dict(own.manifest),
        }
    asked = pretrain_options(options)
    told: list[str] = []

    def on_report(report: Report) -> None:
        for warning in report.warnings[len(told) :]:
            told.append(warning)
            bars.note(f"Warning: {warning}")

    with join_world(on_gpu=choose_device(asked.device).type == "cuda") as world:
        own = pretrain_encoder(
            assay,
            asked,
            world=world,
            job=Job(bars),
            on_report=on_report if world.first else None,
        )
    if world.first and not options.no_compare and own.manifest.get("comparison") is None:
        own = compare_encoder(
            assay,
            own.name,
            recipe=asked.recipe,
            rgb=asked.rgb,
            device=asked.device,
            job=Job(bars),
        )
    bars.close()
    return _lines(assay, own), {
        "encoder": own.name,
        "folder": str(own.folder),
        "manifest": dict(own.manifest),
    }


def pretrain_options(options: argparse.Namespace) -> PretrainOptions:
    """Gather what was asked for."""
    changes: dict[str, Any] = {}
    for text in options.set:
        name, separator, value = text.partition("=")
        if not separator:
            raise HcsQcError(f"--set is {text!r}; NAME=VALUE was expected: temperature=0.2.")
        changes[name.strip()] = _value(value.strip())
    for name in ("epochs", "batch_size", "lr"):
        if getattr(options, name) is not None:
            changes[name] = getattr(options, name)
    colours = tuple(name.strip() for name in (options.rgb or "").split(",") if name.strip())
    return PretrainOptions(
        method=options.method,
        preset=options.preset,
        changes=changes,
        name=options.name,
        plates=None if options.plate is None else tuple(options.plate),
        n_cells=options.cells,
        recipe=options.recipe,
        rgb=colours,
        input_px=options.input_px,
        start_from=options.start_from,
        start_weights=options.weights,
        seed=options.seed,
        device=options.device,
        again=options.again,
    )


def _value(text: str) -> Any:
    try:
        return json.loads(text)  # numbers, true, false, null
    except ValueError:
        return text


def _lines(assay: AssayFolder, own: CustomEncoder) -> list[str]:
    told: Mapping[str, Any] = own.manifest
    data, history = told["data"], told["history"]
    lines = [
        f"Encoder {own.name}: {told['method']}, preset {told['preset']}, "
        f"{count_of(data['n_cells'], 'cell')} of {count_of(data['n_sites'], 'site')}, "
        f"{count_of(len(history['epochs']), 'epoch')} in {duration(history['seconds'])} on "
        f"{history['device']}.",
        f"Left out: {count_of(data['n_sites_without_cells'], 'site')} without cells, "
        f"{len(data['unreadable']) + len(data['unreadable_before'])} that cannot be read.",
    ]
    lines.extend(f"  {one}" for one in (*data["unreadable_before"], *data["unreadable"]))
    losses = [epoch["loss"] for epoch in history["epochs"]]
    lines.append(f"Loss {losses[0]:.4g} in the first epoch, {losses[-1]:.4g} in the last.")
    comparison = told.get("comparison")
    if comparison is None:
        lines.append(
            "Not compared with untrained networks: too few annotated cells, or --no-compare."
        )
    else:
        lines.extend(
            f"  {head}: weighted F1 {one['trained']:.3f}, untrained {one['untrained']:.3f} "
            f"(95 % interval {one['interval'][0]:.3f}–{one['interval'][1]:.3f})"
            for head, one in comparison["heads"].items()
        )
    lines.extend(f"Warning: {one}" for one in own.warnings)
    lines.append(_how_to(assay, own))
    return lines


def _how_to(assay: AssayFolder, own: CustomEncoder) -> str:
    return f"Use it: hcs-qc train {shown_path(assay.path)} --encoder {own.name}"
