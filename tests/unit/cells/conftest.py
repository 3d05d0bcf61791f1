"""Drawn fields of nuclei with their true masks, and small plates of them on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from scipy import ndimage as ndi

from napari_hcs_qc.plates.open import open_plate
from napari_hcs_qc.plates.plate import Plate, SiteKey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Field:
    image: NDArray[Any]
    labels: NDArray[np.int32]


def draw(
    shape: tuple[int, int] = (300, 400),
    *,
    diameter: float = 28.0,
    n: int = 30,
    seed: int = 0,
    brightness: float = 500.0,
    background: float = 150.0,
    noise: float = 6.0,
    gap: float = 1.1,
) -> Field:
    """Draw ellipses that do not overlap (centres `gap` long axes apart), blurred, with noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    signal, labels = np.zeros(shape), np.zeros(shape, np.int32)
    centres: list[tuple[float, float]] = []
    for _ in range(200 * n):
        if len(centres) == n:
            break
        cy, cx = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        if any(np.hypot(cy - a, cx - b) < gap * 1.15 * diameter for a, b in centres):
            continue
        centres.append((cy, cx))
        angle, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 1.3)
        along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        inside = np.hypot(along / stretch, across * stretch) < diameter / 2
        inside &= labels == 0
        labels[inside] = len(centres)
        signal[inside] = brightness * rng.uniform(0.75, 1.3)
    image = background + ndi.gaussian_filter(signal, max(0.6, 0.03 * diameter))
    image += rng.normal(0, noise, shape)
    return Field(np.clip(np.rint(image), 0, 65535).astype(np.uint16), labels)


@pytest.fixture(scope="session")
def draw_field() -> Callable[..., Field]:
    return draw


def write_plate(folder: Path, images: Mapping[tuple[SiteKey, int], Any]) -> Plate:
    """Write ImageXpress-like files, `images` by site and channel from 1, and open them."""
    folder.mkdir(parents=True, exist_ok=True)
    for (site, channel), image in images.items():
        path = folder / f"plate_{site.well}_s{site.site}_w{channel}.tif"
        if isinstance(image, bytes):
            path.write_bytes(image)
        else:
            tifffile.imwrite(path, image)
    return open_plate(folder)


@pytest.fixture(scope="session")
def make_plate() -> Callable[..., Plate]:
    return write_plate


SITES = (SiteKey("A01", 1), SiteKey("A01", 2), SiteKey("B03", 1), SiteKey("B03", 2))


@pytest.fixture(scope="session")
def fields() -> dict[SiteKey, Field]:
    """Draw four sites; B03 s2 is empty."""
    drawn = {site: draw((160, 200), n=10, seed=seed) for seed, site in enumerate(SITES)}
    drawn[SITES[3]] = draw((160, 200), n=0, seed=9)
    return drawn


@pytest.fixture
def plate(tmp_path: Path, fields: dict[SiteKey, Field]) -> Plate:
    """Four sites, two channels: nuclei, and the same upside down."""
    images: dict[tuple[SiteKey, int], Any] = {}
    for site, field in fields.items():
        images[site, 1] = field.image
        images[site, 2] = field.image[::-1]
    return write_plate(tmp_path / "plate", images)
