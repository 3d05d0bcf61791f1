"""The detection curves: share of cells called abnormal over severity, a panel for each kind."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.qc.reports.figures import DASHES, SERIES, new_figure, styled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIMULATED_SUFFIX = ", simulated cells added to the training"
"""End of the name of a curve whose head was trained on simulated cells as well."""

_COLUMNS = 4


@dataclass(frozen=True)
class CurvePanel:
    """The curves of one kind of artefact."""

    title: str
    axis: str  # what severity is
    # Rows of each curve by its name: ``severity, called_abnormal, low, high``
    curves: dict[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


@styled
def detection_chart(panels: Sequence[CurvePanel], title: str, subtitle: str) -> Figure:
    """Draw the share of cells called abnormal over severity."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.curves))
    columns = min(_COLUMNS, len(panels))
    n_rows = -(-len(panels) // columns)
    width = max(720, 270 * columns)
    figure = new_figure(title, width, 55 + 17 * len(names) + 215 * n_rows)
    grid = figure.subplots(n_rows, columns, sharey=True, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw_panel(axes, panel, names)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper left",
        title=f"{title}\n{textwrap.fill(subtitle, width // 7)}",
        title_fontsize="medium",
        alignment="left",
        handlelength=3.4,
    )
    return figure


def _draw_panel(axes: Axes, panel: CurvePanel, names: Sequence[str]) -> None:
    encoders = list(dict.fromkeys(name.removesuffix(SIMULATED_SUFFIX) for name in names))
    axes.set(title=panel.title, xlabel=panel.axis, xlim=(-0.03, 1.03), ylim=(-2, 102))
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_yticks(range(0, 101, 25))
    for name, rows in panel.curves.items():
        colour = SERIES[encoders.index(name.removesuffix(SIMULATED_SUFFIX)) % len(SERIES)]
        # Side by side, so that the intervals of several curves are told apart.
        shift = 0.008 * (names.index(name) - (len(names) - 1) / 2)
        rows = sorted(rows, key=lambda row: float(row["severity"]))
        x = [row["severity"] + shift for row in rows]
        axes.vlines(x, [100 * row["low"] for row in rows], [100 * row["high"] for row in rows],
                    color=colour, linewidth=0.7)  # fmt: skip
        axes.plot(
            x,
            [100 * row["called_abnormal"] for row in rows],
            color=colour,
            linestyle=DASHES[1] if name.endswith(SIMULATED_SUFFIX) else DASHES[0],
            marker="o",
            markersize=3,
            label=name,
        )
        if rows and rows[0]["severity"] == 0:
            axes.axhline(
                100 * rows[0]["called_abnormal"], color=colour, linewidth=0.7, linestyle=":"
            )
