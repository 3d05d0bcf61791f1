"""Columns in which a rule, such as those of coSMicQC, says which cells are outliers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.text import a_few

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from napari_hcs_qc.tables.profiles import Profiles

_RULE = re.compile(
    r"(?:Metadata_)?cqc[._](?!.*z_?score)(?!(?:cell|site|well)_is_outlier$)(?P<name>.+?)"
    r"(?:[._]is_outlier)?",
    re.IGNORECASE,
)
"""``cqc.large_nuclei.is_outlier`` as coSMicQC has it, or ``Metadata_cqc_…`` as pycytominer."""
_YES, _NO = ("true", "1", "1.0", "yes"), ("false", "0", "0.0", "no")


def rule_columns(names: Iterable[str]) -> dict[str, str]:
    """Names of the rules by their columns; those that we write are no rules."""
    matches = {name: _RULE.fullmatch(name.strip()) for name in names}
    return {name: match["name"] for name, match in matches.items() if match}


def read_rules(path: Path, source: Profiles) -> tuple[dict[str, str], NDArray[np.object_]]:
    """Read the columns that are rules, and by which of them each row is an outlier.

    The rules of a row are named with commas, none by "", and None is where no rule says anything.
    """
    columns = rule_columns(source.columns)
    if not columns:
        raise HcsQcError(
            f"{path} has no column of a rule, such as cqc.large_nuclei.is_outlier or "
            f"Metadata_cqc_large_nuclei_is_outlier; it has {a_few(source.columns, 12)}. Label the "
            "cells with coSMicQC first (cosmicqc.label_outliers)."
        )
    table = source.read(list(columns))
    by_column = {name: _truths(table[name]) for name in columns}
    wrong = [name for name, truths in by_column.items() if truths is None]
    if wrong:
        raise HcsQcError(
            f"{path}: the column {a_few(wrong)} of a rule holds other values than true and false. "
            "Rename or remove it."
        )
    rules = np.full(len(table), None, dtype=object)
    for name, truths in by_column.items():
        assert truths is not None
        for row in np.flatnonzero(np.isfinite(truths)):
            named = [rules[row]] if rules[row] else []
            rules[row] = ", ".join([*named, columns[name]] if truths[row] else named)
    return columns, rules


def _truths(values: pd.Series[Any]) -> NDArray[np.float64] | None:
    """1, 0 and NaN; None where something else stands among the values."""
    texts = ["" if value is None else str(value).strip().casefold() for value in values]
    truths = [
        1.0 if t in _YES else 0.0 if t in _NO else np.nan if t in _MISSING else None for t in texts
    ]
    if any(truth is None for truth in truths):
        return None
    return np.array(truths, dtype=np.float64)


_MISSING: Sequence[str] = ("", "nan", "<na>", "na", "none", "null")
