"""Which cells of a gallery are selected; no widget needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Choice:
    """Cells in the order shown, those selected, and the one that keys act on."""

    def __init__(self, ids: NDArray[np.int64]) -> None:
        self.ids = ids
        self._order = np.argsort(ids, kind="stable")
        self._sorted = ids[self._order]
        twice = self._sorted[1:][self._sorted[1:] == self._sorted[:-1]]
        if len(twice):
            raise ValueError(f"Cell {twice[0]} is in the list twice; give each cell once.")
        self.is_chosen = np.zeros(len(ids), dtype=bool)
        self.current: int | None = None
        self.anchor: int | None = None

    def with_ids(self, ids: NDArray[np.int64]) -> Choice:
        """Give other cells; those that were selected or current and are there stay so."""
        new = Choice(ids)
        new.choose_ids(self.value())
        if self.current is not None:
            new.current = new.position(int(self.ids[self.current]))
        if self.anchor is not None:
            new.anchor = new.position(int(self.ids[self.anchor]))
        return new

    def value(self) -> NDArray[np.int64]:
        """Ids selected, in the order shown."""
        return self.ids[self.is_chosen]

    def current_id(self) -> int | None:
        """Id of the current cell."""
        return None if self.current is None else int(self.ids[self.current])

    def position(self, cell: int) -> int | None:
        """Position of a cell by its id; None when it is not there."""
        place = int(np.searchsorted(self._sorted, cell))
        if place == len(self._sorted) or self._sorted[place] != cell:
            return None
        return int(self._order[place])

    def choose_ids(self, cells: NDArray[np.int64]) -> None:
        """Select these and no others; those that are not there are left out."""
        self.is_chosen[:] = np.isin(self.ids, cells)

    def choose(self, place: int) -> None:
        """Select one position alone."""
        self.is_chosen[:] = False
        self.is_chosen[place] = True
        self.current = self.anchor = place

    def toggle(self, place: int) -> None:
        """Select a position beside the others, or no longer."""
        self.is_chosen[place] = not self.is_chosen[place]
        self.current = self.anchor = place

    def choose_to(self, place: int, *, adds: bool = False) -> None:
        """Select from the anchor to a position, both included."""
        if self.anchor is None:
            self.anchor = place if self.current is None else self.current
        if not adds:
            self.is_chosen[:] = False
        first, last = sorted((self.anchor, place))
        self.is_chosen[first : last + 1] = True
        self.current = place

    def choose_all(self, places: NDArray[np.int64], before: NDArray[np.bool_] | None) -> None:
        """Select these positions, and those of a mask (n,) where one is given."""
        self.is_chosen[:] = False if before is None else before
        self.is_chosen[places] = True

    def clear(self) -> None:
        """Select none."""
        self.is_chosen[:] = False
