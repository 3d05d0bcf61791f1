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
