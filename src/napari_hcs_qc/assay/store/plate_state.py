"""One plate of an assay, opened: its images, its cells, and what people said about them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from shlex import quote
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_hcs_qc.assay.annotations.matching import Matched, match_annotations, training_positions
from napari_hcs_qc.assay.store.plate_cells import (
    CELLS,
    CONTENT,
    CellsDocument,
    ContentDocument,
    PlateCells,
    checksums_of,
    has_cells,
    load_cells,
)
from napari_hcs_qc.assay.store.platemap import with_platemap
from napari_hcs_qc.cells.by_site import CellsBySite
from napari_hcs_qc.errors import HcsQcError, UnreadableSiteError, WriteError
from napari_hcs_qc.files import fingerprint
from napari_hcs_qc.plates.content import content_of
from napari_hcs_qc.text_columns import none_if_missing, with_texts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.plate_entry import PlateEntry
    from napari_hcs_qc.plates.plate import Plate, Projection, SiteKey


@dataclass(frozen=True, eq=False, kw_only=True)
class PlateState:
    """A plate with its cells and annotations."""

    plate: Plate  # the images
    plate_cells: PlateCells  # cells, intensity ranges and image quality
    # What people said about positions on this plate (`Journal.annotations`)
    annotations: pd.DataFrame
    matched: Matched  # the annotations joined to the cells
    by_site: CellsBySite  # the found cells by their site
    include_cut: bool = False  # whether cells that the image border cuts count as others do

    @cached_property
    def cells(self) -> pd.DataFrame:
        """All cells, row i with `cell_id` i: those found, then those people added."""
        if not len(self.matched.added):
            return self.plate_cells.cells
        return pd.concat([self.plate_cells.cells, self.matched.added], ignore_index=True)

    @cached_property
    def annotated(self) -> pd.DataFrame:
        """Class and kind that people gave each cell, in the order of `cells`.

        Columns ``annotated_class`` (normal, abnormal or None) and ``annotated_kind``.
        """
        annotated = self.matched.for_training
        rows = annotated["cell_id"].to_numpy()
        columns = {}
        for name in ("class", "kind"):
            texts = np.full(len(self.cells), None, dtype=object)
            texts[rows] = none_if_missing(annotated[name])
            columns[f"annotated_{name}"] = texts
        return with_texts(pd.DataFrame(index=range(len(self.cells))), columns)

    @cached_property
    def training(self) -> pd.DataFrame:
        """The annotated positions to train on, see `training_positions`; cut cells left out."""
        positions, is_cut = self._positions
        return positions[~is_cut].reset_index(drop=True)

    @property
    def n_cut_annotated(self) -> int:
        """Annotated positions that no model is trained on, as the image border cuts the cell."""
        return int(self._positions[1].sum())

    @cached_property
    def is_left_out(self) -> NDArray[np.bool_]:
        """Whether each cell is in no share, flag or suggestion: cut, and annotated by nobody."""
        is_open: NDArray[np.bool_] = self.annotated["annotated_class"].isna().to_numpy()
        return self.is_cut & is_open

    @cached_property
    def is_cut(self) -> NDArray[np.bool_]:
        """Whether the image border cuts each cell; none where such cells count as others do."""
        return self.cells["is_cut"].to_numpy(bool) & (not self.include_cut)

    @cached_property
    def _positions(self) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
        """All annotated positions that a model could be trained on, and which are on cut cells."""
        positions = training_positions(self.annotations, self.matched)
        return positions, self.is_cut[positions["cell_id"].to_numpy()]

    def with_annotations(
        self, annotations: pd.DataFrame, include_cut: bool | None = None
    ) -> PlateState:
        """Give the same plate with other annotations; nothing is opened or read again."""
        return joined_state(
            self.plate,
            self.plate_cells,
            annotations,
            self.by_site,
            include_cut=self.include_cut if include_cut is None else include_cut,
        )

    def groups(self, wells: pd.Series) -> NDArray[np.str_]:
        """Give wells as ``plate/A01``, by which splits are grouped; at all times the same."""
        return np.array([f"{self.plate.plate_name}/{well}" for well in wells], dtype=np.str_)


def open_assay_plate(assay: AssayFolder, name: str) -> Plate:
    """Open the images of a plate of an assay; once where the assay keeps its plates open."""
    entry = assay.plate(name)
    if assay.opened is None:
        return _opened(assay, entry)
    if entry.name not in assay.opened:
        assay.opened[entry.name] = _opened(assay, entry)
    return assay.opened[entry.name]


def _opened(assay: AssayFolder, entry: PlateEntry) -> Plate:
    entry.check_there()
    plate = entry.open().as_added(entry.fingerprint)
    if assay.platemap_path.is_file():
        names = [entry.plate_name for entry in assay.plates]
        plate = with_platemap(plate, assay.platemap_path, names)
    return as_known(assay, plate)


def as_known(assay: AssayFolder, plate: Plate) -> Plate:
    """Give a plate whose files have other dates, but the same content, its known fingerprint.

    All that was computed of it is named by that. One with other content gets another one, also
    where size and dates are the same.
    """
    folder = assay.plate_folder(plate.name)
    known = CellsDocument.load_if_valid(folder / CELLS)
    if known is None or not known.content:
        return plate
    seen = ContentDocument.load_if_valid(folder / CONTENT)
    if seen is None or seen.files != plate.files:
        has_same_dates = known.plate_fingerprint == plate.fingerprint
        if known.files == plate.files or (has_same_dates and not known.files):
            plate.known_as(known.plate_fingerprint)
            return plate
        # Once for each change of their dates: a plate may have 100,000.
        seen = ContentDocument(files=plate.files, content=content_of(plate))
        if not seen.content:
            return plate
        _save_content(seen, folder)
    if seen.content == known.content and not seen.changed:
        plate.known_as(known.plate_fingerprint)
    else:
        now = {"plate": plate.fingerprint, "content": seen.content, "changed": list(seen.changed)}
        plate.known_as(fingerprint(now))
    return plate


def _save_content(document: ContentDocument, folder: Path) -> None:
    with suppress(WriteError):  # an assay that cannot be written to is hashed again
        document.save(folder / CONTENT)


@dataclass(frozen=True, eq=False, kw_only=True)
class _PixelCheck:
    """Compares the pixels of an assay's plate with those that its cells were found in."""

    assay: Path
    folder: Path  # of the plate in the assay
    files: str
    cells: PlateCells

    def __call__(
        self,
        site: SiteKey,
        channels: Sequence[str],
        projection: Projection,
        pixels: NDArray[Any],
    ) -> None:
        """Raise where they are others, and note it for all who open the plate after this."""
        if projection != self.cells.projection:
            return
        known = [self.cells.pixels.get((site, channel)) for channel in channels]
        others = [
            f"{site} {channel} {checksum:08x}"
            for channel, before, checksum in zip(channels, known, checksums_of(pixels), strict=True)
            if before not in (None, checksum)
        ]
        if others:
            self._note(others)
            raise UnreadableSiteError(
                f"{site}: its pixels are not those in which its cells were found, though size and "
                f"date of the files are; run: hcs-qc cells {quote(str(self.assay))}"
            )

    def _note(self, others: list[str]) -> None:
        """Keep it for all who open the plate after this."""
        seen = ContentDocument.load_if_valid(self.folder / CONTENT)
        if seen is None or seen.files != self.files:
            document = CellsDocument.load_if_valid(self.folder / CELLS)
            content = "" if document is None else document.content
            seen = ContentDocument(files=self.files, content=content)
        if changed := set(others) - set(seen.changed):
            changed.update(seen.changed)
            noted = seen.model_copy(update={"changed": tuple(sorted(changed))})
            _save_content(noted, self.folder)


def changed_images(assay: AssayFolder, plate: Plate) -> str:
    """Of a plate without cells, say that those it had were found in other images; or nothing."""
    if not (assay.plate_folder(plate.name) / CELLS).is_file():
        return ""
    return (
        f"The images of plate {plate.name} have changed since its cells were found; find them "
        f"again: hcs-qc cells {quote(str(assay.path))}."
    )


def load_plate(
    assay: AssayFolder,
    name: str,
    annotations: pd.DataFrame | None = None,
    *,
    plate: Plate | None = None,
) -> PlateState:
    """Open a plate of an assay, unless it is open, with its cells and annotations."""
    plate = plate or open_assay_plate(assay, name)
    folder = assay.plate_folder(name)
    if not has_cells(folder, plate):
        where = quote(str(assay.path))
        raise HcsQcError(
            changed_images(assay, plate)
            or f"The cells of plate {plate.name} have not been found yet; run: hcs-qc cells "
            f"{where}. To remove a plate that was added by mistake: hcs-qc remove {where} "
            f"{quote(plate.name)}."
        )
    plate_cells = load_cells(folder)
    plate.checks[:] = [
        _PixelCheck(assay=assay.path, folder=folder, files=plate.files, cells=plate_cells)
    ]
    if annotations is None:
        annotations = assay.journal().annotations()
    return joined_state(plate, plate_cells, annotations, include_cut=assay.include_cut)


def joined_state(
    plate: Plate,
    plate_cells: PlateCells,
    annotations: pd.DataFrame,
    by_site: CellsBySite | None = None,
    *,
    include_cut: bool = False,
) -> PlateState:
    """Join the annotations of an assay to the cells of an opened plate."""
    by_site = by_site or CellsBySite.of(plate_cells.cells)
    mine = annotations[annotations["plate"] == plate.name].reset_index(drop=True)
    matched = match_annotations(
        mine,
        plate_cells.cells,
        plate_cells.diameter_px / 2,
        by_site=by_site,
        shape=lambda: plate.layout.shape,
    )
    return PlateState(
        plate=plate,
        plate_cells=plate_cells,
        annotations=mine,
        matched=matched,
        by_site=by_site,
        include_cut=include_cut,
    )


def chosen_plates(assay: AssayFolder, names: Sequence[str] | None) -> list[str]:
    """Names of the plates asked for, all of them by default."""
    if names is not None:
        return [entry.name for name in names for entry in assay.plates_called(name)]
    if not assay.plates:
        raise HcsQcError(
            f"The assay {assay.path} has no plate; add one: hcs-qc new {quote(str(assay.path))} "
            "PLATE."
        )
    return [entry.name for entry in assay.plates]
