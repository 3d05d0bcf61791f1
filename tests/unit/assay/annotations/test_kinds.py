"""Kinds of abnormal cells: names, keys and colours of those that people add."""

from __future__ import annotations

import re

import pytest

from napari_hcs_qc.assay.annotations.annotation import Annotation
from napari_hcs_qc.assay.annotations.kinds import (
    BUILT_IN_KINDS,
    TAKEN_KEYS,
    Kind,
    free_keys,
    kind_parts,
    listed_kinds,
    new_kind,
)
from napari_hcs_qc.errors import HcsQcError


def many(n: int) -> list[Kind]:
    kinds = [*BUILT_IN_KINDS]
    for number in range(n):
        kinds.append(new_kind(kinds, f"kind {number}"))
    return kinds


def test_the_kinds_of_every_assay_have_the_keys_1_to_8() -> None:
    names = ["blur", "saturation", "debris", "dead", "haze", "empty", "noise", "other"]
    assert [kind.name for kind in BUILT_IN_KINDS] == names
    assert [kind.key for kind in BUILT_IN_KINDS] == [*"12345678"]


def test_a_name_is_kept_in_lower_case_without_blanks_around_it() -> None:
    assert new_kind(BUILT_IN_KINDS, " Fibre 2_a-b ").name == "fibre 2_a-b"
    assert new_kind(BUILT_IN_KINDS, "Zellmüll").name == "zellmüll"
    assert new_kind(BUILT_IN_KINDS, "Maß").name == "mass"  # as upper and lower case are the same
    assert new_kind(BUILT_IN_KINDS, "x" * 30).name == "x" * 30


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "letters"),
        ("  ", "letters"),
        ("x" * 31, "1 to 30"),
        ("2 nuclei", "beginning with a letter"),
        ("a,b", "'a,b'"),
        ("a/b", "'a/b'"),
        ("a\nb", "letters"),
        ("a:b", "letters"),
        ("Normal", "has a meaning already"),
        ("abnormal", "has a meaning already"),
        ("mitosis", "has a meaning already"),
        ("nan", "has a meaning already"),
        ("Blur", "There is a kind 'blur' already"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused(name: str, message: str) -> None:
    with pytest.raises(HcsQcError, match=message):
        new_kind(BUILT_IN_KINDS, name)


def test_keys_are_the_next_that_are_free_and_run_out_after_nineteen_kinds() -> None:
    kinds = many(22)[8:]
    assert [kind.key for kind in kinds[:4]] == ["9", "0", "G", "H"]
    keys = [kind.key for kind in kinds if kind.key is not None]
    assert len(set(keys)) == len(keys) == 19
    assert not set(keys) & set(TAKEN_KEYS)
    assert [kind.key for kind in kinds[19:]] == [None, None, None]
    assert free_keys([*BUILT_IN_KINDS, *kinds]) == ()


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("n", "key N .* is taken by normal"),
        ("K", "Review panel"),
        ("v", "napari"),
        ("4", "taken by dead"),
        ("ab", "a digit or a letter"),
        ("+", "a digit or a letter"),
        ("", "a digit or a letter"),
        ("é", "a digit or a letter"),
    ],
)
def test_a_key_with_another_meaning_is_refused(key: str, message: str) -> None:
    with pytest.raises(HcsQcError, match=message):
        new_kind(BUILT_IN_KINDS, "fibre", key=key)


def test_a_key_is_given_in_lower_case_too() -> None:
    assert new_kind(BUILT_IN_KINDS, "fibre", key="f").key == "F"


def test_a_colour_that_is_given_is_kept() -> None:
    assert new_kind(BUILT_IN_KINDS, "fibre", colour=" #FF00FF ").colour == "#ff00ff"


@pytest.mark.parametrize(
    ("colour", "message"),
    [
        ("#56b4e9", "of 'normal'"),
        ("#66ccee", "of 'normal'"),  # another light blue
        ("#3399dd", "of 'normal'"),
        ("#a04020", "of 'blur'"),
        ("#ffa500", "of 'other'"),  # which has the colour of abnormal
        ("#f8f8f8", "of 'selected'"),
        ("#c0c0c0", "of 'not classified'"),
        ("#000080", "too dark"),
        ("red", "as #rrggbb"),
        ("#fff", "as #rrggbb"),
    ],
)
def test_a_colour_that_looks_like_another_is_refused(colour: str, message: str) -> None:
    with pytest.raises(HcsQcError, match=message) as error:
        new_kind(BUILT_IN_KINDS, "fibre", colour=colour)
    proposed = re.search(r"then it is (#\w{6})", str(error.value))
    if proposed is not None:
        assert new_kind(BUILT_IN_KINDS, "fibre", colour=proposed[1]).colour == proposed[1]


def test_any_number_of_kinds_have_colours_of_their_own() -> None:
    kinds = many(40)
    assert len({kind.colour for kind in kinds}) == len(kinds)
    # As if a person had chosen each of them.
    for number, kind in enumerate(kinds[8:], start=8):
        assert new_kind(kinds[:number], "fibre", colour=kind.colour).colour == kind.colour


def test_an_annotation_takes_any_kind_that_could_be_one() -> None:
    place = {"plate": "P", "well": "A01", "site": 1, "y_px": 1.0, "x_px": 1.0}
    assert Annotation(**place, cls="abnormal", kind="fibre").kind == "fibre"  # type: ignore[arg-type]
    for kind in ("Fibre", "normal", "a;b"):
        with pytest.raises(HcsQcError, match=kind):
            Annotation(**place, cls="abnormal", kind=kind)  # type: ignore[arg-type]


def test_kinds_that_are_not_listed_are_named() -> None:
    kinds = many(1)
    assert listed_kinds(["dead", "kind 0"], kinds) == ("dead", "kind 0")
    with pytest.raises(HcsQcError, match=r"'deadly' is not one of blur, .*, kind 0"):
        listed_kinds(["deadly"], kinds)


def test_a_kind_as_one_text() -> None:
    assert kind_parts("fibre") == ("fibre", None, None)
    assert kind_parts("long fibre: f") == ("long fibre", None, "f")
    assert (
        kind_parts("fibre:#aa3377:f") == kind_parts("fibre:f:#aa3377") == ("fibre", "#aa3377", "f")
    )
    with pytest.raises(HcsQcError, match="'fibre:a:b'"):
        kind_parts("fibre:a:b")
