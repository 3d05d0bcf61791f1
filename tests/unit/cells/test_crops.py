from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_hcs_qc.cells.crops import cut_crops, cut_squares
from napari_hcs_qc.cells.recipe import get_recipe
from napari_hcs_qc.errors import HcsQcError

_IMAGE = np.random.default_rng(0).random((2, 40, 50)).astype(np.float32)


@given(
    y_px=st.floats(-0.5, 39.5),
    x_px=st.floats(-0.5, 49.5),
    side_px=st.integers(4, 120),
)
def test_a_crop_is_the_reflected_image_around_the_cell(
    y_px: float, x_px: float, side_px: int
) -> None:
    crop = cut_squares(_IMAGE, [y_px], [x_px], side_px)[0]
    row, column = np.clip(np.rint(y_px), 0, 39), np.clip(np.rint(x_px), 0, 49)

    def reflected(start: float, length: int) -> np.ndarray:
        place = (np.arange(side_px) - side_px // 2 + int(start)) % (2 * (length - 1))
        return np.minimum(place, 2 * (length - 1) - place)

    expected = _IMAGE[:, reflected(row, 40)[:, None], reflected(column, 50)[None, :]]
    np.testing.assert_array_equal(crop, expected)


def test_a_position_outside_is_told() -> None:
    with pytest.raises(HcsQcError, match=r"y 40, x 3 px is outside the image of 40 × 50 px"):
        cut_squares(_IMAGE, [5, 40], [5, 3], 8)


def test_views_run_over_channels_within_scales() -> None:
    recipe = replace(get_recipe("nucleus"), input_px=16).with_diameter(16)
    crops = cut_crops(_IMAGE, [20, 3], [25, 47], recipe, ((0,), (1,)))
    assert crops.shape == (2, 4, 1, 16, 16)
    # The first scale is 16 px: shown as it is.
    np.testing.assert_array_equal(crops[0, 1, 0].numpy(), _IMAGE[1, 12:28, 17:33])
    # The second is 32 px, halved: the same mean to within what antialiasing takes from outside.
    assert float(crops[0, 2].mean()) == pytest.approx(_IMAGE[0, 4:36, 9:41].mean(), abs=0.02)


def test_colour_groups_keep_their_order() -> None:
    recipe = replace(get_recipe("paper-128px"), scales=(16.0,), input_px=16)
    crops = cut_crops(_IMAGE, [20], [25], recipe, ((1, 0, 1),))
    assert crops.shape == (1, 1, 3, 16, 16)
    np.testing.assert_array_equal(crops[0, 0, 0].numpy(), _IMAGE[1, 12:28, 17:33])
    np.testing.assert_array_equal(crops[0, 0, 1].numpy(), _IMAGE[0, 12:28, 17:33])


def test_no_cells_give_no_crops() -> None:
    recipe = get_recipe("nucleus").with_diameter(10)
    assert cut_crops(_IMAGE, [], [], recipe, ((0,), (1,))).shape == (0, 4, 1, 128, 128)
