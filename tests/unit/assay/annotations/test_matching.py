from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_hcs_qc.assay.annotations import matching
from napari_hcs_qc.assay.annotations.consensus import with_outcome
from napari_hcs_qc.assay.annotations.journal import Journal
from napari_hcs_qc.assay.annotations.matching import columns_of, match_annotations, match_on_site
from napari_hcs_qc.cells.by_site import CellsBySite
from napari_hcs_qc.cells.table import CELL_COLUMNS, join_cells, typed_cells

if TYPE_CHECKING:
    from pathlib import Path


def cells(*positions: tuple[str, int, float, float]) -> pd.DataFrame:
    n = len(positions)
    wells, sites, ys, xs = zip(*positions, strict=True) if positions else ([], [], [], [])
    return typed_cells(
        {
            "cell_id": np.arange(n),
            "well": pd.Series(wells, dtype=object),
            "site": np.array(sites),
            "label": np.arange(1, n + 1),
            "y_px": np.array(ys),
            "x_px": np.array(xs),
            "area_px": np.full(n, 700.0),
            "diameter_px": np.full(n, 30.0),
            "mean_intensity": np.full(n, 9.0),
            "is_cut": np.zeros(n, dtype=bool),
            "source": np.full(n, "nuclei", dtype=object),
            "object_number": np.full(n, pd.NA, dtype=object),
        }
    )


def said(*rows: tuple[object, ...]) -> pd.DataFrame:
    """Rows of well, site, y, x, class, kind, annotator, action number."""
    names = ["well", "site", "y_px", "x_px", "class", "kind", "annotator", "action"]
    frame = pd.DataFrame(list(rows), columns=names)
    at = pd.to_datetime(frame["action"].astype("int64"), unit="s", utc=True)
    return frame.assign(at=at, action=frame["action"].astype(str), plate="p", note=None)


def outcome(frame: pd.DataFrame) -> list[tuple[object, ...]]:
    columns = ["cell_id", "class", "kind", "annotators", "is_conflict"]
    return list(frame[columns].itertuples(index=False, name=None))


FOUND = cells(("A01", 1, 50, 50), ("A01", 1, 50, 80), ("A01", 2, 50, 50), ("B02", 1, 20, 20))


def test_the_nearest_cell_of_the_same_site_is_taken() -> None:
    matched = match_annotations(
        said(
            ("B02", 1, 25, 20, "normal", None, "anna", 1),
            ("A01", 1, 50, 66, "abnormal", "dead", "anna", 2),
            ("A01", 2, 50, 65, "normal", None, "anna", 3),  # exactly at the radius
            ("A01", 1, 50, 34.9, "normal", None, "anna", 4),  # just beyond
            ("C03", 1, 50, 50, "unsure", None, "anna", 5),  # a site without cells
        ),
        FOUND,
        15,
    )
    assert matched.cell_id.tolist() == [3, 1, 2, 4, 5]
    assert outcome(matched.cells) == [
        (1, "abnormal", "dead", "anna", False),
        (2, "normal", None, "anna", False),
        (3, "normal", None, "anna", False),
        (4, "normal", None, "anna", False),
        (5, "unsure", None, "anna", False),
    ]
    assert matched.for_training["cell_id"].tolist() == [1, 2, 3, 4]


def test_a_cell_is_made_where_there_is_none() -> None:
    matched = match_annotations(
        said(
            ("A01", 1, 10, 10, "abnormal", "debris", "anna", 1),
            ("A01", 1, 12, 10, "abnormal", "debris", "ben", 2),
            ("A01", 2, 10, 10, "normal", None, "ben", 3),
        ),
        FOUND,
        15,
    )
    assert matched.cell_id.tolist() == [4, 4, 5]
    added = matched.added
    assert list(added.columns) == list(CELL_COLUMNS)
    assert added[["cell_id", "well", "site", "label", "y_px", "x_px"]].values.tolist() == [
        [4, "A01", 1, 0, 10.0, 10.0],
        [5, "A01", 2, 0, 10.0, 10.0],
    ]
    assert set(added["source"]) == {"annotation"}
    assert set(added["diameter_px"]) == {30.0}
    assert added["mean_intensity"].isna().all()
    assert outcome(matched.cells)[0] == (4, "abnormal", "debris", "anna, ben", False)
    # Once the made cells are in the table, the same annotations find them and make no more.
    again = match_annotations(
        said(
            ("A01", 1, 10, 10, "abnormal", "debris", "anna", 1),
            ("A01", 1, 12, 10, "abnormal", "debris", "ben", 2),
        ),
        join_cells([FOUND, added]),
        15,
    )
    assert again.cell_id.tolist() == [4, 4]
    assert len(again.added) == 0


def test_a_made_cell_that_reaches_beyond_the_image_is_cut() -> None:
    clicks = said(
        ("A02", 1, 14.4, 50, "normal", None, "anna", 1),
        ("A02", 1, 50, 84.6, "normal", None, "anna", 2),
        ("A02", 1, 50, 50, "normal", None, "anna", 3),
        ("A02", 1, 14.6, 84.4, "normal", None, "anna", 4),
    )
    added = match_annotations(clicks, FOUND, 15, shape=lambda: (100, 100)).added
    assert added["is_cut"].tolist() == [True, True, False, False]
    assert not match_annotations(clicks, FOUND, 15).added["is_cut"].any()


def test_without_adding_there_is_minus_one() -> None:
    rows = said(("A01", 1, 10, 10, "normal", None, "anna", 1))
    matched = match_annotations(rows, FOUND, 15, add=False)
    assert matched.cell_id.tolist() == [-1]
    assert len(matched.added) == len(matched.cells) == 0


def test_a_plate_without_cells_gets_them_from_people() -> None:
    rows = said(("A01", 1, 10, 10, "normal", None, "anna", 1))
    matched = match_annotations(rows, cells(), 12)
    assert matched.added["diameter_px"].tolist() == [24.0]
    assert matched.cell_id.tolist() == [0]


def test_no_annotations() -> None:
    matched = match_annotations(said(), FOUND, 15)
    assert len(matched.cell_id) == len(matched.added) == len(matched.cells) == 0
    assert list(matched.added.columns) == list(CELL_COLUMNS)


def test_people_agree_abstain_or_contradict() -> None:
    matched = match_annotations(
        said(
            ("A01", 1, 50, 50, "normal", None, "anna", 1),
            ("A01", 1, 52, 50, "abnormal", "dead", "ben", 2),
            ("A01", 1, 50, 80, "abnormal", "dead", "anna", 3),
            ("A01", 1, 50, 81, "abnormal", None, "ben", 4),
            ("A01", 2, 50, 50, "unsure", None, "anna", 5),
            ("A01", 2, 50, 51, "normal", None, "ben", 6),
        ),
        FOUND,
        15,
    )
    assert outcome(matched.cells) == [
        (0, None, None, "anna, ben", True),
        (1, "abnormal", "dead", "anna, ben", False),
        (2, "normal", None, "anna, ben", False),
    ]
    assert matched.conflicts["cell_id"].tolist() == [0]
    assert matched.for_training["cell_id"].tolist() == [1, 2]


def test_a_persons_later_action_counts_one_action_cannot_say_both() -> None:
    matched = match_annotations(
        said(
            ("A01", 1, 51, 50, "abnormal", "dead", "anna", 2),  # the correction
            ("A01", 1, 50, 50, "normal", None, "anna", 1),
            ("A01", 1, 50, 79, "normal", None, "anna", 3),  # both in one file
            ("A01", 1, 50, 81, "abnormal", "dead", "anna", 3),
            ("A01", 2, 50, 49, "normal", None, "anna", 4),
            ("A01", 2, 50, 51, "normal", None, "anna", 4),
        ),
        FOUND,
        15,
    )
    assert outcome(matched.cells) == [
        (0, "abnormal", "dead", "anna", False),
        (1, None, None, "anna", True),
        (2, "normal", None, "anna", False),
    ]


def test_annotations_of_a_journal_are_taken(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal.sqlite")
    journal.annotate("p", "A01", 1, 50.2, 49.7, "abnormal", "blur", "anna")
    journal.annotate("p", "A01", 1, 50.2, 49.7, "abnormal", "dead", "anna")
    matched = match_annotations(journal.annotations(), FOUND, 15)
    assert outcome(matched.cells) == [(0, "abnormal", "dead", "anna", False)]


POSITION = st.tuples(
    st.sampled_from(["A01", "B02"]), st.integers(1, 2), st.integers(0, 60), st.integers(0, 60)
)


@settings(max_examples=40)
@given(
    found=st.lists(POSITION, max_size=12),
    clicked=st.lists(POSITION, max_size=12),
    radius=st.integers(0, 80).map(lambda twice: twice / 2),
)
def test_every_match_is_that_of_brute_force(
    found: list[tuple[str, int, int, int]],
    clicked: list[tuple[str, int, int, int]],
    radius: float,
) -> None:
    table = cells(*found)
    rows = said(*((*place, "normal", None, "anna", 1) for place in clicked))
    cell_id = match_annotations(rows, table, radius, add=False).cell_id
    kept = match_annotations(rows, table, radius, add=False, by_site=CellsBySite.of(table))
    assert kept.cell_id.tolist() == cell_id.tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "_PAIRS_AT_ONCE", 3)  # many blocks instead of one
        in_blocks = match_annotations(rows, table, radius, add=False)
    assert in_blocks.cell_id.tolist() == cell_id.tolist()
    for (well, site, y, x), cell in zip(clicked, cell_id, strict=True):
        distances = {
            index: np.hypot(y - row[2], x - row[3])
            for index, row in enumerate(found)
            if row[:2] == (well, site)
        }
        nearest = min(distances.values(), default=np.inf)
        if nearest > radius:
            assert cell == -1
        else:
            assert distances[cell] == pytest.approx(nearest)
    everything = match_annotations(rows, table, radius)
    assert (everything.cell_id >= 0).all()
    assert everything.cells["cell_id"].is_unique
    assert set(everything.cell_id) == set(everything.cells["cell_id"])
    assert set(everything.cell_id[cell_id < 0]) == set(everything.added["cell_id"])


def test_of_equally_near_cells_the_first_is_taken() -> None:
    table = cells(("A01", 1, 40, 50), ("A01", 1, 60, 50), ("A01", 1, 50, 40))
    matched = match_annotations(said(("A01", 1, 50, 50, "normal", None, "anna", 1)), table, 15)
    assert matched.cell_id.tolist() == [0]


def test_1000_annotations_are_joined_to_100000_cells_at_once() -> None:
    rng = np.random.default_rng(0)
    n = 100_000
    well = np.repeat(
        [f"{row}{column:02d}" for row in "ABCDEFGHIJKLMNOP" for column in range(1, 25)], 9
    )
    site = np.tile(np.arange(1, 10), 384)
    of = np.sort(rng.integers(0, len(well), n))
    yx = rng.uniform(0, 2000, (n, 2))
    table = cells(("A01", 1, 0, 0)).iloc[[0] * n].reset_index(drop=True)
    table = table.assign(
        cell_id=np.arange(n), well=well[of], site=site[of], y_px=yx[:, 0], x_px=yx[:, 1]
    )
    clicked = rng.choice(n, 1000, replace=False)
    rows = said(
        *(
            (table.at[i, "well"], table.at[i, "site"], *yx[i], "normal", None, "anna", 1)
            for i in clicked
        )
    )
    by_site = CellsBySite.of(table)
    spent = []
    for _ in range(5):
        start = time.process_time()
        matched = match_annotations(rows, table, 12.5, by_site=by_site)
        spent.append(time.process_time() - start)
    assert matched.cell_id.tolist() == clicked.tolist()
    assert min(spent) < 0.1  # 0.02 where nothing else runs


@settings(max_examples=60)
@given(
    found=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=6),
    words=st.lists(
        st.tuples(
            st.tuples(st.integers(0, 9), st.integers(0, 9)),
            st.sampled_from(["normal", "abnormal", "unsure"]),
            st.sampled_from(["blur", "debris", None]),
            st.sampled_from(["anna", "ben", "cleo"]),
            st.integers(1, 4),
        ),
        max_size=10,
    ),
    radius=st.integers(0, 6).map(lambda twice: twice / 2),
)
def test_the_cells_of_one_site_are_matched_as_those_of_a_plate(
    found: list[tuple[int, int]], words: list[Any], radius: float
) -> None:
    table = cells(*(("A01", 1, *place) for place in found))
    rows = said(*(("A01", 1, *place, *rest) for place, *rest in words))
    expected = match_annotations(rows, table, radius)
    yx_px = table[["y_px", "x_px"]].to_numpy(np.float64)
    matched = match_on_site(columns_of(rows), yx_px, radius)
    assert matched.cell.tolist() == expected.cells["cell_id"].tolist()
    assert matched.added_yx_px.tolist() == expected.added[["y_px", "x_px"]].to_numpy().tolist()
    together = with_outcome(pd.DataFrame({"cell_id": matched.cell}), matched.outcome)
    pd.testing.assert_frame_equal(together, expected.cells)
