"""A folder of images whose names say where they belong."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from napari_hcs_qc.errors import HcsQcError, Problem
from napari_hcs_qc.plates.pixels import PICTURE_EXTENSIONS, TIFF_EXTENSIONS
from napari_hcs_qc.plates.readers import imagexpress, operetta
from napari_hcs_qc.plates.readers.assemble import (
    Parts,
    PlaneFile,
    assemble_plate,
    natural_key,
    which_plate,
)
from napari_hcs_qc.plates.readers.patterns import (
    EXAMPLES,
    FORMATS,
    Place,
    UserPattern,
    is_thumbnail,
    match_name,
    scanr_shape,
)
from napari_hcs_qc.plates.readers.registry import Reader
from napari_hcs_qc.plates.remote import is_remote
from napari_hcs_qc.text import a_few, count_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_hcs_qc.plates.plate import Plate

T = TypeVar("T")

_COMPANIONS = frozenset(
    {".csv", ".tsv", ".txt", ".parquet", ".xls", ".xlsx", ".json", ".yaml", ".yml", ".xml"}
    | {".xsl", ".xslt", ".xsd", ".htd", ".mrf", ".mes", ".mlf", ".wpi", ".wpp", ".icr", ".dat"}
    | {".md", ".pdf", ".htm", ".html", ".log", ".ini", ".cfg", ".db", ".sqlite", ".zip", ".npy"}
    | {"", ".py", ".ipynb", ".cppipe", ".cpproj", ".lnk"}
)
"""Files that lie beside images for good reason and are no loss when not read."""

_PARTS_OF_PLATE = re.compile(r"(?:^|/)(?:timepoint_\d+|zstep_\d+|images?|tiffs?)(?=/|$)", re.I)
_MIN_OVERLAP = 4
_CHANNEL_PREFIX = {"imagexpress": "w", "operetta": "ch", "cellvoyager": "C"}


@dataclass
class Listing:
    """Names below a folder. Nothing is opened, and no file's status is asked for."""

    root: Path  # the folder
    # Of files ``(folder relative to root with "/", name)``, sorted
    tiffs: list[tuple[str, str]] = field(default_factory=list)
    pictures: list[tuple[str, str]] = field(default_factory=list)
    others: list[tuple[str, str]] = field(default_factory=list)
    # OME-Zarr folders met, which are plates of their own and not looked into
    plates: list[str] = field(default_factory=list)


def list_folder(root: Path) -> Listing:
    """List a folder and all below it, without hidden files."""

    def refuse(error: OSError) -> None:
        raise HcsQcError(f"{error.filename} cannot be read: {error.strerror or error}.") from error

    listing = Listing(root)
    for folder, below, names in os.walk(root, onerror=refuse):
        relative = os.path.relpath(folder, root).replace(os.sep, "/")
        relative = "" if relative == "." else relative
        listing.plates += [f"{relative}/{name}".lstrip("/") for name in below if _is_zarr(name)]
        below[:] = sorted(n for n in below if not _is_zarr(n) and not n.startswith((".", "__MAC")))
        for name in sorted(names):
            if name.startswith("."):
                continue
            extension = os.path.splitext(name)[1].lower()
            if extension in TIFF_EXTENSIONS:
                listing.tiffs.append((relative, name))
            elif extension in PICTURE_EXTENSIONS:
                listing.pictures.append((relative, name))
            else:
                listing.others.append((relative, name))
    return listing


def _is_zarr(name: str) -> bool:
    return name.lower().endswith(".zarr")


def open_folder(root: Path, *, pattern: str | None = None, name: str | None = None) -> Plate:
    """Index a folder of images by their names."""
    listing = list_folder(root)
    matches, plate_format, problems = _matched(listing, UserPattern(pattern) if pattern else None)
    if not matches:
        raise HcsQcError(_nothing(listing, pattern))
    problems += _left_over(listing)
    if pattern:
        matches, name = _one_plate(root, matches, name)
    folders = {folder for (folder, _), _ in matches}
    paths = {f: os.path.join(root, *f.split("/")) if f else str(root) for f in folders}
    files = [
        PlaneFile(f"{paths[folder]}{os.sep}{file}", *place[:5]) for (folder, file), place in matches
    ]
    if len(folders) > 1:
        _refuse_several(root, matches)
    parts = Parts(
        name=name or _plate_name(root),
        source=root,
        format=plate_format,
        files=files,
        channel_prefix=_CHANNEL_PREFIX.get(plate_format, ""),
        problems=problems,
    )
    if plate_format == "imagexpress":
        _describe_imagexpress(parts, listing)
    elif plate_format == "operetta":
        _describe_operetta(parts, listing)
    elif plate_format == "scanr":
        parts.shape = scanr_shape(file for (_, file), _ in matches)
    return assemble_plate(parts)


_Images = list[tuple[str, str]]
_Matches = list[tuple[tuple[str, str], Place]]


def _matched(listing: Listing, pattern: UserPattern | None) -> tuple[_Matches, str, list[Problem]]:
    """Match TIFFs by their names, or where none fits pictures, which may be masks otherwise."""
    for images, set_aside in ((listing.tiffs, listing.pictures), (listing.pictures, [])):
        matches, plate_format, problems = (
            _match_user(images, pattern) if pattern else _match_known(images)
        )
        if matches:
            what = "the plate's images are TIFF and these are not"
            return matches, plate_format, problems + _unmatched(set_aside, what)
    return [], "", []


def _match_known(images: _Images) -> tuple[_Matches, str, list[Problem]]:
    """Take the format that most names fit."""
    best, matches = "", _Matches()
    for plate_format in FORMATS:
        places = ((image, match_name(plate_format, *image)) for image in images)
        fitting = [(image, place) for image, place in places if place is not None]
        if len(fitting) > len(matches):
            best, matches = plate_format, fitting
    if not matches:
        return [], "", []
    matched = {image for image, _ in matches}
    rest = [image for image in images if image not in matched and not is_thumbnail(image[1])]
    return matches, best, _unmatched(rest, f"names do not fit {EXAMPLES[best]}")


def _match_user(images: _Images, pattern: UserPattern) -> tuple[_Matches, str, list[Problem]]:
    matches: _Matches = []
    reasons: defaultdict[str, _Images] = defaultdict(list)
    for folder, name in images:
        place = pattern.match(f"{folder}/{name}" if folder else name)
        if isinstance(place, Place):
            matches.append(((folder, name), place))
        else:
            reasons[place or "names do not fit the pattern"].append((folder, name))
    problems = [p for reason, rest in reasons.items() for p in _unmatched(rest, reason)]
    return matches, "pattern", problems


def _unmatched(images: list[tuple[str, str]], reason: str) -> list[Problem]:
    if not images:
        return []
    names = a_few(name for _, name in images)
    return [Problem(count_of(len(images), "image"), f"left out, {reason}: {names}.")]


def _left_over(listing: Listing) -> list[Problem]:
    problems = []
    strange = [
        name for _, name in listing.others if os.path.splitext(name)[1].lower() not in _COMPANIONS
    ]
    if strange:
        what = f"of a type that cannot be read: {a_few(strange)}."
        problems.append(Problem(count_of(len(strange), "file"), what))
    if listing.plates:
        problems.append(
            Problem(a_few(listing.plates), "is a separate plate.", "Open it by its own path.")
        )
    return problems


def _nothing(listing: Listing, pattern: str | None) -> str:
    images = listing.tiffs + listing.pictures
    names = [f"{folder}/{name}" if folder else name for folder, name in images or listing.others]
    what = "images" if images else "files"
    files = f"{len(names)} {what}, such as {a_few(names)}" if names else "no files"
    text = f"No images of a plate were recognised in {listing.root}; it holds {files}. "
    if listing.plates:
        return f"{text}It holds the OME-Zarr {a_few(listing.plates)}: open that by its own path."
    if pattern:
        return f"{text}None fits the pattern {pattern!r}, searched in the path from that folder."
    return (
        f"{text}Known names: {'; '.join(EXAMPLES.values())}. For others give a pattern with "
        "(?P<well>…), (?P<site>…) and (?P<channel>…), or a CellProfiler LoadData CSV."
    )


def _one_plate(root: Path, matches: _Matches, name: str | None) -> tuple[_Matches, str | None]:
    """Choose one of the plates that a user's pattern tells apart."""
    plates = sorted({place.plate for _, place in matches if place.plate}, key=natural_key)
    if len(plates) < 2:
        return matches, name or (plates[0] if plates else None)
    if name not in plates:
        what = f"{root} holds {len(plates)} plates by the pattern's group 'plate'"
        raise HcsQcError(which_plate(what, plates, name))
    return [match for match in matches if match[1].plate == name], name


def _refuse_several(root: Path, matches: _Matches) -> None:
    """Refuse a folder of plates: their files would stand in for one another's.

    A few files that lie there twice are duplicates and only noted; a folder half of whose places
    another folder has too is a second plate.
    """
    places: defaultdict[str, set[Place]] = defaultdict(set)
    for (folder, _), place in matches:
        places[_PARTS_OF_PLATE.sub("", folder)].add(place._replace(well=place.well.upper()))
    if len(places) < 2:
        return
    seen: dict[Place, str] = {}
    for folder in sorted(places):
        both: defaultdict[str, int] = defaultdict(int)
        for place in places[folder]:
            first = seen.setdefault(place, folder)
            if first != folder:
                both[first] += 1
        count = sum(both.values())
        if count >= _MIN_OVERLAP and 2 * count >= len(places[folder]):
            first = max(both, key=lambda key: both[key])
            raise HcsQcError(
                f"{root} holds several plates, such as {first or '.'} and {folder or '.'}: they "
                f"have {count} wells, sites and channels in common. Open each by its own path."
            )


def _plate_name(root: Path) -> str:
    """Name of the folder, or of the one above where it is but a part of a plate."""
    folder = root
    while _PARTS_OF_PLATE.fullmatch(folder.name) and folder.parent != folder:
        folder = folder.parent
    return folder.name or "plate"


def _companion(listing: Listing, names: re.Pattern[str]) -> Path | None:
    """Find the file of that name nearest to the folder; also one level up inside a plate."""
    companions = [(f.count("/") + bool(f), f, n) for f, n in listing.others if names.fullmatch(n)]
    if companions:
        _, folder, name = min(companions)
        return listing.root / folder / name
    if _PARTS_OF_PLATE.fullmatch(listing.root.name):
        beside = sorted(p for p in listing.root.parent.iterdir() if names.fullmatch(p.name))
        return beside[0] if beside else None
    return None


def _described(parts: Parts, listing: Listing, names: str, read: Callable[[Path], T]) -> T | None:
    """Read the file of the microscope that describes the images; None without a readable one."""
    path = _companion(listing, re.compile(names, re.IGNORECASE))
    try:
        return None if path is None else read(path)
    except HcsQcError as error:
        assert path is not None
        parts.problems.append(Problem(path.name, str(error), "Opened without it."))
        return None


def _describe_imagexpress(parts: Parts, listing: Listing) -> None:
    description = _described(parts, listing, r"[^.].*\.htd", imagexpress.read_htd)
    if description is not None:
        parts.shape = description.shape
        parts.channels = imagexpress.wave_channels(description)
        parts.problems += imagexpress.unkept_promises(description, parts.files)
    parts.files = imagexpress.without_projections(parts.files, description)


def _describe_operetta(parts: Parts, listing: Listing) -> None:
    channels = {file.channel for file in parts.files}
    index = _described(
        parts, listing, r"index(?:\.idx)?\.xml", lambda path: operetta.read_index(path, channels)
    )
    if index is not None:
        parts.shape, parts.channels = index.shape, index.channels
        parts.pixel_size_um = index.pixel_size_um


def _is_folder(path: Path) -> bool:
    """Whether it is a folder, or a file of the microscope about the images beside it."""
    is_description = path.suffix.lower() in {".htd", ".xml"}
    return not is_remote(path) and (path.is_dir() or (is_description and path.is_file()))


def _open(path: Path, *, pattern: str | None = None, name: str | None = None) -> Plate:
    return open_folder(path.parent if path.is_file() else path, pattern=pattern, name=name)


READER = Reader(
    name="image folder",
    title="a folder of images",
    recognises=_is_folder,
    open=_open,
    options=frozenset({"pattern"}),
)
