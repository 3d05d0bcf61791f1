"""The tables in the paper's shape: panels with an encoder a line, figures side by side.

What is printed is decided here; the templates of Markdown, LaTeX and the page only set it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from napari_hcs_qc.study.benchmark.benchmark_spec import CROP_HEADS
from napari_hcs_qc.study.benchmark.output.long_form import PAPER_NOTE, paper_rows, percent
from napari_hcs_qc.study.benchmark.results import DIRECTIONS_NOTE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from napari_hcs_qc.study.benchmark.results import Planned, Results, TableCell

TITLES = {
    1: "Table 1: frozen encoders, largest training set",
    2: "Table 2: number of annotations",
    3: "Table 3: another screen than the one trained on (a substitute for the paper's)",
}
_PRINTED = {"accuracy": "Acc", "f1_weighted": "F1", "auc": "AUC"}
_ABNORMAL = {"precision_abnormal": "Precision", "recall_abnormal": "Recall"}
_PAPER_TITLES = {
    1: "The paper's: frozen encoders, 350 annotations",
    2: "The paper's: fine-tuned, by number of annotations",
    3: "The paper's: fine-tuned on 350 of BBBC022, tested on 200 of BBBC021",
}
_LINEAR_PAPER_NOTE = (
    "The paper's linear layer and fine-tuning are listed under the most similar heads here "
    "(linear-paper, finetune-paper; else linear, finetune)."
)
_OUR_HEADS = {
    "knn": ("knn",),
    "linear": ("linear-paper", "linear"),
    "finetune": ("finetune-paper", "finetune"),
}
"""Our heads that are like each of the paper's, the most alike first."""

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


@dataclass(frozen=True, kw_only=True)
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


_Places: TypeAlias = "dict[str, dict[str, list[Entry]]]"
"""What stands in a panel, by the names of its lines and its groups."""


def printed_table(number: int, planned: Sequence[Planned], results: Results) -> PrintedTable:
    """Lay one table out."""
    items = [item for item in planned if item.cell.table == number]
    letters, reasons = _letters(items, results)
    panels: list[Panel] = []
    has_paper = False
    for block in _blocks(number, items):
        first = block[0].cell
        keys = tuple(dict.fromkeys(_group(number, item.cell) for item in block))
        headings = tuple(_heading(number, key, block, results) for key in keys)
        paper = _lines(_paper_places(number, keys, first.head), keys, len(_PRINTED), is_paper=True)
        has_paper = has_paper or bool(paper)
        for figures in (_PRINTED, _ABNORMAL):
            is_detail = figures is _ABNORMAL
            title = _panel_title(number, first, is_detail=is_detail)
            ours = _lines(_our_places(number, block, figures, results, letters), keys, len(figures))
            lines = ours if is_detail else ours + paper
            panels.append(
                Panel(
                    title=title,
                    groups=headings,
                    figures=tuple(figures.values()),
                    lines=lines,
                    is_detail=is_detail,
                )
            )
    if not has_paper:
        panels.append(_paper_panel(number))
    notes = list(dict.fromkeys(results[item.key].split for item in items if item.key in results))
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


def _letters(items: Sequence[Planned], results: Results) -> tuple[dict[str, str], dict[str, str]]:
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
        key = (cell.train, cell.test, cell.recipe, cell.head if number == 2 else "")
        blocks.setdefault(key, []).append(item)
    return list(blocks.values())


def _group(number: int, cell: TableCell) -> str:
    return cell.size if number == 2 else cell.head


def _heading(number: int, key: str, items: Sequence[Planned], results: Results) -> str:
    if number != 2 or key != "all":
        return key
    sizes = {
        draw.n_train
        for item in items
        if item.cell.n_train == 0 and item.key in results
        for draw in results[item.key].draws
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


def _lines(
    places: _Places, keys: Sequence[str], n_figures: int, *, is_paper: bool = False
) -> tuple[Line, ...]:
    blank = [Entry()] * n_figures  # the baseline has one head, and that head one encoder
    return tuple(
        Line(name, tuple(entry for key in keys for entry in groups.get(key, blank)), is_paper)
        for name, groups in places.items()
    )


def _our_places(
    number: int,
    items: Sequence[Planned],
    figures: Collection[str],
    results: Results,
    letters: Mapping[str, str],
) -> _Places:
    places: _Places = {}
    for item in items:
        if item.key in results:
            summary = results[item.key].summary
            entries = [
                Entry(percent(summary[name].mean) or "n/a", percent(summary[name].sd))
                for name in figures
            ]
        else:
            entries = [Entry(letter=letters[item.group or _UNMEASURED])] * len(figures)
        places.setdefault(item.cell.encoder, {})[_group(number, item.cell)] = entries
    return places


def _paper_places(number: int, keys: Sequence[str], head: str) -> _Places:
    """Give the paper's lines for a panel of ours; none where it has no figure for any place."""
    places: _Places = {}
    if number == 2 and head not in CROP_HEADS:
        return places  # the paper has this table for fine-tuned encoders only
    for row in paper_rows(number):
        like_ours = (name for name in _OUR_HEADS[row["head"]] if name in keys)
        key = row["n_train"] if number == 2 else next(like_ours, None)
        if key == "350" and "350" not in keys and "all" in keys:
            key = "all"  # all of its annotations
        if key in keys:
            places.setdefault(row["encoder"], {})[str(key)] = _paper_entries(row)
    return places


def _paper_panel(number: int) -> Panel:
    column = "n_train" if number == 2 else "head"
    places: _Places = {}
    for row in paper_rows(number):
        places.setdefault(row["encoder"], {})[row[column]] = _paper_entries(row)
    keys = tuple(dict.fromkeys(key for groups in places.values() for key in groups))
    lines = _lines(places, keys, len(_PRINTED), is_paper=True)
    return Panel(
        title=_PAPER_TITLES[number], groups=keys, figures=tuple(_PRINTED.values()), lines=lines
    )


def _paper_entries(row: Mapping[str, str]) -> list[Entry]:
    return [Entry(row[name]) for name in _PRINTED]
