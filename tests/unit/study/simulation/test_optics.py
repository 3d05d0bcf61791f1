"""The optics against closed forms, a numerical pupil and counting statistics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import fft, special, stats

from napari_hcs_qc.study.simulation.optics import (
    Camera,
    Objective,
    blur_layers,
    blur_transfer,
    defocused_otf,
    focused_otf,
    illumination,
    shot_noise,
)

WAVELENGTH_UM = 0.461
BARE = Objective(thickness_um=0.0, scatter_share=0.0)


def pupil_otf(defocus_um: float, numerical_aperture: float) -> tuple[np.ndarray, np.ndarray]:
    """Exact transfer function: autocorrelation of the pupil with its defocus phase."""
    n = 1024
    axis = (np.arange(n) - n // 2) / (n // 4)  # the pupil is a quarter of the grid in radius
    rho = np.hypot(axis[:, None], axis[None, :])
    cosine = np.sqrt(np.maximum(1 - (rho * numerical_aperture) ** 2, 0))
    phase = 2 * np.pi / WAVELENGTH_UM * defocus_um * (cosine - 1)
    pupil = np.where(rho <= 1, np.exp(1j * phase), 0)
    spread = np.abs(fft.fft2(pupil)) ** 2
    transfer = fft.fftshift(fft.ifft2(spread).real)
    line = transfer[n // 2, n // 2 :] / transfer[n // 2, n // 2]
    return axis[n // 2 :] * numerical_aperture / WAVELENGTH_UM, line


def kernel(objective: Objective, defocus_um: float, n: int = 129) -> np.ndarray:
    transfer = blur_transfer(objective, (n, n), WAVELENGTH_UM, defocus_um)
    return fft.fftshift(fft.irfft2(transfer, s=(n, n)))


def test_focused_otf_has_its_closed_values() -> None:
    cutoff = 2 * 0.5 / WAVELENGTH_UM
    values = focused_otf(
        np.array([0, 0.5, 1.0, 2.0]) * cutoff, wavelength_um=WAVELENGTH_UM, numerical_aperture=0.5
    )
    half = 2 / np.pi * (np.pi / 3 - np.sqrt(3) / 4)
    np.testing.assert_allclose(values, [1, half, 0, 0], atol=1e-12)


def test_focused_otf_is_the_autocorrelation_of_the_pupil() -> None:
    frequency, exact = pupil_otf(0.0, 0.5)
    ours = focused_otf(frequency, wavelength_um=WAVELENGTH_UM, numerical_aperture=0.5)
    np.testing.assert_allclose(ours, exact, atol=0.005)


@pytest.mark.parametrize("defocus_um", [2.0, 5.0, 12.0])
def test_defocused_otf_is_near_the_exact_one(defocus_um: float) -> None:
    frequency, exact = pupil_otf(defocus_um, 0.5)
    ours = defocused_otf(
        frequency, wavelength_um=WAVELENGTH_UM, numerical_aperture=0.5, defocus_um=defocus_um
    )
    np.testing.assert_allclose(ours, exact, atol=0.07)
    assert np.abs(ours - exact).mean() < 0.01


def test_far_defocus_is_a_geometric_disc() -> None:
    frequency = np.linspace(0.001, 0.05, 50)
    defocus_um, aperture = 60.0, 0.2
    x = 2 * np.pi * defocus_um * aperture * frequency
    ours = defocused_otf(
        frequency,
        wavelength_um=WAVELENGTH_UM,
        numerical_aperture=aperture,
        defocus_um=defocus_um,
    )
    np.testing.assert_allclose(ours, 2 * special.j1(x) / x, atol=0.08)


def test_defocus_is_even() -> None:
    frequency = np.linspace(0, 2, 20)
    above, below = (
        defocused_otf(frequency, wavelength_um=WAVELENGTH_UM, numerical_aperture=0.5, defocus_um=z)
        for z in (6.0, -6.0)
    )
    np.testing.assert_array_equal(above, below)


def test_point_in_focus_has_the_width_of_the_airy_disc() -> None:
    objective = Objective(pixel_size_um=0.05, thickness_um=0.0, scatter_share=0.0)
    profile = kernel(objective, 0.0, 257)[128, 128:]
    half_width_px = np.interp(-profile[0] / 2, -profile, np.arange(profile.size))
    fwhm_um = 2 * half_width_px * 0.05
    assert fwhm_um == pytest.approx(0.514 * WAVELENGTH_UM / 0.5, rel=0.02)


def test_coarse_pixels_collect_the_light_of_fine_ones() -> None:
    fine = Objective(pixel_size_um=0.1, thickness_um=0.0, scatter_share=0.0)
    coarse = Objective(pixel_size_um=0.7, thickness_um=0.0, scatter_share=0.0)
    size = 7 * 41
    binned = kernel(fine, 3.0, size).reshape(41, 7, 41, 7).sum(axis=(1, 3))
    np.testing.assert_allclose(kernel(coarse, 3.0, 41), binned, atol=2e-3 * binned.max())


@pytest.mark.parametrize("defocus_um", [0.0, 4.0, 20.0])
def test_point_spread_is_light_and_keeps_it(defocus_um: float) -> None:
    spread = kernel(Objective(), defocus_um)
    assert spread.sum() == pytest.approx(1.0, abs=1e-12)
    assert spread.min() > -1e-3 * spread.max()
    assert np.unravel_index(spread.argmax(), spread.shape) == (64, 64) or defocus_um > 0


def test_more_defocus_spreads_wider() -> None:
    y, x = np.indices((129, 129)) - 64
    widths = [np.sqrt((kernel(BARE, z) * (y**2 + x**2)).sum() / 2) for z in (0.0, 5.0, 10.0, 20.0)]
    assert np.all(np.diff(widths) > 0.5)
    # A uniform disc of radius z tan(asin NA) has a standard deviation of half its radius an axis.
    geometric_px = 20 * np.tan(np.arcsin(0.5)) / 0.656 / 2
    assert widths[-1] == pytest.approx(geometric_px, rel=0.15)


@settings(max_examples=20)
@given(st.integers(40, 70), st.integers(40, 70), st.floats(0, 30), st.integers(0, 2**32 - 1))
def test_blurring_layers_keeps_the_energy(
    height: int, width: int, defocus_um: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    near, far = rng.random((2, height, width)) + 1
    image = blur_layers({0.0: near, defocus_um + 1: far}, Objective(), WAVELENGTH_UM)
    assert image.shape == (height, width)
    assert image.sum() == pytest.approx(near.sum() + far.sum(), rel=1e-9)


def test_layers_add_up() -> None:
    rng = np.random.default_rng(1)
    near, far = rng.random((2, 48, 64)) + 5
    both = blur_layers({0.0: near, 9.0: far}, Objective(), 0.6)
    apart = blur_layers({0.0: near}, Objective(), 0.6) + blur_layers({9.0: far}, Objective(), 0.6)
    np.testing.assert_allclose(both, apart, rtol=1e-9)


def test_scatter_moves_its_share_far_away() -> None:
    def far_light(share: float) -> float:
        objective = Objective(thickness_um=0.0, scatter_share=share, scatter_um=12.0)
        y, x = np.indices((129, 129)) - 64
        return float(kernel(objective, 0.0)[np.hypot(y, x) > 8].sum())

    beyond_8_px = np.exp(-((8 * 0.656) ** 2) / (2 * 12.0**2))
    assert far_light(0.3) - far_light(0.0) == pytest.approx(0.3 * beyond_8_px, rel=0.05)


def test_illumination_falls_from_its_centre_to_the_corners() -> None:
    field = illumination((101, 201), falloff=0.4)
    assert field.max() == pytest.approx(1.0)
    assert np.unravel_index(field.argmax(), field.shape) == (50, 100)
    assert field[0, 0] == pytest.approx(0.6, abs=0.01)
    assert illumination((50, 50), falloff=0.0).min() == 1.0


def test_camera_has_the_photon_transfer_it_states() -> None:
    camera = Camera(offset=100, electrons_per_grey=2.0, read_noise=6.0)
    for electrons in (0.0, 50.0, 2000.0):
        grey = camera.expose(np.full((400, 400), electrons), np.random.default_rng(3))
        assert grey.dtype == np.uint16
        assert grey.mean() == pytest.approx(100 + electrons / 2, abs=0.1)
        # Shot and read noise, plus the rounding to whole grey values.
        variance = (electrons + 36) / 4 + 1 / 12
        assert grey.var() == pytest.approx(variance, rel=0.03)


def test_camera_saturates_at_full_scale() -> None:
    grey = Camera(top_grey=4095).expose(np.full((20, 20), 1e6), np.random.default_rng(0))
    assert np.all(grey == 4095)


@pytest.mark.parametrize("expected", [5.0, 12.0, 80.0, 3000.0])
def test_shot_noise_is_poisson(expected: float) -> None:
    counts = shot_noise(np.full(200_000, expected), np.random.default_rng(5))
    assert np.all(counts == np.rint(counts))
    assert counts.min() >= 0
    grid = np.arange(0, expected + 8 * np.sqrt(expected) + 2)
    ours = np.searchsorted(np.sort(counts), grid, side="right") / counts.size
    assert np.abs(ours - stats.poisson.cdf(grid, expected)).max() < 0.006


def test_no_light_gives_no_counts() -> None:
    assert np.all(shot_noise(np.zeros(1000), np.random.default_rng(0)) == 0)


def test_a_pixel_does_not_change_the_noise_of_the_others() -> None:
    light = np.full(500, 40.0)
    before = shot_noise(light, np.random.default_rng(9))
    light[100] = 90.0
    after = shot_noise(light, np.random.default_rng(9))
    assert np.flatnonzero(before != after).tolist() == [100]
