"""The model of a screen, with all that a plate's job needs of the assay it was trained in.

It is copied once, so that jobs on other machines read only the folder of the screen, the assay may
be retrained meanwhile, and its images may be elsewhere.
"""

from __future__ import annotations

import io
import os
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np

from napari_hcs_qc.assay.models.model_in_use import chosen_model
from napari_hcs_qc.assay.models.train_options import model_encoder
from napari_hcs_qc.assay.scoring.plate_shift import ShiftMeter, ShiftReference
from napari_hcs_qc.assay.scoring.prediction import check_encoder
from napari_hcs_qc.assay.store.plate_cells import load_cells
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.assay.store.saved_model import load_model, read_manifest
from napari_hcs_qc.errors import DamagedError, HcsQcError
from napari_hcs_qc.files import atomic_path, explained_writes, read_checked, sha256_of
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.screen.documents import (
    BundleDocument,
    BundleFacts,
    BundleSettings,
    ReferenceRecord,
)

if TYPE_CHECKING:
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.saved_model import Model
    from napari_hcs_qc.plates.plate import Projection

BUNDLE = "bundle.json"
_REFERENCE = "reference.npy"


@dataclass(frozen=True, eq=False, kw_only=True)
class Bundle:
    """A model and what goes with it."""

    folder: Path  # of the model's files
    model: Model  # the model
    # What plates are compared with to tell whether they are unlike the training plates
    reference: ShiftReference
    channels: tuple[str, ...]  # names of the channels that a plate must have, in order
    channel: str  # how cells were found on the training plates
    projection: Projection  # the same
    settings: BundleSettings  # of the assay: threshold and flag rule


def bundle_facts(assay: AssayFolder, model: str | None) -> BundleFacts:
    """Give what decides the content of a bundle; quick."""
    chosen = chosen_model(assay, model)
    first = load_cells(assay.plate_folder(chosen.manifest.plate_names[0]))
    return BundleFacts(
        model=chosen.id,
        files=_checksums(assay.models_folder / chosen.id),
        settings=BundleSettings(
            threshold=assay.threshold,
            flag_rule=assay.flag_rule.to_dict(),
            include_cut=assay.include_cut,
            detector=assay.detector,
        ),
        channel=first.channel,
        projection=first.projection,
    ).marked(str(assay.path.resolve()))


def make_bundle(assay: AssayFolder, facts: BundleFacts, folder: Path, *, job: Job = NO_JOB) -> None:
    """Copy a model into `folder`, with a sample of its training plates' embeddings."""
    if (folder / BUNDLE).is_file():
        return
    model = chosen_model(assay, facts.model)
    encoder = model_encoder(model.manifest, job=job)
    check_encoder(model, encoder)
    state_of = lru_cache(maxsize=None)(lambda name: load_plate(assay, name))
    reference = ShiftMeter(assay, model, encoder, state_of).reference(job)
    copy_model(assay.models_folder / model.id, folder / model.id)
    if _checksums(folder / model.id) != facts.files:
        raise HcsQcError(
            f"Model {model.id} of {assay.path} has changed since the screen was started; run the "
            "same command again."
        )
    with atomic_path(folder / _REFERENCE) as temporary:
        np.save(temporary, reference.rows, allow_pickle=False)
    plate = state_of(model.manifest.plate_names[0]).plate
    BundleDocument(
        facts=facts,
        channels=tuple(channel.name for channel in plate.channels),
        reference=ReferenceRecord(
            wells=tuple(reference.wells.tolist()),
            plates=tuple(reference.plates),
            sha256=sha256_of(folder / _REFERENCE),
        ),
    ).save(folder / BUNDLE)


def load_bundle(folder: Path) -> Bundle:
    """Read what `make_bundle` wrote."""
    document = BundleDocument.load(folder / BUNDLE)
    facts, reference = document.facts, document.reference
    if Path(facts.model).name != facts.model:
        raise _damaged(folder, f"its model is {facts.model!r}, which names no folder in it")
    if _checksums(folder / facts.model) != facts.files:
        raise _damaged(folder, f"the files of model {facts.model} are not those that were copied")
    model = load_model(folder / facts.model)
    content = read_checked(
        folder / _REFERENCE, reference.sha256, "Remove its folder and run the same command again."
    )
    try:
        rows = np.load(io.BytesIO(content), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(folder, str(error)) from error
    shape = (len(reference.wells), model.head.n_features_in_)
    if rows.shape != shape or rows.dtype != np.float32 or not np.isfinite(rows).all():
        raise _damaged(folder, f"{_REFERENCE} is not of {shape} finite numbers")
    return Bundle(
        folder=folder / facts.model,
        model=model,
        reference=ShiftReference(
            rows, np.array(reference.wells, dtype=np.str_), list(reference.plates)
        ),
        channels=document.channels,
        channel=facts.channel,
        projection=facts.projection,
        settings=facts.settings,
    )


def _damaged(folder: Path, why: str) -> DamagedError:
    return DamagedError(f"{folder} is damaged: {why}. Remove it and run the same command again.")


def _checksums(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in _files_of(folder)}


def copy_model(source: Path, target: Path) -> None:
    """Put a model into another place, in place of one that is there; complete or not at all.

    Files are linked where the disk can, so that a fine-tuned encoder is there only once.
    """
    read_manifest(source)  # an error here, when it is none
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
