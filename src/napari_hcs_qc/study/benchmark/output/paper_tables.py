"""Write the tables: CSV, Markdown, LaTeX, charts and one HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_hcs_qc.files import write_text
from napari_hcs_qc.qc.reports.figures import save_chart
from napari_hcs_qc.qc.reports.pages import write_page
from napari_hcs_qc.study.benchmark.output.benchmark_chart import Point, f1_chart
from napari_hcs_qc.study.benchmark.output.latex import DOCUMENT, to_latex
from napari_hcs_qc.study.benchmark.output.long_form import long_rows, to_csv
from napari_hcs_qc.study.benchmark.output.markdown import to_markdown
from napari_hcs_qc.study.benchmark.output.panels import TITLES, printed_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from napari_hcs_qc.study.benchmark.table_cells import Planned


def write_tables(
    planned: Sequence[Planned], results: Mapping[str, Mapping[str, Any]], folder: Path
) -> list[Path]:
    """Write the tables as they stand.

    Files: ``table1..3.csv`` (all figures, one row for each entry), ``table1..3.md`` and ``.tex``
    (in the paper's shape), ``benchmark.tex`` (a document of the three), ``table2-SOURCE-RECIPE``
    as ``.svg``, ``.png`` and ``.pdf`` for each source and recipe, ``benchmark.html``.
    """
    tables = {number: printed_table(number, planned, results) for number in TITLES}
    texts = {"benchmark.tex": DOCUMENT}
    for number, table in tables.items():
        texts[f"table{number}.csv"] = to_csv(long_rows(number, planned, results))
        texts[f"table{number}.md"] = to_markdown(table)
        texts[f"table{number}.tex"] = to_latex(table)
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


def _charts(
    planned: Sequence[Planned], results: Mapping[str, Mapping[str, Any]]
) -> dict[str, Figure]:
    """Draw weighted F1 over the number of annotations, for each source and recipe."""
    sources: dict[tuple[str, str], dict[tuple[str, str], list[Point]]] = {}
    for item in planned:
        cell = item.cell
        if cell.table != 2 or item.key not in results:
            continue
        draws, f1 = results[item.key]["seeds"], results[item.key]["summary"]["f1_weighted"]
        if f1["mean"] is None:
            continue
        size = cell.n_train or round(sum(draw["n_train"] for draw in draws) / len(draws))
        lines = sources.setdefault((cell.train, cell.recipe), {})
        lines.setdefault((cell.encoder, cell.head), []).append(
            Point(size, 100 * f1["mean"], 100 * (f1["sd"] or 0.0))
        )
    charts: dict[str, Figure] = {}
    for (source, recipe), lines in sources.items():
        name = _file_name(f"{source}-{recipe}")
        while name in charts:
            name += "-"  # names that differ in signs only
        charts[name] = f1_chart(lines, f"{source}, recipe {recipe}")
    return charts


def _file_name(text: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in text)
