"""Curves that are kept with a model; scikit-learn is needed to compute them, not to read them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from collections.abc import Mapping

MORE_CLICKS = 50
"""How many more annotations the verdict speaks of: a few minutes of a person's time."""

_WORTH_IT = 0.005  # weighted F1 that so many more clicks have to promise
_MUCH = 0.02  # with so much still possible nobody should be told to stop
_MIN_CELLS = 20  # with fewer annotations figures are mostly chance


@dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """Weighted F1 of held-out cells over the number of annotated cells fitted on."""

    sizes: tuple[int, ...]  # cells fitted on, ascending
    # Weighted F1 in 0..1 of each size: mean over the seeds, and its sd (0 with one seed)
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    low: tuple[float, ...]  # 95 % interval of `mean`: wells drawn with replacement
    high: tuple[float, ...]
    slope: float  # F1 gained by each doubling of the annotations, over the last three sizes
    slope_low: float  # 95 % interval of `slope`, from the same draws of wells
    slope_high: float
    n_cells: int  # annotated cells there are
    note: str = ""  # what differs from what was asked for; empty when nothing does. To be shown

    def gain(self, n_more: int = MORE_CLICKS) -> float:
        """F1 that `n_more` annotated cells may bring if it goes on like this; NaN if unknown."""
        return self._gain(self.slope, n_more)

    def verdict(self) -> str:
        """Say in words whether more annotations are worth a person's time."""
        if self.n_cells < _MIN_CELLS or math.isnan(self.slope):
            return f"Too few annotations to tell ({self.n_cells}): annotate more."
        gain, doubled = self.gain(), self.gain(self.n_cells)
        is_sure = self.slope_low > 0  # not where the interval is unknown
        if gain >= _WORTH_IT:
            trend = "Still rising" if is_sure else "Perhaps still rising, but this may be chance"
            return f"{trend}: {MORE_CLICKS} more annotations may bring about {gain:+.2f}."
        most = self._gain(self.slope_high, MORE_CLICKS)
        if math.isnan(most):
            return "Too few wells to tell: annotate cells of more wells."
        if most >= _MUCH:
            return (
                f"No rise visible, but too uncertain to tell: {MORE_CLICKS} more annotations may "
                f"bring up to {most:+.2f}."
            )
        if is_sure and doubled >= _WORTH_IT:
            return (
                f"Flattening: {MORE_CLICKS} more annotations may bring about {gain:+.3f}, twice as "
                f"many as now {doubled:+.2f}."
            )
        return "Flat: more annotations bring little."

    def _gain(self, slope: float, n_more: int) -> float:
        room = 1 - self.mean[-1]  # nothing is better than perfect
        return min(slope * math.log2(1 + n_more / self.n_cells), room)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest; a NaN becomes None."""
        return {
            name: [_or_none(item) for item in value]
            if isinstance(value, tuple)
            else _or_none(value)
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave; further entries are ignored."""

        def values(name: str) -> tuple[float, ...]:
            return tuple(_or_nan(value) for value in data[name])

        try:
            return cls(
                sizes=tuple(int(size) for size in data["sizes"]),
                mean=values("mean"),
                sd=values("sd"),
                low=values("low"),
                high=values("high"),
                slope=_or_nan(data["slope"]),
                slope_low=_or_nan(data["slope_low"]),
                slope_high=_or_nan(data["slope_high"]),
                n_cells=int(data["n_cells"]),
                note=str(data["note"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise HcsQcError(
                f"The learning curve cannot be read ({error!r}); retrain to compute it again."
            ) from error


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Predicted against annotated, in bins of P(abnormal) that have cells; all in 0..1."""

    bin_low: tuple[float, ...]  # ends of each bin
    bin_high: tuple[float, ...]  # ends of each bin
    mean_p: tuple[float, ...]  # mean P(abnormal) of the bin's cells
    share: tuple[float, ...]  # share of them annotated abnormal
    low: tuple[float, ...]  # 95 % Wilson interval of `share` (Wilson 1927, J
    high: tuple[float, ...]  # 95 % Wilson interval of `share` (Wilson 1927, J
    n: tuple[int, ...]  # cells in each bin
    ece: float  # expected calibration error (Naeini et al
    ece_low: float | None = None  # 95 % interval of `ece`, wells drawn with replacement
    ece_high: float | None = None  # 95 % interval of `ece`, wells drawn with replacement
    ece_perfect: float | None = None


def _or_none(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _or_nan(value: Any) -> float:
    return math.nan if value is None else float(value)
