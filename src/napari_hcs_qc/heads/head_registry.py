"""Heads by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.heads.dense import DenseHead
from napari_hcs_qc.heads.forest import ForestHead
from napari_hcs_qc.heads.head_names import FINE_TUNED, HEAD_NAMES
from napari_hcs_qc.heads.knn import KNNHead
from napari_hcs_qc.heads.linear.linear_head import LinearHead
from napari_hcs_qc.heads.paper import PaperLinearHead

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_hcs_qc.heads.linear.plate_directions import PlateDirections

Head: TypeAlias = LinearHead | PaperLinearHead | KNNHead | ForestHead | DenseHead
"""Any fitted or unfitted head: ``fit(X, y, groups=None)``, ``predict_proba``, ``classes_``."""

HEADS: dict[str, type[Head]] = {
    "linear": LinearHead,
    "linear-paper": PaperLinearHead,
    "knn": KNNHead,
    "forest": ForestHead,
    "finetune": DenseHead,
}
"""Head classes by the name in a file; `linear` is the default."""

_MAKERS: dict[str, Callable[[int, PlateDirections | None], Head]] = {
    "linear": lambda seed, plate: LinearHead(plate=plate, random_state=seed),
    "linear-paper": lambda seed, _plate: PaperLinearHead(random_state=seed),
    "knn": lambda _seed, _plate: KNNHead(),
    "forest": lambda seed, _plate: ForestHead(random_state=seed),
    **dict.fromkeys(FINE_TUNED, lambda seed, _plate: DenseHead(random_state=seed)),
}


def make_head(name: str, seed: int = 0, plate: PlateDirections | None = None) -> Head:
    """Make an unfitted head."""
    if name not in _MAKERS:
        raise HcsQcError(f"Unknown head {name!r}; choose one of {', '.join(HEAD_NAMES)}.")
    return _MAKERS[name](seed, plate)


def head_name(head: Head | object) -> str:
    """Name of a head's class in `HEADS`."""
    for name, kind in HEADS.items():
        if type(head) is kind:
            return name
    raise HcsQcError(f"{type(head).__name__} is not a head; expected one of {', '.join(HEADS)}.")
