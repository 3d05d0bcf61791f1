"""The detection curves, one panel a kind: the same drawing as SVG and as PNG."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_GRID, _INK, _FAINT = "#dddddd", "#222222", "#777777"
_COLUMNS = 4
_PANEL_W, _PANEL_H = 250, 215
_LEFT, _TOP, _WIDTH, _HEIGHT = 42, 26, 195, 130
_PNG_SCALE = 2


@dataclass(frozen=True)
class Line:
    """A polyline through points in px; dashed where it has gaps."""

    points: tuple[tuple[float, float], ...]
    colour: str
    width: float = 1.0
    dash: tuple[float, float] | None = None


@dataclass(frozen=True)
class Text:
    """Words at a point in px; `anchor` start, middle or end."""

    x: float
    y: float
    words: str
    size: int = 11
    anchor: str = "start"
    colour: str = _INK


@dataclass(frozen=True)
class Disc:
    """A filled disc."""

    x: float
    y: float
    radius: float
    colour: str


@dataclass
class Drawing:
    """What is drawn, in order, and the size in px."""

    width: int
    height: int
    items: list[Line | Text | Disc] = field(default_factory=list)

    def to_svg(self) -> str:
        """Give one ``<svg>`` element; every text in it is escaped."""
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
            f'viewBox="0 0 {self.width} {self.height}" font-family="sans-serif">'
            '<rect width="100%" height="100%" fill="#fff"/>'
        ]
        for item in self.items:
            if isinstance(item, Line):
                points = " ".join(f"{x:.1f},{y:.1f}" for x, y in item.points)
                dash = "" if item.dash is None else f' stroke-dasharray="{item.dash[0]} '
                dash += "" if item.dash is None else f'{item.dash[1]}"'
                parts.append(
                    f'<polyline points="{points}" fill="none" stroke="{item.colour}" '
                    f'stroke-width="{item.width}"{dash}/>'
                )
            elif isinstance(item, Disc):
                parts.append(
                    f'<circle cx="{item.x:.1f}" cy="{item.y:.1f}" r="{item.radius}" '
                    f'fill="{item.colour}"/>'
                )
            else:
                parts.append(
                    f'<text x="{item.x:.1f}" y="{item.y:.1f}" font-size="{item.size}" '
                    f'text-anchor="{item.anchor}" fill="{item.colour}">{escape(item.words)}</text>'
                )
        return "".join([*parts, "</svg>"])

    def to_image(self, scale: int = _PNG_SCALE) -> Image.Image:
        """Draw it as pixels, `scale` a px; drawn larger and shrunk, so that lines are smooth."""
        over = 2 * scale
        image = Image.new("RGB", (self.width * over, self.height * over), "#ffffff")
        pen = ImageDraw.Draw(image)
        for item in self.items:
            if isinstance(item, Line):
                for piece in _pieces(item):
                    pen.line(
                        [(x * over, y * over) for x, y in piece],
                        fill=item.colour,
                        width=max(1, round(item.width * over)),
                        joint="curve",
                    )
            elif isinstance(item, Disc):
                box = [
                    (item.x - item.radius) * over,
                    (item.y - item.radius) * over,
                    (item.x + item.radius) * over,
                    (item.y + item.radius) * over,
                ]
                pen.ellipse(box, fill=item.colour)
            else:
                font = ImageFont.load_default(item.size * over)
                anchor = {"start": "ls", "middle": "ms", "end": "rs"}[item.anchor]
                place = (item.x * over, item.y * over)
                # Pillow's own font lacks the sign; no other one is sure to be there.
                words = item.words.replace("µ", "u")
                pen.text(place, words, fill=item.colour, font=font, anchor=anchor)
        size = (self.width * scale, self.height * scale)
        return image.resize(size, Image.Resampling.LANCZOS)


def draw_curves(
    panels: Sequence[Mapping[str, Any]], title: str, subtitle: str, names: Sequence[str]
) -> Drawing:
    """Draw the share of cells called abnormal over severity."""
    columns = min(_COLUMNS, len(panels))
    n_rows = -(-len(panels) // columns)
    head = 64 + 16 * len(names)
    drawing = Drawing(max(columns * _PANEL_W + 10, 560), head + n_rows * _PANEL_H)
    add = drawing.items.append
    add(Text(14, 22, title, 15))
    add(Text(14, 40, subtitle, 11, colour=_FAINT))
    for number, name in enumerate(names):
        y = 58 + 16 * number
        add(_stroke(name, names, ((14, y - 4), (44, y - 4))))
        add(Text(50, y, name))
    for number, panel in enumerate(panels):
        left = _LEFT + (number % columns) * _PANEL_W
        top = head + _TOP + (number // columns) * _PANEL_H
        _draw_panel(drawing, panel, names, left, top)
    return drawing


def _draw_panel(
    drawing: Drawing, panel: Mapping[str, Any], names: Sequence[str], left: float, top: float
) -> None:
    add = drawing.items.append

    def place(severity: float, share: float) -> tuple[float, float]:
        return left + _WIDTH * severity, top + _HEIGHT * (1 - share)

    add(Text(left, top - 8, str(panel["title"]), 12))
    for percent in (0, 25, 50, 75, 100):
        y = place(0, percent / 100)[1]
        add(Line(((left, y), (left + _WIDTH, y)), _GRID))
        add(Text(left - 5, y + 4, str(percent), 10, "end", _FAINT))
    for severity in (0.0, 0.5, 1.0):
        add(Text(place(severity, 0)[0], top + _HEIGHT + 13, f"{severity:g}", 10, "middle", _FAINT))
    add(Text(left + _WIDTH / 2, top + _HEIGHT + 28, str(panel["axis"]), 10, "middle", _FAINT))
    for name, rows in panel["curves"].items():
        colour = _stroke(name, names, ()).colour
        untouched = next((row for row in rows if row["severity"] == 0), None)
        if untouched is not None:
            y = place(0, untouched["called_abnormal"])[1]
            add(Line(((left, y), (left + _WIDTH, y)), colour, 0.8, (1.5, 2.5)))
        points = []
        # Side by side, so that the intervals of several curves are told apart.
        aside = 1.6 * (list(names).index(name) - (len(names) - 1) / 2)
        for row in sorted(rows, key=lambda row: row["severity"]):
            x, y = place(row["severity"], row["called_abnormal"])
            x += aside
            points.append((x, y))
            add(Line(((x, place(0, row["low"])[1]), (x, place(0, row["high"])[1])), colour, 0.8))
            add(Disc(x, y, 2.0, colour))
        add(_stroke(name, names, tuple(points)))


def _stroke(name: str, names: Sequence[str], points: tuple[tuple[float, float], ...]) -> Line:
    """Give a curve its colour by its encoder, dashed where simulated cells were trained on."""
    encoders = list(dict.fromkeys(one.removesuffix(SIMULATED_SUFFIX) for one in names))
    number = encoders.index(name.removesuffix(SIMULATED_SUFFIX))
    dash = (6.0, 3.0) if name.endswith(SIMULATED_SUFFIX) else None
    return Line(points, COLOURS[number % len(COLOURS)], 1.8, dash)


SIMULATED_SUFFIX = ", simulated cells added to the training"
"""End of the name of a curve whose head was trained on simulated cells as well."""


def _pieces(line: Line) -> list[list[tuple[float, float]]]:
    """Cut a line into its dashes."""
    if line.dash is None:
        return [list(line.points)]
    on, off = line.dash
    pieces: list[list[tuple[float, float]]] = []
    travelled = 0.0
    for (x0, y0), (x1, y1) in zip(line.points, line.points[1:], strict=False):
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        at = 0.0
        while at < length:
            phase = travelled % (on + off)
            is_on = phase < on
            step = min(length - at, (on if is_on else on + off) - phase)
            step = max(step, 1e-6)
            if is_on:
                a, b = at / length, (at + step) / length
                pieces.append(
                    [
                        (x0 + a * (x1 - x0), y0 + a * (y1 - y0)),
                        (x0 + b * (x1 - x0), y0 + b * (y1 - y0)),
                    ]
                )
            at += step
            travelled += step
    return pieces
