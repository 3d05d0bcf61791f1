"""Label masks: which file belongs to which site, and the ids of its pixels."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import tifffile
from PIL import Image
from skimage.measure import label as label_components

from napari_hcs_qc.errors import HcsQcError, Problem
from napari_hcs_qc.plates.ome_zarr.zarr_planes import read_ome_zarr_label
from napari_hcs_qc.plates.ome_zarr.zarr_plate import open_ome_zarr_plate
from napari_hcs_qc.plates.pixels import (
    IMAGE_EXTENSIONS,
    TIFF_EXTENSIONS,
    UnreadableImageError,
    read_plane,
)
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.plates.readers.names.known_names import FORMATS, match_name
from napari_hcs_qc.plates.wells import parse_well

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.plates.plate import Plate

# As cellpose, StarDist and CellProfiler users name what they save beside `image.tif`.
_SUFFIX = re.compile(
    r"[-_. ]?(?:cp[-_])?(?:masks?|labels?|nuclei|seg|segmentation|objects)$", re.IGNORECASE
)
_WELL_AND_SITE = re.compile(
    r"(?:^|[-_. ])(?P<well>[A-Z]{1,2}\d{1,2})[-_. ]+(?:site|field|s|f)?[-_. ]?(?P<site>\d+)"
    r"(?=$|[-_. ])",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True, eq=False)
class Mask:
    """Ids of the pixels of one site."""

    labels: NDArray[np.int32]  # mask (height, width), 0 is background
    has_ids: bool  # whether the ids were in the file; else they number connected areas


MaskReader: TypeAlias = Callable[[tuple[int, int]], Mask]
"""Reads one mask of the shape given; raises `HcsQcError` with the file and the reason."""


def masks_in_folder(
    plate: Plate, folder: Path, channel: int
) -> tuple[dict[SiteKey, MaskReader], list[Problem]]:
    """Find the mask of each site in a folder and the folders below it.

    A mask is named like the image of the nucleus channel, but for the extension and an ending
    such as ``_mask``, or its name states a well and a site.
    """
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in IMAGE_EXTENSIONS and not path.name.startswith(".")
    ]
    if not files:
        raise HcsQcError(f"{folder} holds no label masks; TIFF or PNG images were expected.")
    by_stem = _sites_by_stem(plate, channel)
    known = set(plate.sites)
    masks: dict[SiteKey, Path] = {}
    problems = []
    for path in files:
        stem = path.stem.casefold()
        site = by_stem.get(stem) or by_stem.get(_SUFFIX.sub("", stem)) or _site_in(path)
        where = str(path.relative_to(folder))
        if site is None:
            what = "its name matches no image of the plate, and has no well and site."
            problems.append(Problem(where, what))
        elif site not in known:
            problems.append(Problem(where, f"plate {plate.name} has no site {site}."))
        elif site in masks:
            what = f"{site} already has the mask {masks[site].name}; this one was skipped."
            problems.append(Problem(where, what))
        else:
            masks[site] = path
    return {site: partial(read_mask, path) for site, path in masks.items()}, problems


def masks_in_ome_zarr(
    plate: Plate, source: Path, name: str | None
) -> tuple[dict[SiteKey, MaskReader], list[Problem]]:
    """Find the label image of each site in an OME-Zarr plate, this one or another."""
    other = plate if plate.source == source else open_ome_zarr_plate(source)
    columns = (other.planes[column].tolist() for column in ("well", "site", "path"))
    paths = {SiteKey(well, site): path for well, site, path in zip(*columns, strict=True)}
    known = set(plate.sites)
    problems = [
        Problem(path, f"plate {plate.name} has no site {site}.")
        for site, path in paths.items()
        if site not in known
    ]
    readers = {s: partial(_read_label, path, name) for s, path in paths.items() if s in known}
    return dict(readers), problems


def read_mask(path: Path, shape: tuple[int, int]) -> Mask:
    """Read a label mask from a TIFF or PNG file.

    A grey image holds ids; where it has but one value besides 0, and where it is a colour image,
    each connected area of one value (of the red channel) is a cell.
    """
    try:
        pixels, is_colour = _read_pixels(path)
    except UnreadableImageError as error:
        raise HcsQcError(f"the mask {path} {error}") from error
    except (OSError, ValueError, tifffile.TiffFileError) as error:
        raise HcsQcError(f"the mask {path} cannot be read: {error}") from error
    return checked_mask(pixels, is_colour, shape, f"the mask {path}")


def _read_pixels(path: Path) -> tuple[NDArray[Any], bool]:
    """Pixels (height, width), and whether they are the red channel of a colour image."""
    if path.suffix.lower() in TIFF_EXTENSIONS:
        with tifffile.TiffFile(path) as tiff:
            first = tiff.pages.first if len(tiff.pages) else None
            if first is None or first.photometric != tifffile.PHOTOMETRIC.RGB:
                return read_plane(str(path)), False  # Tells a truncated file, which tifffile fills.
        pixels = tifffile.imread(path)
    else:
        with Image.open(path) as picture:
            pixels = np.asarray(picture)
    if pixels.ndim == 3 and pixels.shape[-1] in (3, 4):
        return pixels[..., 0], True
    return pixels, False


def _read_label(path: str, name: str | None, shape: tuple[int, int]) -> Mask:
    try:
        pixels = read_ome_zarr_label(path, name)
    except HcsQcError as error:
        raise HcsQcError(f"the OME-Zarr image {path} {error}") from error
    return checked_mask(pixels, False, shape, f"the label image of {path}")


def checked_mask(
    pixels: NDArray[Any], by_components: bool, shape: tuple[int, ...], what: str
) -> Mask:
    """Check the masks of one site, whoever made them."""
    if pixels.shape != shape:
        size = "×".join(map(str, pixels.shape))
        expected = "×".join(map(str, shape))
        raise HcsQcError(f"{what} has {size} px; {expected} px were expected.")
    low, high = pixels.min(), pixels.max()
    if not (low >= 0 and high <= np.iinfo(np.int32).max) or (pixels % 1 != 0).any():
        raise HcsQcError(
            f"{what} has values from {low} to {high}; whole ids from 0 to 2147483647 were expected."
        )
    ids = pixels.astype(np.int32)
    if by_components or (ids[ids > 0] == high).all():
        areas = label_components(ids, connectivity=1)  # type: ignore[no-untyped-call]
        return Mask(areas.astype(np.int32), has_ids=False)
    return Mask(ids, has_ids=True)


def _sites_by_stem(plate: Plate, channel: int) -> dict[str, SiteKey]:
    """Site by file stem; without stems that several sites share, as those tell nothing."""
    planes = plate.planes[plate.planes["channel"] == channel]
    sites_of: dict[str, set[SiteKey]] = {}
    columns = (planes[column].tolist() for column in ("well", "site", "path"))
    for well, site, path in zip(*columns, strict=True):
        sites_of.setdefault(Path(path).stem.casefold(), set()).add(SiteKey(well, site))
    return {stem: next(iter(sites)) for stem, sites in sites_of.items() if len(sites) == 1}


def _site_in(path: Path) -> SiteKey | None:
    stem = _SUFFIX.sub("", path.stem)
    for plate_format in FORMATS:
        place = match_name(plate_format, "", f"{stem}.tif")
        if place is not None:
            return _site_key(place.well, place.site)
    match = _WELL_AND_SITE.search(stem)
    return _site_key(match["well"], int(match["site"])) if match else None


def _site_key(well: str, site: int) -> SiteKey | None:
    try:
        return SiteKey(str(parse_well(well)), site)
    except HcsQcError:
        return None
