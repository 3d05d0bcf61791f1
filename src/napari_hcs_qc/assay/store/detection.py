"""The cells step of an assay: intensity ranges, cells and image quality of one plate."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from napari_hcs_qc.assay.store.plate_cells import (
    CELLS,
    CONTENT,
    NUCLEI,
    PIXELS,
    QUALITY,
    CellsDocument,
    PlateCells,
    checksums_of,
    load_cells,
    pixels_of,
)
from napari_hcs_qc.cells.detect import find_cells, median_diameter, plate_diameter
from napari_hcs_qc.cells.detectors.detector import nuclei_finder
from napari_hcs_qc.cells.imported.import_cells import import_cells
from napari_hcs_qc.cells.intensity import measure_intensity
from napari_hcs_qc.cells.table import empty_cells, join_cells, read_cells, write_cells
from napari_hcs_qc.documents import Document
from napari_hcs_qc.errors import HcsQcError, Problem, UnreadableSiteError
from napari_hcs_qc.files import atomic_path, fingerprint, sha256_of
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates.content import content_of
from napari_hcs_qc.plugins import BUILT_IN_DETECTOR
from napari_hcs_qc.qc.image_quality import measure_site, quality_table
from napari_hcs_qc.read_table import read_parquet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_hcs_qc.cells.imported.options import ImportOptions
    from napari_hcs_qc.cells.intensity import IntensityRanges
    from napari_hcs_qc.plates.plate import Plate, Projection, SiteKey
    from napari_hcs_qc.qc.quality_measures import ChannelQuality

_SITES_A_PART = 16
"""Sites that are finished together; a run that was killed computes at most so many again."""

_FALLBACK_DIAMETER_PX = 30.0


class PartDocument(Document):
    """The sites that could not be read of a part of a plate, kept until all parts are joined."""

    format: Literal["napari-hcs-qc part"] = "napari-hcs-qc part"
    format_version: Literal[2] = 2
    unreadable: tuple[tuple[str, str], ...]
    cells_sha256: str = ""
    quality_sha256: str = ""


def detect(
    plate: Plate,
    folder: Path,
    *,
    channel: str | int = 0,
    source: Path | None = None,
    detector: str = BUILT_IN_DETECTOR,
    projection: Projection = "max",
    seed: int = 0,
    importing: ImportOptions | None = None,
    job: Job = NO_JOB,
) -> PlateCells:
    """Find or import the cells of a plate, and measure every site's image quality.

    Works through the plate in parts of some sites; a part that is finished stays so when the
    work is stopped or killed, and the next run goes on from there.
    """
    plate.checks.clear()
    index = plate.channel_index(channel)
    name = plate.channels[index].name
    ranges = measure_intensity(plate, seed=seed, projection=projection, job=job)
    imported = None
    if source is not None:
        imported = import_cells(
            plate, source, channel=index, projection=projection, options=importing, job=job
        )
        diameter_px = imported.diameter_px
    else:
        diameter_px = plate_diameter(plate, channel=index, projection=projection, job=job)
    if imported is not None:
        detector = BUILT_IN_DETECTOR
    finder = nuclei_finder(detector, plate, diameter_px)
    looked_for = None if math.isnan(diameter_px) else diameter_px
    inputs = {
        "plate": plate.fingerprint,
        "ranges": ranges.fingerprint,
        "diameter_px": looked_for,
        "channel": index,
        "projection": projection,
        "imported": imported is not None,
        "detector": [detector, finder.package],
    }
    parts = _Parts(
        folder=folder / "parts" / fingerprint(inputs),
        plate=plate,
        ranges=ranges,
        channel=index,
        projection=projection,
        diameter_px=diameter_px,
        detector=None if imported is not None else detector,
    )
    n_sites = len(plate.sites)
    for number, start in enumerate(range(0, n_sites, _SITES_A_PART)):
        job.check()

        def part_progress(done: int, _total: int, message: str, start: int = start) -> None:
            job.report(start + done, n_sites, message)

        if not parts.path(number).is_file():
            block = plate.sites[start : start + _SITES_A_PART]
            parts.work(number, block, job.with_progress(part_progress))
    job.report(n_sites, n_sites, "Combining the cells")
    plate_cells, quality, unreadable = parts.join()
    _name_other_pixels(plate, folder, quality, projection)
    changed = _changes_since(plate, folder)
    if len(unreadable) == n_sites:
        can, check = "be read", "the files or the disk they are on"
        if detector != BUILT_IN_DETECTOR:
            can, check = "be read and segmented", f"{check}, and the detector {detector}"
        raise HcsQcError(
            f"None of the {n_sites} sites of plate {plate.name} can {can}, for example "
            f"{unreadable[0]}. Check {check}."
        )
    cells = plate_cells if imported is None else imported.cells
    median_px = median_diameter(cells, diameter_px)
    table, measured = folder / "cells.parquet", folder / QUALITY
    write_cells(cells, table, {"plate": plate.name, "channel": name})
    with atomic_path(measured) as temporary:
        quality.to_parquet(temporary, index=False)
    # Last: without it the step counts as not done.
    CellsDocument(
        plate_fingerprint=plate.fingerprint,
        ranges=ranges,
        # A plate without any nucleus still needs a scale for crops and pictures.
        diameter_px=_FALLBACK_DIAMETER_PX if math.isnan(median_px) else median_px,
        channel=name,
        projection=projection,
        source=NUCLEI if source is None else str(source),
        detector=detector,
        detector_package=finder.package,
        unreadable=tuple((problem.where, problem.what) for problem in unreadable),
        problems=tuple(
            (problem.where, problem.what, problem.fix)
            for problem in (*changed, *(imported.problems if imported else finder.guesses))
        ),
        check=imported.check if imported else "",
        understood=imported.understood if imported else "",
        content=content_of(plate),
        files=plate.files,
        cells_sha256=sha256_of(table),
        quality_sha256=sha256_of(measured),
    ).save(folder / CELLS)
    (folder / CONTENT).unlink(missing_ok=True)
    shutil.rmtree(folder / "parts", ignore_errors=True)
    return load_cells(folder)


def _name_other_pixels(
    plate: Plate, folder: Path, quality: pd.DataFrame, projection: Projection
) -> None:
    """Give a plate another fingerprint where pixels are others than before under the same dates.

    All that was computed of it is named by that.
    """
    try:
        before = load_cells(folder)
    except HcsQcError:
        return
    known = CellsDocument.load(folder / CELLS).plate_fingerprint
    if known != plate.fingerprint or before.projection != projection:
        return
    pixels = pixels_of(quality)
    if any(before.pixels.get(place, checksum) != checksum for place, checksum in pixels.items()):
        plate.known_as(fingerprint({"plate": known, "pixels": list(pixels.values())}))


def _changes_since(plate: Plate, folder: Path) -> tuple[Problem, ...]:
    known = CellsDocument.load_if_valid(folder / CELLS)
    if known is None or known.plate_fingerprint == plate.fingerprint:
        return ()
    what = "have changed since the cells were found before; they were found again."
    return (Problem("images", what),)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Parts:
    """Blocks of sites, each finished once its cells are written."""

    folder: Path
    plate: Plate
    ranges: IntensityRanges
    channel: int
    projection: Projection
    diameter_px: float
    detector: str | None  # what finds nuclei; None where cells are imported

    def path(self, number: int) -> Path:
        """Give the file that says that a part is finished."""
        return self.folder / f"{number:05d}.json"

    def work(self, number: int, block: Sequence[SiteKey], job: Job) -> None:
        """Find the cells of a block and measure its image quality."""
        rows: list[tuple[SiteKey, ChannelQuality]] = []
        checksums: list[int] = []

        def measure(site: SiteKey, pixels: NDArray[Any], labels: NDArray[np.int32] | None) -> None:
            measured = measure_site(
                pixels,
                labels,
                self.ranges,
                self.plate.available_channels(site),
                nuclear_channel=self.channel,
                diameter_px=None if math.isnan(self.diameter_px) else self.diameter_px,
            )
            rows.extend((site, quality) for quality in measured)
            checksums.extend(checksums_of(pixels))

        if self.detector is not None:
            result = find_cells(
                self.plate,
                channel=self.channel,
                projection=self.projection,
                diameter_px=self.diameter_px,
                detector=self.detector,
                sites=block,
                on_site=measure,
                job=job,
            )
            cells, unreadable = result.cells, result.unreadable
        else:
            cells, unreadable = empty_cells(), self._measure_only(block, measure, job)
        part = self.path(number)
        table, quality = part.with_suffix(".parquet"), part.with_suffix(".quality.parquet")
        write_cells(cells, table, {})
        with atomic_path(quality) as temporary:
            quality_table(rows).assign(**{PIXELS: checksums}).to_parquet(temporary, index=False)
        PartDocument(
            unreadable=tuple((problem.where, problem.what) for problem in unreadable),
            cells_sha256=sha256_of(table),
            quality_sha256=sha256_of(quality),
        ).save(part)

    def _measure_only(
        self,
        block: Sequence[SiteKey],
        measure: Callable[[SiteKey, NDArray[Any], None], None],
        job: Job,
    ) -> tuple[Problem, ...]:
        unreadable = []
        for done, site in enumerate(block):
            job.check()
            job.report(done, len(block), f"Measuring {site}")
            try:
                channels = self.plate.available_channels(site)
                pixels = self.plate.read_site(site, channels, projection=self.projection)
            except UnreadableSiteError as error:
                unreadable.append(Problem(str(site), str(error).removeprefix(f"{site}: ")))
                continue
            measure(site, pixels, None)
        return tuple(unreadable)

    def join(self) -> tuple[pd.DataFrame, pd.DataFrame, list[Problem]]:
        """Give the cells, the image quality and the unreadable sites of all parts."""
        try:
            return self._joined()
        except HcsQcError as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise HcsQcError(
                f"A part of the cells that an earlier run had found is damaged ({error}). Run the "
                "same command again; it finds all cells anew."
            ) from error

    def _joined(self) -> tuple[pd.DataFrame, pd.DataFrame, list[Problem]]:
        cells, qualities, unreadable = [], [], []
        for part in sorted(self.folder.glob("?????.json")):
            document = PartDocument.load(part)
            unreadable += [Problem(where, what) for where, what in document.unreadable]
            table, quality = part.with_suffix(".parquet"), part.with_suffix(".quality.parquet")
            cells.append(read_cells(table, sha256=document.cells_sha256))
            qualities.append(read_parquet(quality, sha256=document.quality_sha256))
        return join_cells(cells), pd.concat(qualities, ignore_index=True), unreadable
