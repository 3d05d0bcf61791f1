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

from napari_hcs_qc.cells.imported.objects import OBJECT_ENDINGS, read_objects
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
from napari_hcs_qc.tables.plate_sites import PlateSites
from napari_hcs_qc.text import listing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.plates.plate import Plate

_NUCLEI = re.compile(r"(?:^|[-_. ])(?:nuclei|nucleus|nuclear|nuc|dna|dapi|hoechst)", re.IGNORECASE)
_CELLS = re.compile(
    r"(?:^|[-_. ])(?:cells?|cyto|cytoplasm|membrane|outlines?|flows?|prob\w*)(?=$|[-_. ])", re.I
)
_MASKS = re.compile(
    r"(?:^|[-_. ])(?:cp[-_])?(?:masks?|labels?|seg\w*|objects?|rois?)", re.IGNORECASE
)
_LARGEST_OBJECT = 0.25  # share of the image; no nucleus is so large


@dataclass(frozen=True, eq=False)
class Mask:
    """Ids of the pixels of one site."""

    labels: NDArray[np.int32]  # mask (height, width), 0 is background
    has_ids: bool  # whether the ids were in the file; else they number connected areas


MaskReader: TypeAlias = Callable[[tuple[int, int]], Mask]
"""Reads one mask of the shape given; raises `HcsQcError` with the file and the reason."""


def is_mask_file(path: Path) -> bool:
    """Tell by its name whether a file may hold a mask or outlines, rather than a table."""
    name = path.name.lower()
    is_image = path.suffix.lower() in IMAGE_EXTENSIONS
    return (is_image or name.endswith(OBJECT_ENDINGS)) and not name.startswith(".")


def masks_in_folder(
    plate: Plate, source: Path, channel: int
) -> tuple[dict[SiteKey, MaskReader], list[Problem]]:
    """Find the mask of each site in a folder and the folders below it, or in one file.

    A mask is named like an image of the plate, but for the extension and an ending such as
    ``_mask``, or its name or its folders state a well and a site. Of several of a site that of the
    nuclei is taken; the plate's own images are none.
    """
    folder = source if source.is_dir() else source.parent
    paths = sorted(source.rglob("*")) if source.is_dir() else [source]
    own = {Path(path) for path in plate.planes["path"].unique()}
    files = [path for path in paths if is_mask_file(path) and path.absolute() not in own]
    if not files:
        raise HcsQcError(
            f"{source} holds no label masks; TIFF or PNG images, or outlines (.geojson, _seg.npy, "
            "RoiSet.zip) were expected. Give the folder that has them."
        )
    sites = PlateSites.of(plate)
    nuclear = plate.planes[plate.planes["channel"] == channel]["path"]
    stems = {Path(path).stem.casefold() for path in nuclear}
    known = set(plate.sites)
    candidates: dict[SiteKey, list[tuple[int, Path]]] = {}
    problems = []
    for path in files:
        where = str(path.relative_to(folder))
        site = sites.site_of_file(where)
        if site is None:
            what = "its name matches no image of the plate, and has no well and site."
            problems.append(Problem(where, what))
        elif site not in known:
            problems.append(Problem(where, f"plate {plate.name} has no site {site}."))
        else:
            candidates.setdefault(site, []).append((_rank(path, folder, stems), path))
    masks: dict[SiteKey, Path] = {}
    for site, ranked in candidates.items():
        ranked.sort()
        best, path = ranked[0]
        rivals = [other.name for rank, other in ranked if rank == best]
        if len(rivals) > 1:
            raise HcsQcError(
                f"{source}: {listing(rivals)} may each be the mask of the nuclei of {site}; one "
                "mask a site was expected. Move the others elsewhere, or give a folder that holds "
                "only the masks of the nuclei."
            )
        masks[site] = path
        for _, other in ranked[1:]:
            what = f"{site} has the mask {path.name}; this one was skipped."
            problems.append(Problem(str(other.relative_to(folder)), what))
    return {site: partial(read_mask, path) for site, path in masks.items()}, problems


def _rank(path: Path, folder: Path, stems: set[str]) -> int:
    """Order the masks of one site: nuclei, then masks of nothing named, then whole cells."""
    folders = path.relative_to(folder).parts[:-1]
    ending = next(
        (path.stem[len(stem) :] for stem in stems if path.stem.casefold().startswith(stem)),
        path.stem,
    )
    texts = [ending, *reversed(folders)]
    for text in texts:
        if _CELLS.search(text):
            return 4
        if _NUCLEI.search(text):
            return 0
    for text in texts:
        if _MASKS.search(text):
            return 1
    return 3 if path.suffix.lower() in IMAGE_EXTENSIONS else 2


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
    """Read the mask of a site from an image (TIFF, PNG, ...) or from outlines.

    A grey image holds ids; where it has but one value besides 0, and where it is a colour image,
    each connected area of one value or colour is a cell.
    """
    try:
        if path.name.lower().endswith(OBJECT_ENDINGS):
            return _plausible_mask(read_objects(path, shape), False, shape, f"the mask {path}")
        pixels, is_colour = _read_pixels(path)
    except UnreadableImageError as error:
        raise HcsQcError(f"the mask {path} {error}") from error
    except (OSError, ValueError, tifffile.TiffFileError) as error:
        raise HcsQcError(f"the mask {path} cannot be read: {error}") from error
    return _plausible_mask(pixels, is_colour, shape, f"the mask {path}")


def _read_pixels(path: Path) -> tuple[NDArray[Any], bool]:
    """Pixels (height, width), and whether they are the colours of a colour image as numbers."""
    if path.suffix.lower() in TIFF_EXTENSIONS:
        with tifffile.TiffFile(path) as tiff:
            first = tiff.pages.first if len(tiff.pages) else None
            if first is None or first.photometric != tifffile.PHOTOMETRIC.RGB:
                return read_plane(str(path)), False  # Tells a truncated file, which tifffile fills.
        pixels = tifffile.imread(path)
    else:
        with Image.open(path) as picture:
            pixels = np.asarray(picture)
    if pixels.ndim == 3 and pixels.shape[-1] in (3, 4) and pixels.dtype.kind == "u":
        red, green, blue = (pixels[..., channel].astype(np.int64) for channel in range(3))
        bits = 8 * pixels.dtype.itemsize
        colours = (red << 2 * bits) + (green << bits) + blue
        return np.unique(colours, return_inverse=True)[1].reshape(colours.shape), True
    return pixels, False


def _read_label(path: str, name: str | None, shape: tuple[int, int]) -> Mask:
    try:
        pixels = read_ome_zarr_label(path, name)
    except HcsQcError as error:
        raise HcsQcError(f"the OME-Zarr image {path} {error}") from error
    return _plausible_mask(pixels, False, shape, f"the label image of {path}")


def checked_mask(
    pixels: NDArray[Any], by_components: bool, shape: tuple[int, ...], what: str
) -> Mask:
    """Check the masks of one site, whoever made them."""
    if pixels.shape != shape:
        size = "×".join(map(str, pixels.shape))
        expected = "×".join(map(str, shape))
        raise HcsQcError(
            f"{what} has {size} px; {expected} px were expected. Give "
            "masks of the size of the images."
        )
    low, high = pixels.min(), pixels.max()
    if not (low >= 0 and high <= np.iinfo(np.int32).max) or (pixels % 1 != 0).any():
        raise HcsQcError(
            f"{what} has values from {low} to {high}; whole ids from 0 to 2147483647 were "
            "expected. Save the ids."
        )
    ids = pixels.astype(np.int32)
    if by_components or (ids[ids > 0] == high).all():
        areas = label_components(ids, connectivity=1)  # type: ignore[no-untyped-call]
        return Mask(areas.astype(np.int32), has_ids=False)
    return Mask(ids, has_ids=True)


def _plausible_mask(
    pixels: NDArray[Any], by_components: bool, shape: tuple[int, ...], what: str
) -> Mask:
    """Check that a file is a mask of objects: no image, and no classes of pixels."""
    if pixels.shape == shape and _is_image(pixels):
        raise HcsQcError(
            f"{what} is an image, not a mask: neighbouring pixels differ. Ids were expected, one "
            "for all pixels of a nucleus and 0 elsewhere. Give the masks themselves."
        )
    mask = checked_mask(pixels, by_components, shape, what)
    ids = mask.labels
    n_ids = len(np.unique(ids[ids > 0]))
    n_areas = label_components(ids, connectivity=2).max()  # type: ignore[no-untyped-call]
    if n_areas >= 2 * n_ids + 2:
        raise HcsQcError(
            f"{what} has {n_ids} values in {n_areas} separate areas: classes of pixels, not "
            "objects. Ids were expected, one for each nucleus. Save the objects instead."
        )
    largest = np.bincount(ids[ids > 0]).max(initial=0) / ids.size
    if largest > _LARGEST_OBJECT:
        raise HcsQcError(
            f"{what} has an object of {largest:.0%} of the image: classes of pixels or an inverted "
            "mask, not nuclei. Ids were expected, one for each nucleus and 0 elsewhere. Save the "
            "objects instead."
        )
    return mask


def _is_image(pixels: NDArray[Any]) -> bool:
    """Tell whether neighbours differ, which they do in a mask at the borders of objects only."""
    left, right = pixels[:, :-1], pixels[:, 1:]
    is_inside = (left != 0) & (right != 0)
    n_inside = int(is_inside.sum())
    return n_inside >= 100 and int((left == right)[is_inside].sum()) < 0.5 * n_inside
