from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates import PLATE_SHAPES, WellName, parse_well, plate_shape, well_name

ROWS = [*"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "AA", "AB", "AC", "AD", "AE", "AF"]
POSITIONS = st.tuples(st.integers(0, 31), st.integers(0, 47))


@pytest.mark.parametrize(
    ("text", "row", "column"),
    [
        ("A01", 0, 0),
        ("a1", 0, 0),
        ("AF48", 31, 47),
        ("B-07", 1, 6),
        ("A-1", 0, 0),
        (" b_07", 1, 6),
        ("C 3", 2, 2),
        ("h012", 7, 11),
        ("Z24", 25, 23),
        ("AA01", 26, 0),
    ],
)
def test_wells_as_people_write_them(text: str, row: int, column: int) -> None:
    assert parse_well(text) == (row, column)


@given(
    POSITIONS,
    st.booleans(),
    st.sampled_from(["", "-", "_", " "]),
    st.sampled_from(["{}", "{:02d}", "{:03d}"]),
    st.sampled_from(["", " ", "_", "\t"]),
)
def test_every_spelling_of_every_well_is_read(
    position: tuple[int, int], is_lower: bool, between: str, digits: str, around: str
) -> None:
    row, column = position
    letters = ROWS[row].lower() if is_lower else ROWS[row]
    text = around + letters + between + digits.format(column + 1) + around
    assert parse_well(text) == WellName(row, column)
    assert well_name(row, column) == f"{ROWS[row]}{column + 1:02d}" == str(parse_well(text))


@given(st.text(max_size=8))
def test_any_text_is_a_well_or_a_clear_error(text: str) -> None:
    try:
        well = parse_well(text)
    except HcsQcError as error:
        assert text in str(error)
    else:
        assert parse_well(str(well)) == well


@pytest.mark.parametrize(
    "text",
    ["", "A", "1", "A0", "A00", "A49", "AG01", "BA01", "AAA1", "A1B", "1A", "A--1", "Ä1", "A１"],
)
def test_nonsense_and_wells_on_no_plate_are_refused(text: str) -> None:
    with pytest.raises(HcsQcError, match=r"AF48|AF and columns"):
        parse_well(text)


@pytest.mark.parametrize("position", [(-1, 0), (32, 0), (0, -1), (0, 48)])
def test_positions_on_no_plate_have_no_name(position: tuple[int, int]) -> None:
    with pytest.raises(HcsQcError, match="outside every plate"):
        well_name(*position)


@pytest.mark.parametrize("n_wells", sorted(PLATE_SHAPES))
def test_every_format_is_the_smallest_that_holds_its_last_well(n_wells: int) -> None:
    rows, columns = PLATE_SHAPES[n_wells]
    assert rows * columns == n_wells
    last = WellName(rows - 1, columns - 1)
    assert plate_shape([last]) == (rows, columns)
    assert plate_shape([WellName(0, 0), last]) == (rows, columns)


def test_one_well_further_needs_the_next_format() -> None:
    assert plate_shape([WellName(8, 0)]) == (16, 24)
    assert plate_shape([WellName(0, 12)]) == (16, 24)
    assert plate_shape([WellName(16, 0)]) == (32, 48)
    with pytest.raises(HcsQcError, match="no standard plate"):
        plate_shape([WellName(32, 0)])
    with pytest.raises(HcsQcError, match="No wells"):
        plate_shape([])
