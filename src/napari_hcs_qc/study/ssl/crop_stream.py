"""Crops of unlabelled cells, in mixed batches: fields are read whole, nothing is stored.

A batch of one field's cells would look alike in light and density, and tell a method more about
fields than about cells. So fields are read in random order and their crops are mixed through a
buffer of bounded size. Which cells a batch holds is planned beforehand from the table of cells
alone: it is the same for every number of processes, and from any step on it is had again without
reading what came before.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from napari_hcs_qc.cells.by_site import CellsBySite
from napari_hcs_qc.cells.crops import cut_crops
from napari_hcs_qc.encoders.embed.crop_reader import Batch
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import fingerprint
from napari_hcs_qc.study.ssl.distributed import World
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.embed.crop_reader import CropSource
    from napari_hcs_qc.errors import Problem
    from napari_hcs_qc.plates.plate import SiteKey

Chunk: TypeAlias = "tuple[int, NDArray[np.int64]]"
"""Number of a batch, and the cells it is made of."""

BUFFER_CELLS = 4096
"""Crops between reading and training; at 64 px of one channel 64 MB."""


class CropStream:
    """The cells of some plates as batches of crops.

    A cell is shown in one view of the recipe, one scale in one group of channels, drawn for each
    cell once: what a method remembers of a cell belongs to what it sees of it.
    """

    def __init__(
        self,
        sources: Sequence[CropSource],
        *,
        batch_size: int,
        n_cells: int | None = None,
        seed: int = 0,
        buffer_cells: int = BUFFER_CELLS,
        world: World | None = None,
    ) -> None:
        self.sources, self.seed, self.buffer_cells = tuple(sources), seed, buffer_cells
        self.world = world or World()
        counts = [len(source.cells) for source in self.sources]
        chosen = self._choose(sum(counts), n_cells)
        self.n_cells = len(chosen)
        size = self.world.size
        self.batch_size = min(batch_size, self.n_cells) // size * size
        if self.batch_size < 2 * size:
            raise HcsQcError(
                f"There are {count_of(self.n_cells, 'cell')} to train on and batches of "
                f"{batch_size} for {count_of(size, 'process', 'processes')}; at least 2 cells for "
                "each process are needed. Find more cells, or use fewer processes."
            )
        self.n_steps = self.n_cells // self.batch_size
        starts = np.cumsum([0, *counts])
        self._plate = np.searchsorted(starts, chosen, side="right") - 1
        self._row = chosen - starts[self._plate]
        self._site, self._keys = self._sites()
        self._view = self._views()
        self.left_out: dict[int, Problem] = {}
        self._spare: tuple[int, torch.Tensor] | None = None

    # ---- what there is -------------------------------------------------------------------

    def _choose(self, total: int, n_cells: int | None) -> NDArray[np.int64]:
        if n_cells is None or n_cells >= total:
            return np.arange(total)
        rng = np.random.default_rng([self.seed, 1])
        return np.sort(rng.choice(total, n_cells, replace=False)).astype(np.int64)

    def _sites(self) -> tuple[NDArray[np.int64], list[tuple[int, SiteKey]]]:
        site = np.empty(self.n_cells, np.int64)
        keys: list[tuple[int, SiteKey]] = []
        for plate, source in enumerate(self.sources):
            mine = np.flatnonzero(self._plate == plate)
            by_site = CellsBySite.of(source.cells)
            used, code = np.unique(by_site.code[self._row[mine]], return_inverse=True)
            site[mine] = len(keys) + code
            keys.extend((plate, by_site.sites[index]) for index in used.tolist())
        return site, keys

    def _views(self) -> NDArray[np.int64]:
        rng = np.random.default_rng([self.seed, 2])
        view = np.empty(self.n_cells, np.int64)
        for plate, source in enumerate(self.sources):
            mine = np.flatnonzero(self._plate == plate)
            n_views = len(source.recipe.scales) * len(source.groups)
            # Dealt out, not drawn: as many cells in each.
            view[mine] = rng.permutation(len(mine)) % n_views
        return view

    @property
    def n_sites(self) -> int:
        """Number of sites with a cell that is used."""
        return len(self._keys)

    @property
    def unreadable(self) -> tuple[Problem, ...]:
        """Sites that could not be read, named by their plate."""
        return tuple(
            replace(
                problem, where=f"{self.sources[self._keys[site][0]].plate.name} {problem.where}"
            )
            for site, problem in sorted(self.left_out.items())
        )

    @property
    def fingerprint(self) -> str:
        """Content address of the plates, cells, ranges and recipes, and of what was drawn."""
        digest = hashlib.sha256()
        for plate, source in enumerate(self.sources):
            cells = source.cells.iloc[self._row[self._plate == plate]]
            digest.update("\0".join(cells["well"]).encode())
            for column, kind in (("site", "<i8"), ("y_px", "<f4"), ("x_px", "<f4")):
                digest.update(cells[column].to_numpy(dtype=kind).tobytes())
        return fingerprint(
            {
                "plates": [source.plate.fingerprint for source in self.sources],
                "ranges": [source.ranges.fingerprint for source in self.sources],
                "recipes": [source.recipe.fingerprint for source in self.sources],
                "projections": [str(source.projection) for source in self.sources],
                "cells": digest.hexdigest(),
                "drawn": [self.seed, self.batch_size, self.buffer_cells],
            }
        )

    # ---- batches -------------------------------------------------------------------------

    def plan(self, epoch: int, left_out: Iterable[int] = ()) -> NDArray[np.int64]:
        """Give the cells of an epoch, `n_steps` batches one after the other.

        A cell comes between 0 and `buffer_cells` places later than its field is read, so that
        never more than so many crops wait. Cells that do not fill a batch are left out, others
        each epoch; where sites are left out, their places go to the first ones once more.
        """
        rng = np.random.default_rng([self.seed, 3, epoch])
        turn = rng.permutation(self.n_sites)
        reading = np.lexsort((rng.random(self.n_cells), turn[self._site]))
        place = np.arange(self.n_cells) + rng.random(self.n_cells) * self.buffer_cells
        order = reading[np.argsort(place, kind="stable")]
        gone = np.fromiter(left_out, np.int64)
        if len(gone):
            order = order[~np.isin(self._site[order], gone)]
        if not len(order):
            raise HcsQcError(
                f"None of the {self.n_sites} sites with cells can be read; see 'hcs-qc status'."
            )
        return np.resize(order, self.n_steps * self.batch_size).astype(np.int64)

    def batches(self, chunks: Sequence[Chunk]) -> Iterator[Batch]:
        """Cut the crops of this process's share of some batches."""
        parts = [(number, rows[self.world.share(len(rows))]) for number, rows in chunks]
        held: dict[int, list[torch.Tensor]] = {}
        for lap in self._laps(parts):
            waiting: dict[int, list[int]] = {}
            for _, rows in lap:
                for row in rows.tolist():
                    waiting.setdefault(int(self._site[row]), []).append(row)
            for number, rows in lap:
                for site in dict.fromkeys(self._site[rows].tolist()):
                    if site in waiting:
                        self._cut(site, waiting.pop(site), held)
                yield self._assemble(number, rows, held)

    def _laps(self, chunks: Sequence[Chunk]) -> Iterator[Sequence[Chunk]]:
        """Divide chunks where cells begin to come again: a cell that comes twice is cut twice."""
        begin, seen = 0, set[int]()
        for index, (_, chunk) in enumerate(chunks):
            rows = set(chunk.tolist())
            if self.left_out and seen & rows:
                yield chunks[begin:index]
                begin, seen = index, set()
            seen |= rows
        yield chunks[begin:]

    def _cut(self, site: int, rows: list[int], held: dict[int, list[torch.Tensor]]) -> None:
        """Read a site and cut some of its cells, each in its view."""
        plate, key = self._keys[site]
        source = self.sources[plate]
        read = source.read(key)
        if read.pixels is None:
            if read.problem is not None:
                self.left_out[site] = read.problem
            return
        chosen = np.array(rows, np.int64)
        n_groups = len(source.groups)
        for view in np.unique(self._view[chosen]).tolist():
            some = chosen[self._view[chosen] == view]
            scale, group = source.recipe.scales[view // n_groups], source.groups[view % n_groups]
            recipe: CropRecipe = replace(source.recipe, scales=(scale,))
            cells = source.cells.iloc[self._row[some]]
            # Only the channels that are shown are padded and cut.
            crops = cut_crops(
                read.pixels[list(group)],
                cells["y_px"].to_numpy(dtype=np.float64),
                cells["x_px"].to_numpy(dtype=np.float64),
                recipe,
                [range(len(group))],
            )
            for row, crop in zip(some.tolist(), crops[:, 0], strict=True):
                held.setdefault(row, []).append(crop)

    def _assemble(
        self, number: int, rows: NDArray[np.int64], held: dict[int, list[torch.Tensor]]
    ) -> Batch:
        there: list[tuple[int, torch.Tensor]] = []
        for row in rows.tolist():
            crops = held.get(row)
            if crops:
                there.append((row, crops.pop()))
                if not crops:
                    del held[row]
        if not there:
            if self._spare is None:
                first = next(iter(self.left_out.values()), None)
                raise HcsQcError(
                    f"None of the cells of a whole batch can be read ({first}); check the files of "
                    "the plate."
                )
            there = [self._spare]
        n_there = len(there)
        filled = [there[index % n_there] for index in range(len(rows))]
        self._spare = filled[0]
        all_rows = np.array([row for row, _ in filled], np.intp)
        return Batch(
            chunk=number,
            n_cells=len(rows),
            rows=all_rows,
            crops=torch.stack([crop for _, crop in filled]),
            ends_chunk=True,
        )

    # ---- all cells once, and a few of them -----------------------------------------------

    def everything(self, at_once: int) -> list[Chunk]:
        """List this process's share of all cells, field by field, as chunks for `batches_of`."""
        mine = np.flatnonzero(self._site % self.world.size == self.world.rank)
        mine = mine[~np.isin(self._site[mine], list(self.left_out))]
        ordered = mine[np.argsort(self._site[mine], kind="stable")]
        return [
            (number, ordered[begin : begin + at_once])
            for number, begin in enumerate(range(0, len(ordered), at_once))
        ]

    def batches_of(self, chunks: Sequence[Chunk]) -> Iterator[Batch]:
        """Cut the crops of given cells, whole chunks whatever the share; unreadable ones absent."""
        for number, rows in chunks:
            held: dict[int, list[torch.Tensor]] = {}
            for site in np.unique(self._site[rows]).tolist():
                self._cut(site, rows[self._site[rows] == site].tolist(), held)
            there = [row for row in rows.tolist() if row in held]
            crops = torch.stack([held[row][0] for row in there]) if there else torch.empty(0)
            yield Batch(
                chunk=number,
                n_cells=len(rows),
                rows=np.array(there, np.intp),
                crops=crops,
                ends_chunk=True,
            )

    def few(self, n_cells: int, most_sites: int = 24) -> NDArray[np.int64]:
        """Draw some cells of few sites, spread over all plates, to look at again and again."""
        rng = np.random.default_rng([self.seed, 4])
        sites = rng.permutation(self.n_sites)[:most_sites]
        rows = np.flatnonzero(np.isin(self._site, sites))
        drawn: NDArray[np.int64] = np.sort(rng.permutation(rows)[:n_cells])
        return drawn

    def describe(self) -> dict[str, Any]:
        """Plain data on what is trained on, for a manifest."""
        return {
            "n_cells": self.n_cells,
            "n_sites": self.n_sites,
            "batch_size": self.batch_size,
            "plates": [
                {
                    "name": source.plate.name,
                    "fingerprint": source.plate.fingerprint,
                    "ranges": source.ranges.fingerprint,
                    "n_cells": int((self._plate == plate).sum()),
                }
                for plate, source in enumerate(self.sources)
            ],
            "cells": self.fingerprint,
            "unreadable": [str(problem) for problem in self.unreadable],
        }


@dataclass(frozen=True)
class Reading:
    """One of the stream's ways to read chunks, as `CropReader` takes it."""

    # `CropStream.batches` or `CropStream.batches_of`
    read: Callable[[Sequence[Chunk]], Iterator[Batch]]

    def batches(self, chunks: Sequence[Chunk]) -> Iterator[Batch]:
        """Give the batches."""
        return self.read(chunks)
