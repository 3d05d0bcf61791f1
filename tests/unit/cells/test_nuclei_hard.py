"""Nuclei in confluent fields, and none in hot pixels and haze."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import ndimage as ndi

from napari_hcs_qc.cells.nuclei import find_nuclei

if TYPE_CHECKING:
    from numpy.typing import NDArray

Draw = Callable[..., Any]
Matches = Callable[..., tuple[int, ...]]


def confluent(pitch: float, jitter: float, *, diameter: float = 28.8, seed: int = 0) -> Any:
    """Draw discs in a hexagonal packing; jitter is in px at a diameter of 28.8."""
    scale = diameter / 28.8
    side = round(400 * scale)
    y, x = np.mgrid[:side, :side]
    rng = np.random.default_rng(seed)
    signal, labels = np.full((side, side), 150.0), np.zeros((side, side), np.int32)
    step = pitch * diameter
    for i, row in enumerate(np.arange(14 * scale, side - 10 * scale, step * 0.866)):
        for column in np.arange(14 * scale + (i % 2) * step / 2, side - 10 * scale, step):
            cy, cx = row + jitter * scale * rng.normal(), column + jitter * scale * rng.normal()
            disc = ((y - cy) ** 2 + (x - cx) ** 2 < (diameter / 2) ** 2) & (labels == 0)
            labels[disc] = labels.max() + 1
            signal[disc] += 400 * rng.uniform(0.6, 1.4)
    image = ndi.gaussian_filter(signal, 1.2 * max(scale, 0.5)) + 5 * rng.normal(size=signal.shape)
    return image.astype(np.float32), labels


def without_cut(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return np.where(np.isin(labels, border), 0, labels)


def assert_confluent(
    matches: Matches, pitch: float, jitter: float, diameter: float, seed: int
) -> None:
    image, labels = confluent(pitch, jitter, diameter=diameter, seed=seed)
    found = find_nuclei(image, diameter_px=diameter)
    inner = without_cut(labels)
    hits, _, missed = matches(inner, found)
    _, extra, _ = matches(labels, without_cut(found))
    assert hits >= (0.95 if jitter == 0 else 0.85) * (hits + missed)
    assert extra <= 0.05 * (hits + missed)


@pytest.mark.parametrize(("pitch", "jitter"), [(1.25, 2), (1.18, 0), (1.12, 2), (1.06, 0)])
def test_confluent_fields(matches: Matches, pitch: float, jitter: float) -> None:
    assert_confluent(matches, pitch, jitter, 28.8, 0)


@pytest.mark.parametrize("hot", ["single", "pairs"])
@pytest.mark.parametrize("diameter", [12.0, 28.0])
def test_hot_pixels_are_no_nuclei(hot: str, diameter: float) -> None:
    rng = np.random.default_rng(0)
    image = 150 + 6 * rng.normal(size=(300, 400))
    rows, columns = rng.integers(0, 300, 20), rng.integers(0, 399, 20)
    image[rows, columns] = 4095
    if hot == "pairs":
        image[rows, columns + 1] = 4095
    assert find_nuclei(image.astype(np.uint16), diameter_px=diameter).max() == 0


@pytest.mark.parametrize("diameter", [3.0, 6.0, 28.0])
def test_hot_pixels_beside_nuclei(draw_field: Draw, matches: Matches, diameter: float) -> None:
    shape = (150, 200) if diameter < 10 else (300, 400)
    field = draw_field(shape, diameter=diameter, n=30, seed=1, gap=1.15)
    clean = matches(field.labels, find_nuclei(field.image, diameter_px=diameter))
    rng = np.random.default_rng(1)
    image = field.image.copy()
    image[rng.integers(0, shape[0], 20), rng.integers(0, shape[1], 20)] = 4095
    hits, extra, _ = matches(field.labels, find_nuclei(image, diameter_px=diameter))
    assert hits >= clean[0] - 1
    assert extra <= clean[1] + 1


@pytest.mark.parametrize("diameter", [12.0, 28.0, 60.0])
def test_haze_is_no_nuclei(diameter: float) -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:400, :500]
    image = 150 + 6 * rng.normal(size=y.shape)
    for _ in range(5):
        cy, cx, width = rng.uniform(0, 400), rng.uniform(0, 500), rng.uniform(70, 160)
        image += rng.uniform(100, 600) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * width**2))
    assert find_nuclei(image.astype(np.uint16), diameter_px=diameter).max() == 0
