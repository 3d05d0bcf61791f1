"""Which places of a site are unlike the usual patches of their plate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_hcs_qc.heads.prior.usual_patches import MIN_SITES, UsualPatches, resized

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

ROWS, COLUMNS = 24, 32
ODD = (slice(6, 12), slice(8, 16))
_WORLD = np.random.default_rng(99)
GROUND, NUCLEUS, ODDITY = _WORLD.normal(size=(3, 12))


def site(seed: int, *, odd: bool = False) -> list[Floats]:
    """Maps of two stages: ground with nuclei on it, and maybe a thing of another kind."""
    rng = np.random.default_rng(seed)
    is_nucleus = rng.random((ROWS, COLUMNS)) < 0.3
    fine = np.where(is_nucleus, NUCLEUS[:, None, None], GROUND[:, None, None])
    if odd:
        fine[:, *ODD] = ODDITY[:, None, None]
    coarse = fine.reshape(12, ROWS // 2, 2, COLUMNS // 2, 2).mean(axis=(2, 4))
    return [
        (values + rng.normal(0, 0.1, values.shape)).astype(np.float32) for values in (fine, coarse)
    ]


def fitted(n: int = 9, odd: tuple[int, ...] = ()) -> UsualPatches:
    made = UsualPatches.fit((site(number, odd=number in odd) for number in range(n)), 2.0)
    assert made is not None
    return made


def test_one_percent_of_usual_patches_lies_above_1_and_the_median_at_0() -> None:
    usual = fitted()
    values = np.concatenate([usual.score(site(seed)).ravel() for seed in range(100, 130)])
    assert 0.003 < (values > 1).mean() < 0.03
    assert abs(np.median(values)) < 0.1


def test_an_odd_thing_is_found_where_it_lies() -> None:
    values = fitted().score(site(100, odd=True))
    is_odd = np.zeros(values.shape, bool)
    is_odd[ODD] = True
    assert values.shape == (ROWS, COLUMNS)
    assert values[is_odd].min() > values[~is_odd].max()
    assert np.median(values[is_odd]) > 1


@pytest.mark.parametrize("number", range(MIN_SITES))
def test_what_is_odd_stays_so_when_its_own_site_is_among_those_compared_with(number: int) -> None:
    values = fitted(odd=(number,)).score(site(number, odd=True))
    assert np.median(values[ODD]) > 1


def test_of_too_few_sites_nothing_is_known() -> None:
    assert UsualPatches.fit([site(0), site(1)]) is None
    assert UsualPatches.fit([]) is None


def test_a_constant_map_breaks_nothing() -> None:
    flat = [[np.ones((4, 6, 8), np.float32)] for _ in range(3)]
    made = UsualPatches.fit(flat)
    assert made is not None
    assert np.isfinite(made.score(flat[0])).all()


def test_a_map_is_resized_by_straight_lines() -> None:
    ramp = np.tile(np.arange(8, dtype=np.float32), (4, 1))
    larger = resized(ramp, (16, 32))
    np.testing.assert_allclose(
        larger[:, 2:-2], np.tile((np.arange(32) + 0.5) / 4 - 0.5, (16, 1))[:, 2:-2], atol=1e-5
    )
    assert resized(ramp, (4, 8)) is ramp
