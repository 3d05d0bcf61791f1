"""The model of a screen, with all that a plate's job needs of the assay it was trained in.

It is copied once, so that jobs on other machines read only the folder of the screen, the assay may
be retrained meanwhile, and its images may be elsewhere.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from napari_hcs_qc.assay.models.model_in_use import chosen_model
from napari_hcs_qc.assay.models.training import trained_with
from napari_hcs_qc.assay.scoring.plate_scores import flag_rule
from napari_hcs_qc.assay.scoring.plate_shift import ShiftMeter, ShiftReference
from napari_hcs_qc.assay.scoring.prediction import check_encoder
from napari_hcs_qc.assay.store.plate_cells import load_cells
from napari_hcs_qc.assay.store.plate_state import load_plate, open_assay_plate
from napari_hcs_qc.assay.store.saved_model import load_model, read_manifest
from napari_hcs_qc.encoders.registry import cached_encoder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import (
    atomic_path,
    explained_writes,
    fingerprint,
    read_json,
    sha256_of,
    write_json,
)
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.assay.store.saved_model import Model

BUNDLE = "bundle.json"


@dataclass(frozen=True, eq=False)
class Bundle:
    """A model and what goes with it."""

    folder: Path  # of the model's files
    model: Model  # the model
    # What plates are compared with to tell whether they are unlike the training plates
    reference: ShiftReference
    channels: tuple[str, ...]  # names of the channels that a plate must have, in order
    channel: str  # how cells were found on the training plates
    projection: Any  # how cells were found on the training plates
    settings: dict[str, Any]  # of the assay: threshold and flag rule


def bundle_facts(assay: AssayFolder, model: str | None) -> dict[str, Any]:
    """Give what decides the content of a bundle, as plain data with its ``mark``; quick."""
    chosen = chosen_model(assay, model)
    folder = assay.models_folder / chosen.id
    first = load_cells(assay.plate_folder(chosen.manifest["training_plates"][0]["name"]))
    facts = {
        "model": chosen.id,
        "files": {
            path.relative_to(folder).as_posix(): sha256_of(path) for path in _files_of(folder)
        },
        "settings": {"threshold": assay.threshold, "flag_rule": flag_rule(assay).to_dict()},
        "channel": first.channel,
        "projection": first.projection,
    }
    return {**facts, "mark": fingerprint(facts), "assay": str(assay.path.resolve())}


def make_bundle(
    assay: AssayFolder,
    facts: dict[str, Any],
    folder: Path,
    *,
    job: Job = NO_JOB,
) -> None:
    """Copy a model into `folder`, with a sample of its training plates' embeddings."""
    if (folder / BUNDLE).is_file():
        return
    model = chosen_model(assay, facts["model"])
    encoder = cached_encoder(**trained_with(model.manifest), job=job)
    check_encoder(model, encoder)
    states: dict[str, PlateState] = {}

    def state_of(name: str) -> PlateState:
        if name not in states:
            states[name] = load_plate(assay, name)
        return states[name]

    reference = ShiftMeter(assay, model, encoder, state_of).reference(job)
    first = model.manifest["training_plates"][0]["name"]
    channels = [channel.name for channel in open_assay_plate(assay, first).channels]
    copy_model(assay.models_folder / model.id, folder / model.id)
    copied = {
        path.relative_to(folder / model.id).as_posix(): sha256_of(path)
        for path in _files_of(folder / model.id)
    }
    if copied != facts["files"]:
        raise HcsQcError(
            f"Model {model.id} of {assay.path} has changed since the screen was started; run the "
            "same command again."
        )
    with atomic_path(folder / "reference.npy") as temporary:
        np.save(temporary, reference.rows, allow_pickle=False)
    write_json(
        folder / BUNDLE,
        {
            **facts,
            "channels": channels,
            "reference": {"wells": reference.wells.tolist(), "plates": reference.plates},
        },
    )


def load_bundle(folder: Path) -> Bundle:
    """Read what `make_bundle` wrote."""
    facts = read_json(folder / BUNDLE)
    try:
        rows = np.load(folder / "reference.npy", allow_pickle=False)
        reference = ShiftReference(
            rows, np.array(facts["reference"]["wells"], dtype=np.str_), facts["reference"]["plates"]
        )
        return Bundle(
            folder / facts["model"],
            load_model(folder / facts["model"]),
            reference,
            tuple(facts["channels"]),
            facts["channel"],
            facts["projection"],
            dict(facts["settings"]),
        )
    except (KeyError, TypeError, OSError, ValueError) as error:
        raise HcsQcError(
            f"{folder} is damaged ({error}); remove it and run the same command again."
        ) from error


def copy_model(source: Path, target: Path) -> None:
    """Put a model into another place, in place of one that is there; complete or not at all.

    Files are linked where the disk can, so that a fine-tuned encoder is there only once.
    """
    read_manifest(source)  # told here, when it is none
    with explained_writes(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{uuid4().hex[:8]}.tmp")
        try:
            for path in _files_of(source):
                copy = temporary / path.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(path, copy)
                except OSError:
                    shutil.copyfile(path, copy)
            if target.exists():
                shutil.rmtree(target)
            temporary.rename(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _files_of(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".") and ".tmp" not in path.name
    )
