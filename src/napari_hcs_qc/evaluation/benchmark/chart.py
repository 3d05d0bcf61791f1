"""A line chart of a figure over the number of annotations, as SVG."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_LEFT, _TOP, _WIDTH, _HEIGHT = 50, 30, 420, 300


def draw_sizes(lines: Mapping[str, list[tuple[int, float]]], title: str) -> str:
    """Draw one line per row.

    Parameters
    ----------
    lines
        Name to points (number of annotations, percent).
    title
        Above the chart.
    """
    sizes = sorted({size for points in lines.values() for size, _ in points})
    low = 10 * math.floor(min(v for points in lines.values() for _, v in points) / 10)
    low = min(low, 90)
    span = math.log(sizes[-1] / sizes[0]) or 1.0

    def place(size: int, value: float) -> tuple[float, float]:
        x = _LEFT + _WIDTH * math.log(size / sizes[0]) / span
        return x, _TOP + _HEIGHT * (100 - value) / (100 - low)

    tall = max(_TOP + _HEIGHT + 50, _TOP + 16 * len(lines) + 20)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="860" height="{tall}" '
        f'viewBox="0 0 860 {tall}" font-family="sans-serif" font-size="11">',
        f'<text x="{_LEFT}" y="18" font-size="14">{escape(title)}</text>',
    ]
    for value in range(low, 101, 10):
        y = place(sizes[0], value)[1]
        parts.append(
            f'<path d="M{_LEFT} {y:.1f}H{_LEFT + _WIDTH}" stroke="#ddd"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value}</text>'
        )
    for size in sizes:
        x = place(size, low)[0]
        parts.append(
            f'<text x="{x:.1f}" y="{_TOP + _HEIGHT + 16}" text-anchor="middle">{size}</text>'
        )
    for number, (name, points) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        dash = ("", "5 3", "1 3", "8 2 2 2")[number // len(_COLOURS) % 4]
        path = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in sorted(points))
        style = f'stroke="{colour}" stroke-dasharray="{dash}" stroke-width="1.6" fill="none"'
        y = _TOP + 8 + 16 * number
        parts.append(
            f'<polyline points="{path}" {style}/><path d="M490 {y}H515" {style}/>'
            f'<text x="520" y="{y + 4}">{escape(name)}</text>'
        )
    parts.append(f'<text x="{_LEFT}" y="{_TOP + _HEIGHT + 36}">annotations (log)</text></svg>')
    return "".join(parts)
