"""What a benchmark compares, and how it is read from a TOML file."""

from __future__ import annotations

import re
import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_hcs_qc.cells.recipe import PRESETS
from napari_hcs_qc.encoders.registry import encoder_names
from napari_hcs_qc.errors import HcsQcError, Problem, ProblemsError
from napari_hcs_qc.heads.head_registry import FINE_TUNED, HEAD_NAMES
from napari_hcs_qc.text import count_of, unknown_setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

BASELINE = "hand-made"
"""Name of the row of hand-made features; its only head is `forest`."""

CROP_HEADS = FINE_TUNED
"""Heads that are fitted on crops, not on features."""

MIN_SIZE = 4
"""Fewest annotations that a head is trained on here."""

PAPER_RECIPE = "paper-128px"
PAPER_HEADS = ("linear-paper", "finetune-paper")
"""Heads that are trained as the paper trains its own."""

PAPER_SIZES = (350, 100, 50, 25, 10)
SSL_METHODS = ("simclr", "barlow-twins", "vicreg", "deepclusterv2", "swav")
_PAPER_ENCODERS = ("efficientnet-lite0", "vgg16", "resnet18", "convnext-tiny", *SSL_METHODS)
_HEADS = HEAD_NAMES
_KINDS = ("plate", "assay", "folder", "arrays")


@dataclass(frozen=True)
class SourceSpec:
    """Labelled cells."""

    name: str  # how the tables call it
    kind: Literal["plate", "assay", "folder", "arrays"]
    path: Path  # the plate, the assay, the folder or the file
    labels: Path | None = None  # CSV of labelled cells, of a plate
    abnormal: tuple[str, ...] = ("abnormal",)  # folder names (or array classes) that are abnormal
    group: str = r"^(.+?)--"  # regular expression on the file name


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder by name, with a local file of its weights where one is needed."""

    name: str
    weights: Path | None = None


@dataclass(frozen=True)
class BenchmarkSpec:
    """What is compared."""

    sources: tuple[SourceSpec, ...]  # labelled cells; each is split into training and test cells
    # Pairs of source names: trained on the first, tested on the second
    transfers: tuple[tuple[str, str], ...] = ()
    encoders: tuple[EncoderSpec, ...] = (EncoderSpec("efficientnet-lite0"),)  # rows of the tables
    recipes: tuple[str, ...] = ("nucleus",)  # rows of the tables
    heads: tuple[str, ...] = ("knn", "linear")  # rows of the tables
    sizes: tuple[int, ...] = (0, 100, 50, 25, 10)  # numbers of annotations
    seeds: tuple[int, ...] = field(default=tuple(range(10)))  # one split each
    fine_tuned_seeds: int = 0
    fine_tuned_matched: bool = False
    # ``grouped``: wells or plates are on one side only
    protocol: Literal["grouped", "paper"] = "grouped"
    baseline: bool = True  # whether the row of hand-made features is there
    plate_directions: bool = True

    def __post_init__(self) -> None:
        problems = list(_problems_of(self))
        if problems:
            raise ProblemsError(f"The benchmark has {count_of(len(problems), 'problem')}", problems)

    def seeds_of(self, head: str) -> tuple[int, ...]:
        """Give the seeds that a head is measured with."""
        most = self.fine_tuned_seeds if head in CROP_HEADS else 0
        return self.seeds[:most] if most else self.seeds

    def takes(self, head: str, recipe: str) -> bool:
        """Say whether a head is measured on a recipe's crops."""
        if not self.fine_tuned_matched or head not in CROP_HEADS:
            return True
        return (head in PAPER_HEADS) == (recipe == PAPER_RECIPE)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            key: [str(one) if isinstance(one, Path) else one for one in value]
            if isinstance(value, tuple)
            else value
            for key, value in asdict(self).items()
        }


def preset_values(name: str) -> dict[str, Any]:
    """Values of a preset: ``paper`` or ``grouped``."""
    if name == "grouped":
        return {}
    if name == "paper":
        return {
            "encoders": tuple(EncoderSpec(one) for one in _PAPER_ENCODERS),
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
    problems: list[Problem] = []
    values = _values(data, base, problems)
    problems.extend(_unknown_encoders(values.get("encoders", ())))
    if not problems:
        try:
            return BenchmarkSpec(**values)
        except ProblemsError as error:
            problems.extend(error.problems)
    raise ProblemsError(f"{where}: {count_of(len(problems), 'problem')}", problems)


def _values(data: Mapping[str, Any], base: Path, problems: list[Problem]) -> dict[str, Any]:
    known = {"preset", "source", "transfer", "encoder", "recipes", "heads", "sizes", "seeds"}
    singles = {"protocol": str, "baseline": bool, "plate_directions": bool}
    singles |= {"fine_tuned_seeds": int, "fine_tuned_matched": bool}
    known |= set(singles)
    problems.extend(Problem(key, unknown_setting(key, known)) for key in data if key not in known)
    values: dict[str, Any] = {}
    try:
        values |= preset_values(str(data.get("preset", "grouped")))
    except HcsQcError as error:
        problems.append(Problem("preset", str(error)))
    values["sources"] = tuple(
        one for one in _each(data, "source", problems, lambda row: _source(row, base)) if one
    )
    values["transfers"] = _each(data, "transfer", problems, _transfer)
    if "encoder" in data:
        given = _each(data, "encoder", problems, lambda row: _encoder(row, base))
        names = {one.name for one in given}
        kept = [one for one in values.get("encoders", ()) if one.name not in names]
        values["encoders"] = (*kept, *given)
    for key, kind in (("recipes", str), ("heads", str), ("sizes", int), ("seeds", int)):
        if key in data:
            found = data[key]
            if not isinstance(found, list) or any(type(one) is not kind for one in found):
                problems.append(
                    Problem(key, f"is {found!r}; a list of {kind.__name__} was expected.")
                )
            else:
                values[key] = tuple(found)
    for key, single in singles.items():
        if key in data:
            if type(data[key]) is not single:
                problems.append(Problem(key, f"is {data[key]!r}; expected {single.__name__}."))
            values[key] = data[key]
    return values


def _each(
    data: Mapping[str, Any], key: str, problems: list[Problem], read: Callable[[Any], Any]
) -> tuple[Any, ...]:
    rows = data.get(key, [])
    if not isinstance(rows, list):
        problems.append(Problem(key, f"must be a list of tables, [[{key}]]."))
        return ()
    found = []
    for number, row in enumerate(rows, start=1):
        try:
            found.append(read(row))
        except (TypeError, KeyError, AttributeError, HcsQcError) as error:
            problems.append(Problem(f"{key} {number}", f"{row!r} is not understood: {error}"))
    return tuple(found)


def _source(row: Mapping[str, Any], base: Path) -> SourceSpec:
    kinds = [kind for kind in _KINDS if kind in row]
    unknown = set(row) - {*_KINDS, "name", "labels", "abnormal", "group"}
    if len(kinds) != 1 or unknown:
        raise HcsQcError(
            f"exactly one of {', '.join(_KINDS)} is needed, with name, labels, abnormal, group"
            + (f"; {', '.join(sorted(unknown))} is unknown" if unknown else "")
        )
    options: dict[str, Any] = {}
    if "labels" in row:
        options["labels"] = base / row["labels"]
    if "abnormal" in row:
        if not isinstance(row["abnormal"], list):
            raise HcsQcError("abnormal must be a list of class names")
        options["abnormal"] = tuple(str(one) for one in row["abnormal"])
    if "group" in row:
        options["group"] = str(row["group"])
    return SourceSpec(str(row["name"]), kinds[0], base / row[kinds[0]], **options)  # type: ignore[arg-type]


def _transfer(row: Mapping[str, Any]) -> tuple[str, str]:
    return str(row["train"]), str(row["test"])


def _encoder(row: Mapping[str, Any], base: Path) -> EncoderSpec:
    weights = row.get("weights")
    return EncoderSpec(str(row["name"]), None if weights is None else base / weights)


def _encoder_problems(spec: BenchmarkSpec) -> Iterator[Problem]:
    names = [one.name for one in spec.encoders]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        yield Problem(
            f"encoder {name}",
            "is given more than once; give each its own name (NAME=WEIGHTS).",
        )


def _unknown_encoders(given: Iterable[EncoderSpec]) -> Iterator[Problem]:
    known = {*encoder_names(), *SSL_METHODS}
    for one in given:
        if one.weights is None and one.name not in known and ":" not in one.name:
            yield Problem(
                f"encoder {one.name}",
                f"is unknown and has no weights; choose from {', '.join(sorted(known))}, or give a "
                "weights file.",
            )


def _problems_of(spec: BenchmarkSpec) -> list[Problem]:
    found: list[Problem] = []
    names = [one.name for one in spec.sources]
    if not names:
        found.append(Problem("source", "no labelled cells are given; give at least one source."))
    if len(set(names)) < len(names):
        found.append(Problem("source", f"names must be unique, but are {', '.join(names)}."))
    for source in spec.sources:
        where = f"source {source.name}"
        if not source.path.exists():
            found.append(Problem(where, f"{source.path} does not exist."))
        if source.kind == "plate" and (source.labels is None or not source.labels.is_file()):
            found.append(Problem(where, f"needs a CSV of labels; {source.labels} is not a file."))
        try:
            if re.compile(source.group).groups < 1:
                found.append(Problem(where, f"group {source.group!r} has no (parentheses)."))
        except re.error as error:
            found.append(
                Problem(where, f"group {source.group!r} is not a valid regular expression: {error}")
            )
    for pair in spec.transfers:
        missing = [name for name in pair if name not in names]
        if missing:
            found.append(Problem("transfer", f"no source is called {', '.join(missing)}."))
        elif pair[0] == pair[1]:
            found.append(Problem("transfer", f"{pair[0]} is used for both training and testing."))
    for what, given, known in (
        ("recipes", spec.recipes, tuple(PRESETS)),
        ("heads", spec.heads, _HEADS),
        ("protocol", (spec.protocol,), ("grouped", "paper")),
    ):
        found.extend(
            Problem(what, f"unknown: {one!r}; choose from {', '.join(known)}.")
            for one in given
            if one not in known
        )
    if not spec.seeds:
        found.append(Problem("seeds", "give at least one."))
    for what, numbers in (("seeds", spec.seeds), ("sizes", spec.sizes)):
        if len(set(numbers)) < len(numbers) or any(one < 0 for one in numbers):
            found.append(Problem(what, f"{list(numbers)} must be unique and not negative."))
    if spec.fine_tuned_seeds < 0:
        found.append(
            Problem("fine_tuned_seeds", f"is {spec.fine_tuned_seeds}, expected 0 (all) or more.")
        )
    if any(0 < size < MIN_SIZE for size in spec.sizes):
        found.append(
            Problem(
                "sizes",
                f"a head cannot be trained with fewer than {MIN_SIZE} annotations (0 means all).",
            )
        )
    if not spec.sizes:
        found.append(Problem("sizes", "give at least one."))
    found.extend(_encoder_problems(spec))
    found.extend(
        Problem(f"encoder {one.name}", f"{one.weights} does not exist.")
        for one in spec.encoders
        if one.weights is not None and not one.weights.is_file()
    )
    return found
