"""Text columns of tables: a missing text is None, whatever pandas keeps it as.

pandas 3 infers its own type for texts, in which a missing one is NaN: not None, not JSON, true.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray


def none_if_missing(values: Iterable[Any]) -> NDArray[np.object_]:
    """Give values of a column as Python objects; None, NaN, NaT and NA are all None."""
    is_array = isinstance(values, pd.Series | np.ndarray)
    objects = pd.Series(values if is_array else list(values), dtype=object).to_numpy(copy=True)
    objects[pd.isna(objects)] = None
    return objects


def with_texts(
    table: pd.DataFrame, columns: pd.DataFrame | Mapping[str, Iterable[Any]]
) -> pd.DataFrame:
    """Give the table with these columns set or replaced, as objects with None where missing."""
    texts = {
        str(name): pd.Series(none_if_missing(values), index=table.index, dtype=object)
        for name, values in columns.items()
    }
    return table.assign(**texts)


def rows_of(table: pd.DataFrame, columns: Iterable[str]) -> Iterator[tuple[Any, ...]]:
    """Give some columns row by row, None for what is missing."""
    return zip(*(none_if_missing(table[name]) for name in columns), strict=True)


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Put an apostrophe before texts that a spreadsheet would take for a formula, for a CSV.

    Names of plates and treatments come from files of strangers. Numbers stay as they are.
    """
    changes = {}
    for name in table.columns:
        column = table[name]
        if not (column.dtype == object or isinstance(column.dtype, pd.StringDtype)):
            continue
        formulas = [text for text in column.unique() if _is_formula(text)]
        if formulas:
            changes[name] = column.where(~column.isin(formulas), "'" + column.astype(str))
    return table.assign(**changes) if changes else table


def with_formula(text: str) -> str:
    """Give a text of a CSV as it was before `without_formulas`."""
    return text[1:] if text[:1] == "'" and _is_formula(text[1:]) else text


def _is_formula(value: object) -> bool:
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return False
    try:
        float(value)
    except ValueError:
        return True
    return False
