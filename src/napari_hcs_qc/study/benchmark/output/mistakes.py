"""Which labelled cells a row of the tables judged wrongly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Mistake:
    """A cell that was judged wrongly more often than not."""

    cell: str  # its id, see `LabelledCells`
    is_abnormal: bool  # what people say
    p_abnormal: float  # mean over the draws in which it was tested
    n_tested: int  # how many these are


def mistakes(result: Mapping[str, Any]) -> list[Mistake]:
    """List the cells that a result judges wrongly on average, the gravest first."""
    told: dict[str, list[float]] = {}
    truth: dict[str, bool] = {}
    for one in result["seeds"]:
        for cell, is_abnormal, p in zip(
            one["cells"], one["is_abnormal"], one["p_abnormal"], strict=True
        ):
            told.setdefault(cell, []).append(float(p))
            truth[cell] = bool(is_abnormal)
    found = [
        Mistake(cell, truth[cell], float(np.mean(p)), len(p))
        for cell, p in told.items()
        if (np.mean(p) >= 0.5) != truth[cell]
    ]
    return sorted(
        found, key=lambda mistake: (-abs(mistake.p_abnormal - mistake.is_abnormal), mistake.cell)
    )


def mean_confusion(result: Mapping[str, Any]) -> NDArray[np.float64]:
    """Count tested cells as a mean over the draws."""
    names = (("passed", "alarms"), ("misses", "hits"))
    return np.array(
        [
            [np.mean([one["confusion"][name] for one in result["seeds"]]) for name in row]
            for row in names
        ]
    )
