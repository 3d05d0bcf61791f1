"""What a benchmark compares, and how it is read from a TOML file."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from napari_hcs_qc.cells.recipe import PRESETS
from napari_hcs_qc.encoders.registry import encoder_names
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.heads.head_names import FINE_TUNED, HEAD_NAMES
from napari_hcs_qc.study.settings import Settings, one_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BASELINE = "hand-made"
"""Name of the row of hand-made features; its only head is `forest`."""

CROP_HEADS = FINE_TUNED
"""Heads that are fitted on crops, not on features."""

MIN_SIZE = 4
"""Fewest annotations that a head is trained on here."""

FILE_GROUP = r"^(.+?)--"
"""Usual regular expression on a crop's file name, whose first group is its plate."""

PAPER_RECIPE = "paper-128px"
PAPER_HEADS = ("linear-paper", "finetune-paper")
"""Heads that are trained as the paper trains its own."""

PAPER_SIZES = (350, 100, 50, 25, 10)
SSL_METHODS = ("simclr", "barlow-twins", "vicreg", "deepclusterv2", "swav")
_PAPER_ENCODERS = ("efficientnet-lite0", "vgg16", "resnet18", "convnext-tiny", *SSL_METHODS)
_KINDS = ("plate", "assay", "folder", "arrays")


def check_group(group: str) -> str:
    """Check the regular expression whose first group is a crop's plate."""
    try:
        n_groups = re.compile(group).groups
    except re.error as error:
        raise ValueError(f"{group!r} is not a valid regular expression: {error}.") from error
    if n_groups < 1:
        raise ValueError(f"{group!r} has no (parentheses) around the part that names the plate.")
    return group


def _beside(path: Path, info: ValidationInfo) -> Path:
    return path if info.context is None else info.context["base"] / path


def _pair(value: Any) -> Any:
    """Take a transfer as TOML has it: a table with train and test."""
    if not isinstance(value, dict):
        return value
    if set(value) != {"train", "test"}:
        raise ValueError(f"is {value!r}, expected train and test, the names of two sources.")
    return value["train"], value["test"]


_LocalPath = Annotated[Path, AfterValidator(_beside)]
"""Relative to the file that the settings are read from."""


class SourceSpec(Settings):
    """Labelled cells."""

    title: ClassVar[str] = "The source of labelled cells"

    name: StrictStr
    """Name in the tables."""
    kind: Literal["plate", "assay", "folder", "arrays"]
    """In the file the name of the setting that holds the path: `plate = "..."`."""
    path: _LocalPath
    """The plate, the assay, the folder of crops or the file of arrays."""
    labels: _LocalPath | None = None
    """CSV of labelled cells, of a plate."""
    abnormal: tuple[StrictStr, ...] = ("abnormal",)
    """Folder names (or array classes) that are abnormal."""
    group: Annotated[StrictStr, AfterValidator(check_group)] = FILE_GROUP
    """Regular expression on a crop's file name, whose first group is its plate."""

    @model_validator(mode="before")
    @classmethod
    def _take_kind(cls, data: Any) -> Any:
        """Take the kind as TOML has it: the name of the setting that holds the path."""
        if not isinstance(data, dict) or "kind" in data:
            return data
        kinds = [kind for kind in _KINDS if kind in data]
        if len(kinds) != 1:
            raise ValueError(f"exactly one of {', '.join(_KINDS)} was expected, with its path.")
        others = {key: value for key, value in data.items() if key not in kinds}
        return {**others, "kind": kinds[0], "path": data[kinds[0]]}

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        if not self.path.exists():
            raise ValueError(f"{self.path} does not exist.")
        if self.kind == "plate" and (self.labels is None or not self.labels.is_file()):
            raise ValueError(f"{self.name} needs a CSV of labels; {self.labels} is not a file.")
        return self


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder by name, with a local file of its weights where one is needed."""

    name: StrictStr
    weights: _LocalPath | None = None


class BenchmarkSpec(Settings):
    """What is compared; settings that are not given are those of the preset."""

    title: ClassVar[str] = "The benchmark"

    preset: Literal["grouped", "paper"] = "grouped"
    """Where the settings that are not given come from."""
    sources: tuple[SourceSpec, ...] = Field(validation_alias="source")
    """Labelled cells; each is split into training and test cells."""
    transfers: tuple[Annotated[tuple[StrictStr, StrictStr], BeforeValidator(_pair)], ...] = Field(
        default=(), validation_alias="transfer"
    )
    """Pairs of sources by name: trained on `train`, tested on `test`."""
    encoders: tuple[EncoderSpec, ...] = Field(
        default=(EncoderSpec("efficientnet-lite0"),), validation_alias="encoder"
    )
    """Encoders by `name`, with a local file of `weights` where one is needed."""
    recipes: tuple[Annotated[str, one_of(tuple(PRESETS))], ...] = ("nucleus",)
    """How crops are cut."""
    heads: tuple[Annotated[str, one_of(HEAD_NAMES)], ...] = ("knn", "linear")
    """Heads that are fitted on the embeddings, or on crops."""
    sizes: tuple[StrictInt, ...] = (0, 100, 50, 25, 10)
    """Numbers of annotations; 0 is all."""
    seeds: tuple[StrictInt, ...] = tuple(range(10))
    """One split each."""
    fine_tuned_seeds: Annotated[StrictInt, Field(ge=0)] = 0
    """Seeds of fine-tuned heads; 0 is as many as of other heads."""
    fine_tuned_matched: StrictBool = False
    """Whether `finetune-paper` is only measured with the recipe `paper-128px`, and `finetune` only
    with all others."""
    protocol: Literal["grouped", "paper"] = "grouped"
    """With `grouped` wells or plates are on one side of a split only; `paper` splits by cell."""
    baseline: StrictBool = True
    """Whether the row of hand-made features is there."""
    plate_directions: StrictBool = True
    """Whether the head `linear` also gets a sample of the plate's unlabelled cells."""

    @model_validator(mode="before")
    @classmethod
    def _take_preset(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("preset") != "paper":
            return data
        values = preset_values("paper")
        usual = values.pop("encoders")
        if isinstance(given := data.get("encoder"), list):
            names = {row.get("name") for row in given if isinstance(row, dict)}
            rest = [encoder for encoder in usual if encoder.name not in names]
            return {**values, **data, "encoder": [*rest, *given]}
        return {"encoders": usual, **values, **data}

    @field_validator("sources")
    @classmethod
    def _check_sources(cls, sources: tuple[SourceSpec, ...]) -> tuple[SourceSpec, ...]:
        names = [source.name for source in sources]
        if not names:
            raise ValueError("no labelled cells are given; give at least one source.")
        if len(set(names)) < len(names):
            raise ValueError(f"names must be unique, but are {', '.join(names)}.")
        return sources

    @field_validator("transfers")
    @classmethod
    def _check_transfers(
        cls, transfers: tuple[tuple[str, str], ...], info: ValidationInfo
    ) -> tuple[tuple[str, str], ...]:
        names = {source.name for source in info.data.get("sources", ())}
        for pair in transfers:
            if names and (missing := [name for name in pair if name not in names]):
                raise ValueError(f"no source is called {', '.join(missing)}.")
            if pair[0] == pair[1]:
                raise ValueError(f"{pair[0]} is used for both training and testing.")
        return transfers

    @field_validator("encoders")
    @classmethod
    def _check_encoders(
        cls, encoders: tuple[EncoderSpec, ...], info: ValidationInfo
    ) -> tuple[EncoderSpec, ...]:
        # The window offers encoders of an assay that are not ready as well, see their reason there.
        problems = [*_encoder_problems(encoders, is_from_file=info.context is not None)]
        if problems:
            raise ValueError("; ".join(problems))
        return encoders

    @field_validator("sizes", "seeds")
    @classmethod
    def _check_numbers(cls, numbers: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        if not numbers:
            raise ValueError("give at least one.")
        if len(set(numbers)) < len(numbers) or min(numbers) < 0:
            raise ValueError(f"{list(numbers)} must be unique and not negative.")
        if info.field_name == "sizes" and any(0 < size < MIN_SIZE for size in numbers):
            raise ValueError(
                f"a head cannot be trained with fewer than {MIN_SIZE} annotations (0 means all)."
            )
        return numbers

    def seeds_of(self, head: str) -> tuple[int, ...]:
        """Give the seeds that a head is measured with."""
        most = self.fine_tuned_seeds if head in CROP_HEADS else 0
        return self.seeds[:most] if most else self.seeds

    def takes(self, head: str, recipe: str) -> bool:
        """Say whether a head is measured on a recipe's crops."""
        if not self.fine_tuned_matched or head not in CROP_HEADS:
            return True
        return (head in PAPER_HEADS) == (recipe == PAPER_RECIPE)


def preset_values(name: str) -> dict[str, Any]:
    """Values of a preset: ``paper`` or ``grouped``."""
    if name == "grouped":
        return {}
    if name == "paper":
        return {
            "encoders": tuple(EncoderSpec(encoder) for encoder in _PAPER_ENCODERS),
            "recipes": (PAPER_RECIPE, "nucleus"),
            "heads": ("knn", "linear-paper", "linear", "finetune-paper", "finetune"),
            "sizes": PAPER_SIZES,
            "seeds": (0, 1, 2, 3, 4),
            # As in the paper, which prints one training each; five are hours on a processor.
            "fine_tuned_seeds": 1,
            "fine_tuned_matched": True,
            "protocol": "paper",
        }
    raise HcsQcError(f"Unknown preset {name!r}; choose paper or grouped.")


def read_spec(path: Path) -> BenchmarkSpec:
    """Read a TOML file; relative paths are relative to it."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HcsQcError(f"{path} cannot be read as TOML: {error}") from error
    return spec_of(data, path.parent, str(path))


def spec_of(data: Mapping[str, Any], base: Path, where: str) -> BenchmarkSpec:
    """Make a spec of plain data, as a TOML file has it."""
    return BenchmarkSpec.read(data, where, base=base)


def _encoder_problems(encoders: tuple[EncoderSpec, ...], *, is_from_file: bool) -> Iterator[str]:
    names = [encoder.name for encoder in encoders]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        yield f"{name}: is given more than once; give each its own name (NAME=WEIGHTS)"
    known = sorted({*encoder_names(), *SSL_METHODS})
    for name, weights in ((encoder.name, encoder.weights) for encoder in encoders):
        if weights is not None and not weights.is_file():
            yield f"{name}: {weights} does not exist"
        elif is_from_file and weights is None and name not in known and ":" not in name:
            yield (
                f"{name}: is unknown and has no weights; choose from {', '.join(known)}, or give a "
                "weights file"
            )
