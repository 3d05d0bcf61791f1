"""Objects that are no image: Cellpose's `_seg.npy`, GeoJSON of QuPath, and ROIs of ImageJ."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from skimage.draw import polygon as pixels_of_polygon

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.tables.geojson import outlines_of, read_features

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

OBJECT_ENDINGS = ("_seg.npy", ".geojson", ".zip", ".roi")
_MOST_BYTES = 64 * 2**20  # of one ROI, which is compressed


def read_objects(path: Path, shape: tuple[int, int]) -> NDArray[np.int32]:
    """Read the objects of one image as a mask, each with an id."""
    name = path.name.lower()
    if name.endswith("_seg.npy"):
        return _cellpose_masks(path)
    mask = np.zeros(shape, np.int32)
    for number, yx in enumerate(_outlines(path), start=1):
        pixels = pixels_of_polygon(yx[:, 0], yx[:, 1], shape)  # type: ignore[no-untyped-call]
        mask[pixels] = number
    return mask


def _outlines(path: Path) -> Iterator[NDArray[np.float64]]:
    if path.name.lower().endswith(".geojson"):
        for feature in read_features(path):
            yield from outlines_of(path, feature)
    else:
        yield from _imagej_outlines(path)


# ---- Cellpose ----------------------------------------------------------------------------


class _ArraysOnly(pickle.Unpickler):
    """Reads plain values and arrays of numbers; a file may not name any other code to be run."""

    _ALLOWED = frozenset(
        (f"numpy{core}", name)
        for core in ("", ".core.multiarray", "._core.multiarray", ".core.numeric", "._core.numeric")
        for name in ("ndarray", "dtype", "_reconstruct", "scalar", "_frombuffer")
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self._ALLOWED:
            return super().find_class(module, name)
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no mask needs")


def _cellpose_masks(path: Path) -> NDArray[np.int32]:
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read_header = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            read_header(file)
            content = _ArraysOnly(file).load()
        masks = content.item()["masks"] if isinstance(content, np.ndarray) else content["masks"]
        return np.asarray(masks).astype(np.int32)
    except (ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError, IndexError) as error:
        raise HcsQcError(
            f"{path} cannot be read as Cellpose's masks: {error}. Save the masks as TIFF or PNG."
        ) from error


# ---- ImageJ ------------------------------------------------------------------------------


def _imagej_outlines(path: Path) -> Iterator[NDArray[np.float64]]:
    try:
        if path.suffix.lower() == ".roi":
            yield from _roi(path.read_bytes())
            return
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.lower().endswith(".roi")]
            if not names and archive.namelist():
                raise HcsQcError(f"{path} holds no ROIs of ImageJ; a RoiSet.zip was expected.")
            for name in names:
                with archive.open(name) as file:
                    yield from _roi(_limited(file))
    except (zipfile.BadZipFile, struct.error, ValueError) as error:
        raise HcsQcError(f"{path} cannot be read as ROIs of ImageJ: {error}.") from error


def _limited(file: IO[bytes]) -> bytes:
    content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError("a ROI is larger than any outline")
    return content


def _roi(content: bytes) -> Iterator[NDArray[np.float64]]:
    """Outlines of a ROI, as https://imagej.net/ij/developer/source/ij/io/RoiDecoder.java reads it.

    Written here since `roifile` would be a dependency for forty lines.
    """
    file = io.BytesIO(content)
    if file.read(4) != b"Iout":
        raise ValueError("it does not begin as a ROI does")
    kind = content[6]
    top, left, bottom, right, n_points = struct.unpack_from(">hhhhH", content, 8)
    is_exact = bool(struct.unpack_from(">H", content, 50)[0] & 128)
    if kind == 1:  # rectangle
        bottom, right = bottom - 1, right - 1
        yield np.array([[top, left], [top, right], [bottom, right], [bottom, left]], np.float64)
    elif kind == 2:  # oval
        angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        middle = np.array([top + bottom - 1, left + right - 1]) / 2
        half = np.array([bottom - top, right - left]) / 2
        yield middle + half * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    elif kind in (0, 5, 7, 8) and n_points:  # polygon, polyline, freehand, traced
        begin = 64 + (4 * n_points if is_exact else 0)
        numbers = np.frombuffer(content, ">f4" if is_exact else ">i2", 2 * n_points, begin)
        x, y = numbers.reshape(2, n_points).astype(np.float64)
        if not is_exact:
            x, y = x + left, y + top
        yield np.stack([y, x], axis=1) - 0.5
