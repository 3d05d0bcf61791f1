"""Annotated cells to fit heads on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Cells(NamedTuple):
    X: NDArray[np.float32]
    y: NDArray[np.str_]
    wells: NDArray[np.str_]


def draw_cells(n_cells: int, n_features: int, seed: int, *, n_wells: int = 12) -> Cells:
    """Abnormal cells have too much or too little of a hidden quantity, not a fixed direction."""
    world = np.random.default_rng(99)  # the same features mean the same for every seed
    mixing = world.normal(size=(8, n_features))
    offset = world.normal(0, 3, n_features)
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n_cells, 8))
    X = hidden @ mixing + rng.normal(0, 0.5, (n_cells, n_features)) + offset
    score = np.abs(hidden[:, 0]) + 0.5 * hidden[:, 1] + 0.1 * rng.normal(size=n_cells)
    y = np.where(score > 1.1, "abnormal", "normal")
    wells = np.array([f"p/A{well:02d}" for well in rng.integers(1, n_wells + 1, n_cells)])
    return Cells(X.astype(np.float32), y, wells)


@pytest.fixture(scope="session")
def cells() -> Cells:
    return draw_cells(200, 60, 0)


@pytest.fixture(scope="session")
def new_cells() -> Cells:
    return draw_cells(600, 60, 1)
