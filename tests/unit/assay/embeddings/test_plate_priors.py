"""Which plates are out of the range of priors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from napari_hcs_qc.assay.embeddings.plate_priors import out_of_range, why_no_prior
from napari_hcs_qc.cells.intensity import ChannelRange, IntensityRanges
from napari_hcs_qc.heads.prior.plate_prior import MIN_CELLS


def state(background: float, mean: float, n_cells: int = MIN_CELLS) -> Any:
    """A plate with grey values from 100 to 1100 and cells of some mean."""
    light = ChannelRange(
        channel="DNA",
        low=100,
        high=1100,
        saturation_level=None,
        background=background,
        dtype="uint16",
    )
    cells = pd.DataFrame({"mean_intensity": np.full(n_cells, mean), "is_cut": False})
    return SimpleNamespace(
        plate=SimpleNamespace(name="P", channel_index=lambda _name: 0),
        plate_cells=SimpleNamespace(channel="DNA", ranges=IntensityRanges((light,)), cells=cells),
    )


@pytest.mark.parametrize(
    ("background", "mean", "is_out"),
    [
        (120, 600, False),
        (280, 600, False),  # a stain of the whole cell, or haze
        (600, 700, True),
        (600, float("nan"), True),  # imported positions
        (600, 5000, False),  # most sites are empty, so the range is that of their noise
    ],
)
def test_a_bright_ground_is_out_of_range(background: float, mean: float, is_out: bool) -> None:
    reason = out_of_range(state(background, mean))
    assert bool(reason) == is_out
    assert not is_out or "(grey value 600, in a range of 100 to 1100)" in reason
    assert why_no_prior(state(background, mean)) == reason


def test_few_cells_are_the_other_reason() -> None:
    few = state(120, 600, MIN_CELLS - 1)
    assert out_of_range(few) == ""
    assert why_no_prior(few).startswith(f"Plate P has {MIN_CELLS - 1} whole cells")
