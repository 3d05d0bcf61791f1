"""Which of an assay's models scores its plates."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from napari_hcs_qc.assay.store.saved_model import load_model, model_folders
from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.saved_model import Model


def id_in_use(assay: AssayFolder, model: str | None = None) -> tuple[str, str]:
    """Choose a model: the one asked for, else the one a person restored, else the latest.

    With it comes a warning; empty when all is well.
    """
    known = [folder.name for folder in model_folders(assay.models_folder)]
    if not known:
        raise HcsQcError(
            "No cell was classified yet; run: hcs-qc predict "
            f"{quote(str(assay.path))} (it needs no annotations)."
        )
    if model is not None:
        if model not in known:
            raise HcsQcError(
                f"The assay {assay.path} has no model {model!r}; it has {', '.join(known)}."
            )
        return model, ""
    latest = max(known)
    restored = assay.settings.model or latest
    if restored in known:
        return restored, ""
    return latest, f"Model {restored}, which was restored, no longer exists; {latest} is used."


def model_in_use(assay: AssayFolder, model: str | None = None) -> tuple[Model, str]:
    """Load the model of `id_in_use`; with it comes the warning."""
    name, warning = id_in_use(assay, model)
    return load_model(assay.models_folder / name), warning


def chosen_model(assay: AssayFolder, model: str | None = None) -> Model:
    """Load the model of `id_in_use`."""
    return model_in_use(assay, model)[0]
