"""Charts of a screen: drift over its plates, effects of the position, plates in small."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.qc.reports.figures import (
    FLAGGED,
    INK,
    NORMAL,
    PT,
    SOFT,
    VALUE_MAP,
    new_figure,
    nice_ceiling,
    set_tooltips,
    styled,
)
from napari_hcs_qc.text import percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from napari_hcs_qc.qc.plate_level.position_effects import Drift, PositionEffect

_NO_CELLS = (150, 158, 166, 255)


@styled
def drift_chart(
    order: Sequence[float],
    values: Sequence[float],
    names: Sequence[str],
    *,
    title: str,
    ends: Sequence[tuple[float, str]],
    is_share: bool,
    flagged: Sequence[bool],
    drift: Drift | None,
) -> Figure:
    """Draw a figure of each plate in the order of acquisition, with its robust line."""
    figure = new_figure(title, 590, 215)
    axes = figure.subplots()
    to_text = percent if is_share else "{:.3g}".format
    known = [index for index, value in enumerate(values) if math.isfinite(value)]
    x, y = np.array(order, float)[known], np.array(values, float)[known]
    colours = [FLAGGED if flagged[index] else NORMAL for index in known]
    dots = axes.scatter(x, y, s=(7.5 * PT) ** 2, c=colours, edgecolors="white", linewidths=0.5,
                        zorder=3)  # fmt: skip
    set_tooltips(dots, (f"{names[index]}: {to_text(values[index])}" for index in known))
    if drift is not None:
        span = np.array([min(order), max(order)])
        style = "-" if drift.slope.is_sure else (0, (5, 4))
        line = drift.intercept + drift.slope.value * span
        axes.plot(span, line, color=INK, linewidth=1.1, linestyle=style)
    axes.set_xticks([place for place, _ in ends], [text for _, text in ends])
    for label in axes.get_xticklabels()[:1]:
        label.set_horizontalalignment("left")
    for label in axes.get_xticklabels()[1:]:
        label.set_horizontalalignment("right")
    axes.locator_params(axis="y", nbins=5)
    if is_share:
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}")
        axes.set_ylabel("%")
    if len(y) and 0 <= y.min() <= 0.6 * y.max():
        axes.set_ylim(bottom=0)
    return figure


@styled
def effects_chart(effects: Sequence[PositionEffect], *, title: str, unit: str) -> Figure:
    """Draw shifts of positions with their intervals, one beside the other."""
    drawn = [effect for effect in effects if math.isfinite(effect.shift.value)]
    estimates = [(effect.shift.low, effect.shift.value, effect.shift.high) for effect in drawn]
    shifts = 100 * np.array(estimates).reshape(-1, 3)
    # One interval without bounds must not make all the others flat.
    sizes = np.abs(shifts[np.isfinite(shifts)])
    limit = nice_ceiling(max(float(np.quantile(sizes, 0.98)) if len(sizes) else 1.0, 1.0))
    figure = new_figure(title, max(310.0, 70 + 19 * (len(drawn) + 2.4)), 210)
    axes = figure.subplots()
    axes.axhline(0, color=SOFT, linewidth=0.8)
    colours = [FLAGGED if effect.shift.is_sure else NORMAL for effect in drawn]
    kinds = [effect.place.split()[0] for effect in drawn]
    is_next = [False, *(kind != before for before, kind in pairwise(kinds))][: len(kinds)]
    place = np.arange(len(drawn)) + 0.7 * np.cumsum(is_next)
    low, value, high = np.clip(shifts, -2 * limit, 2 * limit).T
    axes.vlines(place, low, high, colors=colours, linewidth=1.5)
    dots = axes.scatter(place, value, s=(7.5 * PT) ** 2, c=colours, linewidths=0, zorder=3)
    set_tooltips(dots, map(_effect_text, drawn))
    axes.set_xticks(place, [effect.place.split()[-1] for effect in drawn])
    axes.tick_params(axis="x", length=0)
    axes.set(xlim=(-0.8, max(place, default=0) + 0.8), ylim=(-limit, limit), ylabel=unit)
    axes.yaxis.set_major_formatter(lambda shift, _: f"{shift:+g}" if shift else "0")
    return figure


def _effect_text(effect: PositionEffect) -> str:
    shift = effect.shift
    return (
        f"{effect.place}: {100 * shift.value:+.1f} (95 % interval {100 * shift.low:+.1f} to "
        f"{100 * shift.high:+.1f}, {effect.n} {'wells' if effect.n_others else 'plates'})"
    )


def plate_thumbnail(values: NDArray[np.float64], high: float) -> NDArray[np.uint8]:
    """Draw a plate with a pixel for each well, as RGBA; infinite values are no wells."""
    import matplotlib

    image = np.asarray(matplotlib.colormaps[VALUE_MAP](values / high, bytes=True))
    image[np.isnan(values)] = _NO_CELLS
    image[np.isinf(values)] = 0
    return image
