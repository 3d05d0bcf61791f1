from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_hcs_qc.cells.intensity import ChannelRange, IntensityRanges
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.qc.image_quality import (
    edge_width,
    measure_site,
    noise_level,
    octave_power_slope,
    power_log_log_slope,
    quality_table,
)
from napari_hcs_qc.qc.quality_measures import MEASURES, QUALITY_COLUMNS


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0])
def test_octave_power_slope_of_noise_of_a_known_spectrum(exponent: float) -> None:
    frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None, :])
    frequency[0, 0] = 1.0
    slopes = []
    for seed in range(6):
        white = np.fft.rfft2(np.random.default_rng(seed).normal(size=(256, 256)))
        slopes.append(
            octave_power_slope(np.fft.irfft2(white * frequency ** (-exponent / 2), s=(256, 256)))
        )
    assert np.mean(slopes) == pytest.approx(-exponent, abs=0.1)
    assert np.std(slopes) < 0.15


def test_octave_power_slope_has_no_unit() -> None:
    image = np.random.default_rng(1).normal(size=(96, 128))
    assert octave_power_slope(3.5 * image + 900) == pytest.approx(
        octave_power_slope(image), abs=1e-6
    )


def test_power_log_log_slope_is_that_of_the_sums_in_rings() -> None:
    """As many frequencies lie in a ring as its radius says: white noise has a slope of 1."""
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(512)[None, :])
    frequency[0, 0] = 1.0
    for exponent in (0.0, 2.0):
        slopes = []
        for seed in range(6):
            white = np.fft.rfft2(np.random.default_rng(seed).normal(size=(512, 512)))
            image = np.fft.irfft2(white * frequency ** (-exponent / 2), s=(512, 512))
            slopes.append(power_log_log_slope(image))
        assert np.mean(slopes) == pytest.approx(1 - exponent, abs=0.1)


@pytest.mark.parametrize("shape", [(64, 64), (65, 83), (130, 90)])
def test_power_log_log_slope_follows_cellprofilers_definition(shape: tuple[int, int]) -> None:
    """One ring after the other, as centrosome's documentation says it."""
    image = np.random.default_rng(3).gamma(2.0, 50.0, size=shape)
    power = np.abs(np.fft.fft2(image - image.mean())) ** 2
    rings: dict[int, float] = {}
    for (y, x), value in np.ndenumerate(power):
        radius = int(np.hypot(min(y, shape[0] - 1 - y), min(x, shape[1] - 1 - x))) + 1
        if 2 <= radius < min(shape) // 8:
            rings[radius] = rings.get(radius, 0.0) + value
    slope = np.polyfit(np.log(list(rings)), np.log(list(rings.values())), 1)[0]
    assert power_log_log_slope(image) == pytest.approx(slope, abs=1e-6)
    assert power_log_log_slope(7.0 * image + 50) == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize("shape", [(8, 200), (64, 64)])
def test_octave_power_slope_is_nan_where_it_has_no_meaning(shape: tuple[int, int]) -> None:
    assert np.isnan(octave_power_slope(np.full(shape, 7.0)))
    assert np.isnan(power_log_log_slope(np.full(shape, 7.0)))


@given(sigma=st.floats(1.5, 7.0), height=st.floats(100, 4000), offset=st.floats(0, 5000))
@settings(max_examples=25)
def test_edge_width_is_the_standard_deviation_of_the_edge(
    sigma: float, height: float, offset: float
) -> None:
    image = np.zeros((128, 160))
    image[32:96, 40:120] = height
    blurred = offset + ndimage.gaussian_filter(image, sigma)
    # Own smoothing of 1 px is included and variances add.
    expected = np.hypot(sigma, 1.0)
    assert edge_width(blurred, 40.0, height / 20) == pytest.approx(expected, rel=0.12)


def test_edge_width_ignores_tiles_without_contrast() -> None:
    assert np.isnan(edge_width(np.random.default_rng(0).normal(100, 3, (128, 128)), 20.0, 50.0))


def test_one_bright_blurred_object_does_not_change_the_focus(draw_site: Any) -> None:
    site = draw_site(0)
    fibre = np.zeros_like(site.image)
    fibre[100:112, :] = 3000
    spoiled = site.image + ndimage.gaussian_filter(fibre, 5.0)
    clean = edge_width(site.image, 12.0, 50.0)
    assert edge_width(spoiled, 12.0, 50.0) == pytest.approx(clean, rel=0.2)


@pytest.mark.parametrize("sigma", [2.0, 4.0, 30.0])
def test_noise_level_beside_nuclei(draw_site: Any, sigma: float) -> None:
    assert noise_level(draw_site(3, noise=sigma).image) == pytest.approx(sigma, rel=0.15)
    flat = np.random.default_rng(0).normal(500, sigma, (200, 200))
    assert noise_level(flat) == pytest.approx(sigma, rel=0.02)


def test_measures_of_a_good_site(draw_site: Any, ranges: IntensityRanges) -> None:
    site = draw_site(5, 40)
    (found,) = measure_site(site.pixels(), site.labels, ranges, diameter_px=20.0)
    assert found.channel == "DNA"
    assert found.n_nuclei == 40
    assert found.nuclei_area_share == pytest.approx(np.mean(site.labels > 0))
    assert found.saturated_share == found.saturated_spot_nuclei == 0
    assert found.bright_outside_share < 0.001
    assert found.bright_structure_share == 0
    assert 0.9 < found.bright_extent_nuclei < 4
    assert found.background == pytest.approx(115, abs=4)
    assert abs(found.background_rise) < 0.02
    assert found.background_span < 0.03
    assert found.signal_to_noise == pytest.approx(700 / 4, rel=0.1)
    assert found.mean_intensity == pytest.approx(site.image.mean(), rel=1e-3)


def test_an_empty_site_gives_no_focus_and_no_warning(ranges: IntensityRanges) -> None:
    image = np.random.default_rng(0).normal(120, 4, (1, 120, 160)).astype(np.uint16)
    (found,) = measure_site(image, np.zeros((120, 160), np.int32), ranges)
    assert found.n_nuclei == 0
    assert np.isnan(found.edge_width_px)
    assert found.octave_power_slope > -1
    assert found.bright_outside_share == 0


@pytest.mark.parametrize("value", [0, 120, 65535])
def test_a_constant_image_is_measured_without_warning(ranges: IntensityRanges, value: int) -> None:
    image = np.full((1, 64, 64), value, np.uint16)
    (found,) = measure_site(image, np.zeros((64, 64), np.int32), ranges)
    assert found.noise == 0
    assert np.isnan(found.octave_power_slope)
    assert np.isnan(found.signal_to_noise)


def test_a_stripe_is_bright_outside_nuclei_whether_or_not_it_is_in_the_mask(
    draw_site: Any, ranges: IntensityRanges
) -> None:
    site = draw_site(1, 24)
    stripe = np.zeros(site.labels.shape, bool)
    stripe[90:100, :] = True
    site.image[stripe] += 1500
    for in_mask in (False, True):
        labels = site.labels.copy()
        if in_mask:
            labels[stripe] = labels.max() + 1
        (found,) = measure_site(site.pixels(), labels, ranges, diameter_px=20.0)
        # Parts of the stripe lie in the halo of true nuclei.
        assert 0.4 * stripe.mean() < found.bright_outside_share <= stripe.mean()


def test_a_broad_structure_is_seen_without_any_mask(
    draw_site: Any, ranges: IntensityRanges
) -> None:
    site = draw_site(1)
    assert (
        measure_site(site.pixels(), None, ranges, diameter_px=20.0)[0].bright_structure_share == 0
    )
    site.image[60:110] += 1500
    (found,) = measure_site(site.pixels(), None, ranges, diameter_px=20.0)
    assert found.bright_structure_share == pytest.approx(50 / 192, rel=0.15)
    assert np.isnan(found.bright_outside_share)
    assert np.isnan(found.n_nuclei)


def test_a_thin_fibre_is_long_even_where_it_was_taken_for_nuclei(
    draw_site: Any, ranges: IntensityRanges
) -> None:
    site = draw_site(1)
    (clean,) = measure_site(site.pixels(), site.labels, ranges, diameter_px=20.0)
    assert clean.bright_extent_nuclei < 4
    site.image[90:94, 20:240] += 1500
    for column in range(20, 240, 20):
        site.labels[88:96, column : column + 20] = site.labels.max() + 1
    (found,) = measure_site(site.pixels(), site.labels, ranges, diameter_px=20.0)
    assert found.bright_outside_share < 0.01
    assert 220 / 20 <= found.bright_extent_nuclei < 250 / 20


def test_haze_raises_the_background_and_a_ramp_makes_it_uneven(
    draw_site: Any, ranges: IntensityRanges
) -> None:
    site = draw_site(2)
    (clean,) = measure_site(site.pixels(), site.labels, ranges, diameter_px=20.0)
    site.image += 84
    (hazy,) = measure_site(site.pixels(), site.labels, ranges, diameter_px=20.0)
    assert hazy.background_rise - clean.background_rise == pytest.approx(84 / 840, abs=0.003)
    assert hazy.background_span == pytest.approx(clean.background_span, abs=0.003)
    site.image += np.linspace(0, 168, 256)[None, :]
    (ramp,) = measure_site(site.pixels(), site.labels, ranges, diameter_px=20.0)
    assert ramp.background_span == pytest.approx(168 / 840, abs=0.05)


def test_saturation_is_counted_at_the_level_of_the_plate(
    draw_site: Any, ranges: IntensityRanges
) -> None:
    site = draw_site(2)
    site.image[10:30, 10:40] = 4095
    site.image[60, 60] = 4095
    (found,) = measure_site(site.pixels(), site.labels, ranges, diameter_px=20.0)
    assert found.saturated_share == pytest.approx(601 / site.image.size)
    assert found.saturated_spot_nuclei == pytest.approx(600 / (np.pi * 100))


def test_a_plateau_counts_as_saturated_when_the_sample_of_sites_missed_it(draw_site: Any) -> None:
    unaware = IntensityRanges(
        (
            ChannelRange(
                channel="DNA",
                low=110.0,
                high=950.0,
                saturation_level=None,
                background=120.0,
                dtype="uint16",
            ),
        )
    )
    site = draw_site(2)
    assert measure_site(site.pixels(), site.labels, unaware)[0].saturated_share == 0
    site.image[10:30, 10:40] = 3000
    (found,) = measure_site(site.pixels(), site.labels, unaware)
    assert found.saturated_share == pytest.approx(600 / site.image.size)


def test_each_channel_is_measured_by_its_own_range(draw_site: Any) -> None:
    both = IntensityRanges(
        (
            ChannelRange(
                channel="DNA",
                low=110.0,
                high=950.0,
                saturation_level=4095.0,
                background=120.0,
                dtype="uint16",
            ),
            ChannelRange(
                channel="Actin",
                low=200.0,
                high=1200.0,
                saturation_level=1000.0,
                background=300.0,
                dtype="uint16",
            ),
        )
    )
    site = draw_site(2)
    actin = np.full(site.labels.shape, 400, np.uint16)
    actin[:10] = 1000
    found = measure_site(
        np.stack([actin, site.pixels()[0]]), site.labels, both, (1, 0), nuclear_channel=0
    )
    assert [quality.channel for quality in found] == ["Actin", "DNA"]
    assert found[0].saturated_share == pytest.approx(10 / 192)
    assert found[0].background_rise == pytest.approx(0.1)
    assert np.isnan(found[0].n_nuclei)
    assert np.isnan(found[0].bright_structure_share)
    assert found[1].n_nuclei == 48


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_any_dtype_gives_the_same(draw_site: Any, dtype: type) -> None:
    grey = IntensityRanges(
        (
            ChannelRange(
                channel="DNA",
                low=10.0,
                high=95.0,
                saturation_level=None,
                background=12.0,
                dtype="x",
            ),
        )
    )
    site = draw_site(4)
    whole = np.rint(np.clip(site.image / 10, 0, 255))
    expected = asdict(measure_site(whole[None].astype(np.float32), site.labels, grey)[0])
    found = asdict(measure_site(whole[None].astype(dtype), site.labels, grey)[0])
    assert found.pop("channel") == expected.pop("channel")
    assert found == pytest.approx(expected, rel=1e-4, nan_ok=True)


def test_shapes_that_do_not_fit_are_refused(ranges: IntensityRanges) -> None:
    image = np.zeros((1, 64, 80), np.uint16)
    with pytest.raises(HcsQcError, match="64 x 64"):
        measure_site(image, np.zeros((64, 64), np.int32), ranges)
    with pytest.raises(HcsQcError, match=r"\(2, 64, 80\)"):
        measure_site(np.zeros((2, 64, 80)), None, ranges)


def test_the_table_has_a_row_for_each_site_and_channel(
    draw_site: Any, ranges: IntensityRanges
) -> None:
    site = draw_site(0)
    (quality,) = measure_site(site.pixels(), site.labels, ranges)
    table = quality_table([(SiteKey("B02", 2), quality), (SiteKey("A01", 1), quality)])
    assert list(table.columns) == list(QUALITY_COLUMNS)
    assert list(table["well"]) == ["A01", "B02"]
    assert table["site"].dtype == np.int32
    assert (table[list(MEASURES)].dtypes == np.float64).all()
    empty = quality_table([])
    assert list(empty.columns) == list(QUALITY_COLUMNS)
    assert empty["site"].dtype == np.int32
