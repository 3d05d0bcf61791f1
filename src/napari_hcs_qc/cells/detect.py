"""Finding the cells of a plate: nuclei site by site, read and segmented ahead by two threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from napari_hcs_qc.cells.detectors.detector import DetectorError, nuclei_finder
from napari_hcs_qc.cells.intensity import spread_sample
from napari_hcs_qc.cells.nuclei import estimate_diameter
from napari_hcs_qc.cells.table import cells_of_site, join_cells
from napari_hcs_qc.errors import HcsQcError, Problem, UnreadableSiteError
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.plugins import BUILT_IN_DETECTOR

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from napari_hcs_qc.plates.plate import Plate, Projection

OnSite: TypeAlias = Callable[[SiteKey, NDArray[Any], NDArray[np.int32]], None]
"""Called as ``on_site(site, pixels (n_channels, height, width), labels (height, width))``."""

_N_WORKERS = 2
_AHEAD = 2  # Sites that wait, read and segmented, for the caller: what bounds the memory.
_POLL_S = 0.1
_SAMPLE_SITES = 9
_SAMPLE_SIDE_PX = 1024
_diameters: WeakKeyDictionary[Plate, dict[tuple[int, Projection, int], float]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False, kw_only=True)
class CellsResult:
    """The cells of a plate."""

    cells: pd.DataFrame  # columns as `napari_hcs_qc.cells.table.CELL_COLUMNS`
    diameter_px: float  # median diameter of the nuclei that do not touch the border of their image
    unreadable: tuple[Problem, ...] = ()  # sites without cells for a reason: pixels, or detector
    problems: tuple[Problem, ...] = ()  # of an import: rows and masks left out, and why; guesses
    check: str = ""  # of an import: how many positions lie on a nucleus
    understood: str = ""  # of a table: which of its columns are what


def plate_diameter(
    plate: Plate,
    *,
    channel: int = 0,
    projection: Projection = "max",
    seed: int = 0,
    job: Job = NO_JOB,
) -> float:
    """Estimate the diameter of a typical nucleus from nine sites spread over the plate.

    Where those show no nuclei, 27 others are looked at. Of large images the middle is taken. It
    takes as long as finding the cells of some ten sites, so of an opened plate it is known then.
    """
    known, options = _diameters.setdefault(plate, {}), (channel, projection, seed)
    if options in known:
        return known[options]
    diameter, is_whole = _estimated(plate, channel, projection, seed, job)
    if is_whole:
        known[options] = diameter
    return diameter


def _estimated(
    plate: Plate, channel: int, projection: Projection, seed: int, job: Job
) -> tuple[float, bool]:
    """Estimate the diameter, and tell whether all sites asked for could be read."""
    is_whole = True
    sites = [site for site in plate.sites if channel in plate.available_channels(site)]
    sample = spread_sample(sites, _SAMPLE_SITES, seed)
    for _ in range(2):
        images = []
        for done, site in enumerate(sample):
            job.check()
            job.report(done, len(sample), f"Reading {site} for the size of the nuclei")
            try:
                pixels = plate.read_site(site, [channel], projection=projection)
            except UnreadableSiteError:
                is_whole = False
                continue  # Recorded when the site is segmented.
            images.append(_middle(pixels[0]))
        diameter = estimate_diameter(images, job=job)
        if not np.isnan(diameter):
            return diameter, is_whole
        seen = set(sample)
        sample = spread_sample([s for s in sites if s not in seen], 3 * _SAMPLE_SITES, seed)
    return float("nan"), is_whole


def find_cells(
    plate: Plate,
    *,
    channel: int = 0,
    projection: Projection = "max",
    diameter_px: float | None = None,
    detector: str = BUILT_IN_DETECTOR,
    sites: Sequence[SiteKey] | None = None,
    on_site: OnSite | None = None,
    job: Job = NO_JOB,
) -> CellsResult:
    """Find the nuclei of every site of a plate.

    Two threads read and segment ahead of the caller by at most four sites; results are taken in
    the order of `sites`, so the table does not depend on timing, and memory does not grow with
    the number of sites but for the table.
    """
    channel = plate.channel_index(channel)
    wanted = list(plate.sites if sites is None else sites)
    if diameter_px is None:
        diameter_px = plate_diameter(plate, channel=channel, projection=projection, job=job)
    if detector != BUILT_IN_DETECTOR:
        job.report(0, len(wanted), f"Loading the detector {detector}")
    finder = nuclei_finder(detector, plate, diameter_px)

    def read_and_find(site: SiteKey) -> _Site | Problem:
        channels = plate.available_channels(site)
        if channel not in channels or on_site is None:
            channels = (channel,)  # Reading a missing one gives the error that says so.
        try:
            pixels = plate.read_site(site, channels, projection=projection)
            image = pixels[channels.index(channel)]
            labels = finder.find(image)
        except DetectorError:
            raise
        except HcsQcError as error:
            return Problem(str(site), str(error).removeprefix(f"{site}: "))
        return _Site(pixels, labels, cells_of_site(labels, image, site))

    tables: list[pd.DataFrame] = []
    unreadable: list[Problem] = []
    for done, (site, site_cells) in enumerate(_in_order(read_and_find, wanted, job)):
        job.report(done, len(wanted), f"Finding nuclei in {site}")
        if isinstance(site_cells, Problem):
            unreadable.append(site_cells)
            continue
        tables.append(site_cells.cells)
        if on_site is not None:
            on_site(site, site_cells.pixels, site_cells.labels)
    cells = join_cells(tables)
    job.report(len(wanted), len(wanted), f"Found {len(cells)} cells")
    median_px = median_diameter(cells, diameter_px)
    return CellsResult(
        cells=cells,
        diameter_px=median_px,
        unreadable=tuple(unreadable),
        problems=finder.guesses,
    )


def median_diameter(cells: pd.DataFrame, otherwise: float) -> float:
    """Median diameter in px of the cells away from the image border; `otherwise` without any."""
    diameters = cells["diameter_px"].to_numpy()[~cells["is_cut"].to_numpy()]
    diameters = diameters[np.isfinite(diameters)]
    return float(np.median(diameters)) if len(diameters) else otherwise


def _middle(image: NDArray[Any]) -> NDArray[Any]:
    top, left = (max(0, (side - _SAMPLE_SIDE_PX) // 2) for side in image.shape)
    return image[top : top + _SAMPLE_SIDE_PX, left : left + _SAMPLE_SIDE_PX]


@dataclass(frozen=True, eq=False)
class _Site:
    pixels: NDArray[Any]
    labels: NDArray[np.int32]
    cells: pd.DataFrame


def _in_order(
    work: Callable[[SiteKey], _Site | Problem], sites: Sequence[SiteKey], job: Job
) -> Iterator[tuple[SiteKey, _Site | Problem]]:
    """Do the work for all sites, some ahead, and give the results in order."""
    pool = ThreadPoolExecutor(_N_WORKERS, thread_name_prefix="hcs-qc-nuclei")
    waiting: deque[tuple[SiteKey, Future[_Site | Problem]]] = deque()
    rest = iter(sites)
    try:
        while True:
            while len(waiting) < _N_WORKERS + _AHEAD and (site := next(rest, None)) is not None:
                waiting.append((site, pool.submit(work, site)))
            if not waiting:
                return
            site, future = waiting.popleft()
            yield site, _wait(future, job)
    finally:
        # Not waited for: a thread within a site ends by itself and its result is dropped.
        pool.shutdown(wait=False, cancel_futures=True)


def _wait(future: Future[_Site | Problem], job: Job) -> _Site | Problem:
    while True:
        job.check()
        try:
            return future.result(timeout=_POLL_S)
        except NotYet:
            continue
