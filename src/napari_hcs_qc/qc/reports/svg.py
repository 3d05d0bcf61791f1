"""Drawings of the report as SVG text: plate heat maps, histograms, and reliability."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.wells import well_name
from napari_hcs_qc.text import interval, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from numpy.typing import ArrayLike

RAMP: tuple[str, ...] = (
    "#00224e",
    "#123570",
    "#3b496c",
    "#575d6d",
    "#707173",
    "#8a8678",
    "#a59c74",
    "#c3b369",
    "#e1cc55",
    "#fee838",
)
"""Ten stops, evenly spaced from 0 to 1, of cividis (Nuñez et al. 2018, PLoS ONE 13:e0199239): made
to look the same to people with and without colour vision deficiency, dark to light throughout."""

FLAG_COLOUR = "#d1361b"
_LEGEND_PX = 270
_INK = "#1c2733"
_FAINT = "#c9d1d9"


@dataclass(frozen=True)
class PlateMap:
    """One plate heat map."""

    title: str  # what the colour shows
    shape: tuple[int, int]  # rows and columns of the plate
    values: Mapping[str, float]  # value of each imaged well (``"A01"``)
    low: float  # values of the two ends of the colours; what is beyond has the colour of the end
    high: float  # values of the two ends of the colours; what is beyond has the colour of the end
    words: Callable[[float], str]  # how a value is written
    flagged: Collection[str] = ()  # wells that are outlined
    links: Mapping[str, str] | None = None  # address each well leads to
    # Text shown beside the value when the mouse rests on a well
    notes: Mapping[str, str] | None = None


def ramp_colour(position: float) -> str:
    """Colour at 0 to 1 of `RAMP` as ``#rrggbb``, by linear interpolation in sRGB."""
    place = min(max(position, 0.0), 1.0) * (len(RAMP) - 1)
    index = min(int(place), len(RAMP) - 2)
    below, above = (
        np.array([int(RAMP[i][start : start + 2], 16) for start in (1, 3, 5)], dtype=float)
        for i in (index, index + 1)
    )
    mixed = np.rint(below + (above - below) * (place - index)).astype(int)
    return "#" + "".join(f"{value:02x}" for value in mixed)


def nice_ceiling(value: float) -> float:
    """Give the least of 1, 2, 2.5, 5 times a power of ten that is not below `value` (> 0)."""
    if not (math.isfinite(value) and value > 0):
        raise HcsQcError(f"The end of a scale is {value}; a positive number was expected.")
    power = 10.0 ** math.floor(math.log10(value))
    return next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= value * (1 - 1e-9))


def draw_plate(plate_map: PlateMap, key: str) -> str:
    """Draw a plate heat map."""
    rows, columns = plate_map.shape
    side = min(40, max(11, round(560 / columns)))
    left, top = 30, 22
    width = max(left + columns * side + 4, left + _LEGEND_PX)
    height = top + rows * side + 62
    hatch = f"hatch-{escape(key, quote=True)}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(plate_map.title, quote=True)}" font-size="11" fill="{_INK}">',
        f'<defs><pattern id="{hatch}" width="5" height="5" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><rect width="5" height="5" fill="#fff"/>'
        '<line x1="0" y1="0" x2="0" y2="5" stroke="#8a929b" stroke-width="2.4"/></pattern></defs>',
    ]
    step = 1 if side >= 18 else 2
    for column in range(0, columns, step):
        x = left + (column + 0.5) * side
        parts.append(f'<text x="{x:.1f}" y="{top - 7}" text-anchor="middle">{column + 1}</text>')
    for row in range(0, rows, step):
        y = top + (row + 0.5) * side + 4
        letters = well_name(row, 0)[:-2]
        parts.append(f'<text x="{left - 7}" y="{y:.1f}" text-anchor="end">{letters}</text>')
    outlined = []
    for row in range(rows):
        for column in range(columns):
            name = well_name(row, column)
            x, y = left + column * side, top + row * side
            if name not in plate_map.values:
                middle = side / 2
                parts.append(
                    f'<circle cx="{x + middle}" cy="{y + middle}" r="1.4" fill="{_FAINT}"/>'
                )
                continue
            parts.append(_draw_well(plate_map, name, x, y, side, hatch))
            if name in plate_map.flagged:
                outlined.append(
                    f'<rect x="{x + 1}" y="{y + 1}" width="{side - 2}" height="{side - 2}" rx="2" '
                    f'fill="none" stroke="#fff" stroke-width="4" pointer-events="none"/>'
                    f'<rect x="{x + 1}" y="{y + 1}" width="{side - 2}" height="{side - 2}" rx="2" '
                    f'fill="none" stroke="{FLAG_COLOUR}" stroke-width="2.4" '
                    'pointer-events="none"/>'
                )
    parts += outlined
    parts.append(_draw_legend(plate_map, key, hatch, left, top + rows * side + 14))
    parts.append("</svg>")
    return "".join(parts)


def draw_histogram(values: ArrayLike, *, threshold: float = 0.5, n_bins: int = 40) -> str:
    """Draw how the probabilities of being abnormal are distributed."""
    found = np.asarray(values, dtype=np.float64)
    counts, edges = np.histogram(found[np.isfinite(found)], bins=n_bins, range=(0.0, 1.0))
    width, height, left, top = 1080.0, 190.0, 52.0, 10.0
    top_count = nice_ceiling(max(1, int(counts.max())))
    bar = width / n_bins

    def level(count: float) -> float:
        return top + height * (1 - math.sqrt(count / top_count))

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 12} '
        f'{top + height + 42}" width="{left + width + 12}" height="{top + height + 42}" '
        f'role="img" aria-label="Distribution of the scores" font-size="11" fill="{_INK}">'
    ]
    for share in (0.0, 0.05, 0.25, 0.5, 1.0):
        y = level(share * top_count)
        parts.append(
            f'<line x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e7eb"/>'
            f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">'
            f"{share * top_count:,.0f}</text>"
        )
    for index, count in enumerate(counts):
        if count:
            y = level(float(count))
            colour = RAMP[1] if edges[index] < threshold - 1e-9 else RAMP[-2]
            parts.append(
                f'<rect x="{left + index * bar + 0.5:.2f}" y="{y:.1f}" width="{bar - 1:.2f}" '
                f'height="{top + height - y:.1f}" fill="{colour}"><title>'
                f"{edges[index]:.3g}–{edges[index + 1]:.3g}: {count:,} cells</title></rect>"
            )
    x = left + width * threshold
    parts.append(
        f'<line x1="{x}" x2="{x}" y1="{top}" y2="{top + height}" stroke="{_INK}" '
        'stroke-dasharray="4 3"/>'
    )
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(
            f'<text x="{left + width * tick:.1f}" y="{top + height + 16}" '
            f'text-anchor="middle">{tick:g}</text>'
        )
    parts.append(
        f'<text x="{left + width / 2}" y="{top + height + 34}" text-anchor="middle">'
        "probability of being abnormal (cells; square-root scale)</text></svg>"
    )
    return "".join(parts)


def draw_reliability(bins: Sequence[tuple[float, float, float, float, int]]) -> str:
    """Draw how often cells are abnormal over the probability that they were given."""
    side, left, top = 260.0, 46.0, 10.0

    def x_of(p: float) -> float:
        return left + side * p

    def y_of(share: float) -> float:
        return top + side * (1 - share)

    width, height = left + side + 14, top + side + 42
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="Reliability of the probabilities" '
        f'font-size="11" fill="{_INK}">'
    ]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = x_of(tick), y_of(tick)
        parts.append(
            f'<line x1="{left}" x2="{left + side}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e7eb"/>'
            f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
            f'<text x="{x:.1f}" y="{top + side + 16}" text-anchor="middle">{tick:g}</text>'
        )
    parts.append(
        f'<line x1="{left}" y1="{top + side}" x2="{left + side}" y2="{top}" stroke="{_INK}" '
        'stroke-dasharray="4 3"/>'
    )
    most = max((n for *_, n in bins), default=1)
    for mean_p, share, low, high, n in bins:
        x = x_of(mean_p)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y_of(low):.1f}" y2="{y_of(high):.1f}" '
            f'stroke="{RAMP[1]}" stroke-width="1.5"/>'
            f'<circle cx="{x:.1f}" cy="{y_of(share):.1f}" r="{3 + 5 * math.sqrt(n / most):.1f}" '
            f'fill="{RAMP[1]}" stroke="#fff"><title>{n:,} cells given {mean_p:.2f} on average: '
            f"{percent(share)} are abnormal (95 % interval {interval(low, high)})</title></circle>"
        )
    parts.append(
        f'<text x="{left + side / 2}" y="{top + side + 34}" text-anchor="middle">'
        "probability of being abnormal, predicted</text>"
        f'<text transform="rotate(-90)" x="{-(top + side / 2)}" y="11" text-anchor="middle">'
        "share annotated abnormal</text></svg>"
    )
    return "".join(parts)


def _draw_well(plate_map: PlateMap, name: str, x: float, y: float, side: float, hatch: str) -> str:
    value = plate_map.values[name]
    if math.isfinite(value):
        span = plate_map.high - plate_map.low
        fill = ramp_colour((value - plate_map.low) / span if span > 0 else 0.0)
        text = f"{name}: {plate_map.words(value)}"
    else:
        fill, text = f"url(#{hatch})", f"{name}: no value"
    note = (plate_map.notes or {}).get(name)
    if note:
        text += f" – {note}"
    drawn = (
        f'<rect x="{x + 0.75}" y="{y + 0.75}" width="{side - 1.5}" height="{side - 1.5}" '
        f'rx="1.5" fill="{fill}"><title>{escape(text)}</title></rect>'
    )
    link = (plate_map.links or {}).get(name)
    return f'<a href="{escape(link, quote=True)}">{drawn}</a>' if link else drawn


def _draw_legend(plate_map: PlateMap, key: str, hatch: str, x: float, y: float) -> str:
    length = 150
    gradient = f"ramp-{escape(key, quote=True)}"
    stops = "".join(
        f'<stop offset="{index / (len(RAMP) - 1):.4f}" stop-color="{colour}"/>'
        for index, colour in enumerate(RAMP)
    )
    parts = [
        f'<defs><linearGradient id="{gradient}">{stops}</linearGradient></defs>'
        f'<rect x="{x}" y="{y}" width="{length}" height="10" fill="url(#{gradient})"/>'
    ]
    is_cut = any(value > plate_map.high for value in plate_map.values.values())
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        value = plate_map.low + share * (plate_map.high - plate_map.low)
        words = ("≥ " if is_cut and share == 1 else "") + plate_map.words(value)
        parts.append(
            f'<text x="{x + share * length}" y="{y + 23}" text-anchor="{anchor}">'
            f"{escape(words)}</text>"
        )
    marks = (
        ("flagged", f'fill="none" stroke="{FLAG_COLOUR}" stroke-width="2.4"'),
        ("no value", f'fill="url(#{hatch})"'),
    )
    # Under one another where the plate is narrow, so that nothing runs out of the drawing.
    is_wide = plate_map.shape[1] * min(40, max(11, round(560 / plate_map.shape[1]))) > 330
    for index, (text, style) in enumerate(marks):
        mark_x = x + length + 24 + (90 * index if is_wide else 0)
        mark_y = y - 1 + (0 if is_wide else 18 * index)
        parts.append(
            f'<rect x="{mark_x}" y="{mark_y}" width="12" height="12" {style}/>'
            f'<text x="{mark_x + 18}" y="{mark_y + 10}">{text}</text>'
        )
    return "".join(parts)
