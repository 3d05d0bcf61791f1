"""The sensitivity analysis as tables, a chart and a page."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pandas as pd

from napari_hcs_qc.files import write_text
from napari_hcs_qc.qc.reports.figures import DASHES, SERIES, new_figure, save_chart, styled
from napari_hcs_qc.qc.reports.pages import write_page
from napari_hcs_qc.study.artefacts.artefact_kinds import KINDS
from napari_hcs_qc.study.artefacts.measure import FIGURES
from napari_hcs_qc.study.artefacts.sensitivity_results import curves_of
from napari_hcs_qc.study.text_templates import fill_template

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from napari_hcs_qc.study.artefacts.sensitivity_results import (
        Accuracy,
        Curve,
        KindResult,
        Provenance,
        Sensitivity,
    )

SIMULATED_SUFFIX = ", simulated cells added to the training"
"""End of the name of a curve whose head was trained on simulated cells as well."""

_COLUMNS = 4


def write_sensitivity(measured: Sensitivity, folder: Path) -> list[Path]:
    """Write ``sensitivity.csv``, ``.md``, ``.svg``, ``.png``, ``.pdf`` and ``.html``."""
    curves = curves_of(measured.results)
    by_kind: dict[str, list[Curve]] = {}
    for curve in curves:
        by_kind.setdefault(curve.kind, []).append(curve)
    chart = _chart(measured.provenance, by_kind)
    values = {
        "notes": measured.provenance.lines,
        "chart": chart,
        "accuracy_header": ("encoder", "trained on", *FIGURES.values()),
        "accuracy": _accuracy_rows(measured.accuracy),
        "curves": curves,
        "severities": sorted({row.severity for curve in curves for row in curve.modified}),
        "by_kind": by_kind,
        "kinds": KINDS,
        "strips": measured.strips,
    }
    markdown = fill_template(__package__, "sensitivity.md.jinja", **values)
    texts = {".csv": _csv(measured.results), ".md": markdown}
    for suffix, text in texts.items():
        write_text(folder / f"sensitivity{suffix}", text)
    written = [folder / f"sensitivity{suffix}" for suffix in texts]
    written += save_chart(chart, folder / "sensitivity")
    page = folder / "sensitivity.html"
    write_page(page, "sensitivity.html.jinja", values, __package__)
    return [*written, page]


def _csv(results: Iterable[KindResult]) -> str:
    rows = []
    for result in results:
        untouched = {row.trained: row.called_abnormal for row in result.rows if row.severity == 0}
        rows += [
            {
                "encoder": result.encoder,
                "trained_on": row.trained,
                "kind": result.kind,
                "severity": row.severity,
                "amount": row.amount,
                "unit": result.unit,
                "n_cells": row.n_cells,
                "called_abnormal": row.called_abnormal,
                "low_95": row.low,
                "high_95": row.high,
                "untouched_called_abnormal": untouched[row.trained],
            }
            for row in result.rows
        ]
    return pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")


def _accuracy_rows(accuracy: Iterable[Accuracy]) -> list[list[str]]:
    return [
        [row.encoder, trained, *(f"{figures[name].mean:.3f}" for name in FIGURES)]
        for row in accuracy
        for trained, figures in (("real", row.real), ("simulated", row.simulated))
        if figures is not None
    ]


# ---- chart -------------------------------------------------------------------------------


def _chart(provenance: Provenance, by_kind: Mapping[str, Sequence[Curve]]) -> Figure:
    subtitle = (
        f"{', '.join(provenance.plates)}: {provenance.n_spoiled} normal cells, recipe "
        f"{provenance.recipe}, head {provenance.head}, {provenance.n_folds} folds by well; dotted: "
        "the untouched cells"
    )
    title = "Cells with a simulated artefact that are called abnormal (%)"
    return detection_chart(by_kind, title, subtitle)


@styled
def detection_chart(by_kind: Mapping[str, Sequence[Curve]], title: str, subtitle: str) -> Figure:
    """Draw the share of cells called abnormal over severity, a panel for each kind."""
    names = list(dict.fromkeys(_name(curve) for curves in by_kind.values() for curve in curves))
    columns = min(_COLUMNS, len(by_kind))
    n_rows = -(-len(by_kind) // columns)
    width = max(720, 270 * columns)
    figure = new_figure(title, width, 55 + 17 * len(names) + 215 * n_rows)
    grid = figure.subplots(n_rows, columns, sharey=True, squeeze=False)
    for axes, curves in zip(grid.flat, by_kind.values(), strict=False):
        _draw_panel(axes, curves, names)
    for axes in grid.flat[len(by_kind) :]:
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


def _draw_panel(axes: Axes, curves: Sequence[Curve], names: Sequence[str]) -> None:
    encoders = list(dict.fromkeys(name.removesuffix(SIMULATED_SUFFIX) for name in names))
    last = curves[0].modified[-1].severity
    axis = f"severity ({last:g} is {curves[0].amounts[-1]})"
    axes.set(title=curves[0].kind, xlabel=axis, xlim=(-0.03, 1.03), ylim=(-2, 102))
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_yticks(range(0, 101, 25))
    for curve in curves:
        name, untouched = _name(curve), 100 * curve.untouched.called_abnormal
        colour = SERIES[encoders.index(curve.encoder) % len(SERIES)]
        # Side by side, so that the intervals of several curves are told apart.
        shift = 0.008 * (names.index(name) - (len(names) - 1) / 2)
        rows = [curve.untouched, *curve.modified]
        x = [row.severity + shift for row in rows]
        low, high = [100 * row.low for row in rows], [100 * row.high for row in rows]
        axes.vlines(x, low, high, color=colour, linewidth=0.7)
        axes.plot(
            x,
            [100 * row.called_abnormal for row in rows],
            color=colour,
            linestyle=DASHES[curve.trained == "simulated"],
            marker="o",
            markersize=3,
            label=name,
        )
        axes.axhline(untouched, linewidth=0.7, color=colour, linestyle=":")


def _name(curve: Curve) -> str:
    return curve.encoder + (SIMULATED_SUFFIX if curve.trained == "simulated" else "")
