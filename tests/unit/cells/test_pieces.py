"""Pieces of one nucleus are joined; what lies at a nucleus stays an object of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import ndimage as ndi

from napari_hcs_qc.cells.pieces import without_pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

Y, X = np.mgrid[:80, :100]


def disc(y: float, x: float, radius: float, stretch: float = 1.0) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = np.hypot(Y - y, (X - x) / stretch) < radius
    return inside


def n_left(light: NDArray[np.float64], first: NDArray[np.bool_], second: NDArray[np.bool_]) -> int:
    labels = np.where(first, 1, np.where(second, 2, 0)).astype(np.int32)
    contrast = ndi.gaussian_filter(light, 1.0).astype(np.float32)
    left = without_pieces(labels, contrast, 28.0)
    assert ((left > 0) == (labels > 0)).all()
    return len(np.unique(left[left > 0]))


@pytest.mark.parametrize("at", [50, 40, 33, 29])
@pytest.mark.parametrize("turned", [False, True])
def test_a_tip_or_half_of_a_nucleus_is_no_object(at: int, turned: bool) -> None:
    whole = disc(40, 50, 12, 1.8)
    tip = whole & (at > X)
    first, second = (tip, whole & ~tip) if turned else (whole & ~tip, tip)
    assert n_left(1000.0 * whole, first, second) == 1


def test_a_piece_beside_a_hole_is_no_object() -> None:
    whole, hole = disc(40, 50, 14), disc(46, 50, 3)
    rim = whole & (Y >= 46) & (abs(X - 50) < 8) & ~hole
    light = np.where(hole, 350.0, 1000.0 * whole)
    assert n_left(light, whole & ~hole & ~rim, rim) == 1


@pytest.mark.parametrize("share", [0.4, 0.45])
def test_what_fills_a_notch_of_a_nucleus_is_no_object_however_dim(share: float) -> None:
    whole = disc(40, 50, 14)
    rim = whole & (Y >= 42) & (abs(X - 50) < 7)
    assert n_left(np.where(rim, 1000.0 * share, 1000.0 * whole), whole & ~rim, rim) == 1


@pytest.mark.parametrize(("share", "n"), [(1.0, 1), (0.8, 1), (0.5, 2)])
def test_lobes_of_less_than_a_nucleus_are_one_where_their_light_is_alike(
    share: float, n: int
) -> None:
    lobe, other = disc(40, 42, 8), disc(40, 55, 7)
    light = np.where(lobe, 1000.0, 1000.0 * share * other)
    assert n_left(light, lobe, other & ~lobe) == n


def test_three_pieces_become_one_object() -> None:
    whole = disc(40, 50, 13, 1.3)
    labels = np.where(whole, 1 + (X > 45) + (X > 57), 0).astype(np.int32)
    contrast = ndi.gaussian_filter(1000.0 * whole, 1.0).astype(np.float32)
    left = without_pieces(labels, contrast, 28.0)
    assert len(np.unique(left[whole])) == 1


@pytest.mark.parametrize("share", [0.5, 0.8, 1.0])
def test_a_round_body_at_a_nucleus_stays(share: float) -> None:
    nucleus, body = disc(40, 45, 13), disc(40, 62, 5)
    light = np.where(nucleus, 1000.0, 1000.0 * share * body)
    assert n_left(light, nucleus, body & ~nucleus) == 2


@pytest.mark.parametrize("share", [0.3, 0.4])
def test_a_dim_body_on_the_flank_of_a_nucleus_stays(share: float) -> None:
    nucleus, body = disc(40, 50, 12, 1.8) & (X > 33), disc(40, 50, 12, 1.8) & (X <= 33)
    assert n_left(np.where(nucleus, 1000.0, 1000.0 * share * body), nucleus, body) == 2


def test_two_nuclei_and_a_dark_line_between_them_stay() -> None:
    both = disc(40, 50, 13, 1.6)
    line = abs(X - 50) < 2
    light = np.where(line, 500.0, 1000.0) * both
    assert n_left(light, both & (X < 50), both & (X >= 50)) == 2


def test_no_two_objects_larger_than_a_nucleus_become_one() -> None:
    both = disc(40, 50, 20, 1.5)
    assert n_left(1000.0 * both, both & (X < 50), both & (X >= 50)) == 2


def test_nothing_found_is_nothing() -> None:
    nothing = np.zeros(Y.shape, dtype=np.int32)
    assert not without_pieces(nothing, np.zeros(Y.shape, dtype=np.float32), 28.0).any()
