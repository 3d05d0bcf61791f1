"""Drawings of the report on a screen: drift over plates, effects of the place, plates in small."""

from __future__ import annotations

import base64
import io
import math
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from napari_hcs_qc.qc.reports.svg import FLAG_COLOUR, RAMP, nice_ceiling, ramp_colour

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_hcs_qc.qc.plate_level.position_effects import Drift, PositionEffect

_INK, _GRID, _DOT = "#1c2733", "#e3e7eb", "#2f5d9b"
_NO_VALUE = (150, 158, 166)


def draw_drift(
    order: Sequence[float],
    values: Sequence[float],
    names: Sequence[str],
    *,
    title: str,
    x_words: Sequence[tuple[float, str]],
    words: Callable[[float], str],
    flagged: Sequence[bool],
    found: Drift | None,
) -> str:
    """Draw a figure of each plate in the order of acquisition, with its robust line."""
    width, height, left, top = 520.0, 170.0, 58.0, 10.0
    points = [
        (float(x), float(y), name, is_flagged)
        for x, y, name, is_flagged in zip(order, values, names, flagged, strict=True)
        if math.isfinite(y)
    ]
    y_values = [point[1] for point in points] or [0.0]
    low, high = _span(min(y_values), max(y_values))
    x_low, x_high = min(order, default=0.0), max(order, default=1.0)
    x_span = (x_high - x_low) or 1.0

    def px(x: float) -> float:
        return left + 6 + (width - 12) * (x - x_low) / x_span

    def py(y: float) -> float:
        return top + height * (1 - (min(max(y, low), high) - low) / (high - low))

    parts = [_begin(left + width + 10, top + height + 24, title)]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = low + share * (high - low)
        parts.append(
            f'<line x1="{left}" x2="{left + width}" y1="{py(y):.1f}" y2="{py(y):.1f}" '
            f'stroke="{_GRID}"/><text x="{left - 6}" y="{py(y) + 4:.1f}" text-anchor="end">'
            f"{escape(words(y))}</text>"
        )
    for x, text in x_words:
        anchor = "start" if x == x_low else "end" if x == x_high else "middle"
        parts.append(
            f'<text x="{px(x):.1f}" y="{top + height + 17}" text-anchor="{anchor}">'
            f"{escape(text)}</text>"
        )
    if found is not None:
        ends = [found.intercept + found.slope.value * x for x in (x_low, x_high)]
        style = "" if found.slope.is_sure else ' stroke-dasharray="5 4"'
        parts.append(
            f'<line x1="{px(x_low):.1f}" y1="{py(ends[0]):.1f}" x2="{px(x_high):.1f}" '
            f'y2="{py(ends[1]):.1f}" stroke="{_INK}" stroke-width="1.5"{style}/>'
        )
    for x, y, name, is_flagged in points:
        fill = FLAG_COLOUR if is_flagged else _DOT
        parts.append(
            f'<circle cx="{px(x):.1f}" cy="{py(y):.1f}" r="3.6" fill="{fill}" stroke="#fff">'
            f"<title>{escape(name)}: {escape(words(y))}</title></circle>"
        )
    return "".join([*parts, "</svg>"])


def _span(low: float, high: float) -> tuple[float, float]:
    """Give round ends that hold all values, and 0 where it is near."""
    if low >= 0 and low < 0.6 * high:
        low = 0.0
    if high <= low:
        return (low - 0.5 * abs(low) - 1e-3, high + 0.5 * abs(high) + 1e-3) if low else (0.0, 1.0)
    step = nice_ceiling((high - low) / 4)
    start = math.floor(low / step) * step
    while start + 4 * step < high - 1e-12:
        step = nice_ceiling(step * 1.01)
        start = math.floor(low / step) * step
    return start, start + 4 * step


def draw_effects(effects: Sequence[PositionEffect], *, title: str) -> str:
    """Draw shifts of places with their intervals, one beside the other."""
    step, left, top, height = 19.0, 58.0, 10.0, 150.0
    drawn = [one for one in effects if math.isfinite(one.shift.value)]
    ends = [abs(one.shift.value) for one in drawn]
    ends += [abs(e) for one in drawn for e in (one.shift.low, one.shift.high) if math.isfinite(e)]
    # One interval without bounds must not make all the others flat.
    limit = nice_ceiling(max(100 * float(np.quantile(ends, 0.98)) if ends else 1.0, 1.0))
    width = max(240.0, step * (len(drawn) + 1))

    def py(shift: float) -> float:
        share = max(-1.0, min(1.0, 100 * shift / limit))
        return top + height * (1 - share) / 2

    parts = [_begin(left + width + 10, top + height + 30, title)]
    for share in (-1.0, -0.5, 0.0, 0.5, 1.0):
        y = py(share * limit / 100)
        colour = "#8a929b" if share == 0 else _GRID
        parts.append(
            f'<line x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}"/>'
            f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{share * limit:+.3g}</text>'
        )
    for index, one in enumerate(drawn):
        x = left + step * (index + 1)
        shift = one.shift
        colour = FLAG_COLOUR if shift.is_sure else _DOT
        text = (
            f"{one.place}: {100 * shift.value:+.1f} (95 % interval {100 * shift.low:+.1f} to "
            f"{100 * shift.high:+.1f}, {one.n} {'plates' if not one.n_others else 'wells'})"
        )
        name = one.place.split()[-1]
        parts.append(
            f'<g><title>{escape(text)}</title><line x1="{x}" x2="{x}" y1="{py(shift.low):.1f}" '
            f'y2="{py(shift.high):.1f}" stroke="{colour}" stroke-width="2"/>'
            f'<circle cx="{x}" cy="{py(shift.value):.1f}" r="3.6" fill="{colour}"/></g>'
            f'<text x="{x}" y="{top + height + 16}" text-anchor="middle" font-size="10">'
            f"{escape(name)}</text>"
        )
    return "".join([*parts, "</svg>"])


def plate_thumbnail(values: NDArray[np.float64], high: float) -> str:
    """Draw a plate with a pixel a well, as a PNG that stands in the page itself."""
    colours = np.zeros((*values.shape, 4), dtype=np.uint8)
    for place in np.argwhere(~np.isinf(values)):
        value = float(values[tuple(place)])
        text = ramp_colour(value / high) if math.isfinite(value) else ""
        rgb = tuple(int(text[i : i + 2], 16) for i in (1, 3, 5)) if text else _NO_VALUE
        colours[tuple(place)] = (*rgb, 255)
    buffer = io.BytesIO()
    Image.fromarray(colours).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def ramp_legend(key: str, ends: tuple[str, str]) -> str:
    """Draw the colours with what their ends stand for."""
    stops = "".join(
        f'<stop offset="{index / (len(RAMP) - 1):.4f}" stop-color="{colour}"/>'
        for index, colour in enumerate(RAMP)
    )
    mark = escape(key, quote=True)
    return (
        f'{_begin(300, 16, "colours")}<defs><linearGradient id="{mark}">{stops}'
        f'</linearGradient></defs><text x="0" y="12">{escape(ends[0])}</text>'
        f'<rect x="42" y="2" width="150" height="11" fill="url(#{mark})"/>'
        f'<text x="200" y="12">{escape(ends[1])}</text></svg>'
    )


def _begin(width: float, height: float, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{escape(title, quote=True)}" font-size="11" '
        f'fill="{_INK}">'
    )


def plate_grid(
    shape: tuple[int, int], rows: ArrayLike, columns: ArrayLike, values: ArrayLike
) -> NDArray[np.float64]:
    """Lay values of wells out as a plate; infinite where there is no well."""
    grid = np.full(shape, np.inf)
    grid[np.asarray(rows), np.asarray(columns)] = np.asarray(values, dtype=np.float64)
    return grid
