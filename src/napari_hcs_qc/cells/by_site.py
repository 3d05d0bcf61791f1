"""Which rows of a table of cells lie on which site, found once for a table."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_hcs_qc.plates.plate import SiteKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class CellsBySite:
    """The cells of a table by their site; made by `of`.

    To find it takes time with the number of cells, since names of wells are compared; to count or
    look up with it does not. So it is made once and kept as long as the table.
    """

    def __init__(self, sites: Sequence[SiteKey], code: NDArray[np.int64]) -> None:
        self.sites = tuple(sites)
        self.code = code

    @classmethod
    def of(cls, cells: pd.DataFrame) -> CellsBySite:
        """Find it for a table with the columns ``well`` and ``site``."""
        well, wells = pd.factorize(cells["well"].to_numpy(dtype=object))
        number, numbers = pd.factorize(cells["site"].to_numpy())
        n_numbers = max(1, len(numbers))
        code, pairs = pd.factorize(well.astype(np.int64) * n_numbers + number)
        sites = [
            SiteKey(str(wells[pair // n_numbers]), int(numbers[pair % n_numbers])) for pair in pairs
        ]
        return cls(sites, code.astype(np.int64))

    def __len__(self) -> int:
        return len(self.code)

    def span(self, site: SiteKey) -> tuple[int, int]:
        """Where in `order` the cells of one site begin and end; ``(0, 0)`` where there is none."""
        index = self._index.get(site)
        return (0, 0) if index is None else (int(self._ends[index]), int(self._ends[index + 1]))

    def spread(self, values: Sequence[bool]) -> NDArray[np.bool_]:
        """Give each cell the value of its site, of one for each of `sites`."""
        return np.array(values, dtype=bool)[self.code]

    def rows(self, site: SiteKey) -> NDArray[np.int64]:
        """Rows of the cells of one site, ascending; empty where there is none."""
        begin, end = self.span(site)
        return self.order[begin:end]

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Rows of the table, those of a site together and ascending."""
        return np.argsort(self.code, kind="stable")

    def with_added(self, added: pd.DataFrame) -> CellsBySite:
        """Give the same for a table with these rows appended; quick when they are few."""
        if not len(added):
            return self
        new = CellsBySite.of(added)
        index = dict(self._index)
        code = np.array([index.setdefault(site, len(index)) for site in new.sites], dtype=np.int64)
        return CellsBySite(tuple(index), np.concatenate([self.code, code[new.code]]))

    @cached_property
    def _index(self) -> dict[SiteKey, int]:
        return {site: index for index, site in enumerate(self.sites)}

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        """Where in `order` the rows of each site begin, and at the end how many there are."""
        counts = np.bincount(self.code, minlength=len(self.sites))
        return np.concatenate([[0], np.cumsum(counts)])
