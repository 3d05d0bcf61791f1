"""The usual cell of a plate, and how far its cells lie from it, without a part of the outliers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

LIMIT = 5.0
"""Standardised features stop here, so that one feature of a fibre cannot decide alone."""

_TO_SD = 1.4826  # of the median absolute deviation of a normal variable


class PlateStatistics(NamedTuple):
    """Median and robust standard deviation of each feature over the cells of a plate."""

    centre: Floats
    scale: Floats  # infinite for a feature of which most cells have the same value

    def standardised(self, features: ArrayLike) -> Floats:
        """Give the features in robust standard deviations from the median, cut off at `LIMIT`."""
        z = (np.asarray(features, dtype=np.float64) - self.centre) / self.scale
        clipped: Floats = np.clip(z, -LIMIT, LIMIT, out=z)
        return clipped


def plate_statistics(cells: ArrayLike) -> PlateStatistics:
    """Median and ``1.4826 MAD`` of each column."""
    rows = np.asarray(cells, dtype=np.float64)
    centre = np.median(rows, axis=0)
    scale = _TO_SD * np.median(np.abs(rows - centre), axis=0)
    # What float32 arithmetic in an encoder makes of a constant is not information.
    is_constant = scale <= 1e-6 * np.abs(centre) + np.finfo(float).tiny
    return PlateStatistics(centre, np.where(is_constant, np.inf, scale))
