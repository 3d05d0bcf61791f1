"""Write the tables: CSV, Markdown, LaTeX, plots and one HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_hcs_qc.files import atomic_path, write_text
from napari_hcs_qc.study.benchmark.output.benchmark_chart import (
    Chart,
    Point,
    chart_of_sizes,
    to_png,
    to_svg,
)
from napari_hcs_qc.study.benchmark.output.benchmark_page import to_page
from napari_hcs_qc.study.benchmark.output.latex import DOCUMENT, to_latex
from napari_hcs_qc.study.benchmark.output.long_form import long_rows, to_csv
from napari_hcs_qc.study.benchmark.output.markdown import to_markdown
from napari_hcs_qc.study.benchmark.output.panels import TITLES, printed_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_hcs_qc.study.benchmark.benchmark_plan import Planned


def write_tables(
    planned: Sequence[Planned], results: Mapping[str, Mapping[str, Any]], folder: Path
) -> list[Path]:
    """Write the tables as they stand.

    Files: ``table1..3.csv`` (all figures, one row a cell), ``table1..3.md`` and ``.tex`` (in the
    paper's shape), ``benchmark.tex`` (a document of the three), a ``table2-SOURCE-RECIPE.svg`` and
    ``.png`` for each source and recipe, ``benchmark.html``.
    """
    written: list[Path] = []

    def write(name: str, text: str) -> None:
        written.append(folder / name)
        write_text(written[-1], text)

    tables = []
    for number in TITLES:
        table = printed_table(number, planned, results)
        tables.append(table)
        write(f"table{number}.csv", to_csv(long_rows(number, planned, results)))
        write(f"table{number}.md", to_markdown(table))
        write(f"table{number}.tex", to_latex(table))
    write("benchmark.tex", DOCUMENT)
    drawings = []
    for name, chart in _charts(planned, results).items():
        drawings.append(to_svg(chart))
        write(f"table2-{name}.svg", drawings[-1])
        written.append(folder / f"table2-{name}.png")
        with atomic_path(written[-1]) as temporary:
            temporary.write_bytes(to_png(chart))
    write("benchmark.html", to_page(tables, {1: drawings}))
    return written


def _charts(
    planned: Sequence[Planned], results: Mapping[str, Mapping[str, Any]]
) -> dict[str, Chart]:
    """Draw weighted F1 over the number of annotations, for each source and recipe."""
    found: dict[tuple[str, str], dict[tuple[str, str], list[Point]]] = {}
    for one in planned:
        cell = one.cell
        if cell.table != 2 or one.key not in results:
            continue
        draws, f1 = results[one.key]["seeds"], results[one.key]["summary"]["f1_weighted"]
        if f1["mean"] is None:
            continue
        size = cell.n_train or round(sum(draw["n_train"] for draw in draws) / len(draws))
        lines = found.setdefault((cell.train, cell.recipe), {})
        lines.setdefault((cell.encoder, cell.head), []).append(
            Point(size, 100 * f1["mean"], 100 * (f1["sd"] or 0.0))
        )
    charts: dict[str, Chart] = {}
    for (source, recipe), lines in found.items():
        name = _file_name(f"{source}-{recipe}")
        while name in charts:
            name += "-"  # names that differ in signs only
        charts[name] = chart_of_sizes(lines, f"{source}, {recipe}: weighted F1 (%, mean ± sd)")
    return charts


def _file_name(text: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in text)
