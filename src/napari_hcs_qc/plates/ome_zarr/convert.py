"""Write a plate as an OME-Zarr HCS plate: pyramidal, resumable, bounded in memory.

A field is written into a folder with a temporary name and renamed when it is whole, so a field
that is there is complete, and a conversion that was stopped goes on where it stood.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from napari_hcs_qc.errors import HcsQcError, Problem, UnreadableSiteError
from napari_hcs_qc.files import explained_writes
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates.ome_zarr.zarr_plate import (
    ATTRIBUTE,
    ConversionRecord,
    is_ome_zarr,
    read_record,
)
from napari_hcs_qc.plates.wells import parse_well, row_letters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_hcs_qc.plates.plate import Plate, SiteKey

NgffVersion: TypeAlias = Literal["0.4", "0.5"]

_SMALLEST_LEVEL_PX = 128
_CHUNK_PX = 1024
_PARTIAL = "partial"


@dataclass(frozen=True)
class Conversion:
    """What `convert` has made."""

    path: Path  # the OME-Zarr plate
    n_sites: int  # fields it holds
    n_written: int  # fields written by this call; the others were there from one that was stopped
    unreadable: tuple[Problem, ...]  # sites that are not in it, with the reason


def convert_plate(
    plate: Plate, out: Path, *, version: NgffVersion = "0.5", job: Job = NO_JOB
) -> Conversion:
    """Write a plate as OME-Zarr, every site with all its channels, z planes and time points.

    Site numbers become field paths (``A/01/1``). A site that lacks a channel gets an image
    without that channel. Z numbers and times become indices from 0; a channel that has a single
    plane all over the plate, beside others with a stack, is repeated along z.
    """
    if version not in ("0.4", "0.5"):
        raise HcsQcError(
            f"NGFF version {version!r} cannot be written; '0.4' or '0.5' was expected."
        )
    out = Path(out).absolute()
    record = ConversionRecord(
        source=plate.source.name,
        source_fingerprint=plate.fingerprint,
        pixel_size_um=plate.pixel_size_um,
    )
    _start(plate, out, version, record)
    unreadable: dict[SiteKey, Problem] = {}
    n_written = 0
    for done, site in enumerate(plate.sites):
        job.check()
        job.report(done, len(plate.sites), f"converting {site}")
        folder = out / well_path(site.well) / str(site.site)
        if folder.is_dir():
            continue
        try:
            _write_field(plate, site, folder, version, job)
            n_written += 1
        except UnreadableSiteError as error:
            unreadable[site] = Problem(str(site), str(error).removeprefix(f"{site}: "))
    record.complete, record.unreadable = True, tuple(unreadable.values())
    written = [site for site in plate.sites if site not in unreadable]
    with explained_writes(out):
        write_plate_metadata(plate, out, version, written, record)
    job.report(len(plate.sites), len(plate.sites), "converted")
    return Conversion(out, len(written), n_written, record.unreadable)


# Metadata -------------------------------------------------------------------------------------


def _start(plate: Plate, out: Path, version: NgffVersion, record: ConversionRecord) -> None:
    """Make the plate group, or check that the one that is there can be gone on with."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        with explained_writes(out):
            write_plate_metadata(plate, out, version, plate.sites, record)
        return
    earlier = read_record(out) if is_ome_zarr(out) else None
    if earlier is None:
        raise HcsQcError(
            f"{out} exists and was not made by this command. Choose another folder, or delete it."
        )
    is_v3 = (out / "zarr.json").is_file()
    if earlier.source_fingerprint != record.source_fingerprint or is_v3 != (version == "0.5"):
        raise HcsQcError(
            f"{out} holds a conversion of another plate, of an earlier state of this one, or to "
            "another NGFF version. Choose another folder, or delete it."
        )


def write_plate_metadata(
    plate: Plate,
    out: Path,
    version: NgffVersion,
    sites: Sequence[SiteKey],
    record: ConversionRecord,
) -> None:
    """Write the attributes of the plate and its wells: the whole plate format and `sites`."""
    from ngio.ome_zarr_meta import (
        NgioPlateMeta,
        NgioWellMeta,
        update_ngio_plate_meta,
        update_ngio_well_meta,
    )

    fields: dict[str, list[int]] = {}
    for site in sites:
        fields.setdefault(site.well, []).append(site.site)
    places = {well: parse_well(well) for well in fields}
    wells = [
        {"path": well_path(well), "rowIndex": row, "columnIndex": column}
        for well, (row, column) in places.items()
    ]
    meta = NgioPlateMeta.model_validate(
        {
            "plate": {
                "name": plate.name,
                "rows": [{"name": row_letters(row)} for row in range(plate.shape[0])],
                "columns": [{"name": f"{column + 1:02d}"} for column in range(plate.shape[1])],
                "wells": wells,
                "field_count": max((len(numbers) for numbers in fields.values()), default=None),
                "version": version,
            }
        }
    )
    handler = _group(out, version)
    handler.group.attrs[ATTRIBUTE] = record.model_dump(mode="json")
    update_ngio_plate_meta(handler, meta)
    for well, numbers in fields.items():
        images = [{"path": str(number)} for number in numbers]
        well_meta = NgioWellMeta.model_validate({"images": images, "version": version})
        update_ngio_well_meta(_group(out / well_path(well), version), well_meta)


def _group(folder: Path, version: NgffVersion) -> Any:
    """Open or make a Zarr group."""
    from ngio.utils import ZarrGroupHandler

    return ZarrGroupHandler(store=folder, mode="a", zarr_format=2 if version == "0.4" else 3)


def well_path(well: str) -> str:
    """Give the path of a well in a plate, such as ``A/01``."""
    row, column = parse_well(well)
    return f"{row_letters(row)}/{column + 1:02d}"


# Pixels ---------------------------------------------------------------------------------------


def _write_field(plate: Plate, site: SiteKey, folder: Path, version: NgffVersion, job: Job) -> None:
    """Write one site under a temporary name, then rename it."""
    import zarr

    channels = plate.available_channels(site)
    rows = plate.planes[(plate.planes["well"] == site.well) & (plate.planes["site"] == site.site)]
    numbers = {axis: sorted(int(each) for each in rows[axis].unique()) for axis in ("time", "z")}
    partial = folder.with_name(f"{folder.name}.{_PARTIAL}")
    try:
        levels = None
        places = product(enumerate(numbers["time"]), enumerate(numbers["z"]))
        for (time_index, time), (z_index, z) in places:
            job.check()
            pixels = plate.read_site(site, channels, projection=z, time=time)
            # Without this, Zarr leaves out chunks that are all zero, and an image of zeros could
            # not be told from one that was lost.
            with explained_writes(folder), zarr.config.set({"array.write_empty_chunks": True}):
                if levels is None:
                    levels = _create_image(plate, partial, version, channels, numbers, pixels)
                _write_levels(levels, (time_index, z_index), pixels)
        with explained_writes(folder):
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _create_image(
    plate: Plate,
    folder: Path,
    version: NgffVersion,
    channels: Sequence[int],
    numbers: Mapping[str, Sequence[int]],
    pixels: NDArray[Any],
) -> list[Any]:
    """Make the empty image; its arrays (time, channel, z, y, x), the largest first."""
    from ngio import create_empty_ome_zarr

    height, width = pixels.shape[-2:]
    n_levels = 1
    while max(height, width) >> (n_levels - 1) > _SMALLEST_LEVEL_PX:
        n_levels += 1
    container = create_empty_ome_zarr(
        folder,
        (len(numbers["time"]), len(channels), len(numbers["z"]), height, width),
        pixelsize=plate.pixel_size_um or 1.0,
        levels=n_levels,
        axes_names=("t", "c", "z", "y", "x"),
        channels_meta=[plate.channels[channel].name for channel in channels],
        ngff_version=version,
        chunks=(1, 1, 1, min(_CHUNK_PX, height), min(_CHUNK_PX, width)),
        dtype=str(pixels.dtype),
        overwrite=True,
    )
    return [container.get_image(path=path).zarr_array for path in container.level_paths]


def _write_levels(levels: Sequence[Any], index: tuple[int, int], pixels: NDArray[Any]) -> None:
    """Write planes (n_channels, height, width) at one time and z, and their halved copies."""
    time, z = index
    for level, array in enumerate(levels):
        if level:
            pixels = _halve(pixels, array.shape[-2:])
        array[time, :, z] = pixels


def _halve(pixels: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Mean of 2×2 px blocks, `shape` as ngio rounds it; an odd last row or column goes with it.

    ngio's own `consolidate` is no mean: with mode "coarsen" it rounds down, so that each level is
    0.37 grey values darker than the one before; with the others it interpolates, and where a side
    is odd it is off by up to half the range of noise. It also reads the whole image back.
    """
    rows = np.minimum(np.arange(2 * shape[0]), pixels.shape[-2] - 1)
    columns = np.minimum(np.arange(2 * shape[1]), pixels.shape[-1] - 1)
    even = pixels[:, rows][:, :, columns].astype(np.float64)
    blocks = even.reshape(len(pixels), shape[0], 2, shape[1], 2).mean(axis=(2, 4))
    if pixels.dtype.kind in "ui":
        blocks = np.rint(blocks)
    halved: NDArray[Any] = blocks.astype(pixels.dtype)
    return halved
