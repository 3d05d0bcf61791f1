"""The file `model.json`: what a model is and where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, JsonValue, PlainSerializer, PlainValidator

from napari_hcs_qc.assay.store.figures import KeptFigures
from napari_hcs_qc.cells.recipe import CropRecipe, Pooling, Stages
from napari_hcs_qc.documents import Document, Part
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.old_names import with_new_names
from napari_hcs_qc.text import count_of, listing


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


FEW_ANNOTATIONS = 50
"""With fewer a model rests on its prior for the most part, and scores are not calibrated."""


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


class PriorRecord(Part):
    """What a model knows without annotations: the prior of each plate, see `heads.prior`."""

    name: str
    weights_sha256: str = ""
    """Of what it learned of artefacts; empty where it is only the distance from usual cells."""


class RuleRecord(Part):
    """What a rule of another program says of the cells, where that is what a model predicts."""

    source: str
    """Table of cells, such as coSMicQC labels it."""
    source_sha256: str
    columns: tuple[str, ...]
    """Of the rules."""
    understood: str = ""
    """Which of its further columns is what."""
    check: str = ""
    """How many of its positions lie on a nucleus."""
    table_sha256: str
    """Of our copy of the positions and rules, in the folder of the model."""


class ModelManifest(Document):
    """The file `model.json`, without which a folder is no model."""

    remedy: ClassVar[str] = (
        "Train again: hcs-qc train ASSAY. The folder of this model can then be deleted."
    )

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
    prior: PriorRecord | None = None
    """None where annotations are all that the model knows."""
    rule: RuleRecord | None = None
    """Where a rule of another program predicts, and not the head."""
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
    def has_curve(self) -> bool:
        """Whether its figures have a learning curve; fine-tuned, it would be dozens of fits."""
        figures = self.cross_validation
        return figures is not None and bool(figures.figures) and self.fine_tuning is None

    @property
    def is_before_annotations(self) -> bool:
        """Whether it judges by its prior alone."""
        return not self.n_annotated

    @property
    def left_out(self) -> str:
        """How many annotated cells it was not trained on, and why, as a sentence; empty if none."""
        reasons = (
            (self.n_cut, "cut by the image border"),
            (self.n_conflicts, "on which annotators disagree"),
            (self.n_unreadable, "of sites that cannot be read"),
        )
        texts = [f"{count_of(n, 'annotated cell')} {why}" for n, why in reasons if n]
        return f"Left out of training: {listing(texts)}." if texts else ""

    @property
    def origin(self) -> str:
        """What the model's calls rest on, as a sentence; empty where that is mostly annotations."""
        if self.rule is not None:
            return (
                f"Cells are classified by {listing(self.rule.columns)} of "
                f"{Path(self.rule.source).name}, not by their images; cells that are not in this "
                "table are not classified."
            )
        if self.prior is None:
            return ""
        general = (
            f"the prior {self.prior.name}, a model of simulated artefacts and of images that "
            "experts classified"
            if self.prior.weights_sha256
            else "their distance from the usual cells of their plate"
        )
        if self.is_before_annotations:
            no_kinds = "" if self.prior.weights_sha256 else " No kinds are predicted."
            return (
                f"Before any annotation: cells are classified by {general}. Artefacts of another "
                "kind are missed, and rare but healthy cells may be called abnormal; annotate some "
                f"cells and train.{no_kinds}"
            )
        n_annotated = sum(self.n_annotated.values())
        if n_annotated >= FEW_ANNOTATIONS:
            return ""
        return (
            f"Few annotations ({n_annotated}): cells are classified by {general}, and by the "
            "annotations."
        )

    @property
    def plate_names(self) -> tuple[str, ...]:
        """Names of the plates that it was trained on."""
        return tuple(plate.name for plate in self.training_plates)
