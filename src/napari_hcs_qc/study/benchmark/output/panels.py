"""The tables in the paper's shape: panels with an encoder a line, figures side by side.

What is printed is decided here; `markdown`, `latex` and the page's template only set it.
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

    from napari_hcs_qc.study.benchmark.table_cells import Planned, TableCell

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
    "The paper's linear layer and fine-tuning are listed under the most similar heads here "
    "(linear-paper, finetune-paper; else linear, finetune)."
)
_UNMEASURED = "not measured yet"


@dataclass(frozen=True)
class Entry:
    """One place of a table: a figure with its sd, a letter for why there is none, or nothing."""

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
    groups: tuple[str, ...]  # headings: heads or numbers of annotations, each with all `figures`
    figures: tuple[str, ...]
    lines: tuple[Line, ...]
    is_detail: bool = False  # precision and recall of abnormal, which the paper does not have


@dataclass(frozen=True)
class PrintedTable:
    """A table as it is printed."""

    title: str
    panels: tuple[Panel, ...]
    notes: tuple[str, ...]  # sentences below it
    # Letter of the empty places to the reason
    reasons: Mapping[str, str] = field(default_factory=dict)


def printed_table(
    number: int, planned: Sequence[Planned], results: Mapping[str, Mapping[str, Any]]
) -> PrintedTable:
    """Lay one table out."""
    items = [item for item in planned if item.cell.table == number]
    letters, reasons = _letters(items, results)
    panels: list[Panel] = []
    has_paper = False
    for block in _blocks(number, items):
        keys = list(dict.fromkeys(_group(number, item.cell) for item in block))
        headings = tuple(_heading(number, key, block, results) for key in keys)
        paper = _paper_lines(number, keys, block[0].cell.head)
        has_paper = has_paper or bool(paper)
        for figures in (_PRINTED, _ABNORMAL):
            is_detail = figures is _ABNORMAL
            lines = _our_lines(number, block, keys, figures, results, letters)
            panels.append(
                Panel(
                    _panel_title(number, block[0].cell, is_detail=is_detail),
                    headings,
                    tuple(figures.values()),
                    (*lines, *([] if is_detail else paper)),
                    is_detail,
                )
            )
    if not has_paper:
        panels.append(_paper_panel(number))
    notes = list(
        dict.fromkeys(str(results[item.key]["split"]) for item in items if item.key in results)
    )
    if any(item.cell.directions for item in items):
        notes.append(DIRECTIONS_NOTE)
    if not items:
        notes.append("No results of this benchmark: no pair of sources to train and test on.")
    elif has_paper:
        notes.append(_LINEAR_PAPER_NOTE)
        if number == 2 and any(item.cell.n_train == 0 for item in items):
            notes.append("All annotations: 350 in the paper.")
    notes.append(f"In blue: {PAPER_NOTE}")
    return PrintedTable(TITLES[number], tuple(panels), tuple(notes), reasons)


def _letters(
    items: Sequence[Planned], results: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, str], dict[str, str]]:
    """Give the letter of each kind of reason for an empty place, and the reason of each letter."""
    subjects: dict[str, dict[str, None]] = {}
    for item in items:
        if item.key not in results:
            subjects.setdefault(item.group or _UNMEASURED, {})[item.subject] = None
    letters = {group: _letter(number) for number, group in enumerate(subjects)}
    reasons = {
        letters[group]: ": ".join(part for part in (group, ", ".join(names)) if part)
        for group, names in subjects.items()
    }
    return letters, reasons


def _letter(number: int) -> str:
    return (_letter(number // 26 - 1) if number >= 26 else "") + chr(ord("a") + number % 26)


def _blocks(number: int, items: Sequence[Planned]) -> list[list[Planned]]:
    """Divide a table into panels: by sources and recipe, in Table 2 by head too."""
    blocks: dict[tuple[str, ...], list[Planned]] = {}
    for item in items:
        cell = item.cell
        key = (cell.train, cell.test, cell.recipe) + ((cell.head,) if number == 2 else ())
        blocks.setdefault(key, []).append(item)
    return list(blocks.values())


def _group(number: int, cell: TableCell) -> str:
    return (str(cell.n_train) if cell.n_train else "all") if number == 2 else cell.head


def _heading(
    number: int, key: str, items: Sequence[Planned], results: Mapping[str, Mapping[str, Any]]
) -> str:
    if number != 2 or key != "all":
        return key
    sizes = {
        draw["n_train"]
        for item in items
        if item.cell.n_train == 0 and item.key in results
        for draw in results[item.key]["seeds"]
    }
    if len(sizes) > 1:
        return f"all ({min(sizes)} to {max(sizes)})"
    return f"all ({sizes.pop()})" if sizes else "all"


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
    items: Sequence[Planned],
    keys: Sequence[str],
    figures: Mapping[str, str],
    results: Mapping[str, Mapping[str, Any]],
    letters: Mapping[str, str],
) -> list[Line]:
    by_place = {(item.cell.encoder, _group(number, item.cell)): item for item in items}
    lines = []
    for encoder in dict.fromkeys(item.cell.encoder for item in items):
        entries: list[Entry] = []
        for key in keys:
            item = by_place.get((encoder, key))
            if item is None:  # the baseline has one head, and that head one encoder
                entries += [Entry()] * len(figures)
            elif item.key not in results:
                entries += [Entry(letter=letters[item.group or _UNMEASURED])] * len(figures)
            else:
                summary = results[item.key]["summary"]
                entries += [
                    Entry(percent(summary[name]["mean"]) or "n/a", percent(summary[name]["sd"]))
                    for name in figures
                ]
        lines.append(Line(encoder, tuple(entries)))
    return lines


def _paper_lines(number: int, keys: Sequence[str], head: str) -> list[Line]:
    """Give the paper's lines for a panel of ours; none where it has no figure for any place."""
    if number == 2 and head not in CROP_HEADS:
        return []  # the paper has this table for fine-tuned encoders only
    entries: dict[str, dict[str, list[Entry]]] = {}
    for row in paper_rows():
        if row["table"] != str(number):
            continue
        key = row["n_train"] if number == 2 else like_ours(row["head"], list(keys))
        if key == "350" and "350" not in keys and "all" in keys:
            key = "all"  # all of its annotations
        if key in keys:
            entries.setdefault(row["method"], {})[str(key)] = _paper_entries(row)
    return _paper_table(entries, keys)


def _paper_panel(number: int) -> Panel:
    column = "n_train" if number == 2 else "head"
    entries: dict[str, dict[str, list[Entry]]] = {}
    for row in paper_rows():
        if row["table"] == str(number):
            entries.setdefault(row["method"], {})[row[column]] = _paper_entries(row)
    keys = tuple(dict.fromkeys(key for places in entries.values() for key in places))
    lines = tuple(_paper_table(entries, keys))
    return Panel(_PAPER_TITLES[number], keys, tuple(_PRINTED.values()), lines)


def _paper_entries(row: Mapping[str, str]) -> list[Entry]:
    return [Entry(row[name]) for name in _PAPER_FIGURES]


def _paper_table(
    entries: Mapping[str, Mapping[str, list[Entry]]], keys: Sequence[str]
) -> list[Line]:
    blank = [Entry()] * len(_PAPER_FIGURES)
    return [
        Line(method, tuple(entry for key in keys for entry in places.get(key, blank)), True)
        for method, places in entries.items()
    ]
