"""What charts in files share: one style, and SVG, PNG and PDF that are the same bytes each time.

matplotlib is imported only where something is drawn: other commands must not load it.
"""

from __future__ import annotations

import io
import json
import math
import re
import warnings
from contextlib import contextmanager
from functools import wraps
from threading import RLock
from typing import TYPE_CHECKING, Any, ParamSpec
from xml.etree import ElementTree

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

INK, SOFT, FAINT, GRID = "#1c2733", "#57636f", "#c9d1d9", "#e3e7eb"
NORMAL, ABNORMAL, FLAGGED = "#0072b2", "#e69f00", "#d1361b"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Colours of Okabe & Ito (2008), told apart with any kind of colour vision."""

DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = (
    "-",
    (0, (5, 2.5)),
    (0, (1.5, 1.5)),
    (0, (7, 2, 1.5, 2)),
)
VALUE_MAP, SHIFT_MAP = "cividis", "RdBu_r"
"""Colour maps for values, and for what lies below and above 0."""

PT = 0.75
"""Points in a CSS pixel, which charts are laid out in."""

_STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 11 * PT,
    "figure.titlesize": 15 * PT,
    "axes.titlesize": 12 * PT,
    "axes.titlelocation": "left",
    "axes.titlepad": 5,
    "axes.labelsize": 11 * PT,
    "xtick.labelsize": 10 * PT,
    "ytick.labelsize": 10 * PT,
    "legend.fontsize": 11 * PT,
    "legend.frameon": False,
    "text.color": INK,
    "text.parse_math": False,  # a $ in a name is a $
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": GRID,
    "lines.linewidth": 1.3,
    "savefig.dpi": 192,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_LOCK = RLock()
P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Let a function draw in the style of all charts, whatever matplotlib is set to."""

    @wraps(draw)
    def draw_styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with _style():
            figure = draw(*args, **kwargs)
            if engine := figure.get_layout_engine():
                engine.execute(figure)
                figure.set_layout_engine("none")  # or every drawing would move it a little
            return figure

    return draw_styled


def new_figure(title: str, width_px: float, height_px: float, *, is_packed: bool = True) -> Figure:
    """Make an empty figure; its label is the title that is read out."""
    from matplotlib.figure import Figure

    figure = Figure(
        figsize=(width_px / 96, height_px / 96), layout="constrained" if is_packed else None
    )
    figure.set_label(title)
    return figure


def set_tooltips(artist: Artist, texts: Iterable[str]) -> None:
    """Set what the SVG shows with the mouse on each mark of a collection, or on a patch."""
    if all_texts := list(texts):  # matplotlib before 3.11 draws an empty path for no mark
        artist.set_gid(json.dumps(all_texts))  # the id of its group, until `to_svg` comes to it


def nice_ceiling(value: float) -> float:
    """Give the least of 1, 2, 2.5, 5 times a power of ten that is not below `value` (> 0)."""
    if not (math.isfinite(value) and value > 0):
        raise HcsQcError(f"The end of a scale is {value}; a positive number was expected.")
    power = 10.0 ** math.floor(math.log10(value))
    return next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= value * (1 - 1e-9))


def to_svg(figure: Figure) -> str:
    """Write a figure as an ``<svg>`` element that can be in a page with others."""
    root = ElementTree.fromstring(_CONTROL.sub("", _saved(figure, "svg").decode()))
    for element in root.iter():
        element.tag = element.tag.partition("}")[2]
        element.tail = None
        if element.tag != "text" and not (element.text or "").strip():
            element.text = None
        for name in [name for name in element.attrib if name.startswith("{")]:
            element.set(f"xlink:{name.partition('}')[2]}", element.attrib.pop(name))
        element.attrib.pop("target", None)  # links lead to places of the page itself
    for child in list(root):
        # Rules of a style sheet would apply to the whole page.
        if child.tag in ("title", "metadata") or child.find("style") is not None:
            root.remove(child)
    for group in root.iter("g"):
        texts = group.attrib.pop("id", "")
        if texts.startswith("["):
            for mark, text in zip(_marks(group), json.loads(texts), strict=True):
                ElementTree.SubElement(mark, "title").text = text
    width, height = figure.get_size_inches() * 96
    root.attrib = {
        "xmlns": "http://www.w3.org/2000/svg",
        "xmlns:xlink": "http://www.w3.org/1999/xlink",
        "viewBox": root.attrib["viewBox"],
        "width": f"{width:g}",
        "height": f"{height:g}",
        "role": "img",
        "aria-label": str(figure.get_label()),
        "stroke-linejoin": "round",
    }
    return _CONTROL.sub("", ElementTree.tostring(root, encoding="unicode"))


def save_chart(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as `path` with each of the suffixes ``.svg``, ``.png`` and ``.pdf``."""
    written = []
    for suffix in ("svg", "png", "pdf"):
        written.append(path.with_name(f"{path.name}.{suffix}"))
        data = to_svg(figure).encode() if suffix == "svg" else _saved(figure, suffix)
        with atomic_path(written[-1]) as temporary:
            temporary.write_bytes(data)
    return written


def _saved(figure: Figure, suffix: str) -> bytes:
    title = str(figure.get_label())
    metadata: dict[str, Any] = {"Title": title}
    if suffix != "png":
        metadata["Date" if suffix == "svg" else "CreationDate"] = None
    out = io.BytesIO()
    with _style({"svg.hashsalt": f"of {title}"}):  # ids of a page's charts must differ
        figure.savefig(out, format=suffix, metadata=metadata)
    return out.getvalue()


@contextmanager
def _style(more: dict[str, Any] | None = None) -> Iterator[None]:
    import matplotlib.style

    # Settings and warning filters belong to the process: one thread at a time changes them.
    with (
        _LOCK,
        matplotlib.style.context(["default", _STYLE | (more or {})]),
        warnings.catch_warnings(),
    ):
        # A name in a script that the font lacks: SVG has it as text, the others show boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _marks(element: ElementTree.Element) -> Iterator[ElementTree.Element]:
    for child in element:
        if child.tag in ("use", "path"):
            yield child
        elif child.tag != "defs":
            yield from _marks(child)
