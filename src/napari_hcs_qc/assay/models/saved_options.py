"""What an assay is trained with: encoder, recipe and head, as a person chose them."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.assay.models.train_options import TrainOptions
from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder

_SETTING = "train_options"


def chosen_options(assay: AssayFolder) -> TrainOptions:
    """Give what was chosen for an assay, the defaults where nothing was."""
    said = assay.settings.get(_SETTING, {})
    try:
        kept = dict(said)
        known = {field.name for field in fields(TrainOptions)}
        kept = {name: value for name, value in kept.items() if name in known}
        if kept.get("weights") is not None:
            kept["weights"] = Path(kept["weights"])
        for name in ("rgb", "simulated"):
            if name in kept:
                kept[name] = tuple(kept[name])
        return TrainOptions(**kept)
    except (TypeError, ValueError) as error:
        raise HcsQcError(
            f"The options saved with the assay {assay.path} are {said!r}, which is not valid "
            f"({error}); choose encoder, recipe and head again."
        ) from error


def keep_options(assay: AssayFolder, options: TrainOptions) -> None:
    """Remember what was chosen for an assay."""
    data = asdict(options)
    data["weights"] = None if options.weights is None else str(options.weights)
    data |= {"rgb": list(options.rgb), "simulated": list(options.simulated)}
    assay.update_settings(**{_SETTING: data})
