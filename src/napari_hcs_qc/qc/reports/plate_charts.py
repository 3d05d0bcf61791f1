"""Charts of one plate: a map of its wells, the distribution of its scores, their reliability."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.plates.wells import parse_well, row_letters
from napari_hcs_qc.qc.reports.figures import (
    ABNORMAL,
    FAINT,
    FLAGGED,
    INK,
    NORMAL,
    PT,
    SHIFT_MAP,
    SOFT,
    VALUE_MAP,
    new_figure,
    set_tooltips,
    styled,
)
from napari_hcs_qc.text import count_of, interval, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, kw_only=True)
class PlateMap:
    """A plate with its wells coloured by a value."""

    title: str
    shape: tuple[int, int]  # rows and columns
    values: Mapping[str, float]  # of each imaged well
    low: float  # ends of the colours; what is beyond has the colour of the end
    high: float
    to_text: Callable[[float], str]
    flagged: Collection[str] = ()
    links: Mapping[str, str] = field(default_factory=dict)  # address that a well leads to
    notes: Mapping[str, str] = field(default_factory=dict)  # shown after a well's value


@styled
def plate_map(data: PlateMap) -> Figure:
    """Draw the wells of a plate in the colour of their values, flagged ones framed."""
    rows, columns = data.shape
    side = min(40, max(11, round(560 / columns)))
    left, top, bottom = 30, 22, 52
    width, height = max(left + columns * side + 6, 470), top + rows * side + bottom
    figure = new_figure(data.title, width, height, is_packed=False)

    def axes(x: float, y: float, across: float, down: float) -> Axes:
        place = (x / width, 1 - (y + down) / height, across / width, down / height)
        return figure.add_axes(place, frameon=False)

    plate = axes(left, top, columns * side, rows * side)
    plate.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    plate.grid(False)
    plate.tick_params(length=0, pad=3, top=True, labeltop=True, labelbottom=False)
    step = 1 if side >= 18 else 2
    plate.set_xticks(range(0, columns, step), [str(n + 1) for n in range(0, columns, step)])
    plate.set_yticks(range(0, rows, step), [row_letters(n) for n in range(0, rows, step)])

    places = {well: parse_well(well) for well in data.values}

    def draw(wells: Sequence[str], side_px: float, label: str = "", **style: Any) -> PathCollection:
        style |= {"marker": "s", "clip_on": False}
        x, y = [places[well].column for well in wells], [places[well].row for well in wells]
        marks = plate.scatter(x, y, s=(side_px * PT) ** 2, **style)
        marks.set_urls([data.links.get(well) for well in wells])
        set_tooltips(marks, [_well_text(data, well) for well in wells])
        if label and wells:
            plate.scatter([], [], s=(12 * PT) ** 2, label=label, **style)  # of the legend's size
        return marks

    known = [well for well, value in data.values.items() if np.isfinite(value)]
    unknown = [well for well, value in data.values.items() if not np.isfinite(value)]
    flagged = [well for well in data.values if well in data.flagged]
    absent = set(np.ndindex(data.shape)) - set(places.values())
    is_shift = data.low < 0  # then colours near 0 are nearly white
    colours = draw(
        known,
        side - 1.5,
        c=[data.values[well] for well in known],
        vmin=data.low,
        vmax=data.high,
        cmap=SHIFT_MAP if is_shift else VALUE_MAP,
        edgecolors=FAINT if is_shift else "none",
        linewidths=0.4,
    )
    hatched = {"c": "white", "edgecolors": SOFT, "linewidths": 0.4, "hatch": "//////"}
    draw(unknown, side - 2, "no value", **hatched)
    line = min(2.4, side / 6)
    draw(flagged, side - line, c="none", edgecolors="white", linewidths=PT * (line + 1.6))
    draw(flagged, side - line, "flagged", c="none", edgecolors=FLAGGED, linewidths=PT * line)
    if absent:
        y, x = zip(*sorted(absent), strict=True)
        plate.scatter(x, y, s=5, c=FAINT, linewidths=0, clip_on=False, label="not imaged")
    scale = axes(left, height - bottom + 16, 150, 10)
    ends = np.linspace(data.low, data.high, 3)
    texts = [data.to_text(float(end)) for end in ends]
    if any(value > data.high for value in data.values.values()):
        texts[-1] = f"≥ {texts[-1]}"
    if any(value < data.low for value in data.values.values()):
        texts[0] = f"≤ {texts[0]}"
    bar = figure.colorbar(colours, cax=scale, orientation="horizontal")
    scale.set_xticks(ends, texts)
    scale.tick_params(length=3)
    bar.outline.set_visible(False)
    if plate.get_legend_handles_labels()[0]:
        corner = ((left + 172) / width, (bottom - 21) / height)
        plate.legend(
            loc="center left",
            bbox_to_anchor=corner,
            bbox_transform=figure.transFigure,
            ncols=3,
            borderpad=0,
            borderaxespad=0,
            handletextpad=0.2,
            columnspacing=1.2,
        )
    return figure


def _well_text(data: PlateMap, well: str) -> str:
    value, note = data.values[well], data.notes.get(well)
    text = f"{well}: {data.to_text(value) if np.isfinite(value) else 'no value'}"
    return f"{text} – {note}" if note else text


@styled
def score_histogram(values: ArrayLike, *, threshold: float = 0.5, n_bins: int = 40) -> Figure:
    """Draw how the abnormal scores are distributed."""
    scores = np.asarray(values, dtype=np.float64)
    counts, edges = np.histogram(scores[np.isfinite(scores)], bins=n_bins, range=(0.0, 1.0))
    figure = new_figure("Distribution of the scores", 1140, 250)
    axes = figure.subplots()
    colours = [NORMAL if edge < threshold - 1e-9 else ABNORMAL for edge in edges[:-1]]
    bars = axes.bar(edges[:-1], counts, 0.92 / n_bins, align="edge", color=colours)
    for bar, count, low, high in zip(bars, counts, edges, edges[1:], strict=False):
        set_tooltips(bar, [f"{low:.3g}–{high:.3g}: {count_of(int(count), 'cell')}"])
    axes.axvline(threshold, color=INK, linewidth=0.9, linestyle="--")
    # Abnormal cells are few: their bars would not be seen beside those of the others.
    axes.set_yscale("function", functions=(lambda n: np.sqrt(np.maximum(n, 0)), np.square))
    axes.set(
        xlim=(0, 1),
        ylim=(0, max(1, counts.max()) * 1.05),
        xlabel=f"abnormal score (n = {counts.sum():,} cells)",
        ylabel="cells (square-root scale)",
    )
    axes.yaxis.set_major_formatter("{x:,.0f}")
    return figure


@styled
def reliability_chart(bins: Sequence[tuple[float, float, float, float, int]]) -> Figure:
    """Draw how often cells are abnormal over the score that they were given."""
    figure = new_figure("Reliability of the scores", 340, 330)
    axes = figure.subplots()
    axes.set(
        xlim=(-0.03, 1.03),
        ylim=(-0.03, 1.03),
        aspect="equal",
        xlabel="abnormal score",
        ylabel="share annotated abnormal",
    )
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.9, linestyle="--")
    if bins:
        given, shares, low, high, n = np.asarray(bins, dtype=np.float64).T
        axes.vlines(given, low, high, color=NORMAL, linewidth=1.2)
        sizes = PT * (6 + 10 * np.sqrt(n / n.max()))  # diameters
        dots = axes.scatter(given, shares, s=sizes**2, c=NORMAL, edgecolors="white", zorder=3)
        texts = (
            f"{count_of(n, 'cell')} given {p:.2f} on average: {percent(share)} are abnormal "
            f"(95 % interval {interval(low, high)})"
            for p, share, low, high, n in bins
        )
        set_tooltips(dots, texts)
    return figure


@dataclass(frozen=True, eq=False, kw_only=True)
class AnnotatedMap:
    """Where annotated cells lie in the embedding, in two dimensions."""

    places: NDArray[np.float64]  # (n_cells, 2)
    is_abnormal: NDArray[np.bool_]  # as annotated
    is_wrong: NDArray[np.bool_]  # while held out
    texts: Sequence[str]  # of each cell
    rows: NDArray[np.int64]  # of each cell among all that were annotated
    explained: tuple[float, float]  # share of the variance along each
    n_annotated: int  # of which `places` may be a sample


@styled
def annotated_chart(data: AnnotatedMap) -> Figure:
    """Draw annotated cells where they lie in the embedding; crosses were wrong while held out."""
    figure = new_figure("Annotated cells in the embedding", 560, 420)
    axes = figure.subplots()
    first, second = (percent(share) for share in data.explained)
    axes.set(xlabel=f"first component ({first} of the variance)", ylabel=f"second ({second})")
    axes.grid(visible=True, axis="both")
    for name, of_class, colour in (
        ("normal", ~data.is_abnormal, NORMAL),
        ("abnormal", data.is_abnormal, ABNORMAL),
    ):
        for is_wrong, marker, size in ((False, "o", 22), (True, "X", 46)):
            rows = np.flatnonzero(of_class & (data.is_wrong == is_wrong)).tolist()
            if rows:
                marks = axes.scatter(
                    data.places[rows, 0],
                    data.places[rows, 1],
                    s=size,
                    marker=marker,
                    color=colour,
                    edgecolors="white",
                    linewidths=0.4,
                    label=f"{name}{', called otherwise' if is_wrong else ''} ({len(rows)})",
                )
                set_tooltips(marks, [data.texts[row] for row in rows])
    figure.legend(loc="outside lower left", ncols=2)
    return figure
