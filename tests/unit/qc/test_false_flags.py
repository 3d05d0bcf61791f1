"""How often wells of clean plates are flagged, and whether bad wells still are."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.plates.wells import well_name
from napari_hcs_qc.qc.flags import PlateScores, score_plate
from napari_hcs_qc.qc.intervals import Rates
from napari_hcs_qc.qc.quality_measures import QUALITY_COLUMNS
from napari_hcs_qc.qc.rule import FlagRule
from napari_hcs_qc.qc.usual import usual_count, usual_share

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

LIMIT = 0.02  # of the wells of a clean plate that may be flagged


def simulate(
    rng: np.random.Generator,
    *,
    per_site: float,
    n_sites: int | NDArray[np.int64] = 1,
    share: float = 0.05,
    correlation: float = 0.0,
    count_sd: float = 0.0,
    n_wells: int = 384,
    bad: Mapping[int, float] = {},
    empty: tuple[int, ...] = (),
    unreadable_share: float = 0.0,
    **kwargs: Any,
) -> PlateScores:
    """Score a plate whose wells differ by chance, but for the share of the bad ones.

    The share of a well is of a beta distribution, its mean count of a log-normal one.
    """
    columns = 24 if n_wells > 96 else 12
    sites_of = np.broadcast_to(n_sites, n_wells)
    wells = [well_name(index // columns, index % columns) for index in range(n_wells)]
    sites = [
        SiteKey(wells[well], site) for well in range(n_wells) for site in range(sites_of[well])
    ]
    share_of = np.full(n_wells, share)
    if correlation:
        size = 1 / correlation - 1
        share_of = rng.beta(share * size, (1 - share) * size, n_wells)
    for well, its_share in bad.items():
        share_of[well] = its_share
    mean_of = per_site * np.exp(count_sd * rng.normal(size=n_wells) - count_sd**2 / 2)
    mean_of[list(empty)] = 0
    well_of = np.repeat(np.arange(n_wells), sites_of)
    is_read = rng.random(len(sites)) >= unreadable_share
    site_of = np.repeat(np.arange(len(sites)), rng.poisson(mean_of[well_of]) * is_read)
    is_abnormal = rng.random(len(site_of)) < share_of[well_of[site_of]]
    cells = pd.DataFrame(
        {
            "well": np.array([site.well for site in sites], dtype=object)[site_of],
            "site": np.array([site.site for site in sites])[site_of],
            "area_px": 700.0,
            "is_cut": False,
        }
    )
    predictions = pd.DataFrame(
        {"predicted_class": np.where(is_abnormal, "abnormal", "normal").astype(object)}
    ).assign(predicted_kind=None, annotated_class=None, annotated_kind=None)
    unreadable = {sites[index]: "truncated" for index in np.flatnonzero(~is_read)}
    quality = pd.DataFrame(columns=list(QUALITY_COLUMNS))
    return score_plate(sites, cells, predictions, quality, unreadable=unreadable, **kwargs)


def flagged_in_vain(scores: PlateScores) -> float:
    """Share of the wells that are flagged for anything but a site that could not be read."""
    codes = scores.wells["flag_codes"].str.replace("unreadable", "").str.strip(",")
    return float((codes != "").mean())


# Share of abnormal cells, intra-class correlation of wells, spread of the counts of wells
NULL_PLATES = [(0.05, 0.0, 0.0), (0.08, 0.0, 0.0), (0.08, 0.05, 0.3)]


def mean_flagged(
    n_plates: int, seed: int, per_site: float, n_sites: int, null: tuple[float, float, float]
) -> float:
    """Share of the wells of clean plates that are flagged, on average."""
    rng = np.random.default_rng(seed)
    share, correlation, count_sd = null
    flagged = [
        flagged_in_vain(
            simulate(
                rng,
                per_site=per_site,
                n_sites=n_sites,
                share=share,
                correlation=correlation,
                count_sd=count_sd,
            )
        )
        for _ in range(n_plates)
    ]
    return float(np.mean(flagged))


@pytest.mark.parametrize(("per_site", "n_sites"), [(1.5, 9), (3, 4), (10, 9), (50, 1)])
@pytest.mark.parametrize("null", NULL_PLATES)
def test_few_wells_of_a_clean_plate_are_flagged(
    per_site: float, n_sites: int, null: tuple[float, float, float]
) -> None:
    assert mean_flagged(2, 1, per_site, n_sites, null) <= LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("per_site", [1.5, 3, 5, 10, 20, 50])
@pytest.mark.parametrize("n_sites", [1, 4, 9])
@pytest.mark.parametrize("null", NULL_PLATES)
def test_few_wells_of_twenty_clean_plates_are_flagged(
    per_site: float, n_sites: int, null: tuple[float, float, float]
) -> None:
    assert mean_flagged(20, 2, per_site, n_sites, null) <= LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("n_wells", [24, 96, 384])
@pytest.mark.parametrize("per_site", [2, 8, 40])
@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("correlation", [0.02, 0.1])
def test_plates_of_other_kinds_are_flagged_no_more(
    n_wells: int, per_site: float, share: float, correlation: float
) -> None:
    rng = np.random.default_rng(3)
    flagged = [
        flagged_in_vain(
            simulate(
                rng,
                per_site=per_site,
                n_sites=rng.integers(1, 7, n_wells),
                share=share,
                correlation=correlation,
                count_sd=0.4,
                n_wells=n_wells,
                unreadable_share=0.03,
                control_wells=("A01", "B01", "A12", "B12", "A06") if plate % 2 else (),
            )
        )
        for plate in range(20)
    ]
    # Of 24 wells the spread is not well known, and one well is 4 %.
    assert np.mean(flagged) <= (LIMIT if n_wells > 24 else 0.03)


@pytest.mark.parametrize("correlation", [0.0, 0.02, 0.05])
@pytest.mark.parametrize("n_sites", [1, 4])
@pytest.mark.parametrize("n_bad", [1, 8, 38])
def test_bad_wells_are_flagged_and_do_not_hide_one_another(
    correlation: float, n_sites: int, n_bad: int
) -> None:
    rng = np.random.default_rng(4)
    bad = dict.fromkeys(range(5, 5 + n_bad), 0.6)
    flags = [
        simulate(
            rng,
            per_site=60 / n_sites,
            n_sites=n_sites,
            correlation=correlation,
            count_sd=0.2,
            bad=bad,
        ).wells["is_flagged"]
        for _ in range(3)
    ]
    assert np.mean([flagged[list(bad)].mean() for flagged in flags]) >= 0.95
    # Of the flags for each of two reasons, of wells and of sites, a tenth may be by chance.
    in_vain = [flagged.drop(list(bad)).sum() for flagged in flags]
    assert np.mean(in_vain) <= 0.005 * 384 + 0.3 * n_bad


def test_a_well_of_a_homogeneous_plate_with_45_per_cent_is_flagged_in_words() -> None:
    rng = np.random.default_rng(5)
    scores = [simulate(rng, per_site=60, bad={7: 0.45}, n_wells=96) for _ in range(10)]
    assert all(plate.wells["is_flagged"][7] for plate in scores)
    reason = scores[0].wells["flag_reason"][7]
    n, share = (scores[0].wells[name][7] for name in ("n_scored", "share_abnormal"))
    assert reason.startswith(f"{100 * share:.0f} % of {n} cells abnormal (plate ")
    assert reason.endswith("chance less than 1 in 1,000,000)")


def test_the_reason_states_the_true_share_where_the_errors_of_the_model_are_known() -> None:
    rates = Rates(n_abnormal=100, n_abnormal_called=95, n_normal=200, n_normal_called=4)
    rng = np.random.default_rng(5)
    wells = simulate(rng, per_site=60, n_sites=4, bad={7: 0.45}, n_wells=96, rates=rates).wells
    (ends,) = re.findall(
        r"cells abnormal \(true share (\d+)–(\d+) %, plate", wells["flag_reason"][7]
    )
    low, high = wells["share_estimated_low"], wells["share_estimated_high"]
    assert ends == (f"{math.floor(100 * low[7])}", f"{math.ceil(100 * high[7])}")
    assert low[7] < 0.45 < high[7]
    assert (low[wells.index != 7] < 0.1).all()


def test_three_abnormal_cells_of_three_are_no_flag_on_a_sparse_plate() -> None:
    rng = np.random.default_rng(6)
    bad = dict.fromkeys(range(0, 384, 20), 1.0)
    scores = simulate(rng, per_site=3, share=0.08, correlation=0.05, bad=bad)
    wells = scores.wells.loc[list(bad)]
    is_small = wells["n_scored"].between(1, 3)
    assert is_small.sum() > 5
    assert (wells["share_abnormal"][is_small] == 1).all()
    assert not wells["is_flagged"][is_small].any()


def test_a_plate_bad_throughout_is_flagged_and_one_of_the_usual_kind_is_not() -> None:
    rng = np.random.default_rng(7)
    bad = simulate(rng, per_site=60, share=0.8, correlation=0.02)
    assert bad.wells["is_flagged"].mean() > 0.95
    assert "above 50 %, plate 8" in bad.wells["flag_reason"][0]
    assert flagged_in_vain(simulate(rng, per_site=60, share=0.4, correlation=0.02)) <= LIMIT


def test_a_huge_well_is_not_flagged_for_a_trifle() -> None:
    rng = np.random.default_rng(8)
    scores = simulate(rng, per_site=3000, bad={3: 0.12}, n_wells=48)
    assert scores.wells["share_abnormal"][3] > 2 * scores.medians["well_share_abnormal"]
    assert not scores.wells["is_flagged"].any()


@pytest.mark.parametrize(("per_site", "is_flagged"), [(3, False), (60, True)])
def test_wells_without_cells_are_flagged_where_they_are_improbable(
    per_site: float, is_flagged: bool
) -> None:
    rng = np.random.default_rng(9)
    scores = simulate(rng, per_site=per_site, count_sd=0.3, empty=(11,), n_wells=96)
    assert scores.wells["n_cells"][11] == 0
    assert scores.wells["is_flagged"][11] == is_flagged
    if is_flagged:
        assert scores.wells["flag_codes"][11] == "empty"
        assert scores.wells["is_flagged"].sum() == 1


def test_a_well_far_below_the_others_is_flagged_and_the_spread_decides() -> None:
    rng = np.random.default_rng(10)
    counts, n_sites = rng.poisson(60, 96), np.ones(96, dtype=np.int64)
    even = usual_count(counts, n_sites, 60.0, 96)
    wild = usual_count(rng.poisson(60 * rng.gamma(1, 1, 96)), n_sites, 60.0, 96)
    few = (np.array([12]), np.array([1]))
    assert even.chance(*few) < 1e-6
    assert wild.chance(*few) > 0.05


@pytest.mark.parametrize("n_bad", [0, 20])
@pytest.mark.parametrize("correlation", [0.01, 0.05, 0.1])
def test_the_spread_is_found_though_some_wells_are_bad(n_bad: int, correlation: float) -> None:
    rng = np.random.default_rng(11)
    size = 1 / correlation - 1
    found = []
    for _ in range(10):
        share = rng.beta(0.1 * size, 0.9 * size, 384)
        share[:n_bad] = 0.8
        totals = rng.poisson(200, 384) + 1
        usual = usual_share((rng.binomial(totals, share), totals))
        assert usual.share == pytest.approx(0.1, abs=0.02)
        found.append(usual.correlation)
    assert correlation * 0.75 < np.mean(found) < correlation * 1.3


@pytest.mark.parametrize(
    "null", [(2, 0.1, 0.05), (20, 0.05, 0.02), (60, 0.05, 0.05), (300, 0.2, 0.1)]
)
def test_a_chance_of_one_in_a_hundred_is_that_rare(null: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(12)
    mean, share, correlation = null
    size = 1 / correlation - 1
    chances = []
    for _ in range(30):
        totals = rng.poisson(mean, 384) + 1
        hits = rng.binomial(totals, rng.beta(share * size, (1 - share) * size, 384))
        chances.append(usual_share((hits, totals)).chance(hits, totals))
    assert np.mean(np.concatenate(chances) < 0.01) <= 0.0125
    assert np.mean(np.concatenate(chances) < 0.001) <= 0.002


@pytest.mark.parametrize("null", [(3, 0.0), (20, 0.3), (60, 0.4)])
def test_a_count_of_a_chance_of_one_in_a_hundred_is_that_rare(null: tuple[float, float]) -> None:
    rng = np.random.default_rng(13)
    mean, sd = null
    chances = []
    for _ in range(30):
        n_sites = rng.integers(1, 5, 384)
        of_well = mean * rng.gamma(1 / sd**2, sd**2, 384) if sd else np.full(384, mean)
        counts = rng.poisson(n_sites * of_well)
        median = float(np.median(counts / n_sites))
        usual = usual_count(counts, n_sites, median, 384)
        chances.append(usual.chance(counts, n_sites))
    assert np.mean(np.concatenate(chances) < 0.01) <= 0.0125
    assert np.mean(np.concatenate(chances) < 0.001) <= 0.002


@pytest.mark.parametrize("n_controls", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("n_sites", [1, 2])
def test_too_few_controls_fall_back_to_the_plate_and_say_so(n_controls: int, n_sites: int) -> None:
    rng = np.random.default_rng(14)
    wells = [well_name(row, column) for row in range(8) for column in range(12)]
    keys = [SiteKey(well, site) for well in wells for site in range(1, n_sites + 1)]
    bad = {"D05", "D06"}
    zeros = dict.fromkeys(QUALITY_COLUMNS, 0.0)
    quality = pd.DataFrame(
        [
            zeros
            | {
                "well": key.well,
                "site": key.site,
                "channel": "DNA",
                "octave_power_slope": -2 + 0.05 * rng.normal(),
                "edge_width_px": (4.5 if key.well in bad else 1.8) + 0.05 * rng.normal(),
                "background": 200 + 5 * rng.normal(),
                "background_span": 0.02 + 0.002 * rng.normal(),
                "bright_extent_nuclei": 2 + 0.2 * rng.normal(),
                "noise": 8 + 0.2 * rng.normal(),
                "signal_to_noise": 60 + 5 * rng.normal(),
            }
            for key in keys
        ]
    )
    site_of = np.repeat(np.arange(len(keys)), 60)
    cells = pd.DataFrame(
        {
            "well": [keys[index].well for index in site_of],
            "site": [keys[index].site for index in site_of],
            "area_px": 700 + 60 * rng.normal(size=len(site_of)),
            "is_cut": False,
        }
    )
    p = np.where(cells["well"].isin(bad), 0.45, 0.05)
    predictions = pd.DataFrame(
        {"predicted_class": np.where(rng.random(len(p)) < p, "abnormal", "normal").astype(object)}
    ).assign(predicted_kind=None, annotated_class=None, annotated_kind=None)
    scores = score_plate(
        keys,
        cells,
        predictions,
        quality,
        control_wells=["A01", "B01", "C01", "E01", "F01"][:n_controls],
    )
    flagged = scores.wells[scores.wells["is_flagged"]]
    assert flagged["well"].tolist() == ["D05", "D06"]
    assert all(
        set(codes.split(",")) == {"share_abnormal", "blur"} for codes in flagged["flag_codes"]
    )
    name = "control" if n_controls >= 4 else "plate"
    assert scores.reference == name
    assert flagged["flag_reason"].str.contains(f"{name} median 1.").all()
    note = f"only {n_controls} control well{'s' if n_controls != 1 else ''}"
    is_said = 0 < n_controls < 4
    assert scores.note == (note if is_said else "")
    compared = f"plate, {note}" if is_said else name
    assert set(scores.wells["compared_with"]) == set(scores.sites["compared_with"]) == {compared}
    assert flagged["flag_reason"].str.count(note).tolist() == [2 if is_said else 0] * 2


def test_controls_without_cells_are_none_for_what_cells_show() -> None:
    rng = np.random.default_rng(15)
    controls = ("A01", "A02", "A03", "A04")
    scores = simulate(
        rng, per_site=60, empty=(0, 1, 2, 3), bad={20: 0.6}, n_wells=96, control_wells=controls
    )
    assert scores.reference == "control"
    reason = scores.wells["flag_reason"][20]
    assert "too few control wells with cells" in reason


def test_a_laxer_rate_flags_more() -> None:
    scores = [
        simulate(
            np.random.default_rng(16),
            per_site=12,
            correlation=0.05,
            bad=dict.fromkeys(range(20), 0.4),
            rule=FlagRule(false_flag_share=rate),
        )
        for rate in (0.01, 0.5)
    ]
    assert scores[0].wells["is_flagged"].sum() < scores[1].wells["is_flagged"].sum()
