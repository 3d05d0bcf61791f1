"""The tables in long form: every figure, ours and the paper's printed ones, one row an entry."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hcs_qc.study.benchmark.results import Planned, Result, Results

PAPER_NOTE = (
    "Masud, Cohen, Bendidi, Bollot, Genovesio (2022), Tables 1-3, percent. Its images were never "
    "published and differ from these, so its figures stand beside ours and cannot be reproduced. "
    "Its accuracies are means over batches of 32 cells and its AUC is that of classes, not of "
    "probabilities; ours are of all held-out cells and of probabilities."
)
_FIGURES = ("accuracy", "f1_weighted", "auc", "precision_abnormal", "recall_abnormal")
_WHICH = ("train", "test", "protocol", "encoder", "recipe", "head")
_HEADER = (
    "whose",
    *_WHICH,
    "n_train",
    "n_trained_on",
    "n_draws",
    *(f"{name}{end}" for name in _FIGURES for end in ("", "_sd", "_low", "_high")),
    "empty_because",
)


@cache
def paper_rows(number: int) -> list[dict[str, str]]:
    """Give the printed figures of a table of the paper, as `paper_tables.csv` holds them."""
    path = files(__package__).joinpath("paper_tables.csv")
    with path.open(encoding="utf-8") as file:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    return table[table["table"] == str(number)].to_dict("records")  # type: ignore[return-value]


def long_form(number: int, planned: Sequence[Planned], results: Results) -> str:
    """Write one table as CSV, ours and then the paper's.

    Figures are in percent: the mean over the draws, ``_sd`` their standard deviation, ``_low``
    and ``_high`` the 95 % interval of the mean. ``n_train`` is what was requested,
    ``n_trained_on`` the mean of what there was.
    """
    rows = [
        {
            "whose": "ours",
            **{name: getattr(entry.cell, name) for name in _WHICH},
            "n_train": entry.cell.size,
            **_measured(entry, results.get(entry.key)),
        }
        for entry in planned
        if entry.cell.table == number
    ]
    screen = "the paper's"
    same = {"whose": "paper", "train": screen, "test": screen, "protocol": "paper"}
    rows += [{**same, **row, "recipe": "paper-128px"} for row in paper_rows(number)]
    return pd.DataFrame(rows, columns=_HEADER).to_csv(index=False, lineterminator="\n")


def percent(value: float | None) -> str:
    """Write a share in percent, two decimals as the paper has; nothing for None."""
    return "" if value is None else f"{100 * value:.2f}"


def _measured(entry: Planned, result: Result | None) -> dict[str, str]:
    if result is None:
        return {"empty_because": entry.reason or "not measured yet"}
    row = {"n_trained_on": f"{result.n_trained_on:g}", "n_draws": str(len(result.draws))}
    for name in _FIGURES:
        figure = result.summary[name]
        low, high = figure.interval or (None, None)
        values = {"": figure.mean, "_sd": figure.sd, "_low": low, "_high": high}
        row |= {f"{name}{end}": percent(value) for end, value in values.items()}
    return row
