"""Files of plain data (JSON or TOML) as typed models: checked when read, whole when written."""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from napari_hcs_qc.errors import DamagedError, HcsQcError, Problem, ProblemsError
from napari_hcs_qc.files import checksum_error, load_json, write_json
from napari_hcs_qc.text import count_of, unknown_setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from pydantic_core import ErrorDetails

# What pydantic puts into the place of an error for the branch of a union.
_BRANCH = re.compile(
    r"((constrained-)?(str|int|float|bool|none|date|datetime)|(literal|tuple|list|dict|function)\W.*)"
)
PartT = TypeVar("PartT", bound="Part")

_LONGEST = 80  # characters of a wrong value that are shown


def accepted_by(look_up: Callable[[Any], object]) -> AfterValidator:
    """Check a value by a function that raises `HcsQcError` for a wrong one."""

    def check(value: Any) -> Any:
        try:
            look_up(value)
        except HcsQcError as error:
            raise ValueError(str(error)) from error
        return value

    return AfterValidator(check)


class Part(BaseModel):
    """A part of a document; fields that a later version added are kept when it is written again."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="allow", allow_inf_nan=False, defer_build=True
    )


class DamagedDocument(ProblemsError, DamagedError):
    """A file whose content is not what its model says."""


class Document(Part):
    """One file. A subclass gives `format` and `format_version` as literals with defaults."""

    remedy: ClassVar[str] = "Restore it from a backup."
    """What to do when the file is damaged."""

    format: str
    format_version: int

    @classmethod
    def migrate(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Bring the data of a file without `format_version`, written by 0.1.0, to this form."""
        return data

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a JSON file; all that is wrong with it is reported at once."""
        data, is_whole = load_json(path, remedy=cls.remedy)
        document = cls.parse(data, path)
        if not is_whole:
            raise checksum_error(path, cls.remedy)
        return document

    @classmethod
    def load_if_valid(cls, path: Path) -> Self | None:
        """Read a JSON file; None where there is none, or it is damaged."""
        try:
            return cls.load(path) if path.is_file() else None
        except HcsQcError:
            return None

    @classmethod
    def parse(cls, data: Mapping[str, Any], path: Path) -> Self:
        """Check the data of the file `path`."""
        values = dict(data)
        if "format_version" not in values:
            values = cls.migrate(values)
        known = int(cls.model_fields["format_version"].default)
        version = values.get("format_version", known)
        if isinstance(version, int) and version > known:
            raise HcsQcError(
                f"{path} was made by a newer version of napari-hcs-qc (format version {version}; "
                f"this one reads up to {known}). Upgrade: pip install -U napari-hcs-qc."
            )
        try:
            return cls.model_validate_json(json.dumps(values, default=_as_text))
        except ValidationError as error:
            problems = list(problems_of(error, cls))
            summary = f"{path} is damaged, {count_of(len(problems), 'problem')}. {cls.remedy}"
            raise DamagedDocument(summary.rstrip(), problems) from error

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_json(path, self.plain())

    def plain(self) -> dict[str, Any]:
        """Give plain data for JSON."""
        return self.model_dump(mode="json")


def parse_leniently(model: type[PartT], data: Mapping[str, Any]) -> tuple[PartT, list[Problem]]:
    """Check data; what is wrong is left out, and reported beside what the rest makes.

    So that what people write by hand can be checked further, and all mistakes reported at once.
    All fields of the model have defaults.
    """
    values: Any = json.loads(json.dumps(data, default=_as_text))
    problems: list[Problem] = []
    while True:
        try:
            return model.model_validate_json(json.dumps(values)), problems
        except ValidationError as error:
            problems += problems_of(error, model)
            places = [_place_of(details) for details in error.errors(include_url=False)]
            # From the end, so that what is left keeps its place in its list.
            for place in sorted(places, key=str, reverse=True):
                _drop(values, place)


def _drop(values: Any, place: list[int | str]) -> None:
    *way, last = place
    try:
        for item in way:
            values = values[item]
        del values[last]
    except (LookupError, TypeError):
        return  # gone with what it was in, or with another branch of its union


def _as_text(value: object) -> str:
    """Write what TOML has and JSON has not: dates and times."""
    return str(value.isoformat() if hasattr(value, "isoformat") else value)


def problems_text(error: ValidationError, model: type[Any]) -> str:
    """Write all that pydantic found wrong in one line, for an error that says more."""
    problems = problems_of(error, model)
    return "; ".join(f"{problem.where} {problem.what}".rstrip(".") for problem in problems)


def problems_of(error: ValidationError, model: type[Any]) -> Iterator[Problem]:
    """Give what pydantic found as problems that name field, value and expectation."""
    by_place: dict[str, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        # Of a union every branch reports: they are one problem.
        by_place.setdefault(_named(_place_of(details)), []).append(details)
    for where, alternatives in by_place.items():
        first = alternatives[0]
        place = _place_of(first)
        if first["type"] == "missing":
            yield Problem(where, "is missing.")
        elif first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            known = fields_at(model, place[:-1])
            yield Problem(where, unknown_setting(str(place[-1]), known))
        elif first["type"] in ("value_error", "assertion_error"):
            yield Problem(where, str(first["ctx"]["error"]))
        else:
            expected = " or ".join(
                dict.fromkeys(_expected(alternative["msg"]) for alternative in alternatives)
            )
            field = getattr(model, "model_fields", {}).get(str(place[0])) if place else None
            why = f" ({field.description})" if field is not None and field.description else ""
            yield Problem(where, f"is {_shown(first['input'])}; {expected} was expected{why}.")


def _place_of(details: ErrorDetails) -> list[int | str]:
    return [item for item in details["loc"] if not _BRANCH.fullmatch(str(item))]


def _named(place: list[int | str]) -> str:
    # Counted from 1, as people count the items of a list that they wrote: "source 1 name".
    name = ".".join(f"[{item + 1}]" if isinstance(item, int) else str(item) for item in place)
    return re.sub(r"\.?\[(\d+)\]\.?", r" \1 ", name).strip() or "settings"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _expected(message: str) -> str:
    message = message.replace("a valid tuple", "a list").replace("a valid array", "a list")
    message = message.replace("a valid dictionary", "a table").replace("an object", "a table")
    for prefix in ("Input should be an instance of ", "Input should be "):
        if message.startswith(prefix):
            return message.removeprefix(prefix)
    # "String should match pattern 'x'": the sentence goes on with "was expected".
    if part := re.fullmatch(r"(\w+) should (match|have) (.*)", message, re.DOTALL):
        verb = {"match": "matches", "have": "has"}[part[2]]
        return f"a {part[1].lower()} that {verb} {part[3]}"
    return message[:1].lower() + message[1:]


def fields_at(model: type[Any], place: Iterable[int | str]) -> list[str]:
    """Names in the file of the fields of the part of a model at a place."""
    for item in place:
        if isinstance(item, str):
            parts = list(_models_in(_fields(model).get(item)))
            if not parts:
                return []
            model = parts[0]
    return list(_fields(model))


def _fields(model: type[Any]) -> dict[str, Any]:
    """Give the type of each field by the name that it has in a file."""
    if is_dataclass(model):
        return {field.name: field.type for field in fields(model)}
    return {
        str(field.validation_alias or name): field.annotation
        for name, field in model.model_fields.items()
    }


def _models_in(annotation: object) -> Iterator[type[Any]]:
    if isinstance(annotation, type) and (
        issubclass(annotation, BaseModel) or is_dataclass(annotation)
    ):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
