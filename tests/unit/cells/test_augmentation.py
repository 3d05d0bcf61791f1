"""Turned, mirrored, moved and scaled crops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_hcs_qc.cells.augmentation import augment_crops
from napari_hcs_qc.errors import HcsQcError


def orientations(image: torch.Tensor) -> list[torch.Tensor]:
    turned = [torch.rot90(image, k, dims=(-2, -1)) for k in range(4)]
    return [*turned, *(one.flip(-1) for one in turned)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 3) -> torch.Tensor:
    return torch.rand(shape, generator=generator(seed))


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 3])),
    side=st.integers(2, 9),
)
def test_without_move_or_zoom_pixels_only_change_places(seed, shape, side) -> None:
    crops = noise(*shape, side, side)
    found = augment_crops(crops, [1.0] * shape[1], generator=generator(seed))
    assert found.shape == crops.shape
    for before, after in zip(crops, found, strict=True):
        # All views of a cell are turned alike, to the last bit.
        assert any(torch.equal(after, one) for one in orientations(before))


def test_every_orientation_comes_and_the_seed_decides() -> None:
    image = noise(1, 1, 1, 5, 5)
    crops = image.expand(400, -1, -1, -1, -1)
    found = augment_crops(crops, [1.0], generator=generator(1))
    counts = [sum(torch.equal(one, o) for one in found) for o in orientations(image[0])]
    assert sum(counts) == 400
    assert min(counts) > 25  # 50 expected of each
    again = augment_crops(crops, [1.0], generator=generator(1))
    assert torch.equal(found, again)
    other = augment_crops(crops, [1.0], generator=generator(2))
    assert not torch.equal(found, other)


def test_sampling_without_a_move_gives_the_same_orientations() -> None:
    crops = noise(40, 2, 1, 8, 8)
    found = augment_crops(crops, [1.0, 2.0], zoom=1e-7, generator=generator(5))
    for before, after in zip(crops, found, strict=True):
        assert min(float((after - one).abs().max()) for one in orientations(before)) < 1e-4


def test_views_of_a_cell_move_together() -> None:
    """A spot stays at the same place of the image, whichever view shows it."""
    side = 65
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")

    def spot(reach: float) -> torch.Tensor:
        # 0.2 to the right of the middle, in units of the smaller view's side.
        column = (0.2 / reach) * side + (side - 1) / 2
        return torch.exp(-((x - column) ** 2 + (y - (side - 1) / 2) ** 2) / 8.0)

    crops = torch.stack([spot(1.0), spot(2.0)])[None, :, None].expand(50, -1, -1, -1, -1)
    found = augment_crops(crops, [1.0, 2.0], shift=0.1, zoom=0.15, generator=generator(7)).numpy()
    axis = (np.arange(side) - (side - 1) / 2) / side
    places = []
    for view, reach in enumerate((1.0, 2.0)):
        image = found[:, view, 0]
        total = image.sum(axis=(1, 2))
        places.append(
            np.stack(
                [
                    (image.sum(axis=2) @ axis) / total * reach,
                    (image.sum(axis=1) @ axis) / total * reach,
                ]
            )
        )
    np.testing.assert_allclose(places[0], places[1], atol=0.02)
    distance = np.hypot(*places[0])
    assert distance.std() > 0.02  # it did move
    assert distance.min() > 0.0 and distance.max() < 0.2 * 1.2 + 0.15


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (2, 1, 1, 8, 7), (2, 2, 1, 8, 8)])
def test_what_are_no_crops_is_told(shape) -> None:
    with pytest.raises(HcsQcError, match="cannot be augmented"):
        augment_crops(torch.zeros(shape), [1.0], generator=generator())
