"""The linear model of artefacts that ships, one for each encoder and recipe, and its file pair."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from scipy.special import softmax

from napari_hcs_qc.documents import Document, Part
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import atomic_path, tensor_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.encoder import Encoder

    Floats = NDArray[np.float64]

SHIPPED = Path(__file__).parent / "weights"
"""Folder of the priors in the package."""

_COEF = "coef"
_KINDS, _INTERCEPTS = "kinds", "kind_intercepts"
_SURE = 0.5  # share of the likeliest kind from which it is given
_DEVIATION = 1.3  # about 1 / E|z| of a normal variable, so that the deviations have mean 0


class PriorSource(Part):
    """Images that a prior learned from."""

    name: str
    licence: str
    origin: str
    n_normal: int
    n_abnormal: int


class PriorDocument(Document):
    """The file that describes a prior, beside its weights."""

    remedy: ClassVar[str] = (
        "If it is of a model, train again; else install napari-hcs-qc again, or make it again."
    )

    format: Literal["napari-hcs-qc prior"] = "napari-hcs-qc prior"
    format_version: Literal[1] = 1
    name: str
    encoder: str
    encoder_fingerprint: str  # `Encoder.network_fingerprint`
    recipe: str
    recipe_fingerprint: str  # of the recipe without a diameter
    n_features: int
    artefacts: tuple[str, ...]  # simulated
    kinds: tuple[str, ...] = ()  # that it tells apart; none in those of earlier versions
    sources: tuple[PriorSource, ...]
    seed: int
    made_with: dict[str, str]  # versions
    weights_sha256: str


@dataclass(frozen=True, eq=False)
class KindWeights:
    """A multinomial linear model of the kinds of `PriorDocument.kinds`; its last class is none."""

    coef: Floats  # ``(n_kinds + 1, 2 * n_features)``
    intercepts: Floats  # ``(n_kinds + 1,)``


@dataclass(frozen=True, eq=False)
class LinearPrior:
    """A linear model of what sets abnormal cells apart from the usual ones of their plate."""

    document: PriorDocument  # what it was made from
    coef: Floats  # ``(2 * n_features,)``: of ``z``, then of its absolute value
    of_kinds: KindWeights | None = None

    @property
    def name(self) -> str:
        """Name of its files."""
        return self.document.name

    def score(self, z: Floats) -> Floats:
        """``(n_cells,)`` of cells standardised by their plate, up to a constant of the plate."""
        value: Floats = prior_inputs(z) @ self.coef
        return value

    def kinds(self, z: Floats) -> NDArray[np.object_]:
        """Kinds of standardised cells that are called abnormal; None where it is not known.

        A kind is given where it is likelier than not, all others and normal cells together.
        """
        kinds = np.full(len(z), None, dtype=object)
        if self.of_kinds is None:
            return kinds
        logits = prior_inputs(z) @ self.of_kinds.coef.T + self.of_kinds.intercepts
        shares = softmax(logits, axis=1)
        likeliest = shares.argmax(axis=1)
        is_known = (shares.max(axis=1) >= _SURE) & (likeliest < len(self.document.kinds))
        kinds[is_known] = np.array(self.document.kinds, dtype=object)[likeliest[is_known]]
        return kinds


def prior_inputs(z: Floats) -> Floats:
    """``(n_cells, 2 * n_features)``: what the weights of a `LinearPrior` are fitted to."""
    return np.hstack([z, _DEVIATION * np.abs(z) - 1])


def unsized(recipe: CropRecipe) -> str:
    """Fingerprint of a recipe for nuclei of any size."""
    return replace(recipe, diameter_px=None).fingerprint


def find_prior(
    encoder: Encoder, recipe: CropRecipe, folders: Iterable[Path] = (SHIPPED,)
) -> LinearPrior | None:
    """Find the prior that was made for an encoder and a recipe."""
    wanted = encoder.network_fingerprint, unsized(recipe)
    for folder in folders:
        for path in sorted(folder.glob("*.json")):
            document = PriorDocument.load(path)
            if (document.encoder_fingerprint, document.recipe_fingerprint) == wanted:
                return load_prior(path)
    return None


def save_prior(folder: Path, prior: LinearPrior) -> Path:
    """Write the weights, then the file that describes them."""
    folder.mkdir(exist_ok=True)
    tensors = {_COEF: prior.coef}
    if prior.of_kinds is not None:
        tensors |= {_KINDS: prior.of_kinds.coef, _INTERCEPTS: prior.of_kinds.intercepts}
    data = tensor_bytes({name: values.astype(np.float32) for name, values in tensors.items()})
    path = folder / f"{prior.name}.json"
    with atomic_path(path.with_suffix(".safetensors")) as temporary:
        temporary.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    prior.document.model_copy(update={"weights_sha256": digest}).save(path)
    return path


def load_prior(path: Path) -> LinearPrior:
    """Read a prior by the file that describes it."""
    document = PriorDocument.load(path)
    weights = path.with_suffix(".safetensors")
    try:
        data = weights.read_bytes()
        if hashlib.sha256(data).hexdigest() != document.weights_sha256:
            raise ValueError("it is not the file that was written (its SHA-256 differs)")
        tensors = {name: value.astype(np.float64) for name, value in load_tensors(data).items()}
        n_inputs, n_kinds = 2 * document.n_features, len(document.kinds)
        coef = _shaped(tensors, _COEF, (n_inputs,))
        of_kinds = None
        if n_kinds:
            of_kinds = KindWeights(
                _shaped(tensors, _KINDS, (n_kinds + 1, n_inputs)),
                _shaped(tensors, _INTERCEPTS, (n_kinds + 1,)),
            )
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise HcsQcError(f"{weights} cannot be used: {error}. {document.remedy}") from error
    return LinearPrior(document, coef, of_kinds)


def _shaped(tensors: Mapping[str, Floats], name: str, shape: tuple[int, ...]) -> Floats:
    if tensors[name].shape != shape:
        raise ValueError(f"the shape of {name} is {tensors[name].shape}, not {shape}")
    return tensors[name]
