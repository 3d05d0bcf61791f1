"""The prior: what judges cells before any annotation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.stats import median_abs_deviation
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from napari_hcs_qc.cells.recipe import get_recipe
from napari_hcs_qc.encoders.registry import load_encoder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.heads.prior.linear_prior import (
    SHIPPED,
    KindWeights,
    LinearPrior,
    PriorDocument,
    find_prior,
    load_prior,
    prior_inputs,
    save_prior,
    unsized,
)
from napari_hcs_qc.heads.prior.plate_prior import LINE, MIN_CELLS, RESIDUAL_ALONE, PlatePrior
from napari_hcs_qc.heads.prior.plate_statistics import LIMIT, plate_statistics
from napari_hcs_qc.heads.prior.residual import N_COMPONENTS, Residual

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

N_FEATURES = 60


def plate_cells(n: int, seed: int = 0) -> NDArray[np.float64]:
    """Cells that differ in a few ways, as cells of a plate do."""
    world = np.random.default_rng(99)
    ways = world.normal(size=(8, N_FEATURES)) * np.linspace(3, 1, 8)[:, np.newaxis]
    rng = np.random.default_rng(seed)
    own = rng.normal(0, 0.4, (n, N_FEATURES))
    cells: NDArray[np.float64] = rng.normal(size=(n, 8)) @ ways + own + 50
    return cells


def linear_prior(seed: int = 1, n_features: int = N_FEATURES) -> LinearPrior:
    coef = np.random.default_rng(seed).normal(size=2 * N_FEATURES)
    document = PriorDocument(
        name="artefacts",
        encoder="efficientnet-lite0",
        encoder_fingerprint="0" * 16,
        recipe="nucleus",
        recipe_fingerprint="1" * 16,
        n_features=n_features,
        artefacts=("dead",),
        sources=(),
        seed=0,
        made_with={"napari-hcs-qc": "0"},
        weights_sha256="",
    )
    return LinearPrior(document, coef)


def with_kinds(weights: KindWeights) -> LinearPrior:
    plain = linear_prior()
    document = plain.document.model_copy(update={"kinds": ("blur", "dead")})
    return LinearPrior(document, plain.coef, weights)


class TestPlateStatistics:
    def test_features_are_standardised_by_median_and_mad(self) -> None:
        cells = plate_cells(501)
        centre = np.median(cells, axis=0)
        scale = median_abs_deviation(cells, axis=0, scale=1 / 1.4826)
        expected = np.clip((cells - centre) / scale, -LIMIT, LIMIT)
        z = plate_statistics(cells).standardised(cells)
        np.testing.assert_allclose(z, expected, atol=1e-10)

    def test_outliers_have_no_part_in_what_is_usual(self) -> None:
        cells = plate_cells(1000)
        with_outliers = np.vstack([cells, np.full((50, N_FEATURES), 1e6)])
        clean, dirty = plate_statistics(cells), plate_statistics(with_outliers)
        moved = np.abs(clean.centre - dirty.centre) / clean.scale
        assert moved.max() < 0.1
        np.testing.assert_allclose(dirty.scale, clean.scale, rtol=0.15)
        assert (dirty.standardised(with_outliers[-1:]) == LIMIT).all()

    def test_a_constant_feature_counts_as_nothing(self) -> None:
        cells = plate_cells(300)
        cells[:, 3] = 7
        z = plate_statistics(cells).standardised(np.full((1, N_FEATURES), 1e3))
        assert z[0, 3] == 0 and z[0, 4] == LIMIT

    def test_single_precision_is_enough(self) -> None:
        cells = plate_cells(300)
        single = plate_statistics(cells.astype(np.float32)).standardised(cells.astype(np.float32))
        np.testing.assert_allclose(single, plate_statistics(cells).standardised(cells), atol=1e-4)


class TestResidual:
    def test_the_distance_is_that_of_principal_components_of_the_other_half(self) -> None:
        z = plate_statistics(plate_cells(400)).standardised(plate_cells(400))
        new = plate_statistics(plate_cells(400)).standardised(plate_cells(50, seed=5))
        order = np.random.default_rng(0).permutation(400)
        distances = []
        for rows in np.array_split(order, 2):
            pca = PCA(N_COMPONENTS, svd_solver="full").fit(z[np.sort(rows)])
            left = new - pca.inverse_transform(pca.transform(new))
            distances.append(np.log((left**2).mean(axis=1)))
        expected = np.max(distances, axis=0)
        # Components of nearly equal variance are found only roughly, which hardly moves distances.
        np.testing.assert_allclose(Residual.fit(z).score(new), expected, atol=0.05)

    def test_an_outlier_of_the_sample_is_as_far_as_one_outside_it(self) -> None:
        z = plate_statistics(plate_cells(400)).standardised(plate_cells(400))
        odd = np.full((1, N_FEATURES), LIMIT) * np.resize([1, -1, -1], N_FEATURES)
        outside = Residual.fit(z).score(odd)[0]
        inside = Residual.fit(np.vstack([z, odd])).score(odd)[0]
        usual = Residual.fit(z).score(z)
        assert outside > usual.max() + 1
        assert inside == pytest.approx(outside, abs=0.2)


class TestPlatePrior:
    def test_the_score_is_the_sum_in_robust_deviations_with_the_line_at_zero(self) -> None:
        cells, new, linear = plate_cells(600), plate_cells(80, seed=3), linear_prior()
        prior = PlatePrior.fit(cells, linear)
        assert prior is not None and prior.name == "artefacts"
        statistics = plate_statistics(cells)
        z, z_new = statistics.standardised(cells), statistics.standardised(new)
        residual = Residual.fit(z)

        def robust(values: NDArray[np.float64], usual: NDArray[np.float64]) -> NDArray[np.float64]:
            scale = median_abs_deviation(usual, scale=1 / 1.4826)
            return np.asarray((values - np.median(usual)) / scale)

        looks, usual = prior_inputs(z_new) @ linear.coef, prior_inputs(z) @ linear.coef
        total = robust(looks, usual) + 0.75 * robust(residual.score(z_new), residual.score(z))
        of_plate = robust(usual, usual) + 0.75 * robust(residual.score(z), residual.score(z))
        expected = 1.5 * (robust(total, of_plate) - LINE)
        np.testing.assert_allclose(prior.score(new), expected, atol=1e-8)

    def test_without_a_linear_prior_the_residual_serves_and_the_name_tells(self) -> None:
        cells = plate_cells(600)
        prior = PlatePrior.fit(cells)
        assert prior is not None
        assert prior.name == RESIDUAL_ALONE
        order = np.argsort(prior.score(cells))
        z = prior.statistics.standardised(cells)
        np.testing.assert_array_equal(order, np.argsort(Residual.fit(z).score(z)))

    def test_cells_unlike_the_plate_are_above_the_line_and_few_others(self) -> None:
        cells = plate_cells(2000)
        odd = plate_cells(40, seed=7) + np.random.default_rng(8).normal(0, 6, (40, N_FEATURES))
        prior = PlatePrior.fit(np.vstack([cells, odd]))
        assert prior is not None
        assert (prior.score(odd) > 0).all()
        assert (prior.score(plate_cells(2000, seed=9)) > 0).mean() < 0.02

    def test_too_few_cells_give_no_prior(self) -> None:
        cells = plate_cells(MIN_CELLS)
        cells[0, 0] = np.nan
        assert PlatePrior.fit(cells) is None
        assert PlatePrior.fit(plate_cells(MIN_CELLS)) is not None

    def test_cells_that_cannot_be_read_have_no_score_and_no_part(self) -> None:
        cells = plate_cells(400)
        holes = np.vstack([cells, np.full((5, N_FEATURES), np.nan)])
        with_holes, without = PlatePrior.fit(holes), PlatePrior.fit(cells)
        assert with_holes is not None and without is not None
        scores = with_holes.score(holes)
        assert np.isnan(scores[-5:]).all()
        np.testing.assert_array_equal(scores[:-5], without.score(cells))
        infinite = cells[:1].copy()
        infinite[0, 0] = np.inf
        assert np.isnan(without.score(infinite)).all()

    def test_the_blocks_in_which_cells_are_scored_do_not_show(self) -> None:
        cells = plate_cells(5000)
        prior = PlatePrior.fit(cells[:1000], linear_prior())
        assert prior is not None
        np.testing.assert_allclose(
            prior.score(cells)[-10:], prior.score(cells[-10:]), rtol=0, atol=1e-9
        )

    def test_a_linear_prior_may_be_of_some_features_only(self) -> None:
        # As with more channels than that of the nuclei; the distance is of all features.
        cells, linear = plate_cells(600), linear_prior()
        more = np.hstack([plate_cells(600, seed=4)[:, :20], cells])
        prior = PlatePrior.fit(more, linear, columns=np.arange(20, 80))
        assert prior is not None
        z = plate_statistics(more).standardised(more)
        looks, distance = linear.score(z[:, 20:]), Residual.fit(z).score(z)

        def usual(values: NDArray[np.float64]) -> NDArray[np.float64]:
            scale = median_abs_deviation(values, scale=1 / 1.4826)
            return (values - np.median(values)) / scale

        total = usual(usual(looks) + 0.75 * usual(distance))
        np.testing.assert_allclose(prior.score(more), 1.5 * (total - LINE), atol=1e-8)

    def test_a_cell_far_smaller_than_usual_counts_for_a_little_more(self) -> None:
        cells, linear = plate_cells(1500), linear_prior()
        # Two features tell the area; a few cells are far smaller.
        statistics = plate_statistics(cells)
        cells[:30, :2] -= 8 * statistics.scale[:2]
        areas = 0.2 * statistics.standardised(cells)[:, :2].sum(axis=1)
        areas[30:60] = np.nan
        plain = PlatePrior.fit(cells, linear)
        knowing = PlatePrior.fit(cells, linear, areas=areas)
        assert plain is not None and knowing is not None
        gained = knowing.score(cells) - plain.score(cells)
        # 0.6 of a robust deviation of the looks, as part of the sum's.
        most = 1.5 * 0.6 / plain.usual_sum.scale
        np.testing.assert_allclose(gained[:30], most, rtol=0.1)
        assert np.quantile(np.abs(gained[30:]), 0.95) < 0.1 * most

    @pytest.mark.parametrize("areas", [np.nan, 2.0])
    def test_areas_that_tell_nothing_change_nothing(self, areas: float) -> None:
        cells, linear = plate_cells(600), linear_prior()
        plain = PlatePrior.fit(cells, linear)
        prior = PlatePrior.fit(cells, linear, areas=np.full(600, areas))
        assert plain is not None and prior is not None
        np.testing.assert_array_equal(prior.score(cells), plain.score(cells))

    def test_cells_of_a_well_that_looks_like_artefacts_as_a_whole_count_for_more(self) -> None:
        cells, linear = plate_cells(1200), linear_prior()
        wells = np.array([f"{'ABC'[i % 3]}{1 + i % 12:02d}" for i in range(len(cells))])
        prior = PlatePrior.fit(cells, linear)
        assert prior is not None and not prior.with_wells(cells, wells).lifts
        towards = linear.coef[:N_FEATURES] / np.linalg.norm(linear.coef[:N_FEATURES])
        looks = cells.copy()
        looks[wells == "A01"] += 4 * prior.statistics.scale * towards
        lifted = prior.with_wells(looks, wells)
        assert set(lifted.lifts) == {"A01"} and lifted.lifts["A01"] > 0.5
        some = np.arange(0, 1200, 2)
        of_some = prior.with_wells(looks, wells, some).lifts
        assert of_some == prior.with_wells(looks[some], wells[some]).lifts != lifted.lifts
        plain = prior.score(looks)
        np.testing.assert_array_equal(lifted.score(looks), plain)
        change = lifted.score(looks, wells) - plain
        np.testing.assert_allclose(change[wells == "A01"], 1.5 * lifted.lifts["A01"])
        assert not change[wells != "A01"].any()
        # One that is only unlike the others, in a way that no artefact has, is not.
        away = plate_cells(1, seed=9)[0]
        away -= (away @ towards) * towards
        unlike = cells.copy()
        unlike[wells == "A01"] += 4 * prior.statistics.scale * away / np.linalg.norm(away)
        assert not prior.with_wells(unlike, wells).lifts
        # Few wells, few cells, or nothing known of artefacts: nothing to tell it by.
        few = np.isin(wells, sorted(set(wells))[:9])
        assert not prior.with_wells(looks[few], wells[few]).lifts
        assert not prior.with_wells(looks[:40], wells[:40]).lifts
        alone = PlatePrior.fit(cells)
        assert alone is not None and not alone.with_wells(looks, wells).lifts

    def test_a_prior_of_another_encoder_is_refused(self) -> None:
        with pytest.raises(ValueError, match="is for 60 features, the cells have 59"):
            PlatePrior.fit(plate_cells(300)[:, 1:], linear_prior())


class TestKinds:
    def test_they_are_those_of_a_multinomial_model_of_the_plates_own_cells(self) -> None:
        """That of scikit-learn on cells of another scale, where it is likelier than not."""
        kinds = np.array(["blur", "dead", "zz none"])
        rng = np.random.default_rng(0)
        target = kinds[rng.integers(3, size=400)]
        shift = rng.normal(0, 2, (3, N_FEATURES))
        z = rng.normal(size=(400, N_FEATURES)) + shift[np.searchsorted(kinds, target)]
        model = LogisticRegression(C=1e-3).fit(prior_inputs(z), target)
        prior = with_kinds(KindWeights(model.coef_, model.intercept_))

        cells = plate_cells(1000)
        of_plate = PlatePrior.fit(cells, prior)
        assert of_plate is not None
        odd = of_plate.statistics.centre + of_plate.statistics.scale * z
        shares = model.predict_proba(prior_inputs(of_plate.statistics.standardised(odd)))
        expected = kinds.astype(object)[shares.argmax(axis=1)]
        expected[(shares.max(axis=1) < 0.5) | (expected == "zz none")] = None
        given = of_plate.kinds(odd)
        assert given.tolist() == expected.tolist()
        assert {"blur", "dead", None} == set(given)
        # Each of its own, and none of a cell that could not be read.
        odd[3] = np.nan
        expected[3] = None
        assert of_plate.kinds(odd[:10]).tolist() == expected[:10].tolist()

    def test_what_knows_no_kinds_gives_none(self) -> None:
        cells = plate_cells(300)
        for linear in (None, linear_prior()):
            prior = PlatePrior.fit(cells, linear)
            assert prior is not None
            assert prior.kinds(cells[:5]).tolist() == [None] * 5


class TestFiles:
    def test_kinds_are_read_again(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(3)
        # In the order of the axes in which scikit-learn gives it.
        coef = np.asfortranarray(rng.normal(size=(3, 2 * N_FEATURES)))
        weights = KindWeights(coef, rng.normal(size=3))
        again = load_prior(save_prior(tmp_path, with_kinds(weights)))
        z = rng.normal(size=(200, N_FEATURES))
        assert again.kinds(z).tolist() == with_kinds(weights).kinds(z).tolist()
        few = KindWeights(weights.coef[:2], weights.intercepts)
        path = save_prior(tmp_path, with_kinds(few))
        with pytest.raises(HcsQcError, match=r"shape of kinds is \(2, 120\), not \(3, 120\)"):
            load_prior(path)

    def test_what_is_saved_is_read_again(self, tmp_path: Path) -> None:
        prior = linear_prior()
        path = save_prior(tmp_path, prior)
        again = load_prior(path)
        assert again.name == prior.name
        np.testing.assert_allclose(again.coef, prior.coef, rtol=1e-6)

    def test_other_weights_than_those_written_are_refused(self, tmp_path: Path) -> None:
        path = save_prior(tmp_path, linear_prior())
        weights = path.with_suffix(".safetensors")
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(bytes(data))
        with pytest.raises(HcsQcError, match="SHA-256 differs"):
            load_prior(path)
        weights.unlink()
        with pytest.raises(HcsQcError, match=r"artefacts.safetensors cannot be used"):
            load_prior(path)

    def test_weights_of_another_length_are_refused(self, tmp_path: Path) -> None:
        path = save_prior(tmp_path, linear_prior(n_features=59))
        with pytest.raises(HcsQcError, match=r"shape of coef is \(120,\), not \(118,\)"):
            load_prior(path)

    def test_the_default_encoder_and_recipe_have_a_prior_for_nuclei_of_any_size(self) -> None:
        recipe = get_recipe("nucleus")
        encoder = load_encoder(stages=recipe.stages, pooling=recipe.pooling)
        prior = find_prior(encoder, recipe.with_diameter(31.4))
        assert prior is not None
        assert len(prior.coef) == 2 * 2 * encoder.n_features

    def test_another_recipe_has_none(self) -> None:
        recipe = get_recipe("nucleus-mean")
        encoder = load_encoder(stages=recipe.stages, pooling=recipe.pooling)
        assert find_prior(encoder, recipe) is None

    def test_sources_have_licences_and_the_plate_it_is_measured_on_is_none_of_them(self) -> None:
        [path] = SHIPPED.glob("*.json")
        document = PriorDocument.load(path)
        assert document.recipe_fingerprint == unsized(get_recipe("nucleus"))
        assert all(source.licence and source.origin for source in document.sources)
        names = json.dumps(document.plain()["sources"])
        assert "MitoCheck" in names and "CC BY 4.0" in names
        assert "BBBC022" not in names and "BBBC039" not in names
        assert path.with_suffix(".safetensors").stat().st_size < 80_000
