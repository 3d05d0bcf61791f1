"""A line chart of a figure over the number of annotations, as SVG and as PNG.

Drawn here and not by matplotlib, which no dependency of ours brings: the chart is a few lines and
words, and Pillow, which is there, sets them well.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_DASHES: tuple[tuple[int, ...], ...] = ((), (6, 4), (2, 3), (9, 3, 2, 3))
_LEFT, _TOP, _WIDTH, _HEIGHT = 50, 34, 440, 300
_LEGEND_X, _LINE_PX = _LEFT + _WIDTH + 30, 17
_PNG_SCALE, _SMOOTHING = 2, 2
_GREY, _INK = "#dddddd", "#222222"


@dataclass(frozen=True)
class Point:
    """A measured point: number of annotations, percent, and its standard deviation."""

    size: int
    value: float
    sd: float = 0.0


@dataclass(frozen=True)
class _Path:
    points: tuple[tuple[float, float], ...]
    colour: str
    width: float
    dash: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Text:
    x: float
    y: float  # of the baseline
    text: str
    anchor: Literal["start", "middle", "end"] = "start"
    size: int = 11


@dataclass(frozen=True)
class Chart:
    """What is drawn, in CSS pixels."""

    width: int
    height: int
    title: str
    paths: tuple[_Path, ...]
    texts: tuple[_Text, ...]


def chart_of_sizes(lines: Mapping[tuple[str, str], Sequence[Point]], title: str) -> Chart:
    """Draw one line for each encoder and head, with whiskers of one standard deviation."""
    sizes = sorted({one.size for points in lines.values() for one in points})
    least = min(one.value - one.sd for points in lines.values() for one in points)
    low = max(0, min(90, 10 * math.floor(least / 10)))
    span = math.log(sizes[-1] / sizes[0]) or 1.0

    def place(size: float, value: float) -> tuple[float, float]:
        x = _LEFT + 8 + (_WIDTH - 16) * math.log(size / sizes[0]) / span
        return x, _TOP + _HEIGHT * (100 - min(100.0, max(low, value))) / (100 - low)

    paths, texts = [], [_Text(_LEFT, 20, title, size=14)]
    for value in range(low, 101, 10 if low < 80 else 5):
        y = place(sizes[0], value)[1]
        paths.append(_Path(((_LEFT, y), (_LEFT + _WIDTH, y)), _GREY, 1))
        texts.append(_Text(_LEFT - 6, y + 4, str(value), "end"))
    bottom = _TOP + _HEIGHT
    for size in sizes:
        x = place(size, low)[0]
        paths.append(_Path(((x, bottom), (x, bottom + 4)), _INK, 1))
        texts.append(_Text(x, bottom + 17, str(size), "middle"))
    texts.append(_Text(_LEFT + _WIDTH / 2, bottom + 35, "annotations (log scale)", "middle"))
    encoders = list(dict.fromkeys(encoder for encoder, _ in lines))
    heads = list(dict.fromkeys(head for _, head in lines))
    for number, ((encoder, head), points) in enumerate(lines.items()):
        colour = _COLOURS[encoders.index(encoder) % len(_COLOURS)]
        if len(encoders) == 1:  # then colours tell the heads apart better than dashes
            colour = _COLOURS[heads.index(head) % len(_COLOURS)]
        dash = _DASHES[heads.index(head) % len(_DASHES)]
        shift = 2.0 * (number - (len(lines) - 1) / 2)  # or whiskers would lie on one another
        at = sorted(points, key=lambda one: one.size)
        paths.append(_Path(tuple(place(one.size, one.value) for one in at), colour, 1.8, dash))
        for one in at:
            x, y = place(one.size, one.value)
            x += shift
            low_y, high_y = (place(one.size, one.value + side * one.sd)[1] for side in (-1, 1))
            ends = (x, low_y), (x, high_y)
            paths.append(_Path(ends, colour, 1))
            paths.append(_Path(((x - 2.5, y), (x + 2.5, y)), colour, 3))
        y = _TOP + 8 + _LINE_PX * number
        paths.append(_Path(((_LEGEND_X, y), (_LEGEND_X + 30, y)), colour, 1.8, dash))
        texts.append(_Text(_LEGEND_X + 37, y + 4, f"{encoder}, {head}"))
    height = max(bottom + 46, _TOP + _LINE_PX * len(lines) + 20)
    widest = max(len(f"{encoder}, {head}") for encoder, head in lines)
    return Chart(_LEGEND_X + 47 + 6 * widest, height, title, tuple(paths), tuple(texts))


def to_svg(chart: Chart) -> str:
    """Write a chart as one ``<svg>`` element; every text in it is escaped."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{chart.width}" height="{chart.height}" '
        f'viewBox="0 0 {chart.width} {chart.height}" role="img" '
        f'aria-label="{escape(chart.title, quote=True)}" font-family="sans-serif" fill="{_INK}">'
    ]
    for path in chart.paths:
        dash = f' stroke-dasharray="{" ".join(map(str, path.dash))}"' if path.dash else ""
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in path.points)
        parts.append(
            f'<polyline points="{points}" stroke="{path.colour}" stroke-width="{path.width:g}" '
            f'fill="none"{dash}/>'
        )
    for text in chart.texts:
        parts.append(
            f'<text x="{text.x:.1f}" y="{text.y:.1f}" font-size="{text.size}" '
            f'text-anchor="{text.anchor}">{escape(text.text)}</text>'
        )
    return "".join([*parts, "</svg>"])


def to_png(chart: Chart) -> bytes:
    """Draw a chart on white, at twice its size in CSS pixels."""
    scale = _PNG_SCALE * _SMOOTHING  # lines are drawn larger and shrunk: Pillow has no smooth ones
    image = Image.new("RGB", (chart.width * scale, chart.height * scale), "white")
    draw = ImageDraw.Draw(image)
    for path in chart.paths:
        points = [(x * scale, y * scale) for x, y in path.points]
        for piece in _dashed(points, [length * scale for length in path.dash]):
            draw.line(piece, fill=path.colour, width=round(path.width * scale), joint="curve")
    for text in chart.texts:
        font = ImageFont.load_default(text.size * scale)
        anchor = {"start": "ls", "middle": "ms", "end": "rs"}[text.anchor]
        draw.text((text.x * scale, text.y * scale), text.text, _INK, font, anchor)
    size = chart.width * _PNG_SCALE, chart.height * _PNG_SCALE
    out = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(out, "PNG", dpi=(192, 192), optimize=True)
    return out.getvalue()


def _dashed(
    points: Sequence[tuple[float, float]], dash: Sequence[float]
) -> list[list[tuple[float, float]]]:
    """Cut a line into its dashes, which go on around its corners."""
    if not dash:
        return [list(points)]
    pieces: list[list[tuple[float, float]]] = []
    part, left = 0, float(dash[0])
    current = [points[0]] if points else []
    for (x0, y0), (x1, y1) in pairwise(points):
        length, at = math.hypot(x1 - x0, y1 - y0), 0.0
        while length - at > left:
            at += left
            point = (x0 + (x1 - x0) * at / length, y0 + (y1 - y0) * at / length)
            if part % 2 == 0:
                pieces.append([*current, point])
            part, current = part + 1, [point]
            left = float(dash[part % len(dash)])
        left -= length - at
        current.append((x1, y1))
    if part % 2 == 0 and len(current) > 1:
        pieces.append(current)
    return pieces
