"""What a sensitivity analysis measures."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from napari_hcs_qc.cells.recipe import DEFAULT_RECIPE, get_recipe
from napari_hcs_qc.documents import accepted_by
from napari_hcs_qc.encoders.registry import DEFAULT_ENCODER
from napari_hcs_qc.heads.head_names import FINE_TUNED
from napari_hcs_qc.heads.head_registry import make_head
from napari_hcs_qc.study.artefacts.artefact_kinds import get_kinds
from napari_hcs_qc.study.benchmark.benchmark_spec import EncoderSpec
from napari_hcs_qc.study.settings import Settings

DEFAULT_SEVERITIES = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0)

_Count = Annotated[int, Field(ge=1)]
_Severity = Annotated[float, Field(gt=0, le=1)]


def _not_fine_tuned(head: str) -> str:
    if head in FINE_TUNED:
        raise ValueError(
            f"the head {head} trains an encoder for each fold, which takes hours here; choose "
            "linear, linear-paper, knn or forest."
        )
    return head


class SensitivityOptions(Settings):
    """What is measured."""

    title: ClassVar[str] = "The sensitivity analysis"

    # Names, with a file of weights where one is needed
    encoders: tuple[EncoderSpec, ...] = Field(default=(EncoderSpec(DEFAULT_ENCODER),), min_length=1)
    recipe: Annotated[str, accepted_by(get_recipe)] = DEFAULT_RECIPE
    head: Annotated[str, accepted_by(make_head), AfterValidator(_not_fine_tuned)] = "linear"
    # Artefacts by name; None takes all
    kinds: Annotated[tuple[str, ...] | None, accepted_by(get_kinds)] = None
    severities: tuple[_Severity, ...] = Field(default=DEFAULT_SEVERITIES, min_length=1)
    seeds: _Count = 1  # divisions into folds, each with artefacts drawn anew
    n_cells: _Count = 300  # normal cells that are changed at most, drawn from all annotated ones
    # Artefacts by name of which simulated cells are trained on as well, to be compared
    simulated: Annotated[tuple[str, ...], accepted_by(lambda names: get_kinds(names or None))] = ()
    # Of an objective in air; see `ArtefactCells`
    numerical_aperture: Annotated[
        float, Field(ge=0.05, lt=1, description="that of an objective in air")
    ] = 0.5
    pixel_size_um: Annotated[float, Field(ge=0.01, le=100)] | None = None
    device: str = "auto"  # ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``
