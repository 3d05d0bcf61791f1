from __future__ import annotations

import math

import numpy as np
import pytest

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.shift import ShiftDetector, measure_shift

MIXING = np.random.default_rng(0).normal(size=(20, 100))


def draw(
    n_cells: int, seed: int, *, moved: float = 0, spread: float = 1, well_sd: float = 0
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    hidden = rng.normal(moved, spread, (n_cells, 20))
    hidden += np.repeat(rng.normal(0, well_sd, (n_cells // 20 + 1, 20)), 20, axis=0)[:n_cells]
    return (hidden @ MIXING + 0.1 * rng.normal(size=(n_cells, 100))).astype(np.float32)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("n_reference", [150, 2000])
def test_nothing_changed_is_not_unlike(seed: int, n_reference: int) -> None:
    shift = measure_shift(draw(n_reference, seed), draw(1000, 100 + seed), seed)
    assert not shift.is_novel
    assert shift.value < shift.threshold
    assert shift.sentence.startswith("This plate looks like the training data")


def test_wells_that_differ_as_wells_do_are_not_unlike() -> None:
    reference = draw(2000, 1, well_sd=0.4)
    wells = np.repeat(np.arange(100), 20)
    shift = measure_shift(reference, draw(1000, 2, well_sd=0.4), groups=wells)
    assert not shift.is_novel
    assert 0.001 < shift.value < 0.03


@pytest.mark.parametrize(
    ("what", "new"),
    [
        ("all cells moved", draw(800, 5, moved=1.0)),
        ("all cells spread", draw(800, 5, spread=1.5)),
        ("another gain", 1.6 * draw(800, 5)),
        ("a direction never seen", draw(800, 5) + 6 * np.eye(100, dtype=np.float32)[0]),
        ("noise", draw(800, 5) + np.random.default_rng(1).normal(0, 1, (800, 100))),
        (
            "a sixth of the cells wild",
            np.where(np.arange(800)[:, None] % 6 == 0, 3, 1) * draw(800, 5),
        ),
    ],
)
def test_a_change_is_unlike(what: str, new: np.ndarray) -> None:
    shift = measure_shift(draw(2000, 0), new)
    assert shift.is_novel, what
    assert shift.value > shift.threshold
    assert shift.sentence.startswith("This plate looks unlike the training data")
    assert f"{shift.value:.1%}" in shift.sentence


def test_the_seed_decides_and_rows_with_nan_are_left_out() -> None:
    reference, new = draw(1000, 0), draw(500, 1, moved=0.7)
    reference[5], new[7] = np.nan, np.nan
    first, again = (measure_shift(reference, new, seed=3) for _ in range(2))
    assert first.value == again.value
    assert (first.n_reference, first.n_new) == (999, 499)


def test_too_few_cells_are_said() -> None:
    for reference, new in ((draw(99, 0), draw(100, 1)), (draw(200, 0), draw(10, 1))):
        shift = measure_shift(reference, new)
        assert math.isnan(shift.value)
        assert not shift.is_novel
        assert "is unknown" in shift.sentence


def test_constant_features_are_no_trouble() -> None:
    reference, new = draw(500, 0), draw(500, 1)
    reference[:, :3] = new[:, :3] = 5
    assert not measure_shift(reference, new).is_novel


def test_other_features_and_too_few_are_refused() -> None:
    with pytest.raises(HcsQcError, match="has 100 features"):
        measure_shift(draw(500, 0), draw(500, 1)[:, :50])
    with pytest.raises(HcsQcError, match="50 reference cells are too few"):
        ShiftDetector().fit(draw(50, 0))
