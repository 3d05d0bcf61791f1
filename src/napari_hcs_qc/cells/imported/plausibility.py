"""Whether positions from outside lie on the nuclei of the plate, and if not, what they may be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import scipy  # its parts are loaded when they are first used: `stats` takes a second
from scipy.spatial import cKDTree

from napari_hcs_qc.cells.by_site import CellsBySite
from napari_hcs_qc.cells.detect import find_cells, plate_diameter
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.text import a_few, count_of, percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.plates.plate import Plate, Projection
    from napari_hcs_qc.tables.plate_sites import PlateSites
    from napari_hcs_qc.tables.positions_are import PositionsAre

_P_VALUE = 1e-3  # below it a share is no chance
_EXCESS = 0.2  # and of what chance leaves to be explained, so much is explained
_FEW_ROWS = 20  # fewer are not refused for what they do not show
_BETTER = 0.5  # share of the rows that another reading must explain beyond chance
_SHIFTS = 5  # positions are moved by multiples of 1/5 of the image, to see what chance gives
_ROWS_FOR_CHANCE = 5000
_MOST_ROWS = 600  # compared under each of many readings
_COST = 0.02  # share of the rows that one more thing said of the positions must explain
_SAMPLE_SITES = 9
_LEAST_GAIN = 4  # rows that another reading must explain and this one does not
_UM_PER_PX = (0.05, 8.0)  # sizes of a pixel tried where the plate does not state it
_MOST_SIZES = 1200
_BINS = (2.0, 4.0, 0.5, 0.25)


@dataclass(frozen=True, eq=False)
class Nuclei:
    """Where the nuclei of some sites lie."""

    by_site: Mapping[tuple[str, str, int], NDArray[np.float64]]  # (n, 2): y_px, x_px
    radius_px: float
    shape: tuple[int, int]  # of an image

    @classmethod
    def of(
        cls,
        cells: Mapping[str, pd.DataFrame],
        sites: Iterable[tuple[str, str, int]],
        radius_px: float,
        shape: tuple[int, int],
    ) -> Nuclei:
        """Take them from tables of cells by plate; of the sites looked at some may have none."""
        by_site: dict[tuple[str, str, int], NDArray[np.float64]] = {
            site: np.empty((0, 2)) for site in sites
        }
        for plate, table in cells.items():
            yx = table[["y_px", "x_px"]].to_numpy(np.float64)
            places = CellsBySite.of(table)
            for key in places.sites:
                by_site[(plate, *key)] = yx[places.rows(key)]
        return cls(by_site, radius_px, shape)

    @cached_property
    def trees(self) -> dict[tuple[str, str, int], cKDTree]:
        """Of the sites that have nuclei."""
        return {site: cKDTree(yx) for site, yx in self.by_site.items() if len(yx)}


@dataclass(frozen=True, kw_only=True)
class PositionCheck:
    """How many positions lie on a nucleus, against what chance gives."""

    n: int = 0  # positions on sites whose nuclei are known, or on sites that there are not
    n_on_nucleus: int = 0
    chance: float = 0.0  # share of shifted positions that lie on a nucleus
    fits: bool = True  # whether clearly more are on a nucleus than by chance
    better: PositionsAre | None = None  # a reading that explains clearly more
    n_better: int = 0
    wells: tuple[str, ...] = ()  # the only ones for which it does; none: for all
    n_wells: int = 0  # positions in these
    note: str = ""  # why nothing was compared

    @property
    def is_refused(self) -> bool:
        """Whether the positions are not to be believed."""
        return self.better is not None or (not self.fits and self.n >= _FEW_ROWS)

    @property
    def sentence(self) -> str:
        """Say the result."""
        if self.note:
            return self.note
        text = (
            f"{self.n_on_nucleus:,} of {count_of(self.n, 'position')} on a nucleus (by chance "
            f"{percent(self.chance)})"
        )
        return text if self.fits else f"{text}: not clearly more than by chance"

    def checked(
        self,
        source: Path,
        *,
        accept: bool,
        of: Literal["positions", "masks"] = "positions",
        other_plate: str = "",
    ) -> PositionCheck:
        """Refuse positions that are not to be believed, naming the likely cause.

        Of a plate that is called otherwise few positions must lie on nuclei as well.
        """
        if accept or not (self.is_refused or (other_plate and not self.fits)):
            return self
        accepted = f"If the {of} are meant so, give --accept-positions."
        otherwise = ""
        if self.better is not None:
            otherwise = f"With {self.better.meaning}, {self.n_better:,} would be. "
        if of == "masks":
            raise HcsQcError(
                f"{source}: {self.sentence}. {otherwise}The masks may be of another plate, turned, "
                "or named otherwise than the images that they were made from; give each the name "
                f"of its image. {accepted}"
            )
        if self.better is not None and self.wells:
            raise HcsQcError(
                f"{source}: {self.sentence}. In {count_of(len(self.wells), 'well')} "
                f"({a_few(self.wells, 6)}) the positions seem to be others than in the rest: with "
                f"{self.better.meaning}, {self.n_better:,} of {self.n_wells:,} would be on a "
                f"nucleus. Correct the rows of these wells. {accepted}"
            )
        if otherwise:
            raise HcsQcError(
                f"{source}: {self.sentence}. {otherwise}If that is so, give --positions-are "
                f"{self.better}. {accepted}"
            )
        if other_plate:
            raise HcsQcError(
                f"{source}: {self.sentence}, and its plate is called {other_plate}: it is likely "
                f"of another plate. Give the file of this plate. {accepted}"
            )
        raise HcsQcError(
            f"{source}: {self.sentence}. Another unit, binning, swapped x and y, or another count "
            "of sites does not explain it; they may be of another plate, or of other images. "
            f"Check that they are px of the images of this plate. {accepted}"
        )


def check_positions(
    places: pd.DataFrame, nuclei: Nuclei, are: PositionsAre, plates: Mapping[str, PlateSites]
) -> PositionCheck:
    """Compare positions (plate, well, site, y_px, x_px as the table has them) with nuclei."""
    finite = places.replace([np.inf, -np.inf], np.nan).dropna()
    places = _sampled(finite, nuclei, plates)
    n, n_nuclei = len(places), sum(map(len, nuclei.by_site.values()))
    if not n:
        return PositionCheck(note="no position is on a site of the plate")
    if n_nuclei < 0.2 * min(n, _MOST_ROWS):
        return PositionCheck(note="too few nuclei were found on the plate to check the positions")
    rows = _Rows(places, nuclei, plates, are)
    some = (
        rows
        if n <= _ROWS_FOR_CHANCE
        else _Rows(_some(places, _ROWS_FOR_CHANCE), nuclei, plates, are)
    )
    hits = rows.hits(are)
    n_hit, chance = int(hits.sum()), some.chance(are)
    check = PositionCheck(n=n, n_on_nucleus=n_hit, chance=chance, fits=_is_clear(n_hit, n, chance))
    if n < _LEAST_GAIN:
        return check
    poor = _poor_wells(places, hits)
    if poor.any() and not poor.all():
        in_wells = _Check(places[poor], nuclei, are, plates)
        rest = _Rows(places[~poor], nuclei, plates, are)
        better = in_wells.better()
        if better is not None and (rest.hits(are).sum() - rest.hits(better).sum() >= _LEAST_GAIN):
            wells = tuple(dict.fromkeys(places.loc[poor, "well"]))
            return replace(
                check,
                better=better,
                n_better=in_wells.n_hits(better),
                wells=wells,
                n_wells=int(poor.sum()),
            )
    if check.fits and n_hit > 0.8 * n:
        return check
    of_all = _Check(places, nuclei, are, plates)
    better = of_all.better()
    if better is None:
        return check
    return replace(check, better=better, n_better=of_all.n_hits(better))


def _poor_wells(places: pd.DataFrame, hits: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which rows are of wells in which most positions are on no nucleus."""
    wells = [places["plate"].to_numpy(), places["well"].to_numpy()]
    share = pd.Series(hits, places.index).groupby(wells).transform("mean")
    return share.to_numpy() < 0.5


@dataclass(frozen=True, eq=False)
class _Check:
    """The search for a reading of positions that explains clearly more of them."""

    places: pd.DataFrame
    nuclei: Nuclei
    are: PositionsAre
    plates: Mapping[str, PlateSites]

    def _rows(self, places: pd.DataFrame, are: PositionsAre) -> _Rows:
        return _Rows(places, self.nuclei, self.plates, are)

    def n_hits(self, are: PositionsAre) -> int:
        """Count the positions on a nucleus."""
        return int(self._rows(self.places, are).hits(are).sum())

    def better(self) -> PositionsAre | None:
        """Find it; None where there is none."""
        are, few = self.are, _some(self.places, _MOST_ROWS)
        base = self._rows(few, are).hits(are)
        best, hits, best_rows, best_score, n_tried = are, base & False, self._rows(few, are), 0.0, 0
        least_named = int(self.places["site"].min())
        for first, readings in _readings(are, self.plates, self.nuclei, least_named):
            moved = self._rows(few, first)
            for reading in readings:
                n_tried += 1
                some_hits = moved.distinct_hits(reading)
                score = some_hits.mean() - _COST * str(reading).count(",")
                # Of many sizes of a pixel one fits a little better than the truth, by chance.
                score -= 3 * _COST * (reading.um_per_px is not None)
                if score > best_score:
                    best, hits, best_rows, best_score = reading, some_hits, moved, score
        if not _is_better(hits, base, best_rows.chance(best), n_tried):
            return None
        if best.um_per_px is not None:
            return replace(best, um_per_px=best_rows.fitted_size(best, best.um_per_px))
        return best


def sample_nuclei(
    plate: Plate,
    places: pd.DataFrame,
    *,
    channel: int = 0,
    projection: Projection = "max",
    job: Job = NO_JOB,
) -> Nuclei:
    """Find the nuclei of some sites with many of these places."""
    diameter = plate_diameter(plate, channel=channel, projection=projection, job=job)
    shape = plate.layout.shape
    if not np.isfinite(diameter):
        return Nuclei({}, 1.0, shape)
    sites = _sample_of_sites(plate, places)
    found = find_cells(
        plate,
        channel=channel,
        projection=projection,
        diameter_px=diameter,
        sites=sites,
        job=job,
    )
    unreadable = {problem.where for problem in found.unreadable}
    looked_at = [(plate.name, *site) for site in sites if str(site) not in unreadable]
    return Nuclei.of({plate.name: found.cells}, looked_at, diameter / 2, shape)


def _sample_of_sites(plate: Plate, places: pd.DataFrame) -> list[SiteKey]:
    """All sites of some wells with many rows: sites may be counted otherwise than ours."""
    wells = places["well"].value_counts().index
    sites: list[SiteKey] = []
    for well in wells:
        sites += [site for site in plate.sites if site.well == well]
        if len(sites) >= _SAMPLE_SITES:
            break
    return sites


def _sampled(
    places: pd.DataFrame, nuclei: Nuclei, plates: Mapping[str, PlateSites]
) -> pd.DataFrame:
    """Rows of wells whose nuclei are known, on all of their sites that can be read."""
    looked_at = {key[:2] for key in nuclei.by_site}
    known = {(name, *key) for name, plate in plates.items() for key in plate.sites}
    unread = known - set(nuclei.by_site)
    keys = zip(places["plate"], places["well"], places["site"], strict=True)
    return places[[key[:2] in looked_at and key not in unread for key in keys]]


def _some(places: pd.DataFrame, most: int) -> pd.DataFrame:
    return places if len(places) <= most else places.sample(most, random_state=0)


class _Rows:
    """Positions by the site that they are on, as one count of the sites has it."""

    def __init__(
        self,
        places: pd.DataFrame,
        nuclei: Nuclei,
        plates: Mapping[str, PlateSites],
        are: PositionsAre,
    ) -> None:
        self._nuclei = nuclei
        self._y, self._x = (places[axis].to_numpy(np.float64) for axis in ("y_px", "x_px"))
        self._groups: list[tuple[PlateSites, cKDTree, int, NDArray[np.intp]]] = []
        first = {key: index for index, key in enumerate(nuclei.trees)}
        for name, plate in plates.items():
            of_plate = np.flatnonzero(places["plate"] == name)
            by_site = CellsBySite.of(places.iloc[of_plate])
            for well, site in by_site.sites:
                key = (name, well, site + are.site_shift(plate))
                if key in nuclei.trees:
                    rows = of_plate[by_site.rows(SiteKey(well, site))]
                    number = 1_000_000 * first[key]  # which nucleus, over all sites
                    self._groups.append((plate, nuclei.trees[key], number, rows))

    def _nearest(
        self, are: PositionsAre, down: float = 0.0, right: float = 0.0
    ) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
        """Tell which positions lie on a nucleus, moved around the image, and on which."""
        is_hit = np.zeros(len(self._y), bool)
        nearest = np.full(len(self._y), -1, np.intp)
        height, width = self._nuclei.shape
        for plate, tree, number, rows in self._groups:
            y, x = are.px(self._y[rows], self._x[rows], plate)
            inside = (y >= -0.5) & (y <= height - 0.5) & (x >= -0.5) & (x <= width - 0.5)
            if down or right:
                y, x = (y + down * height) % height, (x + right * width) % width
            distance, index = tree.query(np.stack([y, x], axis=1))
            is_hit[rows] = inside & (distance <= self._nuclei.radius_px)
            nearest[rows] = number + index
        return is_hit, nearest

    def hits(self, are: PositionsAre) -> NDArray[np.bool_]:
        """Tell which positions lie on a nucleus."""
        return self._nearest(are)[0]

    def distinct_hits(self, are: PositionsAre) -> NDArray[np.bool_]:
        """Tell the same; none where many positions have shrunk onto few nuclei."""
        is_hit, nearest = self._nearest(are)
        n_spots = len(set(zip(self._y[is_hit].tolist(), self._x[is_hit].tolist(), strict=True)))
        n_nuclei = len(np.unique(nearest[is_hit]))
        return is_hit if n_nuclei >= 0.5 * n_spots else is_hit & False

    def fitted_size(self, are: PositionsAre, um_per_px: float) -> float:
        """Size of a pixel by which the positions lie closest to the nuclei that they are on."""
        products = squares = 0.0
        for plate, tree, _, rows in self._groups:
            here = np.stack(are.px(self._y[rows], self._x[rows], plate), axis=1)
            distance, index = tree.query(here)
            is_hit = distance <= self._nuclei.radius_px
            products += float((here[is_hit] * tree.data[np.asarray(index)[is_hit]]).sum())
            squares += float((here[is_hit] ** 2).sum())
        return float(f"{um_per_px * squares / products:.3g}") if products > 0 else um_per_px

    def chance(self, are: PositionsAre) -> float:
        """Share of the positions on a nucleus when they are moved around the image."""
        shares = [
            self._nearest(are, down / _SHIFTS, right / _SHIFTS)[0].mean()
            for down in range(_SHIFTS)
            for right in range(_SHIFTS)
            if (down, right) != (0, 0)
        ]
        return float(np.mean(shares))


def _is_clear(n_hit: int, n: int, chance: float) -> bool:
    """Tell whether so many hits are clearly more than by chance (exact binomial test)."""
    if n == 0:
        return False
    p_value = float(scipy.stats.binom.sf(n_hit - 1, n, min(chance, 1.0)))
    excess = (n_hit / n - chance) / max(1e-9, 1 - chance)
    # A handful of rows cannot reach the level: there it suffices that most are hits.
    return excess >= _EXCESS and (p_value < _P_VALUE or (n < _FEW_ROWS and excess >= _BETTER))


def _is_better(
    hits: NDArray[np.bool_], base: NDArray[np.bool_], chance: float, n_tried: int
) -> bool:
    """Tell whether another reading explains clearly more, the number of those tried allowed for."""
    n, n_hit = len(hits), int(hits.sum())
    chance = max(chance, 1 / (4 * n))
    if (n_hit / n - chance) / max(1e-9, 1 - chance) < _BETTER:
        return False
    if scipy.stats.binom.sf(n_hit - 1, n, chance) > 0.01 / max(1, n_tried):
        return False
    gained, lost = int((hits & ~base).sum()), int((base & ~hits).sum())
    return gained >= _LEAST_GAIN and bool(
        scipy.stats.binom.sf(gained - 1, gained + lost, 0.5) < 0.1
    )


def _readings(
    are: PositionsAre, plates: Mapping[str, PlateSites], nuclei: Nuclei, least_named: int
) -> Iterator[tuple[PositionsAre, list[PositionsAre]]]:
    """Give what else the positions may be: for each count of the sites, the likely ones first."""
    units = [are]
    if not are.is_um:
        units.append(replace(are, is_swapped=not are.is_swapped))
        units += [replace(are, binned=are.binned * binning) for binning in _BINS]
        units.append(replace(are, is_y_up=True))
    if any(plate.pixel_size_um is None for plate in plates.values()):
        step = nuclei.radius_px / max(nuclei.shape)  # by which no position moves off its nucleus
        n_sizes = min(_MOST_SIZES, int(np.log(_UM_PER_PX[1] / _UM_PER_PX[0]) / step) + 1)
        sizes = np.geomspace(*_UM_PER_PX, n_sizes).tolist()
        units += [replace(are, is_um=True, um_per_px=round(size, 4)) for size in sizes]
    elif not are.is_um:
        units.append(replace(are, is_um=True))
        units.append(replace(are, is_um=True, is_centred=True, is_y_up=True))
    firsts = [are.sites_from]
    if are.sites_from is None:
        least = min((plate.first_site for plate in plates.values()), default=1)
        likely = dict.fromkeys((least - 1, least + 1, least_named))
        firsts += [number for number in likely if number >= 0 and number != least]
    for first in firsts:
        readings = [replace(unit, sites_from=first) for unit in units]
        yield readings[0], [reading for reading in readings if reading != are]
