"""All colours of the widgets in one place: classes, kinds, verdicts, values, and the theme's own.

Hues are those of Okabe & Ito (2008, https://jfly.uni-koeln.de/color/), distinct with any kind of
colour vision; where one of these colours stands for a class, a letter, shape or name stands beside
it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QPen

from napari_hcs_qc.assay.annotations.kind_colours import (
    ABNORMAL_COLOUR,
    NEUTRAL_COLOUR,
    NORMAL_COLOUR,
)
from napari_hcs_qc.assay.annotations.kinds import BUILT_IN_KINDS

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from qtpy.QtGui import QPalette
    from qtpy.QtWidgets import QWidget

__all__ = [
    "ABNORMAL_COLOUR",
    "FLAG_COLOUR",
    "NEUTRAL_COLOUR",
    "NORMAL_COLOUR",
    "OKABE_ITO",
    "RAMP",
    "REVIEW_COLOURS",
    "UNSURE_COLOUR",
    "category_colours",
    "cornered_pen",
    "faint",
    "ink",
    "mixed",
    "paper",
    "quiet_colour",
    "readable_on",
    "rgba",
    "sequential_colour",
    "sequential_rgba",
]

OKABE_ITO: tuple[str, ...] = (
    "#0072b2",  # blue
    "#f0e442",  # yellow
    "#009e73",  # bluish green
    "#d55e00",  # vermillion
    "#cc79a7",  # reddish purple
    "#56b4e9",  # sky blue
    "#e69f00",  # orange
)

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

UNSURE_COLOUR = "#cc79a7"
FLAG_COLOUR = "#d55e00"

REVIEW_COLOURS: dict[str, str] = {
    "keep": "#009e73",
    "exclude": "#d55e00",
    "look again": "#f0e442",
    "to review": "#cc79a7",
    "sites decided": "#56b4e9",
}
"""Of what became of a well in the review."""

_QUIET = ("not flagged",)

# The ramp's lower end is nearly black and would be lost on a fluorescence image; from here on it
# stands out from black by 3 : 1 (WCAG 2.2, 1.4.11).
_SEEN_ON_BLACK = 0.36
_STOPS = np.array([[int(stop[i : i + 2], 16) / 255 for i in (1, 3, 5)] for stop in RAMP])


def rgba(colour: str) -> tuple[float, float, float, float]:
    """Give a colour written ``#rrggbb`` as red, green, blue and alpha in [0, 1]."""
    red, green, blue = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    return (red, green, blue, 1.0)


def sequential_rgba(values: ArrayLike, *, begin: float = _SEEN_ON_BLACK) -> NDArray[np.float64]:
    """Colours of values from 0 to 1, from dark to light (cividis)."""
    array = np.asarray(values, dtype=np.float64).reshape(-1)
    is_known = ~np.isnan(array)
    place = begin + (1 - begin) * np.clip(array[is_known], 0.0, 1.0)
    colours = np.empty((len(array), 4))
    colours[:] = rgba(NEUTRAL_COLOUR)
    where = np.linspace(0.0, 1.0, len(_STOPS))
    for part in range(3):
        colours[is_known, part] = np.interp(place, where, _STOPS[:, part])
    return colours


def sequential_colour(value: float) -> QColor:
    """Colour of a value from 0 to 1 on all of the ramp, for maps with a frame around each field."""
    return QColor.fromRgbF(*map(float, sequential_rgba([value], begin=0.0)[0]))


def category_colours(names: tuple[str, ...], quiet: QColor) -> dict[str, QColor]:
    """Give each category its colour: its own where it has one, else the next that is unused."""
    own = REVIEW_COLOURS | {kind.name: kind.colour for kind in BUILT_IN_KINDS}
    own |= {"normal": NORMAL_COLOUR, "abnormal": ABNORMAL_COLOUR}
    own |= dict.fromkeys(_QUIET, quiet.name())
    chosen = {name: own[name] for name in names if name in own}
    spare = [colour for colour in OKABE_ITO if colour not in chosen.values()]
    for name in names:
        if name not in chosen:
            chosen[name] = spare.pop(0) if spare else NEUTRAL_COLOUR
    return {name: QColor(chosen[name]) for name in names}


def quiet_colour(paper: QColor, ink: QColor) -> QColor:
    """Colour of a field that asks for nothing: little more than paper."""
    return mixed(paper, ink, 0.09)


def paper(widget: QWidget) -> QColor:
    """Colour of the theme on which a widget draws."""
    palette: QPalette = widget.palette()
    return palette.color(palette.ColorRole.Window)


def cornered_pen(colour: QColor, width: float) -> QPen:
    """Give a pen whose rectangles have sharp corners."""
    pen = QPen(colour, width)  # PyQt6 and PySide6 name the further arguments differently
    pen.setJoinStyle(Qt.PenJoinStyle.MiterJoin)
    return pen


def ink(widget: QWidget) -> QColor:
    """Colour of the theme for text and lines on `paper`."""
    palette: QPalette = widget.palette()
    return palette.color(palette.ColorRole.WindowText)


def faint(widget: QWidget, share: float = 0.35) -> QColor:
    """Ink thinned with paper: `share` is that of ink, 0 to 1."""
    return mixed(paper(widget), ink(widget), share)


def mixed(first: QColor, second: QColor, share: float) -> QColor:
    """Mix two colours; `share` is that of the second, 0 to 1."""
    parts = (
        (1 - share) * a + share * b
        for a, b in (
            (first.redF(), second.redF()),
            (first.greenF(), second.greenF()),
            (first.blueF(), second.blueF()),
        )
    )
    return QColor.fromRgbF(*parts)


def readable_on(ground: QColor) -> QColor:
    """Black or white, whichever stands out more from a colour (WCAG 2.2 contrast ratio)."""
    linear = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (ground.redF(), ground.greenF(), ground.blueF())
    )
    luminance = sum(w * part for w, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return QColor("black") if (luminance + 0.05) ** 2 > 0.05 * 1.05 else QColor("white")
