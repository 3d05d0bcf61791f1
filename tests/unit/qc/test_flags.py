from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image
from scipy import ndimage
from skimage import measure

from napari_hcs_qc.cells.intensity import ChannelRange, IntensityRanges
from napari_hcs_qc.cells.table import cells_of_site, join_cells
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.plates.wells import well_name
from napari_hcs_qc.qc.flags import MAX_SEVERITY, PlateScores, score_plate
from napari_hcs_qc.qc.image_quality import measure_site, quality_table
from napari_hcs_qc.qc.rule import FLAG_CODES, FlagRule

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.qc.quality_measures import ChannelQuality


def well(scores: PlateScores, name: str) -> Any:
    return scores.wells.set_index("well").loc[name]


def test_a_plate_of_good_sites_has_no_flag(plate: Any) -> None:
    scores = plate.score()
    assert not scores.wells["is_flagged"].any()
    assert (scores.wells["flag_reason"] == "").all()
    assert (scores.wells["severity"] == 0).all()


def test_an_empty_site_is_flagged_in_words_and_numbers(plate: Any, draw_site: Any) -> None:
    plate.add("C01", 6, draw_site(0, 0))
    scores = plate.score()
    found = well(scores, "C01")
    assert found.flag_code == "empty"
    median = scores.sites["n_cells"].astype(float).median()
    assert found.flag_reason == (
        f"site 6: no nuclei found (plate median {median:.0f}, chance less than 1 in 1,000,000)"
    )
    assert found.severity == MAX_SEVERITY
    assert list(scores.wells.loc[scores.wells["is_flagged"], "well"]) == ["C01"]


def blurred(site: Any) -> None:
    site.image = ndimage.gaussian_filter(site.image, 4) + np.random.default_rng(0).normal(
        0, 4, site.image.shape
    )


def saturated_bar(site: Any) -> None:
    site.image[10:60, 100:108] = 4095


def fibre(site: Any) -> None:
    line = np.zeros(site.image.shape)
    line[80:110] = 2500
    site.image += ndimage.gaussian_filter(line, 6)


def particles(site: Any) -> None:
    # Thin bright scratches between the nuclei, which the mask does not know.
    site.image[::32, :] += 900


def hazy(site: Any) -> None:
    site.image += 90


def noisy(site: Any) -> None:
    site.image += np.random.default_rng(0).normal(0, 15, site.image.shape)


def weak(site: Any) -> None:
    site.image = (
        120 + (site.image - 120) * 0.25 + np.random.default_rng(0).normal(0, 4, site.image.shape)
    )


def thin_fibre(site: Any) -> None:
    site.image[95:99] += 1500
    for column in range(0, 256, 32):
        site.labels[93:101, column : column + 32] = site.labels.max() + 1


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (blurred, "blur"),
        (saturated_bar, "saturation"),
        (fibre, "debris"),
        (particles, "debris"),
        (thin_fibre, "debris"),
        (hazy, "haze"),
        (noisy, "noise"),
        (weak, "dim"),
    ],
)
def test_an_artefact_is_flagged_by_the_image_alone(
    plate: Any, draw_site: Any, spoil: Callable[[Any], None], code: str
) -> None:
    site = draw_site(99, 44)
    spoil(site)
    plate.add("C01", 1, site)
    scores = plate.score()
    found = well(scores, "C01")
    assert found.flag_code == code, found.flag_reason
    assert "site 1: " in found.flag_reason
    assert "plate median" in found.flag_reason
    assert scores.wells["is_flagged"].sum() == 1


def test_fragments_are_flagged_as_dead(plate: Any, draw_site: Any) -> None:
    site = draw_site(98, 44)
    # All nuclei but ten fall into four parts.
    y, x = np.mgrid[: site.labels.shape[0], : site.labels.shape[1]]
    parts = 1 + (y // 9 % 2) * 2 + x // 9 % 2
    broken = (site.labels > 10) & (y % 9 > 0) & (x % 9 > 0)
    site.labels = np.where(
        broken, site.labels * 4 + parts, np.where(site.labels <= 10, site.labels, 0)
    ).astype(np.int32)
    plate.add("C01", 1, site)
    found = well(plate.score(), "C01")
    assert found.flag_code == "dead"
    assert " nuclei are fragments (plate " in found.flag_reason


def test_fragments_found_in_noise_are_noise(plate: Any, draw_site: Any) -> None:
    site = draw_site(97, 44)
    noisy(site)
    y, x = np.mgrid[: site.labels.shape[0], : site.labels.shape[1]]
    site.labels = np.where((y % 8 > 4) & (x % 8 > 4), 1 + y // 8 * 40 + x // 8, 0).astype(np.int32)
    plate.add("C01", 1, site)
    codes = well(plate.score(), "C01").flag_codes.split(",")
    assert "noise" in codes
    assert "dead" not in codes


def test_an_unreadable_site_flags_its_well(plate: Any, draw_site: Any, good_sites: Any) -> None:
    plate.add("C01", 1, good_sites[0])
    plate.add_unreadable("C01", 2, "x.tif is truncated; copy it again.")
    scores = plate.score()
    found = well(scores, "C01")
    assert found.flag_code == "unreadable"
    assert found.flag_reason == "site 2: could not be read: x.tif is truncated, copy it again"
    assert scores.wells["is_flagged"].sum() == 1


def test_many_abnormal_cells_are_flagged(plate: Any, make_predictions: Any) -> None:
    cells = join_cells(plate.parts)
    rng = np.random.default_rng(3)
    abnormal = rng.random(len(cells)) < np.where(cells["well"] == "B03", 0.5, 0.06)
    scores = plate.score(make_predictions(abnormal))
    found = well(scores, "B03")
    assert found.flag_code == "share_abnormal"
    n, share = found.n_scored, found.share_abnormal
    assert found.flag_reason.startswith(f"{100 * share:.0f} % of {n} cells abnormal (plate ")
    others = abnormal[(cells["well"] != "B03").to_numpy()].mean()
    (of_plate,) = re.findall(r"plate ([\d.]+) %, chance", found.flag_reason)
    assert float(of_plate) == pytest.approx(100 * others, abs=1)
    assert found.flag_reason.endswith("chance less than 1 in 1,000,000)")
    assert n > 30
    assert scores.wells["is_flagged"].sum() == 1
    assert not found.is_flagged_by_sites


def test_a_plate_bad_throughout_is_flagged_by_its_share_of_abnormal_cells(
    plate: Any, make_predictions: Any
) -> None:
    n_cells = sum(len(part) for part in plate.parts)
    scores = plate.score(make_predictions(np.arange(n_cells) % 10 < 9))
    assert scores.wells["is_flagged"].all()
    assert (scores.wells["flag_code"] == "share_abnormal").all()


def test_a_few_abnormal_cells_of_very_few_are_no_flag(
    plate: Any, make_predictions: Any, no_quality: pd.DataFrame, make_cells: Any
) -> None:
    keys = [SiteKey(well_name(0, column), 1) for column in range(12)]
    cells = make_cells(dict.fromkeys(keys, 5))
    predictions = make_predictions((cells["well"] == "A01").to_numpy() & (cells["label"] <= 2))
    scores = score_plate(keys, cells, predictions, no_quality)
    assert not scores.wells["is_flagged"].any()


def test_a_site_spoils_its_well_and_is_named(
    ranges: IntensityRanges, draw_site: Any, plate: Any, good_sites: Any
) -> None:
    for site in (1, 2, 3, 4):
        drawn = draw_site(100 + site, 44)
        if site in (2, 4):
            blurred(drawn)
        plate.add("C01", site, drawn)
    scores = plate.score()
    found = well(scores, "C01")
    assert found.flag_code == "blur"
    assert found.is_flagged_by_sites
    assert found.worst_site in (2, 4)
    other = {2: 4, 4: 2}[found.worst_site]
    assert found.flag_reason.startswith(f"site {found.worst_site}: out of focus, edges ")
    assert f"also site {other}" in found.flag_reason
    flagged = scores.sites.loc[scores.sites["is_flagged"]]
    assert list(zip(flagged["well"], flagged["site"], strict=True)) == [("C01", 2), ("C01", 4)]


def test_a_well_meant_to_be_empty_is_not_flagged_for_it(plate: Any, draw_site: Any) -> None:
    plate.add("C01", 1, draw_site(0, 0))
    scores = plate.score(empty_wells=["C01"])
    assert not scores.wells["is_flagged"].any()


def test_reasons_name_the_controls_when_compared_with_them(plate: Any, draw_site: Any) -> None:
    plate.add("C01", 1, draw_site(0, 0))
    scores = plate.score(control_wells=["A01", "A02", "A03", "A04"])
    assert scores.reference == "control"
    assert "(control median" in well(scores, "C01").flag_reason


def test_severity_sorts_the_gravest_first(plate: Any, draw_site: Any) -> None:
    plate.add("C01", 1, draw_site(0, 0))
    mild = draw_site(50, 44)
    mild.image[10:32, 100:108] = 4095
    plate.add("C02", 1, mild)
    scores = plate.score()
    assert well(scores, "C01").severity > well(scores, "C02").severity >= 1
    sites = scores.sites.set_index(["well", "site"])
    assert sites.loc[("C02", 1), "severity"] == well(scores, "C02").severity


def test_a_fault_in_another_channel_is_named(make_cells: Any) -> None:
    grey = tuple(
        ChannelRange(
            channel=name,
            low=100.0,
            high=1000.0,
            saturation_level=4095.0,
            background=120.0,
            dtype="uint16",
        )
        for name in ("DNA", "Actin")
    )
    rows = []
    keys = [SiteKey(well_name(0, column), 1) for column in range(10)]
    for index, key in enumerate(keys):
        rng = np.random.default_rng(index)
        pixels = rng.normal(300, 10, (2, 96, 96))
        if index == 3:
            pixels[1, 20:60, 20:60] = 4095
        measured = measure_site(
            pixels.astype(np.uint16), None, IntensityRanges(grey), diameter_px=20.0
        )
        rows += [(key, quality) for quality in measured]
    scores = score_plate(keys, make_cells({keys[0]: 0}), None, quality_table(rows))
    found = well(scores, "A04")
    assert found.flag_code == "saturation"
    assert "site 1: channel Actin: " in found.flag_reason
    assert scores.wells["is_flagged"].sum() == 1


def test_a_plate_without_a_single_cell_can_be_judged(
    make_cells: Any, no_quality: pd.DataFrame
) -> None:
    keys = [SiteKey("A01", 1), SiteKey("A02", 1)]
    scores = score_plate(keys, make_cells({keys[0]: 0}), None, no_quality)
    assert not scores.wells["is_flagged"].any()


def test_the_order_of_the_sites_does_not_matter(plate: Any, draw_site: Any) -> None:
    plate.add("C01", 1, draw_site(0, 0))
    first = plate.score().wells.set_index("well").sort_index()
    plate.sites.reverse()
    second = plate.score().wells.set_index("well").sort_index()
    pd.testing.assert_frame_equal(first, second)


def test_the_rule_tells_its_thresholds() -> None:
    text = " ".join(FlagRule(share_excess=0.23, blur_ratio=1.77).describe())
    assert "23 %" in text
    assert "1.77 times as wide" in text
    assert "15 %" not in text
    for code in set(FLAG_CODES) - {"unreadable"}:
        assert FLAG_CODES[code].split()[-1] in text.lower(), code


def test_the_rule_survives_json_and_refuses_what_cannot_be_meant() -> None:
    rule = FlagRule(z_limit=4.5)
    assert FlagRule.from_dict(rule.to_dict()) == rule
    assert FlagRule.from_dict({}) == FlagRule()
    with pytest.raises(HcsQcError, match='zlimit: unknown setting; did you mean "z_limit"'):
        FlagRule.from_dict({"zlimit": 3})
    with pytest.raises(HcsQcError, match=r"blur_ratio: is 0\.8"):
        FlagRule(blur_ratio=0.8)
    with pytest.raises(HcsQcError, match=r"dim_ratio: is 1\.5"):
        FlagRule(dim_ratio=1.5)
    for field in fields(FlagRule):
        with pytest.raises(HcsQcError, match=field.name):
            replace(rule, **{field.name: float("nan")})


def test_thresholds_of_0_1_0_are_let_go_and_it_is_said_where_they_were_set() -> None:
    assert FlagRule.from_dict({"share_z": 3.0, "few_cells_probability": 0.001}) == FlagRule()
    with pytest.warns(FutureWarning, match="no threshold share_z since 0.2.0"):
        assert FlagRule.from_dict({"share_z": 5.0, "z_limit": 4.0}) == FlagRule(z_limit=4.0)


def test_a_stricter_rule_flags_less(plate: Any, draw_site: Any) -> None:
    site = draw_site(99, 44)
    hazy(site)
    plate.add("C01", 1, site)
    assert plate.score().wells["is_flagged"].sum() == 1
    assert plate.score(rule=FlagRule(haze_rise=0.3)).wells["is_flagged"].sum() == 0


@pytest.mark.slow
@pytest.mark.realdata
def test_the_wells_of_a_real_plate_that_the_eye_sees_are_flagged(shared_data: Path) -> None:
    folder = shared_data / "bbbc039"
    parts, rows, keys = [], [], []
    grey = IntensityRanges(
        (
            ChannelRange(
                channel="DNA",
                low=128.0,
                high=1599.0,
                saturation_level=4095.0,
                background=155.0,
                dtype="uint16",
            ),
        )
    )
    for path in sorted((folder / "20585").glob("*.tif")):
        name = path.name.split("_")
        key = SiteKey(name[1], int(name[2][1:]))
        image = tifffile.imread(path)
        mask = np.asarray(Image.open(folder / "masks" / f"{path.stem}.png"))[..., 0]
        labels = measure.label(mask).astype(np.int32)
        keys.append(key)
        parts.append(cells_of_site(labels, image, key))
        rows += [(key, quality) for quality in measure_site(image[None], labels, grey)]
    scores = score_plate(keys, join_cells(parts), None, quality_table(rows))
    flagged = scores.wells.loc[scores.wells["is_flagged"]].set_index("well")["flag_code"]
    assert {"L10": "empty", "E05": "debris", "L11": "saturation", "A12": "dead"}.items() <= dict(
        flagged
    ).items()
    assert len(scores.wells) == 91
    assert len(flagged) <= 25


@pytest.mark.realdata
def test_real_defocused_sites_among_sharp_ones_are_flagged_for_blur(
    shared_data: Path, make_cells: Any
) -> None:
    folder = shared_data / "bbbc006_focus"
    sharp = [np.asarray(Image.open(path)) for path in sorted((folder / "in_focus").iterdir())]
    blurred = [tifffile.imread(path) for path in sorted((folder / "defocused").iterdir())[:25:12]]
    grey = IntensityRanges(
        (
            ChannelRange(
                channel="DNA",
                low=110.0,
                high=1500.0,
                saturation_level=4095.0,
                background=125.0,
                dtype="uint16",
            ),
        )
    )
    keys = [SiteKey(well_name(0, column), 1) for column in range(len(sharp) + len(blurred))]
    rows = [
        (key, quality)
        for key, image in zip(keys, sharp + blurred, strict=True)
        for quality in measure_site(image[None], None, grey, diameter_px=27.0)
    ]
    sites = score_plate(keys, make_cells({keys[0]: 0}), None, quality_table(rows)).sites
    is_blurred = [code.startswith("blur") or ",blur" in code for code in sites["flag_codes"]]
    assert is_blurred == [False] * len(sharp) + [True] * len(blurred)


@pytest.mark.realdata
@pytest.mark.slow
def test_real_sites_slightly_out_of_focus_are_flagged_and_sharp_or_bright_ones_are_not(
    shared_data: Path, make_cells: Any
) -> None:
    rng = np.random.default_rng(0)
    paths = sorted((shared_data / "bbbc039" / "20585").glob("*.tif"))
    assert len(paths) == 99
    images = [tifffile.imread(path).astype(np.float32) for path in paths]
    grey = ChannelRange(
        channel="DNA",
        low=128.0,
        high=1605.0,
        saturation_level=4095.0,
        background=140.0,
        dtype="uint16",
    )
    keys = [SiteKey(well_name(n // 24, n % 24), 1) for n in range(len(images))]

    def measured(image: NDArray[np.float32]) -> ChannelQuality:
        counts = np.clip(np.round(image), 0, 4095).astype(np.uint16)
        [quality] = measure_site(counts[None], None, IntensityRanges((grey,)), diameter_px=29.0)
        return quality

    def is_blurred(rows: list[ChannelQuality]) -> NDArray[np.bool_]:
        table = quality_table(list(zip(keys, rows, strict=True)))
        sites = score_plate(keys, make_cells({keys[0]: 0}), None, table).sites
        return sites["flag_codes"].str.split(",").map(lambda codes: "blur" in codes).to_numpy()

    clean = [measured(image) for image in images]
    assert is_blurred(clean).sum() <= 1
    n_blurred = n_bright = 0
    chosen = range(0, len(images), 4)
    for row in chosen:
        image = images[row]
        noise = rng.normal(0, clean[row].noise, image.shape).astype(np.float32)
        blurred = [
            *clean[:row],
            measured(ndimage.gaussian_filter(image, 1.4) + noise),
            *clean[row + 1 :],
        ]
        n_blurred += is_blurred(blurred)[row]
        twice = 2 * image - np.percentile(image, 5)
        n_bright += is_blurred([*clean[:row], measured(twice), *clean[row + 1 :]])[row]
    assert n_blurred >= 0.9 * len(chosen)
    assert n_bright <= 1
