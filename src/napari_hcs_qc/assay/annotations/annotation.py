"""One annotation, and the terms that people may use."""

from __future__ import annotations

import json
import math
import operator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_hcs_qc.assay.annotations.kinds import checked_kind_name
from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

Seen: TypeAlias = "Mapping[str, str | float | bool]"
"""How a well was flagged when a person decided on it, by name."""

CLASSES = ("normal", "abnormal", "unsure")
VERDICTS = ("keep", "exclude", "look again")
CHOSEN = ("hand", "first", "random", "suggested")
"""How a cell came to be annotated: a person picked it, or it was suggested: as one of the first
before there was a model, at random, or because the model was unsure of it."""

_FAR_PX = 1e7  # beyond any image
_LAST_SITE = 2**31 - 1  # tables of cells hold sites as int32


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """What one person annotated at one position."""

    plate: str
    well: str  # as ``A01``
    site: int
    y_px: float  # position in the image; the same position as another when equal to 0.01 px
    x_px: float
    # ``normal``, ``abnormal``, ``unsure``, or None to remove what was annotated here before
    cls: str | None
    kind: str | None = None  # why abnormal, see `Kind`; None when not given or not abnormal
    note: str | None = None  # free text, such as ``mitosis``
    chosen: str | None = None  # one of `CHOSEN`; None where it was not recorded

    def __post_init__(self) -> None:
        checked_text(self.plate, "plate")
        checked_text(self.well, "well")
        # numpy's numbers become Python's, which is what SQLite can store.
        object.__setattr__(self, "site", checked_site(self.site))
        object.__setattr__(self, "y_px", float(self.y_px))
        object.__setattr__(self, "x_px", float(self.x_px))
        object.__setattr__(self, "note", checked_note(self.note))
        if not (abs(self.y_px) <= _FAR_PX and abs(self.x_px) <= _FAR_PX):  # NaN is not
            raise HcsQcError(
                f"The position of an annotation is y_px={self.y_px}, x_px={self.x_px}; numbers "
                f"within an image were expected."
            )
        check_term(self.cls, "class", CLASSES)
        check_term(self.chosen, "way of choosing", CHOSEN)
        if self.kind is not None:
            checked_kind_name(self.kind)
        if self.kind is not None and self.cls != "abnormal":
            raise HcsQcError(
                f"The kind {self.kind!r} was given with the class {self.cls!r}; a kind says why a "
                f"cell is abnormal. Use a note, or the class abnormal."
            )

    @property
    def place(self) -> tuple[str, str, int, int, int]:
        """What makes two annotations be about the same position: to 0.01 px."""
        return (self.plate, self.well, self.site, round(self.y_px * 100), round(self.x_px * 100))

    @property
    def content(self) -> tuple[str | None, str | None, str | None]:
        """Class, kind and note."""
        return (self.cls, self.kind, self.note)

    @property
    def row(self) -> tuple[str | float | None, ...]:
        """All fields, in the order of the journal's columns."""
        where = (self.plate, self.well, self.site, self.y_px, self.x_px)
        return (*where, *self.content, self.chosen)

    @classmethod
    def of_row(cls, values: Sequence[Any]) -> Annotation:
        """Make an annotation of what `row` gives; the last values may be missing."""
        names = [field.name for field in fields(cls)]
        return cls(**dict(zip(names, values, strict=False)))


def annotations_at(
    plate: str, cells: pd.DataFrame, cls: str | None, kind: str | None = None
) -> tuple[Annotation, ...]:
    """Annotate rows of a table with ``well``, ``site``, ``y_px`` and ``x_px``, at their places."""
    columns = (cells[name] for name in ("well", "site", "y_px", "x_px"))
    return tuple(
        Annotation(plate=plate, well=str(well), site=site, y_px=y, x_px=x, cls=cls, kind=kind)
        for well, site, y, x in zip(*columns, strict=True)
    )


def check_term(value: str | None, what: str, allowed: tuple[str, ...]) -> None:
    """Refuse a word that is not among `allowed`; None is always allowed."""
    if value is not None and value not in allowed:
        raise HcsQcError(f"The {what} {value!r} is not one of {', '.join(allowed)}.")


def checked_site(value: int, what: str = "site") -> int:
    """Return a whole number from 0 as Python's own, which is what SQLite can store."""
    number = operator.index(value)
    if not 0 <= number <= _LAST_SITE:
        raise HcsQcError(f"The {what} is {number}; a number from 0 to {_LAST_SITE} was expected.")
    return number


def checked_text(value: str, what: str) -> str:
    """Return `value` when it is text that can be stored and exported."""
    if not value.strip():
        raise HcsQcError(f"The {what} is {value!r}; a name was expected.")
    is_storable = "\x00" not in value and not any("\ud800" <= mark <= "\udfff" for mark in value)
    if not is_storable:
        raise HcsQcError(f"The {what} {value!r} holds characters that cannot be stored.")
    return value


def checked_person(value: str, what: str = "annotator") -> str:
    """Return the name of a person without surrounding blanks."""
    return checked_text(value, what).strip()


def checked_note(value: str | None) -> str | None:
    """Return a note without surrounding blanks, None when nothing is left."""
    if value is None or not value.strip():
        return None
    return checked_text(value, "note").strip()


def seen_as_text(seen: Seen | None) -> str | None:
    """Write what was seen as JSON, the same for the same; None when there is nothing."""
    if not seen:
        return None
    plain: dict[str, str | float | bool] = {}
    for name, value in seen.items():
        # numpy's values become Python's, which is what JSON can hold.
        given = value.item() if isinstance(value, np.generic) else value
        is_held = isinstance(given, str | int | float) and not (
            isinstance(given, float) and not math.isfinite(given)
        )
        if not is_held:
            raise HcsQcError(
                f"The context of a verdict has {name}={value!r}; a text, a finite number, or true "
                "or false was expected."
            )
        plain[checked_text(name, "name of what was seen")] = given
    return checked_text(json.dumps(plain, sort_keys=True, ensure_ascii=False), "seen")


def seen_from_text(text: str | None) -> dict[str, str | float | bool] | None:
    """Read what `seen_as_text` wrote."""
    if not text:
        return None
    try:
        seen = json.loads(text)
    except ValueError as error:
        raise HcsQcError(f"what was seen, {text!r}, is not JSON: {error}.") from error
    if not isinstance(seen, dict):
        raise HcsQcError(f"what was seen, {text!r}, is not a JSON object.")
    seen_as_text(seen)
    return seen
