"""All that was measured, one row a cell of the tables, for programs to read."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.study.benchmark.output.paper_figures import paper_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_hcs_qc.study.benchmark.table_cells import Planned

FIGURES = ("accuracy", "f1_weighted", "auc", "precision_abnormal", "recall_abnormal")
_WHICH = ("train", "test", "protocol", "encoder", "recipe", "head")
_HEADER = (
    "whose",
    *_WHICH,
    "n_train",
    "n_trained_on",
    "n_draws",
    *(f"{name}{end}" for name in FIGURES for end in ("", "_sd", "_low", "_high")),
    "empty_because",
)


def long_rows(
    number: int, planned: Sequence[Planned], results: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, str]]:
    """Rows of one table, ours and then the paper's, all as text.

    Figures are in percent: the mean over the draws, ``_sd`` their standard deviation, ``_low``
    and ``_high`` the 95 % interval of the mean. ``n_train`` is what was asked for, ``n_trained_on``
    the mean of what was had.
    """
    rows = []
    for one in planned:
        cell = one.cell
        if cell.table != number:
            continue
        row = dict.fromkeys(_HEADER, "")
        row |= {name: str(getattr(cell, name)) for name in _WHICH}
        row |= {"whose": "ours", "n_train": str(cell.n_train or "all")}
        if one.key in results:
            row |= _measured(results[one.key])
        else:
            row["empty_because"] = one.reason or "not measured yet"
        rows.append(row)
    for printed in paper_rows():
        if printed["table"] == str(number):
            row = dict.fromkeys(_HEADER, "")
            row |= {"whose": "paper", "train": "the paper's", "test": "the paper's"}
            row |= {"protocol": "paper", "encoder": printed["method"], "head": printed["head"]}
            row |= {"n_train": printed["n_train"], "accuracy": printed["accuracy"]}
            row |= {"f1_weighted": printed["f1"], "auc": printed["auc"], "recipe": "paper-128px"}
            rows.append(row)
    return rows


def to_csv(rows: Sequence[Mapping[str, str]]) -> str:
    """Write rows as CSV."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _HEADER, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def percent(value: float | None) -> str:
    """Write a share in percent, two decimals as the paper has; nothing for None."""
    return "" if value is None else f"{100 * value:.2f}"


def _measured(result: Mapping[str, Any]) -> dict[str, str]:
    draws = result["seeds"]
    n_trained_on = sum(one["n_train"] for one in draws) / len(draws)
    row = {"n_trained_on": f"{n_trained_on:g}", "n_draws": str(len(draws))}
    for name in FIGURES:
        found = result["summary"][name]
        low, high = found["interval"] or (None, None)
        row[name], row[f"{name}_sd"] = percent(found["mean"]), percent(found["sd"])
        row[f"{name}_low"], row[f"{name}_high"] = percent(low), percent(high)
    return row
