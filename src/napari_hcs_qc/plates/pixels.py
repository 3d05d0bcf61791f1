"""One image file: what its header says, and its grey planes.

The libraries are imported where a file is read, as a plate is opened by its names alone. Damage is
looked for before decoding: `tifffile` fills the strips a truncated file lacks with
zeros, which would pass for a dark image.
"""

from __future__ import annotations

import io
import logging
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.bioio_image import (
    BIOIO_EXTENSIONS,
    BioioError,
    bioio_facts,
    read_bioio_planes,
)
from napari_hcs_qc.plates.limits import excessive_size
from napari_hcs_qc.plates.remote import RemoteError, fetch, is_remote
from napari_hcs_qc.plates.tiff_facts import TiffFacts, tiff_facts

if TYPE_CHECKING:
    from collections.abc import Sequence

    import tifffile
    from numpy.typing import NDArray

TIFF_EXTENSIONS = frozenset({".tif", ".tiff"})
PICTURE_EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp"})
IMAGE_EXTENSIONS = TIFF_EXTENSIONS | PICTURE_EXTENSIONS | BIOIO_EXTENSIONS

# What tifffile warns of here is raised as an error; without a handler it would go to the terminal.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_MAX_CHANNELS = 16
_COLOUR = frozenset({"RGB", "YCBCR", "CMYK", "SEPARATED", "CIELAB", "ICCLAB", "ITULAB"})
_GREY_MODES = frozenset({"1", "L", "LA", "P", "I", "F"})
_COLOUR_MODES = frozenset({"RGB", "RGBA"})


class UnreadableImageError(HcsQcError):
    """The pixels of one file cannot be had; the message is the reason, without the file."""


class Layout(NamedTuple):
    """Height and width in px, and the dtype, of one plane."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.shape[0]}×{self.shape[1]} px {self.dtype}"


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """What the header of an image file says."""

    layout: Layout  # shape and dtype of one plane
    n_channels: int = 1  # planes in the file: plane number ``channel * n_z + z``
    n_z: int = 1  # planes in the file: plane number ``channel * n_z + z``
    n_scenes: int = 1  # further images of that kind, whose planes count on
    channel_names: tuple[str, ...] = ()  # where the file states them
    is_declared: bool = True  # whether the file itself names its third axis
    pixel_size_um: float | None = None  # where the file states it
    reason: str = ""  # which part of the header states names and pixel size

    @property
    def n_parts(self) -> int:
        """Number of planes of one scene."""
        return self.n_channels * self.n_z


class _Axes(NamedTuple):
    """How to bring an array to (channel, z, y, x): a permutation of its squeezed axes."""

    order: tuple[int, ...]
    n_channels: int
    n_z: int
    is_declared: bool


def inspect_image(path: str) -> ImageInfo:
    """Read the header of an image file and check that its data can be there."""
    return _read(path, None, None)[0]


def read_plane(path: str, part: int = -1) -> NDArray[Any]:
    """Read one grey plane of an image file."""
    return read_planes(path, [part])[0]


def read_planes(
    path: str, parts: Sequence[int], *, layout: Layout | None = None
) -> list[NDArray[Any]]:
    """Read grey planes of one image file, opened once."""
    planes = _read(path, parts, layout)[1]
    for plane in planes:
        if plane.dtype.kind == "f" and not np.isfinite(plane).all():
            count = int(np.count_nonzero(~np.isfinite(plane)))
            raise UnreadableImageError(
                f"holds {count} NaN or Inf pixels; finite grey values were expected. Export it "
                "again as integers"
            )
    return planes


def _read(
    path: str, parts: Sequence[int] | None, layout: Layout | None
) -> tuple[ImageInfo, list[NDArray[Any]]]:
    extension = os.path.splitext(path)[1].lower()
    try:
        source: str | io.BytesIO = path
        if is_remote(path):
            # Whole: an image is small, and several parts of it would each wait for the server.
            content = fetch(path)
            source, size = io.BytesIO(content), len(content)
        else:
            size = os.stat(path).st_size
        if size == 0:
            raise UnreadableImageError("is empty (0 bytes); copy it again from the microscope")
        if extension in BIOIO_EXTENSIONS:
            return _read_with_bioio(path, parts, layout)
        read = _read_tiff if extension in TIFF_EXTENSIONS else _read_picture
        return read(source, size, parts, layout)
    except UnreadableImageError:
        raise
    except (RemoteError, BioioError) as error:
        raise UnreadableImageError(str(error)) from error
    except FileNotFoundError as error:
        raise UnreadableImageError(
            "does not exist; copy it again, or open the plate anew if it was moved"
        ) from error
    except MemoryError:
        raise  # of the computer, not of this image: its size was checked
    except OSError as error:
        reason = error.strerror or str(error).replace(f" {path!r}", "")
        raise UnreadableImageError(
            f"cannot be read ({reason}); copy it again from the microscope, or check the disk"
        ) from error
    # A damaged file can make a decoder raise anything; whatever it is, only this file is lost.
    except Exception as error:
        raise UnreadableImageError(
            f"is not a readable image{_reason(error)}: it is damaged, truncated or another kind of "
            "file; copy it again from the microscope"
        ) from error


def _reason(error: Exception) -> str:
    """Give what a library says, in brackets, where it is more than a number or a key."""
    text = " ".join(str(error).split())[:160]
    return f" ({type(error).__name__}: {text})" if " " in text else ""


def _select(info: ImageInfo, parts: Sequence[int], layout: Layout | None) -> list[int]:
    """Check a header against what was asked; plane numbers with -1 resolved."""
    if excess := excessive_size(info.layout.shape):
        raise UnreadableImageError(excess)
    if layout is not None and info.layout != layout:
        raise UnreadableImageError(
            f"is {info.layout}; {layout} was expected, as in most of the plate: export it like the "
            "others"
        )
    chosen = []
    for part in parts:
        if part < 0 and info.n_parts != 1:
            raise UnreadableImageError(
                f"holds {info.n_parts} planes ({info.n_channels} channels, {info.n_z} z); one "
                "was expected: export one file per plane"
            )
        if part >= info.n_parts * info.n_scenes:
            raise UnreadableImageError(
                f"holds {info.n_parts * info.n_scenes} planes; plane {part + 1} was expected too, "
                "as in the first files of the plate: export it like the others"
            )
        chosen.append(max(part, 0))
    return chosen


def _grey_dtype(dtype: np.dtype[Any] | None) -> np.dtype[Any]:
    if dtype is None:
        raise UnreadableImageError(
            "is not a readable image: its header describes no pixels; copy it again from the "
            "microscope"
        )
    if dtype.kind not in "buif":
        raise UnreadableImageError(
            f"holds {dtype} pixels; integers or floats were expected: export it as 16-bit integers"
        )
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")


# TIFF -----------------------------------------------------------------------------------------


def _read_tiff(
    path: str | io.BytesIO, size: int, parts: Sequence[int] | None, layout: Layout | None
) -> tuple[ImageInfo, list[NDArray[Any]]]:
    import tifffile

    with tifffile.TiffFile(path) as tif:
        page: Any = tif.pages.first
        photometric = getattr(page.photometric, "name", str(page.photometric))
        dtype = _grey_dtype(page.dtype)
        if photometric in _COLOUR:
            return _read_colour_tiff(tif, size, parts, layout)
        scenes: list[Any] = []
        if len(tif.pages) == 1 and page.ndim == 2 and not tif.is_imagej:
            axes, shape = _Axes((0, 1), 1, 1, True), page.shape
        else:
            scenes = _scenes(tif)
            series = scenes[0]
            shape = tuple(n for n in series.shape if n != 1)
            names = "".join(a for a, n in zip(series.axes, series.shape, strict=True) if n != 1)
            if len(shape) < 2:
                shape, names = page.shape, "YX"
            axes = _axes_of(names, shape)
        height, width = (int(shape[axis]) for axis in axes.order[-2:])
        facts = tiff_facts(tif, axes.n_channels) if parts is None else TiffFacts()
        info = ImageInfo(
            layout=Layout((height, width), dtype),
            n_channels=axes.n_channels,
            n_z=axes.n_z,
            n_scenes=max(1, len(scenes)),
            channel_names=facts.channel_names,
            is_declared=axes.is_declared,
            pixel_size_um=facts.pixel_size_um,
            reason=facts.reason,
        )
        chosen = _select(info, parts or [], layout)
        _check_chain(tif, size)
        for each in tif.pages:
            _check_data(each, size)
        for series in scenes:
            if series.dataoffset is not None:
                _check_bytes(series.dataoffset + series.nbytes, size)
        if not parts:
            return info, []
        if not scenes:
            pixels = page.asarray().reshape(1, height, width)
            return info, [_native(pixels[part], dtype) for part in chosen]
        planes: dict[int, NDArray[Any]] = {}
        for scene, series in enumerate(scenes):
            first = scene * info.n_parts
            own = {part for part in chosen if first <= part < first + info.n_parts}
            pages_are_planes = len(series) == info.n_parts and axes.order == (
                *range(len(shape) - 2),
                *axes.order[-2:],
            )
            if own and pages_are_planes and series.dataoffset is None:
                for part in own:
                    planes[part] = series.pages[part - first].asarray().reshape(height, width)
            elif own:
                whole = series.asarray().reshape(shape).transpose(axes.order)
                pixels = whole.reshape(info.n_parts, height, width)
                planes |= {part: pixels[part - first] for part in own}
        return info, [_native(planes[part], dtype) for part in chosen]


def _scenes(tif: tifffile.TiffFile) -> list[Any]:
    """Give the first image of a file, and others of an OME-TIFF that are like it."""
    series: list[Any] = list(tif.series)
    if not tif.is_ome:
        return series[:1]
    first = series[0]
    return [each for each in series if (each.shape, each.dtype) == (first.shape, first.dtype)]


def _read_colour_tiff(
    tif: tifffile.TiffFile, size: int, parts: Sequence[int] | None, layout: Layout | None
) -> tuple[ImageInfo, list[NDArray[Any]]]:
    """Read a colour image that holds one grey image."""
    page: Any = tif.pages.first
    photometric = getattr(page.photometric, "name", str(page.photometric))
    if len(tif.pages) > 1 or page.ndim != 3:
        raise UnreadableImageError(_colour(photometric))
    dtype = _grey_dtype(page.dtype)
    facts = tiff_facts(tif, 1) if parts is None else TiffFacts()
    info = ImageInfo(
        layout=Layout((page.imagelength, page.imagewidth), dtype),
        pixel_size_um=facts.pixel_size_um,
        reason=facts.reason,
    )
    _check_chain(tif, size)
    _check_data(page, size)
    if not parts:
        return info, []
    pixels = page.asarray()
    if pixels.shape[-1] != page.samplesperpixel:  # colour planes one after another
        pixels = np.moveaxis(pixels, 0, -1)
    grey = _native(_grey_of(pixels, photometric), dtype)
    return info, [grey for _ in _select(info, parts, layout)]


def _grey_of(pixels: NDArray[Any], mode: str) -> NDArray[Any]:
    """Give the one grey image of a colour image: its components are alike, or one is filled."""
    components = [pixels[..., number] for number in range(min(3, pixels.shape[-1]))]
    if all(np.array_equal(components[0], other) for other in components[1:]):
        return components[0]
    filled = [component for component in components if component.any()]
    if len(filled) == 1:
        return filled[0]
    raise UnreadableImageError(_colour(mode))


def _colour(mode: str) -> str:
    return (
        f"is a colour image ({mode}); grey images were expected: export every channel as its own "
        "grey image"
    )


def _native(plane: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(plane, dtype=dtype)


def _axes_of(names: str, shape: tuple[int, ...]) -> _Axes:
    """Find channel, z, y and x among the axes of a series, unit axes left out."""
    if len(shape) == 2:
        return _Axes((0, 1), 1, 1, True)
    if len(shape) > 4 or "T" in names:
        raise UnreadableImageError(
            f"has the axes {names} of {'×'.join(map(str, shape))}; channels and z planes are "
            "read, time series in one file are not: export one file per time point"
        )
    channel, z = max(names.find("C"), names.find("S")), names.find("Z")
    y, x = names.find("Y"), names.find("X")
    others = len(shape) - 2
    if min(y, x) >= 0 and sum(axis >= 0 for axis in (channel, z)) == others:
        order = tuple(axis for axis in (channel, z) if axis >= 0)
        n_channels = shape[channel] if channel >= 0 else 1
        return _Axes((*order, y, x), n_channels, shape[z] if z >= 0 else 1, True)
    if len(shape) == 4:
        raise UnreadableImageError(
            f"has four axes of {'×'.join(map(str, shape))} without names; save it as OME-TIFF or "
            "ImageJ hyperstack, or one file per plane"
        )
    smallest = int(np.argmin(shape))
    if shape[smallest] > _MAX_CHANNELS:
        # Too many for channels: pages of one size one after another are a stack in z.
        if not names.endswith("YX"):
            raise UnreadableImageError(
                f"has three axes of {'×'.join(map(str, shape))} and none of up to "
                f"{_MAX_CHANNELS} channels; save it as OME-TIFF, or one file per plane"
            )
        return _Axes((0, 1, 2), 1, shape[0], True)
    order = (smallest, *(axis for axis in range(3) if axis != smallest))
    return _Axes(order, shape[smallest], 1, False)


def _check_data(page: Any, size: int) -> None:
    """Refuse a page whose data the file cannot hold."""
    if page is None:
        raise UnreadableImageError(
            "lacks one of the planes that its header announces; copy it again from the microscope"
        )
    offsets, counts = page.dataoffsets, page.databytecounts
    if not offsets or len(offsets) != len(counts) or not all(offsets) or not all(counts):
        raise UnreadableImageError(
            "is truncated: its header announces more image data than the file holds; copy it "
            "again from the microscope"
        )
    _check_bytes(max(o + c for o, c in zip(offsets, counts, strict=True)), size)
    keyframe = page.keyframe
    if keyframe.compression == 1:
        bits = keyframe.imagewidth * keyframe.samplesperpixel * keyframe.bitspersample
        needed = -(-bits // 8) * keyframe.imagelength
        if sum(counts) < needed:
            raise UnreadableImageError(
                f"is truncated: its pixels take {needed:,} bytes and it holds {sum(counts):,}; "
                "copy it again from the microscope"
            )


def _check_chain(tif: tifffile.TiffFile, size: int) -> None:
    """Refuse a file whose last page points to a further one that is not there.

    `tifffile` takes such a file for one with fewer pages.
    """
    handle, form = tif.filehandle, tif.tiff
    last: Any = tif.pages[-1]
    handle.seek(last.offset)
    (n_tags,) = struct.unpack(form.tagnoformat, handle.read(form.tagnosize))
    handle.seek(last.offset + form.tagnosize + n_tags * form.tagsize)
    following = handle.read(form.offsetsize)
    if len(following) == form.offsetsize:
        (offset,) = struct.unpack(form.offsetformat, following)
        if offset > last.offset:  # one before is a circle, which some writers make at the end
            raise UnreadableImageError(
                f"is truncated or damaged: page {len(tif.pages) + 1} should begin at byte "
                f"{offset:,} of {size:,}; copy it again from the microscope"
            )


def _check_bytes(needed: int, size: int) -> None:
    if needed > size:
        raise UnreadableImageError(
            f"is truncated: its header announces {needed:,} bytes and it has {size:,}; copy it "
            "again from the microscope"
        )


# CZI, ND2, LIF, LSM, VSI ----------------------------------------------------------------------


def _read_with_bioio(
    path: str, parts: Sequence[int] | None, layout: Layout | None
) -> tuple[ImageInfo, list[NDArray[Any]]]:
    facts = bioio_facts(path)
    if facts.n_times > 1:
        raise UnreadableImageError(
            f"holds {facts.n_times} time points; time series in one file are not read: export one "
            "file per time point"
        )
    info = ImageInfo(
        layout=Layout(facts.shape, _grey_dtype(facts.dtype)),
        n_channels=len(facts.channels),
        n_z=facts.n_z,
        n_scenes=len(facts.scenes),
        channel_names=facts.channels,
        pixel_size_um=facts.pixel_size_um,
        reason="the metadata of the file",
    )
    chosen = _select(info, parts or [], layout)
    if not parts:
        return info, []
    planes = read_bioio_planes(path, chosen, facts)
    for plane in planes:
        if plane.shape != facts.shape:
            raise UnreadableImageError(
                f"has scenes of {plane.shape[0]}×{plane.shape[1]} px beside {info.layout}; scenes "
                "that are alike were expected: export them to files of their own"
            )
    return info, [_native(plane, info.layout.dtype) for plane in planes]


# PNG, JPEG, BMP -------------------------------------------------------------------------------


def _read_picture(
    path: str | io.BytesIO, size: int, parts: Sequence[int] | None, layout: Layout | None
) -> tuple[ImageInfo, list[NDArray[Any]]]:
    from PIL import Image

    with Image.open(path) as picture:
        mode = picture.mode
        is_colour = mode in _COLOUR_MODES
        if not is_colour and mode not in _GREY_MODES and not mode.startswith("I;16"):
            raise UnreadableImageError(_colour(mode))
        is_16_bit = mode.startswith("I;16") or (mode == "I" and picture.format == "PNG")
        dtype = np.dtype("u2" if is_16_bit else {"I": "i4", "F": "f4"}.get(mode, "u1"))
        info = ImageInfo(layout=Layout((picture.height, picture.width), dtype))
        chosen = _select(info, parts or [], layout)
        if not parts:
            return info, []
        # Pillow raises on a truncated file as long as LOAD_TRUNCATED_IMAGES is off, its default.
        pixels = np.asarray(picture)
        if mode == "LA":
            pixels = pixels[..., 0]
        elif is_colour:
            pixels = _grey_of(pixels, mode)
        plane = _native(pixels, dtype)
        return info, [plane for _ in chosen]
