"""CellProfiler LoadData tables: one row a site, a file and a folder column a channel.

BBBC021 and BBBC022 describe their images this way too (``BBBC021_v1_image.csv``).
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING
from urllib.parse import unquote

from napari_hcs_qc.errors import HcsQcError, Problem, ProblemsError
from napari_hcs_qc.plates.plate import GIVEN_SHAPE
from napari_hcs_qc.plates.readers.assemble import (
    Parts,
    PlaneFile,
    assemble_plate,
    natural_key,
    which_plate,
)
from napari_hcs_qc.plates.readers.load_data_table import read_load_data
from napari_hcs_qc.plates.readers.names.instruments.molecular_devices import site_in_name
from napari_hcs_qc.plates.readers.names.place import NO_Z, well_text
from napari_hcs_qc.plates.readers.registry import Reader
from napari_hcs_qc.plates.remote import RemoteImagesError, as_location, is_remote, server_of
from napari_hcs_qc.plates.wells import parse_well
from napari_hcs_qc.text import a_few, count_of

if TYPE_CHECKING:
    import pandas as pd

    from napari_hcs_qc.plates.plate import Plate

_FILE = re.compile(r"(?:Image_)?FileName_(.+)", re.IGNORECASE)
_ADDRESS = re.compile(r"(?:Image_)?URL_(.+)", re.IGNORECASE)
_FOLDER = re.compile(r"(?:Image_)?PathName_(.+)", re.IGNORECASE)
_FRAME = re.compile(r"(?:Image_)?Frame_(.+)", re.IGNORECASE)
# Names that published tables use, the most usual first.
_PLATE = ("plate", "plateid", "plate_id", "platename", "plate_name", "barcode", "platebarcode")
_WELL = ("well", "wellid", "well_id", "wellname", "well_position", "cpd_well_position")
_SITE = ("site", "siteid", "field", "fieldid", "fieldindex", "fov", "position")
_ROW = ("row", "wellrow", "well_row")
_COLUMN = ("col", "column", "wellcolumn", "well_column", "wellcol")
_Z = ("planeid", "plane", "z", "zplane", "z_plane", "zindex", "z_index", "slice")
_TIME = ("timepointid", "timepoint", "time_point", "t", "time")
_RESOLUTION = ("imageresolutionx", "pixelsizex", "physicalsizex", "pixel_size", "pixelsize")
_LEAST_UM = 1e-3  # what is smaller is in metres, as Harmony has it
_SITE_TEXT = re.compile(r"\s*(?:s|f|site|field|fov|pos)[_ -]?(\d+)\s*", re.IGNORECASE)
_NO_CHANNEL = re.compile(
    r"illum|.*(?:outlines?|overlay|objects?|masks?|labels?|segmentation)$", re.IGNORECASE
)
_INTEGER = re.compile(r"\s*(\d+)(?:\.0*)?\s*")


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """Which column says what."""

    files: dict[str, str]
    folders: dict[str, str]
    frames: dict[str, str]
    plate: str | None
    well: str | None
    row: str | None
    column: str | None
    site: str | None
    z: str | None
    time: str | None
    resolution: str | None


def open_load_data(
    path: Path,
    *,
    image_root: Path | None = None,
    name: str | None = None,
    shape: tuple[int, int] | None = None,
    time: int | None = None,
    allow_remote: bool = False,
) -> Plate:
    """Index the plate that a LoadData CSV or Parquet file describes."""
    table, problems = read_load_data(path)
    columns = _find_columns(path, table)
    table, plate_name = _one_plate(path, table, columns, name, problems)
    wells = _wells(table, columns)
    planes = _numbers(table, columns.z, NO_Z)
    times = _numbers(table, columns.time, 0)
    sites, site_problems = _sites(
        path, table, columns, list(zip(wells, planes, times, strict=True))
    )
    problems += site_problems
    finder = _Finder(path.parent, image_root)
    files: list[PlaneFile] = []
    missing: list[str] = []
    unnamed: defaultdict[str, int] = defaultdict(int)
    for channel, file_column in columns.files.items():
        names = table[file_column].tolist()
        folders, frames = (
            table[column[channel]].tolist() if channel in column else [""] * len(names)
            for column in (columns.folders, columns.frames)
        )
        for well, site, z, at_time, folder, file, frame in zip(
            wells, sites, planes, times, folders, names, frames, strict=True
        ):
            if site is None:
                continue
            if not file.strip():
                unnamed[channel] += 1
                continue
            file_path, exists = finder.find(folder.strip(), file.strip())
            if not exists:
                missing.append(file_path)
            part = _integer(frame)
            files.append(
                PlaneFile(file_path, well, site, channel, z, at_time, -1 if part is None else part)
            )
    if finder.servers and not allow_remote:
        raise RemoteImagesError(path, a_few(sorted(finder.servers)))
    if files and len(missing) == len(files):
        raise HcsQcError(_all_missing(path, missing, image_root))
    if missing:
        verb = "do" if len(missing) > 1 else "does"
        what = f"{len(missing)} of {len(files)} images {verb} not exist: {a_few(missing)}."
        problems.append(Problem(path.name, what))
    for channel, count in unnamed.items():
        problems.append(
            Problem(f"channel {channel}", f"has no file name in {count_of(count, 'row')}.")
        )
    return assemble_plate(
        Parts(
            name=plate_name,
            source=path,
            format="loaddata",
            files=_shared_files(files, tuple(columns.files)),
            channel_order=tuple(columns.files),
            channels_reason=path.name,
            shape=shape,
            shape_reason=GIVEN_SHAPE if shape else "",
            time=time,
            pixel_size_um=_pixel_size(table, columns),
            pixel_size_reason=path.name,
            problems=problems,
        )
    )


def _find_columns(path: Path, table: pd.DataFrame) -> _Columns:
    """Find the columns."""
    names = [str(column) for column in table.columns]
    # An address is taken where no file is named: tables from the cloud have both.
    addresses, files, folders, frames = (
        {match[1]: column for column in names if (match := kind.fullmatch(column))}
        for kind in (_ADDRESS, _FILE, _FOLDER, _FRAME)
    )
    # Object outlines and illumination functions are listed like images and are none.
    files = {
        channel: column
        for channel, column in (addresses | files).items()
        if not _NO_CHANNEL.match(channel)
    }

    def metadata(wanted: tuple[str, ...]) -> str | None:
        for word in wanted:
            for column in names:
                plain = re.sub(r"^(?:Image_)?Metadata_", "", column, flags=re.IGNORECASE)
                ends = [f"_{channel.lower()}" for channel in files]
                if plain.lower() in (word, *(word + end for end in ends)):
                    return column
        return None

    columns = _Columns(
        files=files,
        folders=folders,
        frames=frames,
        plate=metadata(_PLATE),
        well=metadata(_WELL),
        row=metadata(_ROW),
        column=metadata(_COLUMN),
        site=metadata(_SITE),
        z=metadata(_Z),
        time=metadata(_TIME),
        resolution=metadata(_RESOLUTION),
    )
    problems = []
    if not files:
        what = "is missing; one column of file names per channel was expected."
        problems.append(Problem("FileName_<channel> or Image_FileName_<channel>", what))
    if columns.well is None and (columns.row is None or columns.column is None):
        what = "is missing; the well of every row was expected, such as A01."
        problems.append(Problem("Metadata_Well", what))
    if problems:
        listed = a_few(names)
        summary = (
            f"{path} is not a LoadData table (its columns are {listed}); add or rename columns"
        )
        raise ProblemsError(summary, problems)
    return columns


def _one_plate(
    path: Path, table: pd.DataFrame, columns: _Columns, name: str | None, problems: list[Problem]
) -> tuple[pd.DataFrame, str]:
    if columns.plate is None:
        return table, name or path.stem
    labels = table[columns.plate].str.strip().str.replace(r"^(\d+)\.0$", r"\1", regex=True)
    plates = sorted({label for label in labels if label}, key=natural_key)
    if len(plates) <= 1:
        return table, name or (plates[0] if plates else path.stem)
    if name not in plates:
        raise HcsQcError(which_plate(f"{path} describes {len(plates)} plates", plates, name))
    if unlabelled := int((labels == "").sum()):
        what = f"without a plate in {columns.plate}; left out."
        problems.append(Problem(f"{path.name}: {count_of(unlabelled, 'row')}", what))
    return table[labels == name], name


def _wells(table: pd.DataFrame, columns: _Columns) -> list[str]:
    if columns.well is not None:
        return [text.strip() for text in table[columns.well].tolist()]
    rows, numbers = table[columns.row].tolist(), table[columns.column].tolist()
    return [
        well_text(_plain(row), _plain(column)) for row, column in zip(rows, numbers, strict=True)
    ]


def _plain(text: str) -> str:
    """Write a whole number without zeros around it (``01``, ``1.0``); others as they are."""
    number = _integer(text)
    return text.strip() if number is None else str(number)


def _integer(text: str) -> int | None:
    match = _INTEGER.fullmatch(text)
    return int(match[1]) if match else None


def _numbers(table: pd.DataFrame, column: str | None, without: int) -> list[int]:
    """Whole numbers of a column; those of none where it is missing or holds other things."""
    if column is None:
        return [without] * len(table)
    numbers = [_integer(text) for text in table[column].tolist()]
    return [without if None in numbers else number or 0 for number in numbers]


def _pixel_size(table: pd.DataFrame, columns: _Columns) -> float | None:
    """Pixel size in µm, where all rows have the same."""
    if columns.resolution is None:
        return None
    texts = {text.strip() for text in table[columns.resolution].tolist()}
    try:
        sizes = {float(text) for text in texts}
    except ValueError:
        return None
    size = sizes.pop()
    if sizes or not 0 < size < float("inf"):
        return None
    return round(size * 1e6, 6) if size < _LEAST_UM else size


def _sites(
    path: Path,
    table: pd.DataFrame,
    columns: _Columns,
    places: list[tuple[str, int, int]],
) -> tuple[list[int | None], list[Problem]]:
    """Site of every row; where the table has none, from the file names, or else by order."""
    if columns.site is not None:
        texts = table[columns.site].tolist()
        sites = [_site_number(text) for text in texts]
        bad = [text for text, site in zip(texts, sites, strict=True) if site is None]
        if not bad:
            return sites, []
        if len(bad) == len(texts):
            raise HcsQcError(
                f"{path}: column {columns.site} holds {a_few(map(repr, bad))}; whole numbers were "
                "expected. Number the sites, or rename the column: without it the rows of a well "
                "are counted in their order."
            )
        what = f"without a whole number in {columns.site}; left out: {a_few(map(repr, bad))}."
        return sites, [Problem(f"{path.name}: {count_of(len(bad), 'row')}", what)]
    wells = [well for well, _, _ in places]
    named = _sites_of_names(next(iter(table[list(columns.files.values())[:1]].items()))[1], wells)
    if named is not None:
        return [*named], []
    counts: defaultdict[tuple[str, int, int], int] = defaultdict(int)
    numbered: list[int | None] = []
    for place in places:
        counts[place] += 1
        numbered.append(counts[place])
    return numbered, []


def _site_number(text: str) -> int | None:
    match = _SITE_TEXT.fullmatch(text)
    return int(match[1]) if match else _integer(text)


def _sites_of_names(names: pd.Series[str], wells: list[str]) -> list[int] | None:
    """Sites that ImageXpress file names state, if all do, for the same wells, and never twice."""
    sites = []
    for name, well in zip(names.tolist(), wells, strict=True):
        stated = site_in_name(PureWindowsPath(name.strip()).name)
        try:
            if stated is None or parse_well(stated[0]) != parse_well(well):
                return None
        except HcsQcError:
            return None
        sites.append(stated[1])
    return sites if len(set(zip(wells, sites, strict=True))) == len(sites) else None


def _shared_files(files: list[PlaneFile], order: tuple[str, ...]) -> list[PlaneFile]:
    """Where several channels of a site name one file, give each its plane, in column order."""
    channels: defaultdict[tuple[str, int, str], list[str]] = defaultdict(list)
    for file in files:
        if file.part < 0:
            channels[file.well, file.site, file.path].append(file.channel)
    if all(len(sharing) == 1 for sharing in channels.values()):
        return files
    result = []
    for file in files:
        sharing = channels.get((file.well, file.site, file.path), [])
        if len(set(sharing)) > 1:
            ordered = [channel for channel in order if channel in sharing]
            file = file._replace(part=ordered.index(file.channel))
        result.append(file)
    return result


class _Finder:
    """Resolves recorded folders to those on this machine; asks the disk once a folder."""

    def __init__(self, table_folder: Path, image_root: Path | None) -> None:
        root = image_root or table_folder
        self._base = str(root) if is_remote(root) else os.path.abspath(root)
        self._is_moved = image_root is not None
        self._resolved: dict[str, tuple[str, bool]] = {}
        self._names: dict[str, dict[str, str]] = {}
        self.servers: set[str] = set()  # which the table names, and the person did not

    def find(self, folder: str, file: str) -> tuple[str, bool]:
        """Absolute path of a file, and whether it exists."""
        if not self._is_moved or is_remote(self._base):
            address = self._address(folder, file)
            if address:  # whether it is there is seen when it is read
                server = server_of(address)
                if not (is_remote(self._base) and server == server_of(self._base)):
                    self.servers.add(server)
                return address, True
        folder, file = _plain_path(folder), _plain_path(file)
        pieces = _pieces(file)
        folder = "/".join([folder, *pieces[:-1]]) if len(pieces) > 1 else folder
        name = pieces[-1] if pieces else file
        at, is_certain = self._resolved.get(folder, ("", False))
        if not is_certain:  # the file asked for before may have been one that is missing
            at, is_certain = self._resolved[folder] = self._resolve(folder, name)
        # Copies from Windows often differ in the case of .TIF.
        known = self._listed(at).get(name.casefold())
        return os.path.join(at, known or name), known is not None

    def _address(self, folder: str, file: str) -> str:
        """Address of a file on a server; empty where it is on this machine."""
        if self._is_moved:  # to a server, whose folders cannot be listed: it has them directly
            return str(as_location(self._base).joinpath(*_pieces(file)[-1:]))
        if is_remote(file):
            return str(as_location(file))
        if is_remote(folder):
            return str(as_location(folder).joinpath(*_pieces(file)))
        if is_remote(self._base) and not _is_absolute(folder):
            return str(as_location(self._base).joinpath(*_pieces(folder), *_pieces(file)))
        return ""

    def _resolve(self, folder: str, name: str) -> tuple[str, bool]:
        """Give where a folder is now, and whether that is certain since the file is there."""
        pieces = _pieces(folder)
        if not self._is_moved:
            if _is_absolute(folder):
                return folder, True
            return os.path.normpath(os.path.join(self._base, *pieces)), True
        candidates = [os.path.join(self._base, *pieces[n:]) for n in range(len(pieces) + 1)]
        for candidate in candidates:
            if name.casefold() in self._listed(candidate):
                return candidate, True
        return next((c for c in candidates[:-1] if os.path.isdir(c)), candidates[0]), False

    def _listed(self, folder: str) -> dict[str, str]:
        """Names in a folder by their folded form; empty where there is no such folder."""
        if folder not in self._names:
            try:
                self._names[folder] = {name.casefold(): name for name in os.listdir(folder)}
            except OSError:
                self._names[folder] = {}
        return self._names[folder]


def _plain_path(text: str) -> str:
    """Path of a ``file:`` address, in which ``%20`` is a space; a path as it is."""
    if not text.lower().startswith("file:"):
        return text
    return unquote(re.sub(r"^file:/+", "/", text, flags=re.IGNORECASE))


def _is_absolute(folder: str) -> bool:
    """Whether a folder is absolute on any system."""
    return PurePosixPath(folder).is_absolute() or PureWindowsPath(folder).drive != ""


def _pieces(path: str) -> list[str]:
    """Parts of a path written on any system, without drive, root, protocol or ``.``."""
    path = re.sub(r"^(?:s3|gs|https?):/+", "", path)
    drive = PureWindowsPath(path).drive
    return [p for p in path[len(drive) :].replace("\\", "/").split("/") if p not in ("", ".")]


def _all_missing(path: Path, missing: list[str], image_root: Path | None) -> str:
    text = f"None of the {len(missing)} images that {path} names exist, such as {missing[0]}. "
    if image_root is not None:
        return f"{text}Nothing of their folders is found below {image_root}; check the image root."
    return f"{text}If they moved, give the folder they are in now as the image root (--image-root)."


def _is_table(path: Path) -> bool:
    is_named = path.suffix.lower() in {".csv", ".tsv", ".parquet", ".pq"}
    return is_named and (is_remote(path) or path.is_file())


READER = Reader(
    name="loaddata",
    title="a LoadData CSV or Parquet file",
    recognises=_is_table,
    open=open_load_data,
    options=frozenset({"image_root", "plate_shape", "time", "allow_remote"}),
)
