from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.base import clone

from napari_hcs_qc.files import write_json
from napari_hcs_qc.heads.linear.linear_head import LinearHead
from napari_hcs_qc.heads.linear.plate_directions import (
    MIN_CELLS,
    N_DIRECTIONS,
    PlateDirections,
    plate_directions,
)
from napari_hcs_qc.heads.saved_head import load_head, save_head

if TYPE_CHECKING:
    from pathlib import Path

N_FEATURES = 120


def plate(n_cells: int = 3000, seed: int = 0) -> np.ndarray:
    """Cells that differ in ways of very unlike size, seen through mixed features."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(80, N_FEATURES))
    hidden = rng.normal(size=(n_cells, 80)) * np.geomspace(5, 0.05, 80)
    return hidden @ mixing + 3.0


def test_the_plate_has_mean_0_and_at_most_sd_1_along_them() -> None:
    cells = plate()
    found = plate_directions(cells)
    assert found is not None
    along = cells @ found.directions.T - found.offset
    assert along.shape == (3000, N_DIRECTIONS)
    np.testing.assert_allclose(along.mean(axis=0), 0, atol=1e-8)
    sd = along.std(axis=0)
    assert (np.diff(sd) < 0.02).all()  # the weaker a direction, the less it is blown up
    assert 0.95 < sd[0] < 1.01
    assert sd[-1] > 0.2
    correlation = np.corrcoef(along.T)
    assert np.abs(correlation - np.eye(N_DIRECTIONS)).max() < 0.2


def test_they_span_what_principal_components_of_the_standardised_cells_span() -> None:
    cells = plate()
    found = plate_directions(cells)
    assert found is not None
    z = np.clip((cells - cells.mean(0)) / cells.std(0), -5, 5)
    _, _, axes = np.linalg.svd(z - z.mean(0), full_matrices=False)
    ours, _ = np.linalg.qr((found.directions * cells.std(0)).T)
    angles = np.linalg.svd(ours.T @ axes[:30].T, compute_uv=False)
    assert angles.min() > 0.999


def test_cells_without_an_embedding_and_constant_features_have_no_part() -> None:
    cells = plate()
    with_more = np.vstack([cells, np.full((5, N_FEATURES), np.nan)])
    found, again = plate_directions(cells), plate_directions(with_more)
    assert found is not None
    assert again is not None
    np.testing.assert_array_equal(found.directions, again.directions)
    cells[:, 7] = 1e6
    found = plate_directions(cells)
    assert found is not None
    assert (found.directions[:, 7] == 0).all()
    assert np.isfinite(found.offset).all()


def test_traits_have_directions_that_foretell_them() -> None:
    hidden = np.random.default_rng(1).normal(size=(3000, 2))
    cells = plate()
    cells[:, :40] += 2.0 * hidden[:, :1]
    cells[:, 40:60] -= 3.0 * hidden[:, 1:]
    traits = np.stack([5.0 + 0.3 * hidden[:, 0], 100.0 * hidden[:, 1]], axis=1)
    found, plain = plate_directions(cells, traits=traits), plate_directions(cells)
    assert found is not None
    assert plain is not None
    np.testing.assert_array_equal(found.directions[:N_DIRECTIONS], plain.directions)
    along = cells @ found.directions[N_DIRECTIONS:].T - found.offset[N_DIRECTIONS:]
    assert along.shape == (3000, 10)
    np.testing.assert_allclose(along.mean(axis=0), 0, atol=1e-8)
    np.testing.assert_allclose(along.std(axis=0), 1, atol=0.02)
    for number in range(2):
        own = along[:, 5 * number : 5 * number + 5]
        assert (own == own[:, :1]).all()
        assert np.corrcoef(own[:, 0], hidden[:, number])[0, 1] > 0.97


def test_traits_that_were_not_measured_or_do_not_differ_have_no_direction() -> None:
    cells = plate()
    trait = cells[:, :1] - cells[:, 1:2]
    known = np.arange(3000) % 2 == 0
    half = plate_directions(cells, traits=np.where(known[:, np.newaxis], trait, np.nan))
    assert half is not None
    along = cells @ half.directions[N_DIRECTIONS] - half.offset[N_DIRECTIONS]
    assert np.corrcoef(along, trait[:, 0])[0, 1] > 0.95
    for nothing in (np.full((3000, 2), np.nan), np.ones((3000, 1)), np.empty((3000, 0))):
        found = plate_directions(cells, traits=nothing)
        assert found is not None
        assert len(found.directions) == N_DIRECTIONS


@pytest.mark.parametrize(("n_cells", "n_features"), [(MIN_CELLS - 1, N_FEATURES), (3000, 49)])
def test_too_little_gives_none(n_cells: int, n_features: int) -> None:
    assert plate_directions(plate(n_cells)[:, :n_features]) is None


def labelled(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes that differ along a weak direction of the plate."""
    rng = np.random.default_rng(seed)
    y = np.array(["normal", "abnormal"])[np.arange(n) % 2]
    mixing = np.random.default_rng(99).normal(size=(80, N_FEATURES))
    hidden = rng.normal(size=(n, 80)) * np.geomspace(5, 0.05, 80)
    hidden[:, 30] += np.where(y == "abnormal", 6, 0) * np.geomspace(5, 0.05, 80)[30]
    return hidden @ mixing + 3.0, y


def test_a_head_that_knows_the_plate_needs_fewer_annotations() -> None:
    test, truth = labelled(2000, 1)
    right: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(5):
        X, y = labelled(16, 10 + seed)
        for knows in (True, False):
            known = plate_directions(plate()) if knows else None
            head = LinearHead(plate=known).fit(X, y)
            right[knows].append(float((head.predict(test) == truth).mean()))
    assert np.mean(right[True]) > np.mean(right[False]) + 0.03


def test_a_head_with_directions_is_saved_whole(tmp_path: Path) -> None:
    X, y = labelled(40, 3)
    head = LinearHead(plate=plate_directions(plate())).fit(X, y)
    save_head(head, tmp_path)
    again = load_head(tmp_path)
    test = labelled(500, 4)[0].astype(np.float32)
    np.testing.assert_array_equal(again.predict_proba(test), head.predict_proba(test))
    np.testing.assert_allclose(
        head.predict_proba(test), head.predict_proba(test.astype(np.float64)), atol=2e-4
    )


def test_a_head_of_the_version_before_is_still_read(tmp_path: Path) -> None:
    X, y = labelled(40, 3)
    head = LinearHead().fit(X, y)
    save_head(head, tmp_path)
    manifest = json.loads((tmp_path / "head.json").read_text())
    manifest["version"] = 1
    write_json(tmp_path / "head.json", manifest)
    again = load_head(tmp_path)
    np.testing.assert_array_equal(again.predict_proba(X), head.predict_proba(X))


def test_directions_of_another_encoder_are_refused() -> None:
    X, y = labelled(40, 3)
    n = N_FEATURES + 1
    other = PlateDirections(np.zeros((50, n)), np.zeros(50), np.zeros(n), np.ones(n))
    with pytest.raises(ValueError, match=r"121 features.*same encoder"):
        LinearHead(plate=other).fit(X, y)


def test_it_is_a_parameter_like_others() -> None:
    known = plate_directions(plate())
    head = clone(LinearHead(plate=known))
    assert head.plate is not None
    np.testing.assert_array_equal(head.plate.directions, known.directions)  # type: ignore[union-attr]
