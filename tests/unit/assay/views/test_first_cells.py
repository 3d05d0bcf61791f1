from __future__ import annotations

import numpy as np
import pytest

from napari_hcs_qc.assay.views.first_cells import N_STARTING, starting_cells
from napari_hcs_qc.job import Cancelled, Job

N_FEATURES = 80


def plate(n_cells: int = 1200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Four common groups of cells and one of 4 %, far off; which group each cell is of."""
    rng = np.random.default_rng(seed)
    group = rng.choice(5, n_cells, p=[0.3, 0.26, 0.2, 0.2, 0.04])
    centres = np.random.default_rng(7).normal(size=(5, N_FEATURES)) * 3
    centres[4] *= 4
    return centres[group] + 0.3 * rng.normal(size=(n_cells, N_FEATURES)), group


def test_all_groups_are_among_them_also_the_rare_one() -> None:
    cells, group = plate()
    for seed in range(5):
        chosen = starting_cells(cells, seed=seed)
        assert len(set(chosen.tolist())) == N_STARTING
        assert set(group[chosen]) == {0, 1, 2, 3, 4}
    # Of ten random cells none is of the rare group in two cases of three.


def test_they_hang_on_the_seed_only_and_pass_over_unreadable_sites() -> None:
    cells, _ = plate()
    cells[:300] = np.nan
    chosen = starting_cells(cells, seed=3)
    np.testing.assert_array_equal(chosen, starting_cells(cells, seed=3))
    assert chosen.min() >= 300
    assert starting_cells(cells, seed=4).tolist() != chosen.tolist()


def test_a_large_plate_is_sampled_from_its_file(tmp_path: pytest.TempPathFactory) -> None:
    cells, _ = plate(9000)
    path = f"{tmp_path}/rows.npy"
    np.save(path, cells.astype(np.float32))
    chosen = starting_cells(np.load(path, mmap_mode="r"))
    assert len(chosen) == N_STARTING
    assert chosen.max() > 5000


def test_a_plate_of_few_cells_has_none_and_a_cancel_is_heard() -> None:
    assert starting_cells(plate(400)[0]).tolist() == []
    with pytest.raises(Cancelled):
        starting_cells(plate()[0], job=Job(should_stop=lambda: True))
