"""Train an encoder on the unlabelled cells of an assay, and keep it among its encoders."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from napari_hcs_qc.assay.models.train_options import TrainOptions, requested_recipe
from napari_hcs_qc.assay.models.training import first_diameter
from napari_hcs_qc.assay.models.versions import versions
from napari_hcs_qc.assay.store.plate_state import chosen_plates, load_plate
from napari_hcs_qc.encoders.custom_encoder import (
    MANIFEST,
    CustomEncoder,
    check_name,
    read_custom_encoder,
    save_custom_encoder,
)
from napari_hcs_qc.encoders.embed.crop_reader import CropSource
from napari_hcs_qc.encoders.encoder import choose_device
from napari_hcs_qc.encoders.registry import encoder_names
from napari_hcs_qc.encoders.trainable import TrainableEncoder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import explained_writes, fingerprint
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.study.ssl.crop_stream import CropStream
from napari_hcs_qc.study.ssl.distributed import World
from napari_hcs_qc.study.ssl.start_weights import start_from
from napari_hcs_qc.study.ssl.train_encoder import Training
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch

    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.study.ssl.pretrain_settings import Pretraining, PretrainOptions
    from napari_hcs_qc.study.ssl.start_weights import Start
    from napari_hcs_qc.study.ssl.train_encoder import OnReport, Pretrained

CHECKPOINT = "pretraining.ckpt"
"""Name of the file in the encoder's folder from which a training that was stopped goes on."""


def pretrain_encoder(
    assay: AssayFolder,
    options: PretrainOptions,
    *,
    world: World | None = None,
    on_report: OnReport | None = None,
    job: Job = NO_JOB,
    is_paused: Callable[[], bool] = lambda: False,
) -> CustomEncoder:
    """Train an encoder on the unlabelled cells of an assay.

    Fields are read whole and their cells cropped on the fly; nothing but the encoder and a
    checkpoint is written. Sites without cells, and those that cannot be read, are left out and
    counted. The same call again goes on where a stop or a kill has left off, to the same weights,
    and gives the encoder when it is there already.
    """
    world = world or World()
    settings = options.settings
    folder = assay.encoders_folder / check_name(options.encoder_name, encoder_names())
    recipe, stream, states = _stream(assay, options, settings.batch_size, world)
    start = start_from(
        options.start_from,
        assay.encoders_folder,
        weights=options.start_weights,
        seed=options.seed,
        job=job,
    )
    device = _device(options.device, world)
    key = _key(settings, options.seed, stream, start, device)
    existing = _existing(folder, key, again=options.again)
    if existing is not None:
        return existing
    lock = _locked(folder) if world.first else None
    try:
        network = TrainableEncoder(options.encoder_name, start.architecture, recipe, device)
        trained = Training(
            stream,
            network,
            settings,
            seed=options.seed,
            checkpoint=folder / CHECKPOINT,
            key=key,
            on_report=on_report,
            job=job,
            is_paused=is_paused,
        ).run()
        if world.first:
            manifest = _manifest(
                options, settings, recipe, stream, states, start, network.n_features, trained
            )
            save_custom_encoder(folder, trained.weights, {**manifest, "key": key})
            (folder / CHECKPOINT).unlink(missing_ok=True)
        world.wait()
    finally:
        if lock is not None:
            lock.release()
    return read_custom_encoder(folder)


def _stream(
    assay: AssayFolder, options: PretrainOptions, batch_size: int, world: World
) -> tuple[CropRecipe, CropStream, list[PlateState]]:
    recipe = requested_recipe(TrainOptions(recipe=options.recipe, rgb=options.rgb))
    # What is trained is the last stage, averaged; the encoder's user may pool others.
    recipe = replace(
        recipe,
        input_px=options.input_px or recipe.input_px,
        stages="last",
        pooling="mean",
    )
    names = chosen_plates(assay, options.plates)
    annotations = assay.journal().annotations()
    states = [load_plate(assay, name, annotations) for name in names]
    recipe = recipe.with_diameter(first_diameter(assay) or states[0].plate_cells.diameter_px)
    sources = [
        CropSource(
            state.plate,
            state.plate_cells.cells,
            state.plate_cells.ranges,
            recipe,
            state.plate_cells.projection,
            1,
        )
        for state in states
    ]
    if options.n_cells is not None and options.n_cells < 2:
        raise HcsQcError(f"{count_of(options.n_cells, 'cell')} requested; at least 2 are needed.")
    stream = CropStream(
        sources,
        batch_size=batch_size,
        n_cells=options.n_cells,
        seed=options.seed,
        world=world,
    )
    return recipe, stream, states


def _device(name: str, world: World) -> torch.device:
    device = choose_device(name)
    if device.type == "cuda" and world.size > 1:
        return choose_device(f"cuda:{world.local_rank}")
    return device


def _key(
    settings: Pretraining, seed: int, stream: CropStream, start: Start, device: torch.device
) -> str:
    return fingerprint(
        {
            "settings": settings.model_dump(),
            "seed": seed,
            "cells": stream.fingerprint,
            "start": start.digest,
            "architecture": str(start.architecture),
            "versions": versions(),
            "device": device.type,
        }
    )


def _existing(folder: Path, key: str, *, again: bool) -> CustomEncoder | None:
    if not (folder / MANIFEST).is_file():
        return None
    existing = read_custom_encoder(folder)
    if existing.manifest.get("key") == key:
        return existing
    if again:
        return None
    raise HcsQcError(
        f"An encoder {folder.name} exists already, trained on other cells or with other settings; "
        "models may need it. Give this one another name (--name), or replace it (--again)."
    )


def _locked(folder: Path) -> FileLock:
    with explained_writes(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=1.0)
        except Timeout as error:
            raise HcsQcError(
                f"The encoder {folder.name} is being trained by another process; wait for it, or "
                "give this one another name (--name)."
            ) from error
    return lock


def _manifest(
    options: PretrainOptions,
    settings: Pretraining,
    recipe: CropRecipe,
    stream: CropStream,
    states: list[PlateState],
    start: Start,
    n_features: int,
    trained: Pretrained,
) -> dict[str, Any]:
    architecture = start.architecture
    plates = ", ".join(state.plate.name for state in states)
    return {
        "family": architecture.family,
        "architecture": architecture.name,
        "mean": list(architecture.mean),
        "std": list(architecture.std),
        "input_px": recipe.input_px,
        "n_features": n_features,
        "origin": f"{settings.method} on {stream.n_cells:,} cells of {plates}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "method": settings.method,
        "preset": settings.preset,
        "settings": settings.model_dump(),
        "seed": options.seed,
        "recipe": recipe.to_dict(),
        "data": {**stream.describe(), **_left_out(states)},
        "started_from": {"what": start.origin, "weights_sha256": start.digest or None},
        "history": asdict(trained.history),
        "warnings": list(trained.warnings),
        "comparison": None,
        "versions": versions(),
    }


def _left_out(states: list[PlateState]) -> dict[str, Any]:
    """Count the sites without a cell, and name those that could not be read before."""
    n_empty = 0
    unreadable: list[str] = []
    for state in states:
        with_cells, unread = set(state.by_site.sites), set(state.plate_cells.unreadable)
        n_empty += sum(site not in with_cells and site not in unread for site in state.plate.sites)
        unreadable.extend(
            f"{state.plate.name} {site}: {reason}"
            for site, reason in state.plate_cells.unreadable.items()
        )
    return {"n_sites_without_cells": n_empty, "unreadable_before": unreadable}
