"""How long a benchmark still takes, from what its draws have taken so far."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

from napari_hcs_qc.heads.finetune import PRESETS
from napari_hcs_qc.job import duration
from napari_hcs_qc.study.benchmark.benchmark_spec import CROP_HEADS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_hcs_qc.study.benchmark.results import TableCell


class TimeLeft:
    """Learns seconds a unit of work, by head."""

    def __init__(self, n_cells: dict[str, int]) -> None:
        self._n_cells = n_cells
        self._took: dict[tuple[str, ...], list[float]] = defaultdict(lambda: [0.0, 0.0])

    def took(self, cell: TableCell, seconds: float) -> None:
        """Learn from a draw that was measured."""
        for key in self._keys(cell):
            self._took[key][0] += seconds
            self._took[key][1] += self._work(cell)

    def seconds(self, cells: Iterable[TableCell], n_at_once: int = 1) -> tuple[float, bool]:
        """Add up what draws will take."""
        total, has_unknown = 0.0, False
        for cell in cells:
            rate = self._rate(cell)
            if rate is None:
                has_unknown = True
            else:
                share = 1 if cell.head in CROP_HEADS else n_at_once
                total += rate * self._work(cell) / share
        return total, has_unknown

    def _rate(self, cell: TableCell) -> float | None:
        for key in self._keys(cell):
            seconds, work = self._took.get(key, (0.0, 0.0))
            if work:
                return seconds / work
        return None

    @staticmethod
    def _keys(cell: TableCell) -> tuple[tuple[str, ...], ...]:
        n = str(cell.n_train)  # the time of a frozen head is not in proportion to it
        return (cell.head, cell.encoder, cell.recipe, n), (cell.head, n), (cell.head,)

    def _work(self, cell: TableCell) -> float:
        """Cells that pass through the head: what its time goes by, roughly."""
        n = cell.n_train or self._n_cells[cell.train]
        if cell.head not in CROP_HEADS:
            return 20 + n
        settings = PRESETS[cell.head]
        n_steps = math.ceil(n / settings.batch_size)
        epochs = max(settings.epochs, math.ceil(settings.min_steps / n_steps))
        # A step goes back through the encoder as well, three times the work of looking.
        return 3.0 * epochs * n + self._n_cells[cell.test] / (3 if cell.train == cell.test else 1)


def time_left_text(seconds: float, *, at_least: bool = False) -> str:
    """Write how long is left, as roughly as it is known."""
    return f"{'more than' if at_least else 'about'} {duration(seconds)} left"
