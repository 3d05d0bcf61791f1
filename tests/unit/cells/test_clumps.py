"""What nuclei are measured with gives what SciPy does, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi

from napari_hcs_qc.cells.clumps import depth_of, dilated, label_medians, opened


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
def test_masks_are_opened_dilated_and_measured_as_by_scipy(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(2, 20, 2)) < share
    assert np.array_equal(opened(mask), ndi.binary_opening(mask))
    for n in (1, 3):
        assert np.array_equal(dilated(mask, n), ndi.binary_dilation(mask, iterations=n))
    expected = ndi.distance_transform_edt(mask).astype(np.float32)
    assert np.array_equal(depth_of(mask), expected)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), quantile=st.sampled_from([0.0, 0.5, 0.75]))
def test_the_quantile_of_each_label_is_one_of_its_values(seed: int, quantile: float) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, (9, 8)).astype(np.int32)
    values = rng.normal(size=labels.shape).astype(np.float32).round(1)  # some are equal, or 0
    medians = label_medians(labels, values, quantile)
    assert len(medians) == labels.max() + 1
    assert medians[0] == 0
    for label in np.unique(labels[labels > 0]):
        inside = np.sort(values[labels == label])
        assert medians[label] == pytest.approx(inside[int(len(inside) * quantile)])


def test_there_may_be_no_label() -> None:
    nothing = np.zeros((3, 3), dtype=np.int32)
    assert label_medians(nothing, np.ones((3, 3), dtype=np.float32)).tolist() == [0.0]
