from __future__ import annotations

import numpy as np
import pytest

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation import novelty as module
from napari_hcs_qc.evaluation.novelty import Novelty
from napari_hcs_qc.heads.linear.plate_directions import PlateDirections, plate_directions
from napari_hcs_qc.job import Cancelled, Job

N_FEATURES = 60


def draw(n_cells: int, seed: int, moved: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (5 + moved + 3 * rng.normal(size=(n_cells, N_FEATURES))).astype(np.float32)


def oracle(
    annotated: np.ndarray,
    wells: np.ndarray,
    cells: np.ndarray,
    plate: PlateDirections | None = None,
) -> np.ndarray:
    """Distance for distance in float64."""
    known = annotated.astype(np.float64)
    centre = known.mean(axis=0) if plate is None else plate.centre
    scale = known.std(axis=0) if plate is None else plate.scale
    known = np.clip((known - centre) / scale, -8, 8)

    def mean_of_three(cell: np.ndarray, others: np.ndarray) -> float:
        return float(np.mean(np.sort(np.linalg.norm(others - cell, axis=1))[:3]))

    own = [
        mean_of_three(cell, known[wells != well]) for cell, well in zip(known, wells, strict=True)
    ]
    limit = np.quantile(own, 0.95)
    rows = np.clip((cells.astype(np.float64) - centre) / scale, -8, 8)
    return np.array([mean_of_three(row, known) / limit for row in rows])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("knows_plate", [False, True])
def test_it_is_what_brute_force_gives(
    dtype: type, knows_plate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 17)  # parts that do not divide evenly
    annotated, wells = draw(50, 0), np.repeat(np.arange(10), 5)
    plate = plate_directions(draw(600, 3)) if knows_plate else None
    cells = np.vstack([draw(40, 1), draw(5, 2, moved=9)]).astype(dtype)
    found = Novelty().fit(annotated, wells, plate)
    ratio = found.ratio(cells)
    assert ratio.dtype == np.float32
    # Annotated cells are kept in half precision.
    np.testing.assert_allclose(ratio, oracle(annotated, wells, cells, plate), rtol=2e-3)
    assert (ratio[40:] > 1.2).all()
    assert found.n_annotated_ == 50


def test_the_limit_is_that_of_other_wells() -> None:
    """Cells of one well that are copies of each other do not make all others unlike."""
    wells = np.repeat(np.arange(20), 3)
    annotated = np.repeat(draw(20, 0), 3, axis=0)
    annotated += np.random.default_rng(1).normal(0, 0.01, annotated.shape).astype(np.float32)
    ratio = Novelty().fit(annotated, wells).ratio(draw(300, 2))
    assert (ratio > 1).mean() < 0.5
    assert (Novelty().fit(annotated, np.arange(60)).ratio(draw(300, 2)) > 1).all()


def test_rows_that_are_not_finite_are_nan_and_cost_no_other_row() -> None:
    annotated, wells = draw(30, 0), np.arange(30) % 6
    cells = draw(5, 1)
    whole = Novelty().fit(annotated, wells).ratio(cells)
    cells[1, 3], cells[4, 0] = np.nan, np.inf
    found = Novelty().fit(annotated, wells).ratio(cells)
    assert np.isnan(found[[1, 4]]).all()
    np.testing.assert_array_equal(found[[0, 2, 3]], whole[[0, 2, 3]])
    assert len(Novelty().fit(annotated, wells).ratio(cells[:0])) == 0


def test_constant_features_say_nothing() -> None:
    annotated, wells = draw(30, 0), np.arange(30) % 6
    annotated[:, :4] = 7
    found = Novelty().fit(annotated, wells)
    cells = draw(20, 1)
    other = cells.copy()
    other[:, :4] = 1000
    np.testing.assert_array_equal(found.ratio(cells), found.ratio(other))


@pytest.mark.parametrize(
    ("n_cells", "n_wells", "words"),
    [(19, 5, "19 annotated cells in 5 wells"), (40, 2, "40 annotated cells in 2 wells")],
)
def test_too_few_annotations_are_said(n_cells: int, n_wells: int, words: str) -> None:
    with pytest.raises(HcsQcError, match=words):
        Novelty().fit(draw(n_cells, 0), np.arange(n_cells) % n_wells)


def test_nearly_all_annotations_in_one_well() -> None:
    wells = np.array(["A"] * 28 + ["B", "C"])
    with pytest.raises(HcsQcError, match="Annotate cells in more wells"):
        Novelty().fit(draw(30, 0), wells)


def test_of_many_annotations_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ANNOTATED", 100)
    annotated, wells = draw(400, 0), np.arange(400) % 40
    first, again = (Novelty().fit(annotated, wells) for _ in range(2))
    assert first.n_annotated_ == 100
    np.testing.assert_array_equal(first.ratio(draw(20, 1)), again.ratio(draw(20, 1)))


def test_it_is_kept_whole_and_damage_is_told() -> None:
    found = Novelty().fit(draw(30, 0), np.arange(30) % 6)
    data, cells = found.to_bytes(), draw(20, 1)
    again = Novelty.from_bytes(data)
    np.testing.assert_array_equal(again.ratio(cells), found.ratio(cells))
    assert (again.n_annotated_, again.limit_) == (30, found.limit_)
    for damaged in (data[:-10], b"", data.replace(b"limit", b"other")):
        with pytest.raises(HcsQcError, match="damaged"):
            Novelty.from_bytes(damaged)
    found.limit_ = float("nan")
    with pytest.raises(HcsQcError, match="damaged"):
        Novelty.from_bytes(found.to_bytes())


def test_other_features_and_a_stop() -> None:
    found = Novelty().fit(draw(30, 0), np.arange(30) % 6)
    with pytest.raises(HcsQcError, match="have 60 features"):
        found.ratio(draw(5, 1)[:, :50])
    with pytest.raises(Cancelled):
        found.ratio(draw(5, 1), job=Job(should_stop=lambda: True))
