"""The chart of weighted F1 over the number of annotations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_hcs_qc.qc.reports.figures import DASHES, SERIES, new_figure, styled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Point:
    """A measured point: number of annotations, percent, and its standard deviation."""

    size: int
    value: float
    sd: float = 0.0


@styled
def f1_chart(lines: Mapping[tuple[str, str], Sequence[Point]], title: str) -> Figure:
    """Draw one line for each encoder and head, with whiskers of one standard deviation."""
    points = [point for line in lines.values() for point in line]
    sizes = sorted({point.size for point in points})
    encoders = list(dict.fromkeys(encoder for encoder, _ in lines))
    heads = list(dict.fromkeys(head for _, head in lines))
    figure = new_figure(
        f"Weighted F1 by number of annotations: {title}", 860, max(390, 80 + 17 * len(lines))
    )
    axes = figure.subplots()
    for number, ((encoder, head), line) in enumerate(lines.items()):
        # With one encoder colours tell the heads apart better than dashes.
        hue = heads.index(head) if len(encoders) == 1 else encoders.index(encoder)
        shift = 1.012 ** (number - (len(lines) - 1) / 2)  # or whiskers would hide one another
        ordered = sorted(line, key=lambda point: point.size)
        axes.errorbar(
            [point.size * shift for point in ordered],
            [point.value for point in ordered],
            [point.sd for point in ordered],
            color=SERIES[hue % len(SERIES)],
            linestyle=DASHES[heads.index(head) % len(DASHES)],
            marker="o",
            markersize=3,
            elinewidth=0.8,
            label=f"{encoder}, {head}",
        )
    lowest = min(point.value - point.sd for point in points)
    axes.set_xscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set(
        title=title,
        xlabel="annotations (log scale)",
        ylabel="weighted F1 (%), mean ± sd over the draws",
        ylim=(max(0, min(90, lowest // 10 * 10)), 100.5),
    )
    figure.legend(loc="outside right upper", handlelength=3.4)
    return figure
