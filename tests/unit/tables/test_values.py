"""Values as people write them."""

from __future__ import annotations

import math

import pytest

from napari_hcs_qc.tables.values import (
    class_of,
    is_vehicle,
    number,
    role_of,
    site_number,
    well_at,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [("20", 20), (" 20.5 ", 20.5), ("20,5", 20.5), ("-1,5e2", -150), (",5", 0.5), ("1e3", 1000)],
)
def test_numbers(text: str, value: float) -> None:
    assert number(text) == value


@pytest.mark.parametrize("text", ["", "x", "1,2,3", "1.000,5", "nan"])
def test_what_is_no_number(text: str) -> None:
    assert math.isnan(number(text))


@pytest.mark.parametrize(
    "text", ["3", "3.0", "03", "s3", "f03", "site 3", "Field_3", "3,0", "fov-3"]
)
def test_sites(text: str) -> None:
    assert site_number(text) == 3


@pytest.mark.parametrize("text", ["", "x", "1.5", "-1", "inf"])
def test_what_is_no_site(text: str) -> None:
    assert site_number(text) is None


@pytest.mark.parametrize(("row", "column"), [("B", "7"), ("2", "7"), ("2.0", "7.0"), ("b", "07")])
def test_wells_by_row_and_column(row: str, column: str) -> None:
    assert well_at(row, column) == "B07"


@pytest.mark.parametrize(
    ("word", "column", "cls"),
    [
        ("good", "class", "normal"), ("OK", "label", "normal"), ("Pass", "qc", "normal"),
        ("bad", "class", "abnormal"), ("not ok", "label", "abnormal"), ("outlier", "x", "abnormal"),
        ("0", "label", "normal"), ("1", "label", "abnormal"), ("True", "is_outlier", "abnormal"),
        ("1", "is_normal", "normal"), ("0", "good", "abnormal"), ("yes", "keep", "normal"),
        ("", "class", "unsure"), ("?", "class", "unsure"), ("NaN", "class", "unsure"),
        ("mitotic", "class", None), ("positive", "class", None),
    ],
)  # fmt: skip
def test_classes(word: str, column: str, cls: str | None) -> None:
    assert class_of(word, column) == cls


@pytest.mark.parametrize(
    ("word", "role"),
    [
        ("control", "control"), ("negcon", "control"), ("Negative Control", "control"),
        ("DMSO", "control"), ("mock", "control"), ("neg_ctrl", "control"), ("trt", "sample"),
        ("poscon", "sample"), ("poscon_cp", "sample"), ("compound", "sample"), ("Empty", "empty"),
        ("blank", "empty"), ("no cells", "empty"), ("boss", None),
    ],
)  # fmt: skip
def test_roles(word: str, role: str | None) -> None:
    assert role_of(word) == role


def test_vehicles() -> None:
    assert all(map(is_vehicle, ["DMSO", "dmso 0.1 %", "untreated", "Vehicle"]))
    assert not any(map(is_vehicle, ["Taxol", "controlled release", ""]))


def test_a_number_of_thousands_of_digits_is_no_site() -> None:
    """Python refuses to read it, which a damaged file can hold."""
    assert site_number("9" * 5000) is None
