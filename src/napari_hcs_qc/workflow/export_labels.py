"""Judged cells as label images of an OME-Zarr plate: every cell with its class, kind and score."""

from __future__ import annotations

import math
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.assay.store.masks import site_masks
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import explained_writes
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates.ome_zarr.convert import well_path, write_plate_metadata
from napari_hcs_qc.plates.ome_zarr.zarr_plate import ConversionRecord, is_ome_zarr, read_record
from napari_hcs_qc.qc.export.export_tables import CELL_IS_OUTLIER, ExportOptions, cell_table
from napari_hcs_qc.qc.export.write_geojson import CLASS_COLOURS
from napari_hcs_qc.text_columns import rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.embeddings.artefact_maps import ArtefactMaps
    from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.plates.plate import SiteKey

LABELS = "cells"
"""Name of the label images."""
MAP_STEPS = 85
"""Grey values for each 1 of the artefact map, above which 1 percent of a usual plate lies."""
_CLASSES = ("normal", "abnormal", "unsure")  # their places are grey values of the image, from 1
_SMALLEST_PX = 256  # of the coarsest level
_COLUMNS = (
    "class", "kind", "predicted_class", "predicted_kind", "p_abnormal", "novelty",
    "annotated_class", "annotated_kind", CELL_IS_OUTLIER,
)  # fmt: skip


def write_labels(
    scored: Iterable[ScoredPlate],
    folder: Path,
    *,
    options: ExportOptions,
    map_of: Callable[[PlateState], ArtefactMaps] | None = None,
    job: Job = NO_JOB,
) -> tuple[Path, ...]:
    """Write an OME-Zarr plate for each plate, its layout that of `convert_plate`.

    The image of a field has the class of each pixel (1 normal, 2 abnormal, 3 unsure); its label
    image ``cells`` the ids of the tables' cells plus 1, with colours and properties by the
    specification. Cells without a mask, such as imported positions, are circles. With `map_of` the
    image has the artefact map as a second channel, `MAP_STEPS` grey values for each 1.
    """
    written = []
    for plate in scored:
        written.append(_write_plate(plate, folder, options, map_of, job))
        del plate  # before the next one is made
    return tuple(written)


def _write_plate(
    plate: ScoredPlate,
    folder: Path,
    options: ExportOptions,
    map_of: Callable[[PlateState], ArtefactMaps] | None,
    job: Job,
) -> Path:
    state = plate.state
    out = folder / f"{state.plate.name}.zarr"
    table = _with_classes(cell_table(plate.to_export(), options))
    maps = None if map_of is None else map_of(state)
    _remove_earlier(out)
    sites = [site for site in state.plate.sites if site not in state.plate_cells.unreadable]
    for done, site in enumerate(sites):
        job.check()
        job.report(done, len(sites), f"Writing the labels of {site}")
        ids = _ids_of(state, site, job)
        heat = None if maps is None else maps.of_site(site, job=job)
        with explained_writes(out):
            _write_field(out / well_path(site.well) / str(site.site), ids, heat, table, state)
    record = ConversionRecord(
        source=state.plate.source.name,
        source_fingerprint=state.plate.fingerprint,
        pixel_size_um=state.plate.pixel_size_um,
        complete=True,
    )
    with explained_writes(out):
        write_plate_metadata(state.plate, out, "0.5", sites, record)
    return out


def _remove_earlier(out: Path) -> None:
    if not out.exists():
        return
    if not is_ome_zarr(out) or read_record(out) is None:
        raise HcsQcError(
            f"{out} exists and was not made by this command. Choose another folder for the tables, "
            "or delete it."
        )
    with explained_writes(out):
        shutil.rmtree(out)


def _with_classes(table: pd.DataFrame) -> pd.DataFrame:
    """Add the class and kind in force: what a person annotated goes before what was predicted."""
    is_annotated = table["annotated_class"].notna()
    for what in ("class", "kind"):
        annotated = table[f"annotated_{what}"].astype(object)
        table[what] = annotated.where(is_annotated, table[f"predicted_{what}"].astype(object))
    return table


def _ids_of(state: PlateState, site: SiteKey, job: Job) -> NDArray[np.uint32]:
    """Give the row of the cell at each pixel of a site plus 1, and 0 where there is none."""
    rows = state.by_site.with_added(state.matched.added).rows(site)
    cells = state.cells.iloc[rows]
    masks = site_masks(state.plate, state.plate_cells, site, job=job)
    if masks is None:
        masks = np.zeros(state.plate.layout.shape, np.int32)
    id_of = np.zeros(int(masks.max(initial=0)) + 1, np.uint32)
    labels = cells["label"].to_numpy(np.int64)
    has_mask = labels > 0
    id_of[labels[has_mask]] = rows[has_mask] + 1
    ids = id_of[masks]
    places = cells[["y_px", "x_px", "diameter_px"]].to_numpy(np.float64)
    for row, (y, x, diameter) in zip(rows[~has_mask], places[~has_mask], strict=True):
        _draw_circle(ids, y, x, diameter, int(row) + 1)
    return ids


def _draw_circle(ids: NDArray[np.uint32], y: float, x: float, diameter: float, value: int) -> None:
    """Draw a cell where no other is."""
    radius = max(1.0, diameter / 2 if math.isfinite(diameter) else 1.0)
    top, left = (max(0, math.floor(middle - radius)) for middle in (y, x))
    part = ids[top : math.ceil(y + radius) + 1, left : math.ceil(x + radius) + 1]
    rows, columns = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
    part[((rows - y) ** 2 + (columns - x) ** 2 <= radius**2) & (part == 0)] = value


def _write_field(
    folder: Path,
    ids: NDArray[np.uint32],
    heat: NDArray[np.float32] | None,
    table: pd.DataFrame,
    state: PlateState,
) -> None:
    import zarr
    from ngio import create_empty_ome_zarr

    rows = np.unique(ids[ids > 0]).astype(np.intp) - 1
    mine = table.iloc[rows]
    classes = np.array([0, *(_grey(cls) for cls in mine["class"])], np.uint8)
    channels = {"class": classes[np.searchsorted(rows + 1, ids, side="right") * (ids > 0)]}
    if heat is not None:
        channels["artefact map"] = np.clip(np.rint(MAP_STEPS * heat), 0, 255).astype(np.uint8)
    height, width = ids.shape
    n_levels = 1 + max(0, math.ceil(math.log2(max(height, width) / _SMALLEST_PX)))
    container = create_empty_ome_zarr(
        folder,
        (len(channels), height, width),
        pixelsize=state.plate.pixel_size_um or 1.0,
        levels=n_levels,
        axes_names=("c", "y", "x"),
        channels_meta=[*channels],
        ngff_version="0.5",
        dtype="uint8",
        overwrite=True,
    )
    container.derive_label(LABELS, dtype="uint32", overwrite=True)
    # Without this, Zarr leaves out chunks that are all zero, as if they were lost.
    with zarr.config.set({"array.write_empty_chunks": True}):
        for level, path in enumerate(container.level_paths):
            image = container.get_image(path=path).zarr_array
            for index, grey in enumerate(channels.values()):
                image[index] = _coarser(grey, image.shape[-2:], level)
            array = container.get_label(LABELS, path=path).zarr_array
            array[:] = _coarser(ids, array.shape, level)
    _describe(folder / "labels" / LABELS, rows, mine)


def _grey(cls: Any) -> int:
    return _CLASSES.index(cls) + 1 if cls in _CLASSES else len(_CLASSES)


def _coarser(pixels: NDArray[Any], shape: tuple[int, ...], level: int) -> NDArray[Any]:
    """Every second pixel of every second row, once for each level: ids are not averaged."""
    rows, columns = (
        np.minimum(np.arange(n) << level, extent - 1)
        for n, extent in zip(shape, pixels.shape, strict=True)
    )
    return pixels[np.ix_(rows, columns)]


def _describe(folder: Path, rows: NDArray[np.intp], cells: pd.DataFrame) -> None:
    """Write colours and properties of the labels, as NGFF has them."""
    import zarr

    colours, properties = [], []
    for row, values in zip(rows.tolist(), rows_of(cells, _COLUMNS), strict=True):
        cell = dict(zip(_COLUMNS, values, strict=True))
        rgb = CLASS_COLOURS.get(str(cell["class"]), CLASS_COLOURS["unsure"])
        colours.append({"label-value": row + 1, "rgba": [*rgb, 255]})
        entries = {name: _plain(value) for name, value in cell.items() if value is not None}
        properties.append({"label-value": row + 1, "row": row, **entries})
    group = zarr.open_group(folder, mode="r+")
    ome: Any = group.attrs.asdict()["ome"]
    ome["image-label"] = {**ome["image-label"], "colors": colours, "properties": properties}
    group.attrs["ome"] = ome


def _plain(value: Any) -> Any:
    """Give a value that JSON has."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    return round(float(value), 4) if isinstance(value, (float, np.floating)) else value
