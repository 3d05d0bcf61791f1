from __future__ import annotations

import numpy as np

from napari_hcs_qc.assay.scoring.novelty_report import novelty_summary


def told(counts: dict[str, int], n_cells: int = 1000, n_nan: int = 0) -> dict:
    """So many unlike cells in each of some wells; all others are like annotated ones."""
    wells = [well for well, n in counts.items() for _ in range(n)]
    ratio = np.full(n_cells, 0.7, dtype=np.float32)
    ratio[: len(wells)] = 1.4
    ratio[len(ratio) - n_nan :] = np.nan
    found = novelty_summary(ratio, [*wells, *["H12"] * (n_cells - len(wells))], "too few")
    return found.model_dump(mode="json")


def test_the_wells_that_hold_most_are_named() -> None:
    found = told({"E05": 20, "A01": 8, "B02": 6})
    assert (found["n_measured"], found["n_novel"], found["is_much"]) == (1000, 34, False)
    assert found["wells"] == [["E05", 20], ["A01", 8], ["B02", 6]]
    assert found["sentence"] == (
        "34 cells (3.4 %) are unlike anything annotated, most of them in E05; annotate some of "
        "them."
    )
    assert "all of them in E05;" in told({"E05": 3})["sentence"]
    assert "1 cell (0.1 %) is unlike anything annotated, in E05;" in told({"E05": 1})["sentence"]
    assert (
        "most of them in B01, B02 and B03;"
        in told({"B01": 5, "B02": 5, "B03": 5, "B04": 5})["sentence"]
    )
    spread = told({f"C{column:02d}": 2 for column in range(1, 13)} | {"D01": 3})
    assert "in 13 wells, most in D01 (3);" in spread["sentence"]


def test_much_of_a_plate_is_a_warning() -> None:
    found = told({"A01": 101})
    assert found["is_much"]
    assert "101 cells (10 %)" in found["sentence"]
    assert "are unreliable" in found["sentence"]
    assert not told({"A01": 100})["is_much"]


def test_nothing_to_tell_and_nothing_measured() -> None:
    assert told({})["sentence"] == ""
    assert told({}, n_cells=50, n_nan=50) == {
        "n_measured": 0,
        "n_novel": 0,
        "wells": [],
        "is_much": False,
        "sentence": "too few",
    }
    assert told({"A01": 2}, n_cells=50, n_nan=10)["n_measured"] == 40
