from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.baseline import feature_names, hand_features
from napari_hcs_qc.job import Cancelled, Job


def disc(side: int = 64, ry: float = 12, rx: float = 12, level: float = 0.6) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    image = 0.05 + level * ((y / ry) ** 2 + (x / rx) ** 2 < 1)
    return image.astype(np.float32)


def measure(*images: np.ndarray) -> dict[str, np.ndarray]:
    features, names = hand_features(np.stack(images)[:, None, None])
    return {
        name.removeprefix("view0_channel0_"): features[:, column]
        for column, name in enumerate(names)
    }


def test_the_statistics_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    image = rng.random((64, 64)).astype(np.float32)
    found = measure(image)
    for place, part in (("whole", image), ("centre", image[16:48, 16:48])):
        assert found[f"{place}_min"][0] == part.min()
        assert found[f"{place}_max"][0] == part.max()
        exact, tolerance = part.astype(np.float64), part.size * float(np.finfo(np.float32).eps)
        assert found[f"{place}_mean"][0] == pytest.approx(exact.mean(), rel=tolerance)
        assert found[f"{place}_sd"][0] == pytest.approx(exact.std(), rel=tolerance)
        mad = np.median(np.abs(part - np.median(part)))
        assert found[f"{place}_mad"][0] == pytest.approx(mad, abs=5e-3)
        for q in (1, 25, 50, 99):
            expected = np.percentile(part, q)
            assert found[f"{place}_q{q:02d}"][0] == pytest.approx(expected, abs=5e-3)
        right = np.corrcoef(part[:, 1:].ravel(), part[:, :-1].ravel())[0, 1]
        down = np.corrcoef(part[1:].ravel(), part[:-1].ravel())[0, 1]
        assert found[f"{place}_correlation_1px"][0] == pytest.approx((right + down) / 2, abs=5e-3)


def test_blur_shows() -> None:
    rng = np.random.default_rng(0)
    sharp = disc() + 0.1 * rng.random((64, 64)).astype(np.float32)
    blurred = gaussian_filter(sharp, 2)
    found = measure(sharp, blurred)
    for name in ("focus", "laplacian_var", "gradient_energy", "power_slope"):
        assert found[f"whole_{name}"][1] < found[f"whole_{name}"][0]
    assert found["whole_correlation_1px"][1] > found["whole_correlation_1px"][0]


def test_the_power_slope_is_that_of_a_made_spectrum() -> None:
    rng = np.random.default_rng(0)
    y, x = np.fft.fftfreq(128)[:, None], np.fft.rfftfreq(128)
    frequency = np.hypot(y, x)
    frequency[0, 0] = 1
    images = []
    for exponent in (0.0, 2.0, 3.0):
        for _ in range(8):
            spectrum = np.fft.rfft2(rng.normal(size=(128, 128))) * frequency ** (-exponent / 2)
            image = np.fft.irfft2(spectrum)
            images.append((0.5 + 0.1 * image / image.std()).astype(np.float32))
    slopes = measure(*images)["whole_power_slope"].reshape(3, 8).mean(axis=1)
    np.testing.assert_allclose(slopes, [0, -2, -3], atol=0.15)


def test_saturation_is_counted() -> None:
    image = disc()
    image[24:40, 24:40] = 1
    found = measure(image)
    assert found["whole_saturated"][0] == pytest.approx(256 / 64**2)
    assert found["centre_saturated"][0] == pytest.approx(256 / 32**2)


def test_the_shape_is_that_of_the_bright_part() -> None:
    found = measure(disc(), disc(ry=20, rx=10), disc(ry=10, rx=20))
    assert found["shape_area"][0] == pytest.approx(np.pi * 12**2 / 64**2, rel=0.03)
    assert found["shape_eccentricity"][0] < 0.1
    expected = np.sqrt(1 - (10 / 20) ** 2)
    # Of variances, so the ratio of the axes counts squared.
    assert found["shape_eccentricity"][1] == pytest.approx(expected, abs=0.15)
    assert found["shape_eccentricity"][2] == pytest.approx(found["shape_eccentricity"][1], abs=0.01)
    ragged = disc()
    ragged[::2, 20:44] = 0.05
    assert measure(ragged)["shape_compactness"][0] > 2 * found["shape_compactness"][0]


def test_views_and_channels_are_measured_each_by_itself() -> None:
    rng = np.random.default_rng(0)
    crops = rng.random((5, 2, 3, 32, 32)).astype(np.float32)
    features, names = hand_features(crops)
    assert features.shape == (5, 6 * len(feature_names())) == (5, len(names))
    assert len(set(names)) == len(names)
    assert features.dtype == np.float32
    single, _ = hand_features(crops[:, 1:, 2:])
    columns = [name.startswith("view1_channel2_") for name in names]
    # Sums over the pixels in single precision, which a library may add in any order.
    tolerance = 32 * 32 * np.finfo(np.float32).eps
    np.testing.assert_allclose(features[:, columns], single, rtol=tolerance, atol=tolerance)
    from_torch, _ = hand_features(torch.from_numpy(crops))
    np.testing.assert_allclose(from_torch, features, rtol=tolerance, atol=tolerance)


def test_flat_black_and_saturated_crops_have_finite_features() -> None:
    flat = [np.full((32, 32), level, np.float32) for level in (0, 0.3, 1)]
    features, _ = hand_features(np.stack(flat)[:, None, None])
    assert np.isfinite(features).all()
    hole = flat[0].copy()
    hole[3, 3] = np.nan
    features, _ = hand_features(np.stack([flat[1], hole])[:, None, None])
    assert np.isfinite(features[0]).all()
    assert np.isnan(features[1]).all()


def test_bad_shapes_cancel_and_progress() -> None:
    with pytest.raises(HcsQcError, match=r"shape \(3, 32, 32\)"):
        hand_features(np.zeros((3, 32, 32)))
    with pytest.raises(HcsQcError, match="16 px or more"):
        hand_features(np.zeros((3, 1, 1, 8, 8)))
    crops = np.zeros((300, 1, 1, 16, 16), np.float32)
    with pytest.raises(Cancelled):
        hand_features(crops, job=Job(should_stop=lambda: True))
    seen: list[int] = []
    hand_features(crops, job=Job(lambda done, _t, _m: seen.append(done)))
    assert seen == [0, 128, 256, 300]
    assert hand_features(crops[:0])[0].shape == (0, len(feature_names()))


def test_it_is_fast_enough_for_thousands() -> None:
    crops = np.random.default_rng(0).random((200, 1, 1, 128, 128)).astype(np.float32)
    hand_features(crops[:2])
    start = time.process_time()
    hand_features(crops)
    assert time.process_time() - start < 4  # a tenth of 2,000 crops in 20 s, and some slack
