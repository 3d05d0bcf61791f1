"""CellVoyager and CQ1: what ``MeasurementDetail.mrf`` and the ``.mes`` beside it say."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError, XMLParser

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.plate import Channel
from napari_hcs_qc.plates.readers.operetta import Index

if TYPE_CHECKING:
    from pathlib import Path

_LARGEST = 50_000_000  # bytes; the files have some ten thousand
_COUNT = re.compile(r"[0-9]{1,6}")
_PLACEHOLDERS = frozenset({"", "none", "-"})


def read_measurement(path: Path) -> Index:
    """Read plate, channels and pixel size of a ``MeasurementDetail.mrf`` and its settings."""
    facts = _Facts()
    _parse(path, facts)
    others = sorted(each for each in path.parent.iterdir() if each.suffix.lower() == ".mes")
    named = [each for each in others if each.name.casefold() == facts.settings.casefold()]
    # Where it was renamed, the only one will be it.
    for settings in named or (others if len(others) == 1 else []):
        _parse(settings, facts)
    return Index(
        {key: Channel(name) for key, name in facts.names.items() if name},
        next(iter(facts.sizes.values()), None),
        facts.shape,
    )


class _Facts:
    """What the elements of both files say, of whatever version of the schema."""

    def __init__(self) -> None:
        self.settings = ""
        self.shape: tuple[int, int] | None = None
        self.sizes: dict[str, float] = {}
        self.names: dict[str, str] = {}

    def doctype(self, _name: str, _public: str | None, _system: str | None) -> None:
        raise HcsQcError("It declares a document type, which no microscope writes.")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = _local(tag)
        values = {_local(key): value.strip() for key, value in attributes.items()}
        if name == "MeasurementDetail":
            self.settings = values.get("MeasurementSettingFileName", "")
            rows, columns = (values.get(key, "") for key in ("RowCount", "ColumnCount"))
            if _COUNT.fullmatch(rows) and _COUNT.fullmatch(columns):
                self.shape = int(rows), int(columns)
        elif name == "MeasurementChannel" and "Ch" in values:
            try:
                size = float(values.get("HorizontalPixelDimension", ""))
            except ValueError:
                return
            if 0 < size < math.inf:
                self.sizes[values["Ch"]] = size
        elif name == "Channel" and "Ch" in values:
            self.names[values["Ch"]] = next(
                (
                    values[key]
                    for key in ("Target", "Fluorophore", "Acquisition")
                    if values.get(key, "").casefold() not in _PLACEHOLDERS
                ),
                "",
            )

    def close(self) -> None:
        """Do nothing: the parser calls it at the end of the document."""


def _parse(path: Path, facts: _Facts) -> None:
    try:
        content = path.read_bytes()
        if len(content) > _LARGEST:
            raise HcsQcError(f"{path} has {len(content):,} bytes, too many for what it should be.")
        parser = XMLParser(target=facts)
        parser.feed(content)
        parser.close()
    except ParseError as error:
        raise HcsQcError(f"{path} is damaged or no XML ({error}).") from error
    except OSError as error:
        raise HcsQcError(f"{path} cannot be read: {error.strerror or error}.") from error


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
