"""Kinds of abnormal cells: those that every assay has, and those that people add to theirs."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from napari_hcs_qc.documents import Part, accepted_by
from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_NAME = re.compile(r"[^\W\d_]([\w -]{0,28}\w)?")
_COLOUR = re.compile(r"#[0-9a-f]{6}")
# Classes, what files write for mitosis and for no kind, and what tables read as a missing value.
_OTHER_MEANING = frozenset(
    ["normal", "abnormal", "unsure", "mitosis", "unknown", "none", "null", "nan", "na"]
)
TAKEN_KEYS = {
    "N": "normal",
    "A": "abnormal",
    "U": "unsure",
    "K": "keep, in the Review panel",
    "X": "exclude, in the Review panel",
    "L": "look again, in the Review panel",
    "S": "exclude site, in the Review panel",
    "I": "raw image",
    "V": "napari, to show and hide layers",
}
"""Keys that no kind can have, and what they do."""

# First those without a meaning in napari; the others have one on layers that are not ours.
_KEYS = "1234567890GHJQWBCDEFMOPRTYZ"


def checked_kind_name(name: str) -> str:
    """Return the name of a kind when it can be one; the assay need not have it."""
    if name in _OTHER_MEANING:
        raise HcsQcError(
            f"A kind cannot be called {name!r}, which has a meaning already; choose another name."
        )
    if not _NAME.fullmatch(name) or name != name.casefold():
        raise HcsQcError(
            f"The kind {name!r} has no valid name: 1 to 30 lower-case letters, digits, blanks, - "
            "and _ were expected, beginning with a letter."
        )
    return name


class Kind(Part):
    """Why a cell is abnormal: a name, the colour of its cells, and its key in the window.

    Parameters
    ----------
    name
        Lower-case letters, digits, blanks, ``-`` and ``_``; at most 30.
    colour
        As ``#rrggbb``.
    key
        A digit or a capital letter; None has no key but its button.
    """

    name: Annotated[str, accepted_by(checked_kind_name)]
    colour: Annotated[str, Field(pattern=f"^{_COLOUR.pattern}$")]
    key: Annotated[str, Field(pattern="^[0-9A-Z]$")] | None = None


# Not validated: that builds pydantic's checks, which takes longer than all else of this import.
BUILT_IN_KINDS = (
    Kind.model_construct(name="blur", colour="#a04020", key="1"),
    Kind.model_construct(name="saturation", colour="#f0e442", key="2"),
    Kind.model_construct(name="debris", colour="#009e73", key="3"),
    Kind.model_construct(name="dead", colour="#d55e00", key="4"),
    Kind.model_construct(name="haze", colour="#cc79a7", key="5"),
    Kind.model_construct(name="empty", colour="#606060", key="6"),
    Kind.model_construct(name="noise", colour="#b4eeb4", key="7"),
    Kind.model_construct(name="other", colour="#e69f00", key="8"),
)
"""Kinds of every assay. Hues of Okabe & Ito, but for their blue, which looks like that of normal;
`other` has that of abnormal, and the three for which they have no hue are apart from the rest."""


def listed_kinds(names: Iterable[str], kinds: Sequence[Kind]) -> tuple[str, ...]:
    """Refuse kinds that an assay does not have."""
    chosen = (names,) if isinstance(names, str) else tuple(names)
    for name in chosen:
        if all(kind.name != name for kind in kinds):
            raise HcsQcError(unlisted_text(name, kinds))
    return chosen


def unlisted_text(name: str, kinds: Sequence[Kind]) -> str:
    """Say that an assay does not have a kind, and how it is added."""
    names = [kind.name for kind in kinds]
    near = get_close_matches(name.casefold(), names, 1)
    meant = f" Did you mean {near[0]}?" if near else ""
    return (
        f"The kind {name!r} is not one of {', '.join(names)}.{meant} To add it: "
        f'hcs-qc annotate ASSAY --add-kind "{name}", or + in the Annotate panel.'
    )


def check_distinct(kinds: Sequence[Kind]) -> None:
    """Refuse a name or key that two kinds have, and keys with another meaning."""
    for number, kind in enumerate(kinds):
        before = kinds[:number]
        if any(kind.name == other.name for other in before):
            raise HcsQcError(f"There is a kind {kind.name!r} already; choose another name.")
        used = {**TAKEN_KEYS, **{other.key: other.name for other in before if other.key}}
        if kind.key in used:
            raise HcsQcError(
                f"The key {kind.key} of the kind {kind.name!r} is taken by {used[kind.key]}; free "
                f"are {', '.join(free_keys(before)) or 'none, so give no key'}."
            )


def free_keys(kinds: Sequence[Kind]) -> tuple[str, ...]:
    """Keys that a further kind can have, in the order in which they are given."""
    used = {kind.key for kind in kinds}
    return tuple(key for key in _KEYS if key not in used)


def new_kind(
    kinds: Sequence[Kind], name: str, colour: str | None = None, key: str | None = None
) -> Kind:
    """Make a kind that goes with others; colour and key are the next free where none is given."""
    from napari_hcs_qc.assay.annotations.kind_colours import check_colour, next_colours

    if colour is not None:
        colour = colour.strip().lower()
        if not _COLOUR.fullmatch(colour):
            raise HcsQcError(f"The colour {colour!r} was given; one as #rrggbb was expected.")
        check_colour(colour, {other.name: other.colour for other in kinds})
    if key is None:
        key = next(iter(free_keys(kinds)), None)
    else:
        key = key.strip().upper()
        if key not in {*TAKEN_KEYS, *_KEYS}:
            raise HcsQcError(f"The key {key!r} was given; a digit or a letter was expected.")
    kind = Kind(
        name=checked_kind_name(name.strip().casefold()),
        colour=colour or next_colours([other.colour for other in kinds])[0],
        key=key,
    )
    check_distinct((*kinds, kind))
    return kind


def kind_parts(text: str) -> tuple[str, str | None, str | None]:
    """Read name, colour and key of a kind written ``NAME[:KEY][:COLOUR]``."""
    name, *parts = (part.strip() for part in text.split(":"))
    colours = [part for part in parts if part.startswith("#")]
    keys = [part for part in parts if not part.startswith("#")]
    if len(colours) > 1 or len(keys) > 1:
        raise HcsQcError(
            f"The kind {text!r} was given; a name was expected, or one with a key and a colour, "
            "such as fibre:F:#a04020."
        )
    return name, next(iter(colours), None), next(iter(keys), None)
