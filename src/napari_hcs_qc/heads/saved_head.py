"""Heads on disk: a JSON manifest and a safetensors file, nothing that could run code."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from napari_hcs_qc.documents import problems_text
from napari_hcs_qc.errors import DamagedError, HcsQcError
from napari_hcs_qc.files import (
    atomic_path,
    checksum_error,
    explained_writes,
    load_json,
    sha256_of,
    tensor_bytes,
    write_json,
)
from napari_hcs_qc.heads.head_registry import HEADS, head_name
from napari_hcs_qc.heads.kind_head import Examples, KindHead
from napari_hcs_qc.heads.knn import KNNHead
from napari_hcs_qc.heads.linear.linear_head import LinearHead

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.heads.head_registry import Head

FORMAT = "napari-hcs-qc head"
VERSION = 4  # 1 knew no directions of the plate, 2 no examples of kinds, 3 no offset
MANIFEST = "head.json"
_REMEDY = "Train again (hcs-qc train), or restore the folder from a copy."
_EXAMPLE = "example_"  # begins the names of the tensors of the examples of kinds
_EXAMPLE_ARRAYS = ("centre", "scale", "cells")


class _Tensors(BaseModel):
    """The safetensors file of a head, named by its content."""

    file: str
    sha256: str


class _Described(BaseModel):
    """A head without its tensors."""

    name: str
    parameters: dict[str, Any]  # but for the directions of the plate, which are tensors
    classes: list[str]
    n_features: int
    figures: dict[str, Any]


class _Kinds(BaseModel):
    """A kind head without the linear head that it rests on."""

    min_per_kind: int
    random_state: int
    kinds: list[str]
    n_features: int
    example_kinds: list[str] | None = None
    limit: float | None = None  # None where there is none


class HeadManifest(BaseModel):
    """What `MANIFEST` holds."""

    format: str = FORMAT
    version: int = VERSION
    head: _Described | None = None
    kind_head: _Kinds | None = None
    tensors: _Tensors


_ARRAYS: dict[str, tuple[str, ...]] = {
    "linear": (
        "centre_",
        "scale_",
        "directions_",
        "offset_",
        "coef_",
        "deviation_coef_",
        "anchors_",
        "anchor_coef_",
        "intercept_",
    ),
    "linear-paper": ("coef_", "intercept_"),
    "finetune": ("coef_", "intercept_"),
    "knn": ("cells_", "codes_"),
    "forest": ("roots_", "feature_", "threshold_", "left_", "right_", "share_"),
}
_FIGURES: dict[str, tuple[str, ...]] = {
    "linear": ("strength_", "calibration_factor_", "folds_by_", "offset_weight_"),
    "forest": ("depth_",),
}


def save_head(head: Head | KindHead, folder: Path) -> None:
    """Write a fitted head into `folder`: ``head.json`` and one safetensors file.

    The tensors are named by their content and the manifest is renamed into place last, so a
    reader sees the old head or the new one even when the writing process is killed.
    """
    kinds, examples = None, None
    if isinstance(head, KindHead):
        examples = head.examples_
        kinds = _Kinds(
            min_per_kind=head.min_per_kind,
            random_state=head.random_state,
            kinds=list(head.kinds_),
            n_features=head.n_features_in_,
            example_kinds=None if examples is None else examples.kinds.tolist(),
            limit=None if examples is None or np.isinf(examples.limit) else examples.limit,
        )
    inner = head.head_ if isinstance(head, KindHead) else head
    described, arrays = (None, {}) if inner is None else _describe(inner)
    if examples is not None:
        arrays |= {f"{_EXAMPLE}{name}": getattr(examples, name) for name in _EXAMPLE_ARRAYS}
    data = tensor_bytes(arrays)
    digest = hashlib.sha256(data).hexdigest()
    name = f"head-{digest[:16]}.safetensors"
    with atomic_path(folder / name) as temporary:
        temporary.write_bytes(data)
    tensors = _Tensors(file=name, sha256=digest)
    manifest = HeadManifest(head=described, kind_head=kinds, tensors=tensors)
    write_json(folder / MANIFEST, manifest.model_dump(mode="json", exclude_none=True))
    with explained_writes(folder):
        for old in folder.glob("head-*.safetensors"):
            if old.name != name:
                old.unlink()


def load_head(folder: Path) -> Head | KindHead:
    """Read a head written by `save_head`; it predicts exactly as the one saved."""
    path = folder / MANIFEST
    data, is_whole = load_json(path, remedy=_REMEDY)
    head = _head_of(folder, data)
    if not is_whole:
        raise checksum_error(path, _REMEDY)
    return head


def _head_of(folder: Path, data: dict[str, Any]) -> Head | KindHead:
    path = folder / MANIFEST
    if data.get("format") != FORMAT:
        raise HcsQcError(
            f"{path} is not a saved head (format {data.get('format')!r}, expected {FORMAT!r}). "
            f"{_REMEDY}"
        )
    version = data.get("version")
    if not isinstance(version, int) or version < 1:
        raise HcsQcError(f"{path} has the version {version!r}; expected a number from 1. {_REMEDY}")
    if version > VERSION:
        raise HcsQcError(
            f"{path} was made by a newer version of napari-hcs-qc (head version {version}, this "
            f"one reads up to {VERSION}). Update napari-hcs-qc, or train again."
        )
    try:
        manifest = HeadManifest.model_validate(data)
        arrays = _read_tensors(folder, manifest.tensors)
        if version == 1 and "centre_" in arrays:
            arrays["directions_"] = np.empty((0, arrays["centre_"].size))
            arrays["offset_"] = np.empty(0)
        if version < 4 and manifest.head is not None:
            manifest.head.figures.setdefault("offset_weight_", 0.0)
        inner = None if manifest.head is None else _rebuild(manifest.head, arrays)
        if manifest.kind_head is None:
            if inner is None:
                raise ValueError("it names no head")
            return inner
        if inner is not None and not isinstance(inner, LinearHead):
            raise ValueError(f"a kind head rests on a linear head, not {head_name(inner)}")
        return _rebuild_kinds(manifest.kind_head, inner, arrays)
    except (KeyError, TypeError, ValueError, AttributeError, SafetensorError) as error:
        raise DamagedError(
            f"The head in {folder} is damaged: {_reason(error)}. {_REMEDY}"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return problems_text(error, HeadManifest)
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _rebuild_kinds(
    described: _Kinds, inner: LinearHead | None, arrays: dict[str, NDArray[Any]]
) -> KindHead:
    head = KindHead(min_per_kind=described.min_per_kind, random_state=described.random_state)
    head.kinds_ = tuple(described.kinds)
    head.n_features_in_ = described.n_features
    head.head_ = inner
    if described.example_kinds is not None:
        head.examples_ = Examples(
            **{name: arrays[f"{_EXAMPLE}{name}"] for name in _EXAMPLE_ARRAYS},
            kinds=np.array(described.example_kinds, dtype=np.str_),
            limit=np.inf if described.limit is None else described.limit,
        )
    # Shapes that do not fit together show at once, not in the middle of a plate.
    head.predict(np.zeros((1, described.n_features), np.float32))
    return head


def _describe(head: Head) -> tuple[_Described, dict[str, NDArray[Any]]]:
    name = head_name(head)
    if not hasattr(head, "classes_"):
        raise HcsQcError(
            f"The {name} head is not fitted, so there is nothing to save; fit it first."
        )
    described = _Described(
        name=name,
        parameters={key: value for key, value in head.get_params().items() if key != "plate"},
        classes=[str(label) for label in head.classes_],
        n_features=int(head.n_features_in_),
        figures={figure: getattr(head, figure) for figure in _FIGURES.get(name, ())},
    )
    arrays = {array: getattr(head, array) for array in _ARRAYS[name]}
    return described, arrays


def _read_tensors(folder: Path, described: _Tensors) -> dict[str, NDArray[Any]]:
    name = described.file
    if Path(name).name != name:
        raise ValueError(f"the manifest places the tensors at {name!r}, outside the folder")
    path = folder / name
    if not path.is_file():
        raise ValueError(f"{name} is missing")
    if sha256_of(path) != described.sha256:
        raise ValueError(f"{name} is not the file that was saved (its SHA-256 differs)")
    tensors: dict[str, NDArray[Any]] = load_tensors(path.read_bytes())
    return tensors


def _rebuild(described: _Described, arrays: dict[str, NDArray[Any]]) -> Head:
    name = described.name
    if name not in HEADS:
        raise ValueError(f"there is no head {name!r}; expected one of {', '.join(HEADS)}")
    # JSON has no tuples; the parameters that are sequences were tuples.
    parameters = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in described.parameters.items()
    }
    make: Any = HEADS[name]
    head: Head = make(**parameters)
    missing = [array for array in _ARRAYS[name] if array not in arrays]
    if missing:
        raise ValueError(f"the tensors {', '.join(missing)} are missing")
    for array in _ARRAYS[name]:
        setattr(head, array, arrays[array])
    for figure in _FIGURES.get(name, ()):
        setattr(head, figure, described.figures[figure])
    head.classes_ = np.array(described.classes)
    head.n_features_in_ = described.n_features
    if isinstance(head, KNNHead):
        head.remember(arrays["cells_"], arrays["codes_"], head.classes_)
    # Shapes that do not fit together show at once, not in the middle of a plate.
    zeros = np.zeros((1, described.n_features), np.float32)
    if isinstance(head, LinearHead):
        head.decide(zeros)
    else:
        head.predict_proba(zeros)
    return head
