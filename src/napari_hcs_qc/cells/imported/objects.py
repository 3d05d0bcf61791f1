"""Objects that are no image: Cellpose's `_seg.npy`, GeoJSON of QuPath, and ROIs of ImageJ."""

from __future__ import annotations

import pickle
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.draw import polygon as pixels_of_polygon

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.tables.geojson import outlines_of, read_features

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

OBJECT_ENDINGS = ("_seg.npy", ".geojson", ".zip", ".roi")
_AREAS = ("POLYGON", "RECT", "OVAL", "POLYLINE", "FREEHAND", "TRACED")  # kinds of ROIs
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
            yield from _roi_outline(path.read_bytes())
            return
        with zipfile.ZipFile(path) as archive:
            rois = [roi for roi in archive.infolist() if roi.filename.lower().endswith(".roi")]
            if not rois and archive.namelist():
                raise HcsQcError(
                    f"{path} holds no ROIs of ImageJ; a RoiSet.zip was expected. Save it "
                    "by ImageJ's ROI Manager."
                )
            for roi in rois:
                if roi.file_size > _MOST_BYTES:
                    raise ValueError(f"{roi.filename} is larger than any outline")
                with archive.open(roi) as file:
                    yield from _roi_outline(file.read(roi.file_size))
    except HcsQcError:
        raise
    except Exception as error:  # Whatever a damaged file makes roifile raise.
        raise HcsQcError(
            f"{path} cannot be read as ROIs of ImageJ: {str(error).rstrip('.')}. A RoiSet.zip or "
            ".roi was expected; save it again by ImageJ's ROI Manager."
        ) from error


def _roi_outline(content: bytes) -> Iterator[NDArray[np.float64]]:
    """Outline of a ROI that is an area; of one of several parts that with the most points.

    ImageJ counts from the corner of the first pixel, we from its middle.
    """
    from roifile import ImagejRoi

    roi = ImagejRoi.frombytes(content)
    if roi.roitype.name in _AREAS:
        xy = np.asarray(roi.coordinates(), np.float64)
        if len(xy):
            yield xy[:, ::-1] - 0.5
