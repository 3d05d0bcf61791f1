"""Opera, Operetta and Phenix exports: what ``Index.xml`` says of channels and pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError, XMLParser

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.plate import Channel

if TYPE_CHECKING:
    from pathlib import Path

_BLOCK = 1 << 16
_LEAVES = frozenset(
    {
        "ChannelID",
        "ChannelName",
        "ImageResolutionX",
        "MainEmissionWavelength",
        "PlateRows",
        "PlateColumns",
    }
)
_UNITS_UM = {"m": 1e6, "mm": 1e3, "um": 1.0, "µm": 1.0, "nm": 1e-3}


@dataclass
class Index:
    """What an ``Index.xml`` says, as far as it is used."""

    # By channel number, as in ``ch1`` of the file names
    channels: dict[str, Channel] = field(default_factory=dict)
    pixel_size_um: float | None = None  # pixel size on the sample
    shape: tuple[int, int] | None = None  # rows and columns of the plate


def read_index(path: Path, wanted: set[str]) -> Index:
    """Read channels and pixel size from an ``Index.xml`` of any Harmony version.

    The file lists every image and may have hundreds of megabytes: reading stops when all `wanted`
    channel numbers are known. A document type, with which entities could be declared, is refused.
    """
    listener = _Listener()
    parser = XMLParser(target=listener)
    try:
        with path.open("rb") as handle:
            while block := handle.read(_BLOCK):
                parser.feed(block)
                if listener.is_enough(wanted):
                    return listener.index()
        parser.close()
    except ParseError as error:
        raise HcsQcError(f"{path} is damaged or no XML ({error}).") from error
    except OSError as error:
        raise HcsQcError(f"{path} cannot be read: {error.strerror or error}.") from error
    return listener.index()


class _Listener:
    """Collects the leaves of interest; a channel is described by an ``Image`` or an ``Entry``."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, str]] = {}
        self._plate: dict[str, str] = {}
        self._current: dict[str, str] = {}
        self._unit = "m"
        self._text: list[str] | None = None

    def doctype(self, _name: str, _public: str | None, _system: str | None) -> None:
        raise HcsQcError(
            "Index.xml declares a document type, which no microscope writes; it is not read."
        )

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = _local(tag)
        if name in ("Image", "Entry"):
            self._current = {}
            if "ChannelID" in attributes:
                self._current["ChannelID"] = attributes["ChannelID"]
        if name == "ImageResolutionX":
            self._unit = attributes.get("Unit", "m")
        self._text = [] if name in _LEAVES else None

    def data(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    def end(self, tag: str) -> None:
        name = _local(tag)
        if self._text is not None and name in _LEAVES:
            value = "".join(self._text).strip()
            (self._plate if name.startswith("Plate") else self._current)[name] = value
        if name in ("Image", "Entry") and "ChannelID" in self._current:
            known = self._found.setdefault(self._current["ChannelID"].strip(), {})
            for key, value in self._current.items():
                known.setdefault(key, value)
        self._text = None

    def close(self) -> None:
        """Do nothing: the parser calls it at the end of the document."""

    def is_enough(self, wanted: set[str]) -> bool:
        return bool(wanted) and all(
            {"ChannelName", "ImageResolutionX"} <= set(self._found.get(key, {})) for key in wanted
        )

    def index(self) -> Index:
        channels = {}
        pixel_size = None
        for key, values in self._found.items():
            if values.get("ChannelName"):
                wavelength = _number(values.get("MainEmissionWavelength"))
                channels[key] = Channel(values["ChannelName"], wavelength)
            resolution = _number(values.get("ImageResolutionX"))
            if pixel_size is None and resolution:
                pixel_size = round(resolution * _UNITS_UM.get(self._unit, 1e6), 9)
        rows, columns = (_number(self._plate.get(f"Plate{axis}")) for axis in ("Rows", "Columns"))
        shape = (int(rows), int(columns)) if rows and columns else None
        return Index(channels, pixel_size, shape)


def _local(tag: str) -> str:
    """Tag without its namespace, which differs between Harmony versions."""
    return tag.rpartition("}")[2]


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None
