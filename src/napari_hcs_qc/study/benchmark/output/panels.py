"""The tables in the paper's shape: panels with an encoder a line, figures side by side.

What is printed is decided here; `markdown`, `latex` and `page` only set it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.study.benchmark.benchmark_spec import CROP_HEADS
from napari_hcs_qc.study.benchmark.output.long_form import percent
from napari_hcs_qc.study.benchmark.output.paper_figures import PAPER_NOTE, like_ours, paper_rows
from napari_hcs_qc.study.benchmark.output.results import DIRECTIONS_NOTE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_hcs_qc.study.benchmark.benchmark_plan import Planned, TableCell

TITLES = {
    1: "Table 1: frozen encoders, largest training set",
    2: "Table 2: number of annotations",
    3: "Table 3: another screen than the one trained on (a substitute for the paper's)",
}
_PRINTED = {"accuracy": "Acc", "f1_weighted": "F1", "auc": "AUC"}
_ABNORMAL = {"precision_abnormal": "Precision", "recall_abnormal": "Recall"}
_PAPER_FIGURES = ("accuracy", "f1", "auc")
_PAPER_TITLES = {
    1: "The paper's: frozen encoders, 350 annotations",
    2: "The paper's: fine-tuned, by number of annotations",
    3: "The paper's: fine-tuned on 350 of BBBC022, tested on 200 of BBBC021",
}
_LINEAR_PAPER_NOTE = (
    "The paper's linear layer and fine-tuning stand under our heads that are most like them "
    "(linear-paper, finetune-paper; else linear, finetune)."
)


@dataclass(frozen=True)
class Entry:
    """What stands in one place: a figure with its sd, a letter that says why not, or nothing."""

    text: str = ""
    sd: str = ""
    letter: str = ""


@dataclass(frozen=True)
class Line:
    """One encoder; `entries` run over the figures within each group of the panel."""

    name: str
    entries: tuple[Entry, ...]
    is_paper: bool = False


@dataclass(frozen=True)
class Panel:
    """One block of a table."""

    title: str  # source, recipe and what else is the same all over it
    # Headings: each group (a head or a number of annotations) has all the figures
    groups: tuple[str, ...]
    # Headings: each group (a head or a number of annotations) has all the figures
    figures: tuple[str, ...]
    lines: tuple[Line, ...]  # its encoders
    # Whether it holds what the paper has not: precision and recall of abnormal
    is_detail: bool = False


@dataclass(frozen=True)
class PrintedTable:
    """A table as it is printed."""

    title: str  # above it
    panels: tuple[Panel, ...]  # its blocks
    notes: tuple[str, ...]  # sentences below it
    # Letter of the empty places to what is in the way
    reasons: Mapping[str, str] = field(default_factory=dict)


def printed_table(
    number: int, planned: Sequence[Planned], results: Mapping[str, Mapping[str, Any]]
) -> PrintedTable:
    """Lay one table out."""
    cells = [one for one in planned if one.cell.table == number]
    letters = _Letters(cells, results)
    panels: list[Panel] = []
    has_paper = False
    for those in _blocks(number, cells):
        keys = list(dict.fromkeys(_group(number, one.cell) for one in those))
        paper = _paper_lines(number, keys, those[0].cell.head)
        has_paper = has_paper or bool(paper)
        for figures in (_PRINTED, _ABNORMAL):
            is_detail = figures is _ABNORMAL
            lines = _our_lines(number, those, keys, figures, results, letters)
            panels.append(
                Panel(
                    _panel_title(number, those[0].cell, is_detail=is_detail),
                    tuple(_heading(number, key, those, results) for key in keys),
                    tuple(figures.values()),
                    (*lines, *([] if is_detail else paper)),
                    is_detail,
                )
            )
    if not has_paper:
        panels.append(_paper_panel(number))
    notes = list(
        dict.fromkeys(str(results[one.key]["split"]) for one in cells if one.key in results)
    )
    if any(one.cell.directions for one in cells):
        notes.append(DIRECTIONS_NOTE)
    if not cells:
        notes.append("Nothing of ours: no pair of sources to train and test on was asked for.")
    elif has_paper:
        notes.append(_LINEAR_PAPER_NOTE)
        if number == 2 and any(one.cell.n_train == 0 for one in cells):
            notes.append("All annotations: of the paper's there were 350.")
    notes.append(f"In blue: {PAPER_NOTE}")
    return PrintedTable(TITLES[number], tuple(panels), tuple(notes), letters.told)


class _Letters:
    """A letter for each thing that is in the way of a cell of the table."""

    def __init__(self, cells: Sequence[Planned], results: Mapping[str, Mapping[str, Any]]) -> None:
        subjects: dict[str, dict[str, None]] = {}
        self._letter: dict[str, str] = {}
        for one in cells:
            if one.key not in results:
                group = one.group or "not measured yet"
                subjects.setdefault(group, {})[one.subject] = None
        for number, group in enumerate(subjects):
            self._letter[group] = _letter(number)
        self.told = {
            self._letter[group]: ": ".join(part for part in (group, ", ".join(names)) if part)
            for group, names in subjects.items()
        }

    def of(self, one: Planned) -> str:
        """Give the letter of a cell that has no result."""
        return self._letter[one.group or "not measured yet"]


def _letter(number: int) -> str:
    return (_letter(number // 26 - 1) if number >= 26 else "") + chr(ord("a") + number % 26)


def _blocks(number: int, cells: Sequence[Planned]) -> list[list[Planned]]:
    """Part the cells of a table into panels: by sources and recipe, in Table 2 by head too."""
    found: dict[tuple[str, ...], list[Planned]] = {}
    for one in cells:
        cell = one.cell
        key = (cell.train, cell.test, cell.recipe) + ((cell.head,) if number == 2 else ())
        found.setdefault(key, []).append(one)
    return list(found.values())


def _group(number: int, cell: TableCell) -> str:
    return (str(cell.n_train) if cell.n_train else "all") if number == 2 else cell.head


def _heading(
    number: int, key: str, cells: Sequence[Planned], results: Mapping[str, Mapping[str, Any]]
) -> str:
    if number != 2 or key != "all":
        return key
    had = [
        one["n_train"]
        for planned in cells
        if planned.cell.n_train == 0 and planned.key in results
        for one in results[planned.key]["seeds"]
    ]
    if not had:
        return "all"
    low, high = min(had), max(had)
    return f"all ({low})" if low == high else f"all ({low} to {high})"


def _panel_title(number: int, cell: TableCell, *, is_detail: bool) -> str:
    where = (
        cell.train if cell.train == cell.test else f"trained on {cell.train}, tested on {cell.test}"
    )
    parts = [where, f"recipe {cell.recipe}"]
    if number == 2:
        parts.append(f"head {cell.head}")
    elif number == 1 and cell.n_train:
        parts.append(f"{cell.n_train} annotations")
    if is_detail:
        parts.append("precision and recall of the abnormal class")
    return "; ".join(parts)


def _our_lines(
    number: int,
    cells: Sequence[Planned],
    keys: Sequence[str],
    figures: Mapping[str, str],
    results: Mapping[str, Mapping[str, Any]],
    letters: _Letters,
) -> list[Line]:
    at = {(one.cell.encoder, _group(number, one.cell)): one for one in cells}
    lines = []
    for encoder in dict.fromkeys(one.cell.encoder for one in cells):
        entries: list[Entry] = []
        for key in keys:
            one = at.get((encoder, key))
            if one is None:  # the baseline has one head, and that head one encoder
                entries += [Entry()] * len(figures)
            elif one.key not in results:
                entries += [Entry(letter=letters.of(one))] * len(figures)
            else:
                summary = results[one.key]["summary"]
                entries += [
                    Entry(percent(summary[name]["mean"]) or "n/a", percent(summary[name]["sd"]))
                    for name in figures
                ]
        lines.append(Line(encoder, tuple(entries)))
    return lines


def _paper_lines(number: int, keys: Sequence[str], head: str) -> list[Line]:
    """Give the paper's lines for a panel of ours; none where it has no figure for any place."""
    entries: dict[str, dict[str, list[Entry]]] = {}
    for row in paper_rows():
        if row["table"] != str(number):
            continue
        if number == 2:
            if head not in CROP_HEADS:
                return []  # the paper has this table for fine-tuned encoders only
            key: str | None = row["n_train"]
            if key == "350" and "350" not in keys and "all" in keys:
                key = "all"  # all of its annotations
        else:
            key = like_ours(row["head"], list(keys))
        if key in keys:
            entries.setdefault(row["method"], {})[str(key)] = [
                Entry(row[name]) for name in _PAPER_FIGURES
            ]
    blank = [Entry()] * len(_PAPER_FIGURES)
    return [
        Line(method, tuple(entry for key in keys for entry in found.get(key, blank)), True)
        for method, found in entries.items()
    ]


def _paper_panel(number: int) -> Panel:
    rows = [row for row in paper_rows() if row["table"] == str(number)]
    column = "n_train" if number == 2 else "head"
    keys = list(dict.fromkeys(row[column] for row in rows))
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows):
        at = {row[column]: row for row in rows if row["method"] == method}
        entries = [Entry(at[key][name]) for key in keys for name in _PAPER_FIGURES]
        lines.append(Line(method, tuple(entries), True))
    return Panel(_PAPER_TITLES[number], tuple(keys), tuple(_PRINTED.values()), tuple(lines))
