"""The tables as they are printed: shape, footnotes, escaping, plots."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_hcs_qc.evaluation.agreement import METRIC_NAMES
from napari_hcs_qc.qc.reports.figures import to_svg
from napari_hcs_qc.study.benchmark.output.panels import printed_table
from napari_hcs_qc.study.benchmark.output.paper_tables import Point, f1_chart, write_tables
from napari_hcs_qc.study.benchmark.results import (
    DrawResult,
    Figure,
    Planned,
    Result,
    TableCell,
)
from napari_hcs_qc.study.text_templates import escape_latex, escape_markdown

if TYPE_CHECKING:
    from pathlib import Path

NASTY = r"a_b & 50% #1 $x^2$ ~{c}\d <e> |f| → ± × é ß 中 --"
SEEDS = (0, 1)


def cell(table: int, encoder: str, head: str, n: int, test: str = NASTY) -> TableCell:
    return TableCell(
        table=table,
        train=NASTY,
        test=test,
        encoder=encoder,
        recipe="nucleus",
        head=head,
        n_train=n,
        protocol="grouped",
        seeds=SEEDS,
    )


def result_of(one: TableCell, mean: float) -> Result:
    summary = dict.fromkeys(METRIC_NAMES, Figure(mean, 0.0123, (mean - 0.02, mean + 0.01)))
    summary["auc"] = Figure(None)
    protocol = f"Split of {NASTY}.".replace("{", "{{").replace("}", "}}")
    draws = [
        DrawResult.model_construct(seed=seed, n_train=one.n_train or 77, protocol=protocol)
        for seed in SEEDS
    ]
    return Result(one, draws, summary)


@pytest.fixture(scope="module")
def filled() -> tuple[list[Planned], dict[str, Result]]:
    """Two encoders that are measured and two whose weights are missing."""
    planned, results = [], {}
    for table, head, n in (
        (1, "knn", 0),
        (1, "linear-paper", 0),
        *((2, head, n) for head in ("knn", "finetune-paper") for n in (0, 50, 10)),
        (3, "finetune-paper", 0),
    ):
        for number, encoder in enumerate(("lite_0", "squeeze", "vgg16", "resnet18")):
            one = cell(table, encoder, head, n, "other" if table == 3 else NASTY)
            key = f"{table}-{encoder}-{head}-{n}"
            if number < 2:
                planned.append(Planned(cell=one, key=key, state="done"))
                results[key] = result_of(one, 0.9 + 0.01 * number)
            else:
                reason = f"the weights of {encoder} are not at hand"
                planned.append(
                    Planned(
                        cell=one,
                        key=key,
                        state="cannot run",
                        reason=reason,
                        group="weights not at hand",
                        subject=encoder,
                    )
                )
    return planned, results


@pytest.fixture(scope="module")
def tables(filled, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all tables."""
    folder = tmp_path_factory.mktemp("tables")
    write_tables(*filled, folder)
    return folder


def test_table_1_has_encoders_as_rows_and_heads_by_figures_as_columns(filled) -> None:
    table = printed_table(1, *filled)
    panel = next(one for one in table.panels if not one.is_detail)
    assert panel.groups == ("knn", "linear-paper")
    assert panel.figures == ("Acc", "F1", "AUC")
    names = [line.name for line in panel.lines]
    assert names[:4] == ["lite_0", "squeeze", "vgg16", "resnet18"]
    assert [line.is_paper for line in panel.lines] == [False] * 4 + [True] * 8
    assert all(len(line.entries) == 6 for line in panel.lines)
    first = panel.lines[0].entries
    assert (first[0].text, first[0].sd, first[2].text) == ("90.00", "1.23", "n/a")
    vgg = next(line for line in panel.lines if line.name == "VGG16")
    assert [one.text for one in vgg.entries] == [
        "96.09", "95.94", "95.38", "98.24", "98.12", "98.09",
    ]  # fmt: skip
    details = [one for one in table.panels if one.is_detail]
    assert details[0].figures == ("Precision", "Recall")


def test_table_2_has_numbers_of_annotations_as_columns_and_a_panel_for_each_head(filled) -> None:
    panels = [one for one in printed_table(2, *filled).panels if not one.is_detail]
    assert [one.groups for one in panels] == [("all (77)", "50", "10")] * 2
    assert "head knn" in panels[0].title and "head finetune-paper" in panels[1].title
    assert not any(line.is_paper for line in panels[0].lines)  # it is of fine-tuned encoders
    swav = next(line for line in panels[1].lines if line.name == "SwAV")
    assert [one.text for one in swav.entries] == [
        "94.53", "94.00", "94.10", "82.56", "82.21", "83.09", "82.87", "82.62", "83.39",
    ]  # fmt: skip


def test_the_papers_figures_are_there_where_nothing_of_ours_is_like_them(filled) -> None:
    planned, results = filled
    only = [one for one in planned if one.cell.head == "knn"]
    table = printed_table(2, only, results)
    assert table.panels[-1].title.startswith("The paper's")
    assert table.panels[-1].groups == ("350", "100", "50", "25", "10")
    third = printed_table(3, only, results)
    assert len(third.panels) == 1 and len(third.panels[0].lines) == 8
    assert "no pair of sources" in third.notes[0]


def test_what_is_empty_has_a_letter_and_each_reason_is_told_once(filled, tables: Path) -> None:
    planned, results = filled
    table = printed_table(1, planned, results)
    assert dict(table.reasons) == {"a": "weights not at hand: vgg16, resnet18"}
    panel = table.panels[0]
    assert {one.letter for one in panel.lines[2].entries} == {"a"}
    for name in ("table1.md", "table1.tex", "benchmark.html"):
        text = (tables / name).read_text(encoding="utf-8")
        told = text.count("weights not at hand")
        assert told == (3 if name.endswith("html") else 1)  # once for each table
    del results["2-lite_0-knn-10"]
    try:
        told = printed_table(2, planned, results).reasons
        assert dict(told) == {"a": "weights not at hand: vgg16, resnet18", "b": "not measured yet"}
    finally:
        results["2-lite_0-knn-10"] = result_of(cell(2, "lite_0", "knn", 10), 0.9)


def test_the_csv_has_every_figure_with_sd_and_interval(tables: Path) -> None:
    rows = list(csv.DictReader((tables / "table2.csv").read_text(encoding="utf-8").splitlines()))
    row = next(one for one in rows if one["encoder"] == "squeeze" and one["n_train"] == "all")
    assert row["train"] == NASTY
    assert (row["n_trained_on"], row["n_draws"]) == ("77", "2")
    for name in ("accuracy", "f1_weighted", "precision_abnormal", "recall_abnormal"):
        assert [row[f"{name}{end}"] for end in ("", "_sd", "_low", "_high")] == [
            "91.00", "1.23", "89.00", "92.00",
        ]  # fmt: skip
    assert row["auc"] == row["auc_sd"] == ""
    assert sum(one["whose"] == "paper" for one in rows) == 40


_NAMES = {
    "textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textless": "<",
    "textgreater": ">", "textbar": "|", "textquotedbl": '"', "textquotesingle": "'",
    "textasciigrave": "`", "textendash": "–", "textemdash": "—",
}  # fmt: skip
_MATHS = {r"\pm": "±", r"\times": "×", r"\cdot": "·", r"\mu": "µ", r"{}^\circ": "°", r"\geq": "≥",
          r"\leq": "≤", r"\rightarrow": "→", "-": "−"}  # fmt: skip
_TOKEN = re.compile(
    r"\\ensuremath\{((?:\{\})?[^{}]+)\}|\\([a-z]+)\{\}|\\([{}$&#%_])|-\{\}|\[U\+([0-9A-F]{4,6})\]|(.)"
)


def read_latex(text: str) -> str:
    """Say what LaTeX prints; a character that it would not print as it is fails."""
    found = []
    for match in _TOKEN.finditer(text):
        maths, name, escaped, code, plain = match.groups()
        if maths:
            found.append(_MATHS[maths])
        elif name:
            found.append(_NAMES[name])
        elif escaped:
            found.append(escaped)
        elif code:
            found.append(chr(int(code, 16)))
        elif plain is None:
            found.append("-")
        else:
            assert plain not in "\\{}$&#%_~^<>|\"'`-", text
            found.append(plain)
    return "".join(found)


@settings(max_examples=300)
@given(st.text(st.sampled_from("\\{}$&#%_~^<>|\"'`-±×·°≥≤→−–— \n\tabé中[U+1]") | st.characters()))
def test_latex_prints_any_text_letter_by_letter(text: str) -> None:
    shown = "".join(
        one for one in " ".join(text.split()) if not (ord(one) < 32 or 127 <= ord(one) < 160)
    )
    written = escape_latex(text)
    assert "\n" not in written
    assert read_latex(written) == shown.replace("μ", "µ") or "[U+" in shown


@settings(max_examples=100)
@given(st.text(st.sampled_from("\\`*_{}[]<>#|~&$ \nab")))
def test_markdown_shows_any_text_as_it_is(text: str) -> None:
    written = escape_markdown(text)
    assert re.sub(r"\\([\\`*_{}\[\]<>#|~&$])", r"\1", written) == " ".join(text.split())
    assert not re.search(r"(?<!\\)(?:\\\\)*[|<*_]", written)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_document_compiles(tables: Path) -> None:
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "benchmark.tex"],
        cwd=tables, capture_output=True, text=True, errors="replace", check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tables / "benchmark.pdf").stat().st_size > 10_000


def test_markdown_has_as_many_places_in_every_row(tables: Path) -> None:
    for number in (1, 2, 3):
        text = (tables / f"table{number}.md").read_text(encoding="utf-8")
        for block in text.split("\n\n"):
            rows = [line for line in block.splitlines() if line.startswith("|")]
            assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) <= 1


def test_the_page_is_whole_and_escapes_names(tables: Path) -> None:
    text = (tables / "benchmark.html").read_text(encoding="utf-8")
    assert "&lt;e&gt;" in text and "<e>" not in text
    for table in re.findall(r"<table>.*?</table>", text, flags=re.DOTALL):
        rows = ElementTree.fromstring(table).iter("tr")
        widths = [sum(int(one.get("colspan", "1")) for one in row) for row in rows]
        # The second row of the heading stands beside a cell that spans both.
        assert widths[0] == widths[1] + 1 == widths[2]
        assert len(set(widths[2:])) == 1


def test_a_chart_has_a_line_for_each_encoder_and_head() -> None:
    lines = {
        ("lite", "knn"): [Point(350, 99.0, 2.0), Point(10, 70.0, 3.0)],
        ("<b> $x$", "linear"): [Point(10, 80.0), Point(50, 85.0)],
    }
    figure = f1_chart(lines, "F1 & more")
    axes = figure.axes[0]
    (first, _, (whiskers,)), (second, *_) = axes.containers
    # Each line is shifted a little, so that its whiskers can be seen.
    assert np.allclose(first.get_xdata(), [10, 350], rtol=0.02)
    assert first.get_ydata().tolist() == [70.0, 99.0]
    spans = [path[:, 1].tolist() for path in whiskers.get_segments()]
    assert spans == [[67.0, 73.0], [97.0, 101.0]]
    assert first.get_color() != second.get_color()
    assert first.is_dashed() != second.is_dashed()
    assert axes.get_ylim()[0] == 60
    root = ElementTree.fromstring(to_svg(figure))
    texts = {"".join(text.itertext()) for text in root.iter() if text.tag.endswith("}text")}
    assert {"F1 & more", "lite, knn", "<b> $x$, linear", "10", "50", "350"} <= texts
    assert to_svg(figure) == to_svg(f1_chart(lines, "F1 & more"))
    assert to_svg(f1_chart({("a", "b"): [Point(10, 100.0)]}, "one"))


def test_charts_are_written_in_three_formats_the_same_each_time(
    filled, tables: Path, tmp_path: Path
) -> None:
    written = write_tables(*filled, tmp_path)
    (svg,) = tmp_path.glob("table2-*.svg")
    assert {svg, svg.with_suffix(".png"), svg.with_suffix(".pdf")} <= set(written)
    for path in written:
        assert path.read_bytes() == (tables / path.name).read_bytes()
    page = (tmp_path / "benchmark.html").read_text(encoding="utf-8")
    assert svg.read_text(encoding="utf-8") in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)


def test_the_papers_lines_are_blue_on_the_page(tables: Path) -> None:
    page = (tables / "benchmark.html").read_text(encoding="utf-8")
    rows = re.findall(r"<tr( class=\"paper\")?><th scope=\"row\">(.*?)</th>", page, flags=re.DOTALL)
    assert {is_paper for is_paper, name in rows if "(paper)" in name} == {' class="paper"'}
    assert {is_paper for is_paper, name in rows if "(paper)" not in name} == {""}
    assert ".paper, .panel .paper > *" in page
