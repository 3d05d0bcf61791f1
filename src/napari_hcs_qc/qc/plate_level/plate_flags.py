"""Flag plates of a screen by `PlateRule`, with reasons that a person reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import scipy  # `stats` is loaded when it is first used

from napari_hcs_qc.qc.intervals import wilson_interval
from napari_hcs_qc.qc.plate_level.plate_rule import MIN_COMPARED, PLATE_CODES, PlateRule
from napari_hcs_qc.qc.plate_level.position_effects import PositionEffect, strongest
from napari_hcs_qc.qc.rule import Check, Finding, one_per_code, with_unit
from napari_hcs_qc.text import interval, percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

QUALITY = ("edge_width_px", "noise", "signal_to_noise", "background_rise")
"""Measures of the image by which plates are compared: the median site, in each channel."""

# Least scatter (absolute, and relative to the median) that is believed of a figure among plates.
_FLOORS: dict[str, tuple[float, float]] = {
    "share_flagged": (0.02, 0.0),
    "share_abnormal": (0.01, 0.0),
    "cells_per_site": (1.0, 0.08),
    "edge_width_px": (0.0, 0.04),
    "noise": (0.0, 0.05),
    "signal_to_noise": (0.0, 0.08),
    "background_rise": (0.004, 0.0),
}


@dataclass(frozen=True, kw_only=True)
class PlateFigures:
    """What one judged plate is compared by."""

    name: str  # of the plate
    n_wells: int
    n_flagged: int
    n_sites: int
    n_unreadable: int
    n_cells: int
    n_scored: int
    n_abnormal: int
    share_abnormal: float  # of the median well; NaN without cells
    cells_per_site: float  # of the median well; NaN without cells
    # ``<measure>`` of `QUALITY` to channel to the value of the median site
    quality: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    novelty: str = ""  # sentence when the plate is unlike the training plates, else empty
    effects: Sequence[PositionEffect] = ()  # from `position_effects`

    @property
    def share_flagged(self) -> float:
        """Share of the wells that are flagged; NaN without wells."""
        return self.n_flagged / self.n_wells if self.n_wells else float("nan")


PlateFlag: TypeAlias = Finding
"""One reason to flag a plate."""


def flag_plates(plates: Sequence[PlateFigures], rule: PlateRule) -> dict[str, list[PlateFlag]]:
    """Find the reasons to flag each plate, gravest first; a plate without any has an empty list."""
    by_plate: dict[str, list[PlateFlag]] = {plate.name: [] for plate in plates}
    for check in (_alone, _flagged_wells, _compared):
        for name, flag in check(plates, rule):
            by_plate[name].append(flag)
    return {name: one_per_code(flags, PLATE_CODES) for name, flags in by_plate.items()}


def _alone(plates: Sequence[PlateFigures], rule: PlateRule) -> Iterator[tuple[str, PlateFlag]]:
    """Yield what a plate shows by itself."""
    for plate in plates:
        if plate.n_unreadable and plate.n_unreadable >= rule.unreadable_share * plate.n_sites:
            share = plate.n_unreadable / plate.n_sites
            text = f"{plate.n_unreadable} of {plate.n_sites} sites could not be read"
            yield plate.name, PlateFlag("unreadable", share / rule.unreadable_share, text)
        if not plate.n_cells:
            yield plate.name, PlateFlag("no_cells", 10.0, "no cells were found")
        if plate.novelty:
            yield plate.name, PlateFlag("novelty", 1.0, plate.novelty)
        for kind in ("edge", "row", "column"):
            for measure, limit in (
                ("share_abnormal", rule.position_abnormal),
                ("cells_per_site", rule.position_cells),
            ):
                effect = strongest(plate.effects, measure, kind)
                if effect is not None and abs(effect.shift.least) >= limit:
                    severity = abs(effect.shift.least) / limit
                    yield plate.name, PlateFlag(kind, severity, effect_text(effect))


def _flagged_wells(
    plates: Sequence[PlateFigures], rule: PlateRule
) -> Iterator[tuple[str, PlateFlag]]:
    shares = np.array([plate.share_flagged for plate in plates])
    median, z = _robust_z(shares, "share_flagged")
    for plate, share, sigma in zip(plates, shares.tolist(), z.tolist(), strict=True):
        if not plate.n_wells:
            continue
        low, high = (float(end) for end in wilson_interval(plate.n_flagged, plate.n_wells))
        relative = min(sigma / rule.z_limit, (low - median) / rule.flagged_excess)
        severity = max(relative if np.isfinite(relative) else 0.0, low / rule.flagged_always)
        if severity >= 1:
            compared = "" if np.isnan(sigma) else f", median plate {percent(median)}"
            text = (
                f"{percent(share)} of the wells flagged (95 % interval {interval(low, high)}"
                f"{compared})"
            )
            yield plate.name, PlateFlag("flagged_wells", severity, text)


_REASONS = {
    "share_abnormal": "{} of the cells of the median well abnormal",
    "cells_per_site": "{} cells per site",
    "edge_width_px": "edges {} px wide",
    "noise": "noise {}",
    "signal_to_noise": "signal {} times the noise",
    "background_rise": "background raised by {}",
}


def _compared(plates: Sequence[PlateFigures], rule: PlateRule) -> Iterator[tuple[str, PlateFlag]]:
    """Yield what a plate shows against the others."""
    checks = [
        (Check("share_abnormal", "share_abnormal", "above", rule.abnormal_excess), ""),
        (Check("few_cells", "cells_per_site", "below", rule.few_cells), ""),
        (Check("many_cells", "cells_per_site", "times", rule.many_cells), ""),
    ]
    for check in (
        Check("blur", "edge_width_px", "times", rule.blur_ratio),
        Check("noise", "noise", "times", rule.noise_ratio),
        Check("dim", "signal_to_noise", "below", rule.dim_ratio),
        Check("haze", "background_rise", "above", rule.haze_rise),
    ):
        by_plate = (plate.quality.get(check.measure, {}) for plate in plates)
        checks += [(check, channel) for channel in sorted(set(chain.from_iterable(by_plate)))]
    for check, channel in checks:
        measure = check.measure
        values = np.array([_value(plate, measure, channel) for plate in plates])
        median, z = _robust_z(values, measure)
        severity = check.severity(values, median, z, rule.z_limit)
        where = f", channel {channel}" if channel else ""
        for row in np.flatnonzero(severity >= 1).tolist():
            text = (
                f"{_REASONS[measure].format(with_unit(measure, float(values[row])))} "
                f"(median plate {with_unit(measure, median)}, z {z[row]:.0f}{where})"
            )
            yield plates[row].name, PlateFlag(check.code, float(severity[row]), text)


def _value(plate: PlateFigures, measure: str, channel: str) -> float:
    if not channel:
        return float(getattr(plate, measure))
    return float(plate.quality.get(measure, {}).get(channel, np.nan))


def _robust_z(values: NDArray[np.float64], measure: str) -> tuple[float, NDArray[np.float64]]:
    """Median and robust z; NaN with fewer than `MIN_COMPARED` values."""
    known = values[np.isfinite(values)]
    if len(known) < MIN_COMPARED:
        return float("nan"), np.full(len(values), np.nan)
    median = float(np.median(known))
    absolute, relative = _FLOORS[measure]
    scale = float(scipy.stats.median_abs_deviation(known, scale="normal"))
    scale = max(scale, absolute, relative * abs(median), 1e-12)
    return median, (values - median) / scale


def effect_text(effect: PositionEffect) -> str:
    """Say an effect of the place: ``edge wells: 12 points more abnormal cells (…)``."""
    place = "edge wells" if effect.place == "edge" else effect.place
    shift = effect.shift
    word = "more" if shift.value >= 0 else "fewer"
    what = "abnormal cells" if effect.measure == "share_abnormal" else "cells"
    unit = "points" if effect.measure == "share_abnormal" else "%"
    size = f"{100 * abs(shift.value):.1f} {unit}"
    limits = f"95 % interval {100 * shift.low:+.1f} to {100 * shift.high:+.1f}"
    return f"{place}: {size} {word} {what} than the others ({limits})"
