"""What an assay remembers of a plate: where it lies and how to open it."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from napari_hcs_qc.assay.annotations.annotation import checked_text
from napari_hcs_qc.assay.store.assay_document import PlateRecord
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates import open_plate
from napari_hcs_qc.plates.open import at_time_point
from napari_hcs_qc.plates.remote import as_location, is_remote

if TYPE_CHECKING:
    from napari_hcs_qc.plates.plate import Plate

_UNSAFE = frozenset('<>:"/\\|?*%')
_RESERVED = frozenset(
    ["CON", "PRN", "AUX", "NUL"] + [f"{name}{n}" for name in ("COM", "LPT") for n in range(1, 10)]
)


@dataclass(frozen=True, kw_only=True)
class PlateEntry:
    """A plate of an assay."""

    name: str  # of the plate; no other plate of the assay has it, in upper or lower case
    source: Path  # what `open_plate` is given: a folder, a CSV or an OME-Zarr; absolute
    pattern: str | None = None  # file name pattern, where one was given
    image_root: Path | None = None  # folder of the images, where one was given; absolute
    plate_shape: str | None = None  # where one was given
    time: int | None = None  # the only time point, where one was given
    series: str | None = None  # name of the plate of which it is one time point, if it is
    allow_remote: bool = False  # whether servers that a table names may be contacted
    fingerprint: str = ""  # of the plate when it was added (`Plate.fingerprint`)

    @property
    def plate_name(self) -> str:
        """Name of the plate itself: of a time point, that of its series."""
        return self.series or self.name

    def whole(self) -> PlateEntry:
        """Give the plate with all of its time points."""
        return replace(self, name=self.series, series=None, time=None) if self.series else self

    def check_there(self) -> None:
        """Refuse a plate whose files are gone."""
        for path in (self.source, self.image_root):
            # What is on a server is asked for when it is opened, which tells what is wrong.
            if path is not None and not is_remote(path) and not path.exists():
                raise HcsQcError(
                    f"The plate {self.name} is no longer at {path}. Move it back, or set its new "
                    f"path: hcs-qc relocate ASSAY {quote(self.name)} NEW_PATH."
                )

    def open(self) -> Plate:
        """Open it."""
        plate = open_plate(
            self.source,
            pattern=self.pattern,
            image_root=self.image_root,
            name=self.plate_name,
            plate_shape=self.plate_shape,
            time=None if self.series else self.time,
            allow_remote=self.allow_remote,
        )
        if self.series is None or self.time is None:
            return plate
        return at_time_point(plate, self.time, self.name)

    def to_record(self, assay: Path) -> PlateRecord:
        """Give what is written; paths both absolute and as seen from the folder `assay`."""
        return PlateRecord(
            name=self.name,
            source=str(self.source),
            source_from_assay=_from_assay(self.source, assay),
            pattern=self.pattern,
            image_root=None if self.image_root is None else str(self.image_root),
            image_root_from_assay=_from_assay(self.image_root, assay),
            plate_shape=self.plate_shape,
            time=self.time,
            series=self.series,
            allow_remote=self.allow_remote or None,
            fingerprint=self.fingerprint,
        )

    @classmethod
    def from_record(cls, record: PlateRecord, assay: Path) -> PlateEntry:
        """Read what `to_record` gave.

        A path is first looked for as seen from the assay, so that an assay and its plates can be
        moved or copied together, then where it was.
        """
        root = record.image_root
        return cls(
            name=record.name,
            source=_located(record.source, record.source_from_assay, assay),
            pattern=record.pattern,
            image_root=None
            if root is None
            else _located(root, record.image_root_from_assay, assay),
            plate_shape=record.plate_shape,
            time=record.time,
            series=record.series,
            allow_remote=bool(record.allow_remote),
            fingerprint=record.fingerprint,
        )


def folder_name(plate: str) -> str:
    """Give a folder name for a plate that every file system takes, different for different names.

    Letters of any script stay; characters with a meaning in paths become ``%`` and two digits.
    Upper and lower case are kept, so names must differ by more than case.
    """
    checked_text(plate, "plate name")
    name = "".join(
        f"%{ord(mark):02X}" if mark in _UNSAFE or ord(mark) < 32 else mark for mark in plate
    )
    if name.split(".")[0].upper() in _RESERVED or name[0] in ". ":
        name = f"%{ord(name[0]):02X}{name[1:]}"
    if name[-1] in ". ":  # Windows drops these
        name = f"{name[:-1]}%{ord(name[-1]):02X}"
    return name


def same_name(name: str, other: str) -> bool:
    """Whether two plate names cannot be told apart on some file system."""
    return _folded(name) == _folded(other)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _from_assay(path: Path | None, assay: Path) -> str | None:
    if path is None or is_remote(path):
        return None
    try:
        return Path(os.path.relpath(path, assay.resolve())).as_posix()
    except ValueError:  # on another drive of Windows
        return None


def _located(absolute: str, relative: str | None, assay: Path) -> Path:
    if relative is not None:
        beside = Path(os.path.normpath(assay.resolve() / relative))
        if beside.exists():
            return beside
    located: Path = as_location(absolute)
    return located
