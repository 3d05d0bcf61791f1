"""Folders of small images for the plate tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray


def _pixels(number: int, shape: tuple[int, ...] = (6, 8)) -> NDArray[np.uint16]:
    """Pixels that tell one file from another: all `number`, but for a ramp in the first row."""
    pixels = np.full(shape, number, np.uint16)
    pixels[..., 0, :] = np.arange(shape[-1])
    return pixels


@pytest.fixture
def write_images(tmp_path: Path) -> Callable[..., Path]:
    """Write one small TIFF a name; the n-th (from 1) is filled with n. Gives the folder."""

    def write(names: Iterable[str], folder: str = "plate 20 µ") -> Path:
        root = tmp_path / folder
        for number, name in enumerate(names, start=1):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, _pixels(number), metadata=None)
        return root

    return write


@pytest.fixture
def value_of() -> Callable[[NDArray[Any]], int]:
    """Give the number a plane written by `write_images` is filled with."""

    def value(plane: NDArray[Any]) -> int:
        inner = np.unique(plane[1:])
        assert inner.size == 1
        return int(inner[0])

    return value
