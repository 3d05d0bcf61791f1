"""What each command does: gather values, call the core, and tell the outcome."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.assay.annotations.annotation import KINDS, check_term
from napari_hcs_qc.assay.models.train_options import TrainOptions
from napari_hcs_qc.assay.scoring.plate_scores import classes_at
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.cells.recipe import DEFAULT_RECIPE, get_recipe
from napari_hcs_qc.cli.outcome_text import figures, novelty_lines, scored_lines, shown_path
from napari_hcs_qc.cli.status_command import status_of
from napari_hcs_qc.cli.window import show_assay, why_no_window
from napari_hcs_qc.encoders.backends.choice import (
    AUTO,
    VARIABLE,
    choose_backend,
    list_backends,
)
from napari_hcs_qc.encoders.encoder import choose_device
from napari_hcs_qc.encoders.registry import list_encoders, load_encoder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Job
from napari_hcs_qc.plates.ome_zarr.convert import convert_plate
from napari_hcs_qc.qc.export.export_tables import ExportOptions
from napari_hcs_qc.study.cli import demo_command
from napari_hcs_qc.study.simulation.synthetic import SyntheticSpec, simulate_plate
from napari_hcs_qc.workflow import export as outputs
from napari_hcs_qc.workflow import steps
from napari_hcs_qc.workflow.training import train

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from napari_hcs_qc.cli.bars import Bars
    from napari_hcs_qc.plates.plate import Projection


@dataclass(frozen=True)
class Outcome:
    """What a command did: lines for a person, and the same as plain data."""

    lines: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    exit_code: int = 0


def new(options: argparse.Namespace, _bars: Bars) -> Outcome:
    """Make an assay."""
    if len(options.plates) > 1 and options.plate_name:
        raise HcsQcError("--plate-name names one plate, and several were given; add them singly.")
    assay, plates = steps.new(
        options.assay,
        [_source(options, path) for path in options.plates],
        platemap=options.platemap,
    )
    lines = [f"Assay {assay.path} with {len(assay.plates)} plate(s)."]
    for plate in plates:
        lines.append(
            f"  {plate.name}: {plate.format}, {len(plate.wells)} wells, {len(plate.sites)} sites, "
            f"channels {', '.join(channel.name for channel in plate.channels)}"
        )
        lines.extend(f"    {problem}" for problem in plate.problems)
    data = {
        "assay": str(assay.path),
        "plates": [
            {
                "name": plate.name,
                "format": plate.format,
                "n_wells": len(plate.wells),
                "n_sites": len(plate.sites),
                "channels": [channel.name for channel in plate.channels],
                "problems": [str(problem) for problem in plate.problems],
            }
            for plate in plates
        ],
    }
    return Outcome(lines, data)


def cells(options: argparse.Namespace, bars: Bars) -> Outcome:
    """Find or import cells."""
    assay = AssayFolder.open(options.assay)
    found = steps.cells(
        assay,
        _cell_options(options),
        None if options.plate is None else [options.plate],
        # A file that is named may have changed since it was last read.
        again=True if options.again or options.cells_source is not None else None,
        job=Job(bars),
    )
    bars.close()
    lines, data = [], {}
    for name, plate in found.items():
        lines.append(
            f"{name}: {len(plate.cells):,} cells from {plate.source} (channel {plate.channel}), "
            f"median diameter {plate.diameter_px:.1f} px, {len(plate.unreadable)} sites unreadable"
        )
        lines.extend(f"  {site}: {reason}" for site, reason in plate.unreadable.items())
        lines.extend(f"  {problem}" for problem in plate.problems)
        data[name] = {
            "n_cells": len(plate.cells),
            "diameter_px": plate.diameter_px,
            "channel": plate.channel,
            "source": plate.source,
            "unreadable": {str(site): reason for site, reason in plate.unreadable.items()},
            "problems": [str(problem) for problem in plate.problems],
        }
    return Outcome(lines, {"plates": data})


def annotate(options: argparse.Namespace, _bars: Bars) -> Outcome:
    """Take in a CSV of annotated cells."""
    assay = AssayFolder.open(options.assay)
    added = steps.annotate(assay, options.labels, options.annotator)
    counts = assay.journal().consensus()["class"].value_counts().to_dict()
    told = ", ".join(f"{count} {word}" for word, count in counts.items())
    return Outcome(
        [f"{added.n_new} annotations taken in, {added.n_known} known before. Now: {told}."],
        {"n_new": added.n_new, "n_known": added.n_known, "classes": counts},
    )


def encoders(options: argparse.Namespace, _bars: Bars) -> Outcome:
    """List the encoders."""
    lines, data = [], []
    backends, chosen = list_backends(), choose_backend(options.backend)
    recipe = get_recipe(DEFAULT_RECIPE)
    measured = [one.name for one in backends if not one.needs]
    if options.backend != AUTO or choose_device("auto").type != "cpu":
        measured = [chosen]
    own = None if options.assay is None else AssayFolder.open(options.assay).encoders_folder
    for info in list_encoders(own):
        speeds: dict[str, float] = {}
        notes = [info.note] if info.note else []
        if options.speed and info.ready:
            for backend in measured:
                encoder = load_encoder(
                    info.name,
                    stages=recipe.stages,
                    pooling=recipe.pooling,
                    weights=info.weights,
                    backend=backend,
                )
                speeds[encoder.backend] = encoder.measure_speed(recipe.input_px)
                notes.extend([encoder.backend_note] if encoder.backend_note else [])
        state = "ready" if info.ready else f"needs {info.needs}"
        lines.append(f"{info.name:20} {info.n_features:5} features  {state}  [{info.licence}]")
        if speeds:
            rates = ", ".join(f"{name} {speed:.0f}" for name, speed in speeds.items())
            lines.append(f"  crops/s at {recipe.input_px} px, recipe {recipe.name}: {rates}")
        lines.extend(f"  {note}" for note in notes)
        data.append(
            {
                **asdict(info),
                "crops_per_s": speeds.get(chosen, next(iter(speeds.values()), None)),
                "crops_per_s_by_backend": speeds,
                "notes": notes,
            }
        )
    lines.append("Any other model: timm:NAME or torchvision:NAME, with --weights FILE.safetensors.")
    told = ", ".join(
        f"{one.name} {one.version}" if one.version else f"{one.name} (not here: {one.needs})"
        for one in backends
    )
    lines.append(f"Backends on the CPU: {told}. In use: {chosen} (--backend, {VARIABLE}).")
    return Outcome(
        lines,
        {
            "encoders": data,
            "backends": [asdict(one) for one in backends],
            "backend_in_use": chosen,
        },
    )


def train_model(options: argparse.Namespace, bars: Bars) -> Outcome:
    """Train a model and tell its cross-validated figures."""
    assay = AssayFolder.open(options.assay)
    model = train(assay, _train_options(options), job=Job(bars)).model
    bars.close()
    counts = ", ".join(f"{n} {word}" for word, n in model.manifest.n_annotated.items())
    lines = [
        f"Model {model.id}: {model.encoder.name}, recipe {model.recipe.name}, head "
        f"{model.manifest.head}, trained on {counts} cells.",
    ]
    if model.manifest.simulated:
        lines.append(
            "Beside them, on as many simulated cells as there are abnormal ones: "
            f"{', '.join(model.manifest.simulated)}."
        )
    left_out = model.manifest.n_unreadable
    if left_out:
        lines.append(
            f"Left out: {left_out} annotated cells of sites that cannot be read, see "
            f"'hcs-qc status {options.assay}'."
        )
    lines.extend(figures(model))
    return Outcome(lines, {"model": model.id, "manifest": model.manifest.plain()})


def pretrain(options: argparse.Namespace, bars: Bars) -> Outcome:
    """Train an encoder without labels, or take one in."""
    from napari_hcs_qc.study.cli.pretrain_command import pretrain as work

    return Outcome(*work(options, bars))


def predict(options: argparse.Namespace, bars: Bars) -> Outcome:
    """Judge plates, adding a new one where its path was given."""
    assay = AssayFolder.open(options.assay)
    names = None
    if options.plate is not None:
        known = {entry.name for entry in assay.plates}
        if options.plate in known:
            names = [options.plate]
        else:
            names = [steps.add_plate(assay, _source(options, Path(options.plate))).name]
    predictions = steps.predict_plates(
        assay, names, model=options.model, device=options.device, job=Job(bars)
    )
    bars.close()
    lines, data = [], []
    for one in predictions:
        scored = one.table["p_abnormal"].notna()
        n_abnormal = int((classes_at(one.table["p_abnormal"], assay.threshold) == "abnormal").sum())
        lines.append(
            f"{one.plate}: {int(scored.sum()):,} of {len(one.table):,} cells judged by model "
            f"{one.model}, {n_abnormal:,} abnormal"
        )
        lines.extend(f"  Warning: {warning}" for warning in one.warnings)
        lines.extend(novelty_lines(one.novelty))
        lines.extend(f"  Not read: {where}: {why}" for where, why in one.unreadable)
        data.append(
            {
                "plate": one.plate,
                "model": one.model,
                "n_cells": len(one.table),
                "n_scored": int(scored.sum()),
                "n_abnormal": n_abnormal,
                "shift": one.shift,
                "novelty": one.novelty,
                "warnings": list(one.warnings),
                "unreadable": [f"{where}: {why}" for where, why in one.unreadable],
            }
        )
    return Outcome(lines, {"plates": data})


def export(options: argparse.Namespace, bars: Bars) -> Outcome:
    """Write the tables."""
    assay = AssayFolder.open(options.assay)
    chosen = _export_options(options)
    exported = outputs.export(
        assay,
        options.out,
        exclude_kinds=chosen.exclude_kinds,
        exclude_unreviewed=chosen.exclude_unreviewed,
        onto=options.onto,
        job=Job(bars),
    )
    bars.close()
    return Outcome(*_exported(exported))


def report(options: argparse.Namespace, bars: Bars) -> Outcome:
    """Write the report."""
    written = outputs.report(
        AssayFolder.open(options.assay),
        options.out,
        exclude_kinds=_kinds(options),
        job=Job(bars),
    )
    bars.close()
    return Outcome([f"Report: {shown_path(written)}"], {"report": str(written)})


def run(options: argparse.Namespace, bars: Bars) -> Outcome:
    """Do all of it."""
    chosen = _export_options(options)
    result = steps.run(
        options.assay,
        _source(options, options.plate),
        options.labels,
        options.out,
        annotator=options.annotator,
        platemap=options.platemap,
        cell_options=_cell_options(options),
        train_options=_train_options(options),
        exclude_kinds=chosen.exclude_kinds,
        exclude_unreviewed=chosen.exclude_unreviewed,
        job=Job(bars),
    )
    bars.close()
    return Outcome(*run_outcome(result))


def run_outcome(result: steps.RunResult) -> tuple[list[str], dict[str, Any]]:
    """Tell what a whole run made."""
    lines, data = _exported(result.exported)
    lines = [
        *scored_lines(result.scored),
        *figures(result.model),
        *lines,
        f"Report: {shown_path(result.report)}",
    ]
    data |= {
        "assay": str(result.assay.path),
        "model": result.model.id,
        "cross_validation": result.model.manifest.plain()["cross_validation"],
        "report": str(result.report),
        "plates": [
            {
                "name": one.state.plate.name,
                "n_cells": len(one.state.cells),
                "n_wells": len(one.scores.wells),
                "flagged": one.scores.wells.loc[
                    one.scores.wells["is_flagged"], ["well", "flag_reason"]
                ].to_dict("records"),
                "unreadable": [str(problem) for problem in one.unreadable],
                "warnings": list(one.warnings),
                "novelty": one.prediction.novelty,
            }
            for one in result.scored
        ],
    }
    return lines, data


def verdict(options: argparse.Namespace, _bars: Bars) -> Outcome:
    """Record a verdict."""
    words = {"look-again": "look again", "clear": None}
    said = words.get(options.verdict, options.verdict)
    action = steps.set_verdict(
        AssayFolder.open(options.assay),
        options.well,
        said,
        reviewer=options.annotator,
        plate=options.plate,
        site=options.site,
        note=options.note,
    )
    where = options.well if options.site is None else f"{options.well} site {options.site}"
    return Outcome([f"{where}: {said or 'verdict taken back'}."], {"action": action})


def status(options: argparse.Namespace, _bars: Bars) -> Outcome:
    """Tell where an assay stands."""
    return Outcome(*status_of(AssayFolder.open(options.assay)))


def relocate(options: argparse.Namespace, _bars: Bars) -> Outcome:
    """Tell an assay where a plate is now."""
    entry, is_same = steps.relocate(
        AssayFolder.open(options.assay),
        options.plate,
        options.source,
        image_root=options.image_root,
    )
    lines = [f"Plate {entry.name} is now at {entry.source}."]
    if not is_same:
        lines.append(
            "Its files are not those that its cells were found on (other sizes or dates); the "
            f"next 'hcs-qc cells {options.assay}' finds them again."
        )
    data = {"plate": entry.name, "source": str(entry.source), "is_same": is_same}
    return Outcome(lines, data)


def remove(options: argparse.Namespace, _bars: Bars) -> Outcome:
    """Take a plate out of an assay."""
    entry = AssayFolder.open(options.assay).remove_plate(options.plate)
    return Outcome(
        [
            f"Plate {entry.name} is no longer in the assay. Its images are untouched; its "
            f"annotations stay in the journal and count again once it is added again."
        ],
        {"plate": entry.name, "source": str(entry.source)},
    )


def convert(options: argparse.Namespace, bars: Bars) -> Outcome:
    """Write a plate as OME-Zarr."""
    plate = _source(options, options.plate).open()
    result = convert_plate(plate, options.out, version=options.ngff, job=Job(bars))
    bars.close()
    unreadable = [str(problem) for problem in result.unreadable]
    lines = [f"Wrote {shown_path(result.path)}", *(f"  Left out: {line}" for line in unreadable)]
    return Outcome(lines, {"path": str(result.path), "unreadable": unreadable})


def simulate(options: argparse.Namespace, bars: Bars) -> Outcome:
    """Make a synthetic plate."""
    height, _, width = options.shape.lower().partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise HcsQcError(f"--shape is {options.shape!r}; height x width was expected: 520x696.")
    spec = SyntheticSpec(
        n_wells=options.wells,
        sites_per_well=options.sites,
        shape_px=(int(height), int(width)),
        clean=options.clean,
        seed=options.seed,
    )
    made = simulate_plate(options.out, spec, job=Job(bars))
    bars.close()
    files = {name: str(getattr(made, name)) for name in ("plate_dir", "labels", "platemap")}
    return Outcome([f"{name}: {path}" for name, path in files.items()], files)


def open_window(options: argparse.Namespace, _bars: Bars) -> Outcome:
    """Open napari on an assay."""
    path = options.assay
    if path is not None:
        AssayFolder.open(path)  # a wrong path is told here, not in a window
    reason = why_no_window()
    if reason:
        raise HcsQcError(reason)
    show_assay(path)
    return Outcome([], {"assay": None if path is None else str(path)})


def run_demo(options: argparse.Namespace, bars: Bars) -> Outcome:
    """Run the main job on the sample plate, and show it in napari."""
    result = demo_command.run(options.out, job=Job(bars))
    bars.close()
    lines, data = run_outcome(result)
    if not options.no_window:
        # Printed before the window opens, which stays until the user closes it.
        shown = demo_command.show(result, lines if not options.json else [])
        return Outcome(shown, data)
    return Outcome(lines, data)


def fetch(options: argparse.Namespace, bars: Bars) -> Outcome:
    """Download a public plate."""
    from napari_hcs_qc.study.cli.fetch_command import fetch as run_fetch

    return Outcome(*run_fetch(options, bars))


def run_benchmark(options: argparse.Namespace, bars: Bars) -> Outcome:
    """Compare encoders and heads on labelled cells."""
    from napari_hcs_qc.study.cli.benchmark_command import benchmark

    return Outcome(*benchmark(options, bars))


def run_sensitivity(options: argparse.Namespace, bars: Bars) -> Outcome:
    """Measure which simulated artefacts are missed."""
    from napari_hcs_qc.study.cli.sensitivity_command import sensitivity

    return Outcome(*sensitivity(options, bars))


def run_screen(options: argparse.Namespace, bars: Bars) -> Outcome:
    """Judge all plates of a screen, and report on them together."""
    from napari_hcs_qc.cli.screen_command import screen

    return Outcome(*screen(options, bars))


COMMANDS: dict[str, Callable[[argparse.Namespace, Bars], Outcome]] = {
    "new": new,
    "cells": cells,
    "annotate": annotate,
    "encoders": encoders,
    "train": train_model,
    "pretrain": pretrain,
    "predict": predict,
    "export": export,
    "report": report,
    "run": run,
    "verdict": verdict,
    "status": status,
    "relocate": relocate,
    "remove": remove,
    "convert": convert,
    "simulate": simulate,
    "fetch": fetch,
    "open": open_window,
    "demo": run_demo,
    "benchmark": run_benchmark,
    "sensitivity": run_sensitivity,
    "screen": run_screen,
}
"""Command name to its function."""


def _source(options: argparse.Namespace, path: Path) -> steps.PlateSource:
    return steps.PlateSource(path, options.pattern, options.image_root, options.plate_name)


def _cell_options(options: argparse.Namespace) -> steps.CellOptions:
    name: str | None = options.channel
    channel = int(name) if name is not None and name.isdigit() else name
    projection: Projection | None = None
    if options.z is not None and options.z.casefold() == "max":
        projection = "max"
    elif options.z is not None:
        if not options.z.isdigit():
            raise HcsQcError(f"--z is {options.z!r}; 'max' or the number of a plane was expected.")
        projection = int(options.z)
    return steps.CellOptions(options.cells_source, channel, projection)


def _train_options(options: argparse.Namespace) -> TrainOptions:
    if options.seeds < 1:
        raise HcsQcError(f"--seeds is {options.seeds}; at least 1 was expected.")
    names = tuple(name.strip() for name in (options.rgb or "").split(",") if name.strip())
    return TrainOptions(
        encoder=options.encoder,
        weights=options.weights,
        recipe=options.recipe,
        rgb=names,
        head=options.head or "linear",
        seed=options.seed,
        n_seeds=options.seeds,
        device=options.device,
        simulated=tuple(
            kind.strip() for kind in (options.simulated or "").split(",") if kind.strip()
        ),
        backend=options.backend,
    )


def _export_options(options: argparse.Namespace) -> ExportOptions:
    return ExportOptions(_kinds(options), options.exclude_unreviewed)


def _kinds(options: argparse.Namespace) -> tuple[str, ...]:
    kinds = tuple(kind.strip() for kind in options.exclude_kinds.split(",") if kind.strip())
    for kind in kinds:
        check_term(kind, "kind", KINDS)
    return kinds


def _exported(exported: outputs.Exported) -> tuple[list[str], dict[str, Any]]:
    folder = exported.files[0].parent
    names = ", ".join(path.name for path in exported.files)
    lines = [f"Tables in {shown_path(folder)}: {names}"]
    data: dict[str, Any] = {"files": [str(path) for path in exported.files]}
    if exported.onto is not None:
        joined = exported.onto
        lines.extend(str(joined).splitlines())
        data["onto"] = {
            "out": str(joined.out),
            "n_profiles": joined.n_profiles,
            "n_matched": joined.n_matched,
        }
    return lines, data
