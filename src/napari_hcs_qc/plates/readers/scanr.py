"""ScanR: what ``experiment_descriptor.xml`` beside the images says."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError, XMLParser

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.readers.operetta import Index

if TYPE_CHECKING:
    from pathlib import Path

_BLOCK = 1 << 16
_PIXEL_SIZE = "conversion factor um/pixel"


def read_descriptor(path: Path) -> Index:
    """Read the pixel size; channels are in the names of the files as they are called here."""
    facts = _Facts()
    parser = XMLParser(target=facts)
    try:
        with path.open("rb") as handle:
            while facts.pixel_size_um is None and (block := handle.read(_BLOCK)):
                parser.feed(block)
    except ParseError as error:
        raise HcsQcError(f"{path} is damaged or no XML ({error}).") from error
    except OSError as error:
        raise HcsQcError(f"{path} cannot be read: {error.strerror or error}.") from error
    return Index(pixel_size_um=facts.pixel_size_um)


class _Facts:
    """LabVIEW writes a name and then its value: ``<Name>…</Name><Val>…</Val>``."""

    def __init__(self) -> None:
        self.pixel_size_um: float | None = None
        self._name = ""
        self._text: list[str] = []

    def doctype(self, _name: str, _public: str | None, _system: str | None) -> None:
        raise HcsQcError("It declares a document type, which no microscope writes.")

    def start(self, _tag: str, _attributes: dict[str, str]) -> None:
        self._text = []

    def data(self, text: str) -> None:
        self._text.append(text)

    def end(self, tag: str) -> None:
        text = "".join(self._text).strip()
        self._text = []
        if tag == "Name":
            self._name = text
        elif tag == "Val" and self._name == _PIXEL_SIZE:
            try:
                size = float(text.replace(",", "."))
            except ValueError:
                return
            if 0 < size < float("inf"):
                self.pixel_size_um = size

    def close(self) -> None:
        """Do nothing: the parser calls it at the end of the document."""
