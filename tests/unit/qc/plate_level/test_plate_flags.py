from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from napari_hcs_qc.errors import HcsQcError, ProblemsError
from napari_hcs_qc.qc.plate_level.plate_flags import PlateFigures, flag_plates
from napari_hcs_qc.qc.plate_level.plate_rule import PLATE_CODES, PlateRule
from napari_hcs_qc.qc.plate_level.position_effects import Estimate, PositionEffect


def figures(name: str, seed: int = 0, **changes: Any) -> PlateFigures:
    rng = np.random.default_rng(seed)
    usual = PlateFigures(
        name=name,
        n_wells=96,
        n_flagged=int(rng.integers(2, 7)),
        n_sites=384,
        n_unreadable=0,
        n_cells=38_000,
        n_scored=38_000,
        n_abnormal=3_000,
        share_abnormal=0.08 + rng.normal(0, 0.006),
        cells_per_site=100 + rng.normal(0, 5),
        quality={
            "edge_width_px": {"DNA": 2.0 + rng.normal(0, 0.04), "Actin": 3 + rng.normal(0, 0.05)},
            "noise": {"DNA": 5 + rng.normal(0, 0.1)},
            "signal_to_noise": {"DNA": 40 + rng.normal(0, 1)},
            "background_rise": {"DNA": 0.01},
        },
    )  # fmt: skip
    return replace(usual, **changes)


def screen(**changes: Any) -> list[PlateFigures]:
    """Eleven ordinary plates and one, ``odd``, that is changed."""
    return [*(figures(f"P{n}", n) for n in range(11)), figures("odd", 99, **changes)]


def test_an_ordinary_screen_has_no_flag() -> None:
    assert all(not flags for flags in flag_plates(screen(), PlateRule()).values())


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"n_flagged": 40}, "flagged_wells", "42 % of the wells flagged"),
        ({"share_abnormal": 0.2}, "share_abnormal", "20 % of the cells"),
        ({"cells_per_site": 45.0}, "few_cells", "45 cells per site"),
        ({"cells_per_site": 220.0}, "many_cells", "220 cells per site"),
        ({"n_unreadable": 30}, "unreadable", "30 of 384 sites"),
        ({"quality": {"edge_width_px": {"Actin": 5.0}}}, "blur", "channel Actin"),
        ({"quality": {"noise": {"DNA": 12.0}}}, "noise", "noise 12"),
        ({"quality": {"signal_to_noise": {"DNA": 10.0}}}, "dim", "signal 10 times"),
        ({"quality": {"background_rise": {"DNA": 0.2}}}, "haze", "raised by 20 %"),
        ({"novelty": "Plate odd: unlike"}, "novelty", "unlike"),
    ],
)
def test_each_reason_flags_the_plate_it_is_on(
    changes: dict[str, Any], code: str, words: str
) -> None:
    flags = flag_plates(screen(**changes), PlateRule())
    assert [one.code for one in flags.pop("odd")] == [code]
    assert not any(flags.values())
    text = flag_plates(screen(**changes), PlateRule())["odd"][0].text
    assert words in text
    assert code in PLATE_CODES


def test_an_effect_flags_by_the_end_of_its_interval() -> None:
    def plates(low: float) -> list[PlateFigures]:
        effect = PositionEffect(
            measure="share_abnormal", place="edge", shift=Estimate(0.2, low, 0.3), n=36, n_others=60
        )
        return screen(effects=[effect])

    assert not flag_plates(plates(0.04), PlateRule())["odd"]
    (flag,) = flag_plates(plates(0.1), PlateRule())["odd"]
    assert flag.code == "edge"
    assert flag.severity == pytest.approx(2)
    assert "20.0 points more abnormal cells" in flag.text


def test_few_plates_are_not_compared_but_a_ruined_one_is_seen() -> None:
    few = [figures("a"), figures("b", share_abnormal=0.4), figures("c", n_flagged=90)]
    flags = flag_plates(few, PlateRule())
    assert not flags["b"]
    assert [one.code for one in flags["c"]] == ["flagged_wells"]
    assert "median" not in flags["c"][0].text


def test_a_plate_without_cells_or_wells_is_told() -> None:
    empty = {"n_cells": 0, "n_scored": 0, "n_abnormal": 0, "share_abnormal": np.nan}
    flags = flag_plates(screen(**empty, cells_per_site=0.0), PlateRule())["odd"]
    assert {one.code for one in flags} == {"no_cells", "few_cells"}
    assert flag_plates([figures("x", n_wells=0, n_flagged=0, **empty)], PlateRule())["x"]


def test_the_rule_tells_all_that_is_wrong_with_it_and_reads_back() -> None:
    with pytest.raises(ProblemsError) as told:
        PlateRule(z_limit=-1, blur_ratio=0.9, few_cells=2.0)
    assert [one.where for one in told.value.problems] == ["z_limit", "few_cells", "blur_ratio"]
    with pytest.raises(HcsQcError, match='did you mean "z_limit"'):
        PlateRule.from_dict({"zlimit": 3})
    rule = PlateRule(z_limit=5, noise_ratio=2)
    assert PlateRule.from_dict(rule.to_dict()) == rule
    text = " ".join(rule.describe())
    assert "more than 5 robust" in text
    assert "Noise: 2 times" in text
