"""Write the tables: CSV, Markdown, LaTeX, charts and one HTML page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_hcs_qc.files import write_text
from napari_hcs_qc.qc.reports.figures import DASHES, SERIES, new_figure, save_chart, styled
from napari_hcs_qc.qc.reports.pages import write_page
from napari_hcs_qc.study.benchmark.output.long_form import long_form
from napari_hcs_qc.study.benchmark.output.panels import TITLES, printed_table
from napari_hcs_qc.study.text_templates import fill_template

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from napari_hcs_qc.study.benchmark.results import Planned, Results


def write_tables(planned: Sequence[Planned], results: Results, folder: Path) -> list[Path]:
    """Write the tables as they stand.

    Files: ``table1..3.csv`` (all figures, one row for each entry), ``table1..3.md`` and ``.tex``
    (in the paper's shape), ``benchmark.tex`` (a document of the three), ``table2-SOURCE-RECIPE``
    as ``.svg``, ``.png`` and ``.pdf`` for each source and recipe, ``benchmark.html``.
    """
    tables = {number: printed_table(number, planned, results) for number in TITLES}
    texts = {"benchmark.tex": fill_template(__package__, "benchmark.tex")}
    for number, table in tables.items():
        texts[f"table{number}.csv"] = long_form(number, planned, results)
        for suffix in ("md", "tex"):
            text = fill_template(__package__, f"table.{suffix}.jinja", table=table)
            texts[f"table{number}.{suffix}"] = text
    for name, text in texts.items():
        write_text(folder / name, text)
    written = [folder / name for name in texts]
    charts = _charts(planned, results)
    for name, chart in charts.items():
        written += save_chart(chart, folder / f"table2-{name}")
    page = folder / "benchmark.html"
    values = {"tables": [(tables[number], charts if number == 2 else {}) for number in TITLES]}
    write_page(page, "benchmark.html.jinja", values, __package__)
    return [*written, page]


# ---- charts ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """A measured point: number of annotations, percent, and its standard deviation."""

    size: int
    value: float
    sd: float = 0.0


def _charts(planned: Sequence[Planned], results: Results) -> dict[str, Figure]:
    """Draw weighted F1 over the number of annotations, for each source and recipe."""
    sources: dict[tuple[str, str], dict[tuple[str, str], list[Point]]] = {}
    for item in planned:
        cell = item.cell
        if cell.table != 2 or item.key not in results:
            continue
        result = results[item.key]
        f1 = result.summary["f1_weighted"]
        if f1.mean is None:
            continue
        size = cell.n_train or round(result.n_trained_on)
        lines = sources.setdefault((cell.train, cell.recipe), {})
        lines.setdefault((cell.encoder, cell.head), []).append(
            Point(size, 100 * f1.mean, 100 * (f1.sd or 0.0))
        )
    charts: dict[str, Figure] = {}
    for (source, recipe), lines in sources.items():
        name = re.sub(r"[\W_]", "-", f"{source}-{recipe}")
        while name in charts:
            name += "-"  # names that differ in signs only
        charts[name] = f1_chart(lines, f"{source}, recipe {recipe}")
    return charts


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
