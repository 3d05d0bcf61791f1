"""The three tables as CSV, Markdown, LaTeX and one HTML page, the paper's figures beside ours."""

from __future__ import annotations

import csv
import io
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.evaluation.benchmark.chart import draw_sizes
from napari_hcs_qc.files import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_hcs_qc.evaluation.benchmark.plan import Planned

PAPER_NOTE = (
    "Masud, Cohen, Bendidi, Bollot, Genovesio (2022), Tables 1-3, percent. Its images were never "
    "published and differ from these, so its figures stand beside ours and cannot be reproduced."
)
TITLES = {
    1: "Table 1: frozen encoders, largest training set",
    2: "Table 2: number of annotations",
    3: "Table 3: another screen than the one trained on (a substitute for the paper's)",
}
_FIGURES = ("accuracy", "f1_weighted", "auc", "precision_abnormal", "recall_abnormal")
_HEADER = (
    "whose", "train", "test", "encoder", "recipe", "head", "n_train", "accuracy", "f1_weighted",
    "auc", "precision_abnormal", "recall_abnormal", "f1_sd", "f1_interval", "empty_because",
)  # fmt: skip
_LATEX = str.maketrans({"%": r"\%", "_": r"\_", "&": r"\&", "#": r"\#", "±": r"$\pm$"})


def paper_rows() -> list[dict[str, str]]:
    """Give the paper's printed figures, as `paper_tables.csv` holds them."""
    package = files("napari_hcs_qc.evaluation.benchmark")
    text = package.joinpath("paper_tables.csv").read_text("utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def table_rows(
    number: int, planned: list[Planned], results: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, str]]:
    """Rows of one table, ours and then the paper's, all as text; percent."""
    rows = []
    for one in planned:
        cell = one.cell
        if cell.table != number:
            continue
        row = dict.fromkeys(_HEADER, "")
        row |= {name: str(getattr(cell, name)) for name in _HEADER[1:6]}
        row |= {"whose": "ours", "n_train": str(cell.n_train or "all")}
        if one.key in results:
            summary = results[one.key]["summary"]
            row |= {name: _percent(summary[name]["mean"]) for name in _FIGURES}
            row["f1_sd"] = _percent(summary["f1_weighted"]["sd"])
            bounds = summary["f1_weighted"]["interval"]
            row["f1_interval"] = "" if bounds is None else "-".join(map(_percent, bounds))
        else:
            row["empty_because"] = one.reason or "not run yet"
        rows.append(row)
    for printed in paper_rows():
        if printed["table"] == str(number):
            row = dict.fromkeys(_HEADER, "")
            row |= {"whose": "paper", "train": "the paper's", "test": "the paper's"}
            row |= {"encoder": printed["method"], "head": printed["head"]}
            row |= {"n_train": printed["n_train"], "accuracy": printed["accuracy"]}
            row |= {"f1_weighted": printed["f1"], "auc": printed["auc"], "recipe": "paper-128px"}
            rows.append(row)
    return rows


def write_tables(
    planned: list[Planned], results: Mapping[str, Mapping[str, Any]], folder: Path
) -> list[Path]:
    """Write ``table1..3.csv|md|tex``, ``table2-SOURCE.svg`` and ``benchmark.html``.

    Raises
    ------
    WriteError
        When the folder cannot be written to.
    """
    written = []
    parts = []
    protocols = list(dict.fromkeys(str(one["protocol"]) for one in results.values()))
    for number, title in TITLES.items():
        rows = table_rows(number, planned, results)
        charts = _charts(rows) if number == 2 else {}
        for suffix, text in (
            ("csv", _csv(rows)),
            ("md", _markdown(title, rows, protocols)),
            ("tex", _latex(title, rows)),
        ):
            written.append(folder / f"table{number}.{suffix}")
            write_text(written[-1], text)
        for name, svg in charts.items():
            written.append(folder / f"table2-{name}.svg")
            write_text(written[-1], svg)
        parts.append(_html(title, rows, list(charts.values())))
    written.append(folder / "benchmark.html")
    notes = "".join(f"<li>{escape(line)}</li>" for line in protocols)
    write_text(written[-1], _PAGE.format(notes=notes, note=escape(PAPER_NOTE), body="".join(parts)))
    return written


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


def _charts(rows: list[dict[str, str]]) -> dict[str, str]:
    charts = {}
    for source in dict.fromkeys(row["train"] for row in rows if row["whose"] == "ours"):
        lines: dict[str, list[tuple[int, float]]] = {}
        for row in rows:
            if row["train"] == source and row["f1_weighted"] and row["n_train"].isdigit():
                name = f"{row['encoder']}, {row['recipe']}, {row['head']}"
                lines.setdefault(name, []).append((int(row["n_train"]), float(row["f1_weighted"])))
        if lines:
            safe = "".join(letter if letter.isalnum() else "-" for letter in source)
            charts[safe] = draw_sizes(lines, f"{source}: weighted F1 over annotations")
    return charts


def _csv(rows: list[dict[str, str]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, _HEADER, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _markdown(title: str, rows: list[dict[str, str]], protocols: list[str]) -> str:
    lines = [f"## {title}", "", *(f"- {line}" for line in protocols), f"- {PAPER_NOTE}", ""]
    lines += ["| " + " | ".join(_HEADER) + " |", "|" + "---|" * len(_HEADER)]
    lines += [
        "| " + " | ".join(row[name].replace("|", r"\|") for name in _HEADER) + " |" for row in rows
    ]
    return "\n".join(lines) + "\n"


def _latex(title: str, rows: list[dict[str, str]]) -> str:
    shown = _HEADER[:10]
    lines = [
        r"\begin{table}", rf"\caption{{{title.translate(_LATEX)}. {PAPER_NOTE}}}",
        rf"\begin{{tabular}}{{{'l' * 7}{'r' * 3}}}", r"\hline",
    ]  # fmt: skip
    lines.append(" & ".join(name.translate(_LATEX) for name in shown) + r" \\ \hline")
    for row in rows:
        cells = [row[name].translate(_LATEX) or "--" for name in shown]
        if row["whose"] == "paper":
            cells = [rf"\textcolor{{blue}}{{{cell}}}" for cell in cells]
        lines.append(" & ".join(cells) + r" \\")
        if row["empty_because"]:
            lines.append(f"% empty: {row['empty_because']}")
    return "\n".join([*lines, r"\hline", r"\end{tabular}", r"\end{table}"]) + "\n"


def _html(title: str, rows: list[dict[str, str]], charts: list[str]) -> str:
    filled = [row for row in rows if not row["empty_because"]]
    empty = [row for row in rows if row["empty_because"]]
    folded = (
        f"<details><summary>{len(empty)} cells are empty: what is in the way</summary>"
        f"{_html_table(empty)}</details>"
        if empty
        else ""
    )
    return f"<h2>{escape(title)}</h2>{''.join(charts)}{_html_table(filled)}{folded}"


def _html_table(rows: list[dict[str, str]]) -> str:
    shown = [name for name in _HEADER if any(row[name] for row in rows)]
    head = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in shown)
    body = "".join(
        f'<tr class="{"empty" if row["empty_because"] else row["whose"]}">'
        + "".join(f"<td>{escape(row[name])}</td>" for name in shown)
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>hcs-qc benchmark</title>
<style>body{{font:14px system-ui,sans-serif;margin:2em;color:#222}}table{{border-collapse:collapse}}
td,th{{padding:2px 8px;border-bottom:1px solid #ddd;text-align:left}}
.paper td{{color:#0b5cad}}.empty td{{color:#999}}</style>
<h1>Benchmark</h1><p>Percent; mean over the draws. <b style="color:#0b5cad">Blue: printed in the
paper.</b> {note} What could not run is folded below each table, with the reason.</p>
<ul>{notes}</ul>{body}</html>
"""
