"""The file `model.json`: what a model is and where it comes from."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, JsonValue, PlainSerializer, PlainValidator

from napari_hcs_qc.assay.store.figures import KeptFigures
from napari_hcs_qc.cells.recipe import CropRecipe, Pooling, Stages
from napari_hcs_qc.documents import Document, Part
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.old_names import with_new_names


def _as_recipe(value: Any) -> CropRecipe:
    try:
        return value if isinstance(value, CropRecipe) else CropRecipe.from_dict(value)
    except HcsQcError as error:
        raise ValueError(str(error)) from error


Recipe = Annotated[
    CropRecipe,
    PlainValidator(_as_recipe, json_schema_input_type=dict[str, Any]),
    PlainSerializer(CropRecipe.to_dict, return_type=dict[str, Any]),
]


class TrainingCell(NamedTuple):
    """An annotated cell that a model was trained on; positions to 0.01 px."""

    plate: str
    well: str
    site: int
    y_px: float
    x_px: float
    cls: str
    kind: str | None
    chosen: str | None = None  # how it came to be annotated, see `Annotation.chosen`


class TrainingPlate(Part):
    """A plate that a model was trained on."""

    name: str
    fingerprint: str


class EncoderRecord(Part):
    """The encoder of a model, enough to load it again."""

    name: str
    architecture: str
    weights_sha256: str
    stages: Stages
    pooled: tuple[str, ...]
    pooling: Pooling
    n_features: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    input_px: int | None
    interpolation: str
    encode_version: int
    backend: str = "torch"
    backend_version: str = ""
    fingerprint: str
    network_fingerprint: str = ""
    """The same for every backend; empty in models of an earlier version."""
    weights: str | None
    """Weights file; in the manifest seen from the assay where it lies there."""


class FineTuning(Part):
    """How an encoder was fine-tuned."""

    settings: dict[str, JsonValue]
    seed: int
    epochs: int
    losses: tuple[float, ...]
    batch_statistics: bool
    device: str
    cells_at_once: int
    started_from_weights: str | None


class ModelManifest(Document):
    """The file `model.json`, without which a folder is no model."""

    remedy: ClassVar[str] = "Train again."

    format: Literal["napari-hcs-qc model"] = "napari-hcs-qc model"
    format_version: Literal[2] = 2
    created: str
    note: str = ""
    encoder: EncoderRecord
    fine_tuning: FineTuning | None = None
    recipe: Recipe
    head: str
    seed: int
    simulated: tuple[str, ...] = ()
    n_annotated: dict[str, int]
    n_kinds: dict[str, int] = Field(default_factory=dict)
    n_unreadable: int = 0
    n_conflicts: int = 0
    n_cut: int = 0
    """Annotated cells that were left out since the image border cuts them."""
    n_wells: int
    uses_plate_directions: bool = False
    training_plates: tuple[TrainingPlate, ...]
    training_cells: tuple[TrainingCell, ...]
    cross_validation: KeptFigures | None = None
    """None until it was measured."""
    versions: dict[str, str] = Field(default_factory=dict)
    inputs: str = ""
    """Content address of all that the model depends on."""
    has_kinds: bool
    novelty_sha256: str = ""
    """Of the file by which novelty is measured; empty without one, and in earlier versions."""
    no_novelty: str = ""
    """Why novelty cannot be measured; empty when it can, and in models of an earlier version."""

    @classmethod
    def migrate(cls, data: dict[str, Any]) -> dict[str, Any]:
        """0.1.0 had other names, and called the version of the format `model_version`."""
        renamed: dict[str, Any] = with_new_names(data)
        renamed.pop("model_version", None)
        return renamed

    @property
    def plate_names(self) -> tuple[str, ...]:
        """Names of the plates that it was trained on."""
        return tuple(plate.name for plate in self.training_plates)
