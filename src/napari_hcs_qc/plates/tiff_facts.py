"""What the header of a TIFF file says beside its pixels: names of channels, size of a pixel."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import tifffile

_UM = {
    "å": 1e-4,
    "angstrom": 1e-4,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "um": 1.0,
    "µm": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "mm": 1e3,
    "millimeter": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "m": 1e6,
    "inch": 25_400.0,
}
# Screens and printers have 72 to 600 dots per inch, 40 to 350 µm: no size on the sample.
_LARGEST_UM, _SMALLEST_UM = 20.0, 0.005
_LONGEST_NAME = 60
_STACK_LABEL = re.compile(r"^(?:[cztCZT]:\d+/\d+\s*)+(?:-\s*)?")
_FILE_NAME = re.compile(r"\.(?:tiff?|png|jpe?g|nd2|czi|lif|lsm|vsi|stk)\b", re.IGNORECASE)


class TiffFacts(NamedTuple):
    """Names of the channels in the file, and the pixel size, each with where it stands."""

    channel_names: tuple[str, ...] = ()
    pixel_size_um: float | None = None
    reason: str = ""


def tiff_facts(tif: tifffile.TiffFile, n_channels: int) -> TiffFacts:
    """Read what a header says; nothing of what is damaged."""
    for read in (_metamorph, _ome, _imagej, _resolution):
        try:
            facts = read(tif, n_channels)
        # A header can hold anything, and the libraries raise accordingly; pixels are read anyway.
        except Exception:  # noqa: BLE001
            continue
        if facts is not None:
            return facts
    return TiffFacts()


def micrometres(value: float, unit: str) -> float | None:
    """Convert a length; None for a unit that is none or a length that is none of a pixel."""
    # Fiji writes the sign of micro as an escape sequence.
    unit = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), unit)
    factor = _UM.get(unit.strip().casefold().replace("\u03bc", "\u00b5"))
    return round(value * factor, 9) if factor is not None and 0 < value < float("inf") else None


def _metamorph(tif: tifffile.TiffFile, _n_channels: int) -> TiffFacts | None:
    metadata: Any = tif.metaseries_metadata
    if not metadata:
        return None
    plane = metadata.get("PlaneInfo", {})
    name = str(plane.get("_IllumSetting_") or "").strip()
    size = None
    if plane.get("spatial-calibration-state", True) and plane.get("spatial-calibration-x"):
        unit = str(plane.get("spatial-calibration-units", ""))
        size = micrometres(float(plane["spatial-calibration-x"]), unit)
    return TiffFacts((name,) if name else (), size, "the header of MetaXpress")


def _ome(tif: tifffile.TiffFile, n_channels: int) -> TiffFacts | None:
    import tifffile

    if not tif.ome_metadata:
        return None
    ome = tifffile.xml2dict(tif.ome_metadata)["OME"]
    if "BinaryOnly" in ome:  # the metadata are in a companion file
        name = os.path.basename(str(ome["BinaryOnly"]["MetadataFile"]))
        path = os.path.join(tif.filehandle.dirname, name)
        with open(path, encoding="utf-8") as handle:
            ome = tifffile.xml2dict(handle.read())["OME"]
    images = _as_list(ome["Image"])
    pixels = images[0]["Pixels"]
    first_channel = 0
    for image in images:
        for block in _as_list(image["Pixels"].get("TiffData", [])):
            uuid = block.get("UUID") if isinstance(block, dict) else None
            if isinstance(uuid, dict) and uuid.get("FileName") == tif.filehandle.name:
                pixels, first_channel = image["Pixels"], int(block.get("FirstC", 0))
                break
    names = [str(channel.get("Name") or "") for channel in _as_list(pixels.get("Channel", []))]
    if len(names) > n_channels == 1:
        names = names[first_channel : first_channel + 1]
    size = None
    if "PhysicalSizeX" in pixels:
        unit = str(pixels.get("PhysicalSizeXUnit", "µm"))
        size = micrometres(float(pixels["PhysicalSizeX"]), unit)
    return TiffFacts(_usable(names, n_channels), size, "OME-XML")


def _imagej(tif: tifffile.TiffFile, n_channels: int) -> TiffFacts | None:
    metadata = tif.imagej_metadata
    if not metadata:
        return None
    labels = [_STACK_LABEL.sub("", str(label)).strip() for label in metadata.get("Labels") or ()]
    if any(_FILE_NAME.search(label) for label in labels):
        labels = []
    unit = str(metadata.get("unit", ""))
    size = None if unit in ("", "pixel", "pixels", "inch") else _by_resolution(tif, unit)
    return TiffFacts(_usable(labels, n_channels), size, "the header of ImageJ")


def _resolution(tif: tifffile.TiffFile, _n_channels: int) -> TiffFacts | None:
    tag = tif.pages.first.tags.get("ResolutionUnit")
    unit = {2: "inch", 3: "cm"}.get(int(tag.value) if tag else 0)
    size = None if unit is None else _by_resolution(tif, unit)
    if size is None or not _SMALLEST_UM <= size <= _LARGEST_UM:
        return None
    return TiffFacts((), size, "the resolution in the TIFF header")


def _by_resolution(tif: tifffile.TiffFile, unit: str) -> float | None:
    tags: Any = tif.pages.first.tags
    pixels, units = tags["XResolution"].value
    return micrometres(units / pixels, unit) if pixels else None


def _usable(names: list[str], n_channels: int) -> tuple[str, ...]:
    """Give the names where each channel has one of its own."""
    if len(names) != n_channels or len(set(names)) != n_channels or not all(names):
        return ()
    return tuple(names) if max(map(len, names)) <= _LONGEST_NAME else ()


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
