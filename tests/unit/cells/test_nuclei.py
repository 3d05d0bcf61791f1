from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import ndimage as ndi

from napari_hcs_qc.cells.nuclei import estimate_diameter, find_nuclei
from napari_hcs_qc.errors import HcsQcError

Draw = Callable[..., Any]
Matches = Callable[..., tuple[int, ...]]


def f1(hits: int, extra: int, missed: int) -> float:
    return 2 * hits / (2 * hits + extra + missed)


@pytest.mark.parametrize(
    ("diameter", "shape", "n"),
    [(12.0, (200, 260), 60), (28.0, (300, 400), 40), (80.0, (700, 900), 30)],
)
def test_nuclei_of_any_size_are_found_without_being_told_it(
    draw_field: Draw, matches: Matches, diameter: float, shape: tuple[int, int], n: int
) -> None:
    field = draw_field(shape, diameter=diameter, n=n, seed=3)
    found = find_nuclei(field.image)
    assert found.dtype == np.int32
    assert found.shape == field.image.shape
    least = 0.1 * diameter**2  # Shreds at the border of the image.
    assert f1(*matches(field.labels, found, min_px=least)) >= 0.93
    areas = np.bincount(field.labels.ravel())[1:]
    true_diameter = np.sqrt(4 / np.pi * np.median(areas[areas > least]))
    assert estimate_diameter([field.image]) == pytest.approx(true_diameter, rel=0.12)


@pytest.mark.parametrize(
    ("scale", "offset", "dtype"),
    [
        (1, 0, np.uint16),
        (1, 32768, np.uint16),
        (0.15, 0, np.uint8),
        (1e-3, 0, np.float32),
        (1, -1000, np.int16),
    ],
)
def test_offset_gain_and_dtype_do_not_matter(
    draw_field: Draw, matches: Matches, scale: float, offset: int, dtype: Any
) -> None:
    field = draw_field(n=25, seed=1)
    image = (field.image * scale + float(offset)).astype(dtype)
    hits, extra, missed = matches(field.labels, find_nuclei(image, diameter_px=28), min_px=80)
    assert (hits, extra, missed) >= (20, 0, 0)
    assert extra + missed <= 1


def test_low_contrast(draw_field: Draw, matches: Matches) -> None:
    field = draw_field(n=25, seed=2, brightness=30, noise=8)
    assert f1(*matches(field.labels, find_nuclei(field.image, diameter_px=28), min_px=80)) >= 0.9


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("correlation", [0.0, 1.0, 3.0])
def test_noise_is_no_nuclei(seed: int, correlation: float) -> None:
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 1, (400, 500))
    if correlation:
        noise = ndi.gaussian_filter(noise, correlation)
    y, x = np.mgrid[:400, :500]
    lit = 150 - 20 * (((y - 200) / 200) ** 2 + ((x - 250) / 250) ** 2)  # vignetting
    image = np.round(lit + 6 * noise / noise.std()).astype(np.uint16)
    assert find_nuclei(image, diameter_px=28).max() == 0
    assert find_nuclei(image).max() == 0


@pytest.mark.parametrize("value", [0, 1, 4095])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_constant_image_has_no_nuclei(value: int, dtype: Any) -> None:
    image = np.full((90, 110), min(value, 255), dtype)
    assert find_nuclei(image).max() == 0
    assert find_nuclei(image, diameter_px=20).max() == 0
    assert np.isnan(estimate_diameter([image]))


def test_a_ramp_has_no_nuclei() -> None:
    ramp = np.tile(np.arange(500, dtype=np.uint16), (400, 1))
    assert find_nuclei(ramp, diameter_px=28).max() == 0


def test_one_nucleus_in_an_empty_field_is_found(draw_field: Draw, matches: Matches) -> None:
    field = draw_field((500, 600), n=1, seed=5)
    assert matches(field.labels, find_nuclei(field.image, diameter_px=28)) == (1, 0, 0)


def pair(distance: float, *, diameter: float = 28, right: float = 1.0) -> np.ndarray:
    """Draw two discs, the right one times as bright, beside some single ones."""
    y, x = np.mgrid[:200, :260]
    signal = np.zeros(y.shape)
    for cy, cx, gain in [
        (100, 100, 1.0), (100, 100 + distance, right), (40, 40, 1.0), (160, 40, 1.0),
        (40, 200, 1.0), (160, 200, 1.0),
    ]:  # fmt: skip
        disc = np.hypot(y - cy, x - cx) < diameter / 2
        signal[disc] = np.maximum(signal[disc], gain * 500)
    noise = np.random.default_rng(0).normal(0, 6, y.shape)
    return (150 + ndi.gaussian_filter(signal, 1.0) + noise).astype(np.uint16)


@pytest.mark.parametrize(("distance", "n"), [(29, 2), (24, 2), (20, 2), (4, 1)])
def test_touching_nuclei_are_parted_and_one_is_not(distance: int, n: int) -> None:
    found = find_nuclei(pair(distance), diameter_px=28)
    assert found.max() == 4 + n
    middles = {int(found[100, 98]), int(found[100, 102 + distance])}
    assert 0 not in middles
    assert len(middles) == n


def test_a_bright_nucleus_does_not_swallow_a_dim_neighbour() -> None:
    found = find_nuclei(pair(28, right=8.0), diameter_px=28)
    dim, bright = int(found[100, 96]), int(found[100, 130])
    assert 0 not in (dim, bright)
    assert dim != bright
    areas = np.bincount(found.ravel())
    assert areas[bright] == pytest.approx(np.pi * 14**2, rel=0.25)
    assert areas[dim] == pytest.approx(np.pi * 14**2, rel=0.3)


def test_a_fibre_does_not_swallow_the_field(draw_field: Draw, matches: Matches) -> None:
    field = draw_field((500, 600), n=80, seed=4)
    y, x = np.mgrid[:500, :600]
    across = (y - 120 - 0.5 * x) / np.hypot(1, 0.5)
    fibre = 2500 * np.exp(-((across / 20) ** 2))
    image = (field.image + fibre).astype(np.uint16)
    hits, extra, _ = matches(field.labels, find_nuclei(image, diameter_px=28), min_px=80)
    n = len(np.unique(field.labels)) - 1
    assert hits >= 0.85 * n
    assert extra <= 0.2 * n


def test_uneven_light_is_taken_out(draw_field: Draw, matches: Matches) -> None:
    field = draw_field((500, 600), n=70, seed=6)
    y, x = np.mgrid[:500, :600]
    haze = 600 * np.exp(-((y - 100) ** 2 + (x - 450) ** 2) / (2 * 150.0**2))
    image = (field.image + haze).astype(np.uint16)
    assert f1(*matches(field.labels, find_nuclei(image, diameter_px=28), min_px=80)) >= 0.95


def test_specks_are_no_nuclei(draw_field: Draw) -> None:
    field = draw_field(n=20, seed=7)
    image = field.image.copy()
    n = find_nuclei(image, diameter_px=28).max()
    free = ndi.distance_transform_edt(field.labels == 0) > 8
    rows, columns = np.nonzero(free)
    for at in range(0, len(rows), len(rows) // 10):
        image[rows[at] : rows[at] + 2, columns[at] : columns[at] + 2] = 4000
    assert find_nuclei(image, diameter_px=28).max() == n


def test_labels_run_from_one_in_reading_order(draw_field: Draw) -> None:
    found = find_nuclei(draw_field().image, diameter_px=28)
    labels, first = np.unique(found, return_index=True)
    assert labels.tolist() == list(range(found.max() + 1))
    assert (np.diff(first[1:]) > 0).all()
    again = find_nuclei(draw_field().image, diameter_px=28)
    np.testing.assert_array_equal(found, again)


def test_a_given_diameter_is_used(draw_field: Draw) -> None:
    field = draw_field(n=30)
    # Looked for as if they were ten times larger, nuclei are specks.
    assert find_nuclei(field.image, diameter_px=28).max() >= 25
    assert find_nuclei(field.image, diameter_px=280).max() < 5


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((3, 4, 5)), "shape"),
        (np.zeros((0, 4)), "shape"),
        (np.array([[0.0, np.nan]]), "NaN"),
        (np.array([[0.0, np.inf]]), "Inf"),
    ],
)
def test_what_is_no_image_is_refused(image: np.ndarray, words: str) -> None:
    with pytest.raises(HcsQcError, match=words):
        find_nuclei(image)
    with pytest.raises(HcsQcError, match=words):
        estimate_diameter([image])


@pytest.mark.parametrize("diameter", [0.0, -3.0, float("nan")])
def test_a_diameter_must_be_positive(diameter: float) -> None:
    with pytest.raises(HcsQcError, match="diameter"):
        find_nuclei(np.zeros((20, 20)), diameter_px=diameter)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (3, 3), (7, 200)])
def test_tiny_images_are_no_trouble(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 4000, shape).astype(np.uint16)
    for diameter in (3.0, 28.0, 90.0):
        assert find_nuclei(image, diameter_px=diameter).shape == shape
