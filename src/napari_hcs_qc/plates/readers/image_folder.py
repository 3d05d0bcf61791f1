"""A folder of images whose names say where they belong."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING

from napari_hcs_qc.errors import HcsQcError, Problem
from napari_hcs_qc.plates.plate import GIVEN_SHAPE
from napari_hcs_qc.plates.readers import microscope_files
from napari_hcs_qc.plates.readers.assemble import (
    Parts,
    PlaneFile,
    assemble_plate,
    natural_key,
    which_plate,
)
from napari_hcs_qc.plates.readers.folder_listing import (
    COMPANIONS,
    Listing,
    is_mask_or_overview,
    list_folder,
)
from napari_hcs_qc.plates.readers.names.instruments.molecular_devices import is_thumbnail
from napari_hcs_qc.plates.readers.names.known_names import NAME_FORMATS, best_format
from napari_hcs_qc.plates.readers.names.learnt_pattern import learnt_pattern
from napari_hcs_qc.plates.readers.names.name_format import NamedPlace
from napari_hcs_qc.plates.readers.names.place import (
    NUMBERED,
    Place,
    numbered_shape,
    numbered_well,
)
from napari_hcs_qc.plates.readers.names.runs import (
    PARTS_OF_PLATE,
    one_acquisition,
    one_run,
    refuse_collisions,
)
from napari_hcs_qc.plates.readers.names.user_pattern import UserPattern
from napari_hcs_qc.plates.readers.registry import Reader
from napari_hcs_qc.plates.remote import is_remote
from napari_hcs_qc.plates.wells import PLATE_SHAPES
from napari_hcs_qc.text import a_few, count_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_hcs_qc.plates.plate import Plate
    from napari_hcs_qc.plates.readers.names.name_format import NameFormat
    from napari_hcs_qc.plates.readers.names.runs import Image

_ASIDE = (
    "named as masks, flat fields, overviews, or images that are stitched or computed from others "
    "(in a folder of their own they are read)"
)
_WELLS_IN_NAME = re.compile(
    rf"(?<!\d)({'|'.join(map(str, PLATE_SHAPES))})[ _-]?(?:wells?|wp|wellplate)(?![a-z])",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class _Matched:
    """Images with what their names say, and what did not fit."""

    images: list[tuple[Image, NamedPlace]]
    name_format: NameFormat | None  # None for a user's pattern
    unmatched: list[tuple[str, list[Image]]]  # by reason

    def problems(self) -> list[Problem]:
        """List what was left out."""
        return [problem for reason, rest in self.unmatched for problem in _left_out(rest, reason)]


def open_folder(
    root: Path,
    *,
    pattern: str | None = None,
    name: str | None = None,
    shape: tuple[int, int] | None = None,
    time: int | None = None,
) -> Plate:
    """Index a folder of images by their names."""
    listing = list_folder(root)
    user = UserPattern(pattern) if pattern else None
    matched = _choose(listing, user)
    if matched is None:
        raise HcsQcError(_nothing(listing, user))
    problems = matched.problems() + _left_over(listing)
    matches = matched.images
    if user is not None:
        matches, name = _one_plate(root, matches, name)
    if matched.name_format is not None:
        matches = one_acquisition(root, matches, name, matched.name_format.acquisition)
    images, name = one_run(root, matches, name, is_pattern=user is not None)
    if user is not None:
        refuse_collisions(root, images, user.groups)
    elif matched.name_format is not None and matched.name_format.number_times is not None:
        numbers = matched.name_format.number_times({place.time for _, place in images})
        images = [(image, place._replace(time=numbers[place.time])) for image, place in images]
    plate_format = matched.name_format.name if matched.name_format else "pattern"
    parts = Parts(
        name=name or _plate_name(root),
        source=root,
        format=plate_format,
        files=(),
        channel_prefix=matched.name_format.channel_prefix if matched.name_format else "",
        problems=problems,
        time=time,
    )
    microscope_files.describe(parts, listing, {place.channel for _, place in images})
    if parts.shape is None and matched.name_format is not None:
        parts.shape = matched.name_format.shape(file for (_, file), _ in images)
        parts.shape_reason = "the names of the wells"
    parts.least_shape = _shape_in_name(parts.name)
    if shape is not None:
        parts.shape, parts.shape_reason = shape, GIVEN_SHAPE
    files = _files(root, images, parts)
    parts.files = files
    if plate_format == "imagexpress":
        microscope_files.use_htd(parts, listing)
    return assemble_plate(parts)


def _files(root: Path, images: Sequence[tuple[Image, Place]], parts: Parts) -> list[PlaneFile]:
    """Give the files, with the names of wells that are numbered."""
    folders = {folder for (folder, _), _ in images}
    paths = {f: os.path.join(root, *f.split("/")) if f else str(root) for f in folders}
    numbers = [int(place.well[1:]) for _, place in images if place.well.startswith(NUMBERED)]
    shape = parts.shape
    if numbers and shape is None:
        shape = parts.least_shape = parts.least_shape or numbered_shape(numbers)
        rows, columns = shape
        parts.problems.append(
            Problem(
                "wells",
                f"are numbered; {rows} × {columns} wells are assumed, in which number 14 is "
                f"{numbered_well(14, shape)}.",
                "Give --plate-shape if the plate is another.",
            )
        )
    files = []
    for (folder, file), place in images:
        well = place.well
        if well.startswith(NUMBERED) and shape is not None:
            well = numbered_well(int(well[1:]), shape)
        files.append(PlaneFile(f"{paths[folder]}{os.sep}{file}", well, *place[1:5]))
    return files


# Which images ---------------------------------------------------------------------------------


def _choose(listing: Listing, pattern: UserPattern | None) -> _Matched | None:
    """Match TIFFs and pictures by their names, and take those that are the plate."""
    tiffs, pictures = (_match(images, pattern) for images in (listing.tiffs, listing.pictures))
    if not (tiffs and tiffs.images):
        reason = "names do not fit those of the plate's images"
        return _with(pictures, listing.tiffs, reason) if pictures and pictures.images else None
    if not (pictures and pictures.images):
        return _with(tiffs, listing.pictures)
    # Pictures beside TIFFs are masks and previews of them, unless they show more of the plate.
    seen, more = (
        {(named.place.well, named.place.site) for _, named in each.images}
        for each in (tiffs, pictures)
    )
    if len(more) > 2 * len(seen):
        return _with(pictures, listing.tiffs, "most of the plate is in pictures and these are not")
    return _with(tiffs, listing.pictures)


def _with(
    matched: _Matched,
    others: list[Image],
    reason: str = "the plate's images are TIFF and these are not",
) -> _Matched:
    return _Matched(
        images=matched.images,
        name_format=matched.name_format,
        unmatched=[*matched.unmatched, (reason, others)],
    )


def _match(images: list[Image], pattern: UserPattern | None) -> _Matched | None:
    matched = _match_user(images, pattern) if pattern else _match_known(images)
    main = [match for match in matched.images if not is_mask_or_overview(match[0])]
    if not main or len(main) == len(matched.images):
        return matched
    aside = [image for image, _ in matched.images if is_mask_or_overview(image)]
    return _Matched(
        images=main,
        name_format=matched.name_format,
        unmatched=[*matched.unmatched, (_ASIDE, aside)],
    )


def _match_known(images: list[Image]) -> _Matched:
    """Take the format that most names fit; where most fit none there is no plate."""
    best, matches = best_format(images)
    if best is None:
        return _Matched(images=[], name_format=None, unmatched=[])
    fitting = {image for image, _ in matches}
    others = [image for image in images if image not in fitting]
    thumbnails = [image for image in others if is_thumbnail(image[1])]
    rest = [image for image in others if not is_thumbnail(image[1])]
    if len(matches) < sum(not is_mask_or_overview(image) for image in rest):
        raise HcsQcError(_minority(best, matches, rest))
    return _Matched(
        images=matches,
        name_format=best,
        unmatched=[
            (f"names do not fit {best.examples[0].path} ({best.instrument})", rest),
            ("thumbnails of MetaXpress", thumbnails),
        ],
    )


def _match_user(images: list[Image], pattern: UserPattern) -> _Matched:
    pattern = pattern.with_letters(["/".join(filter(None, image)) for image in images])
    matches: list[tuple[Image, NamedPlace]] = []
    reasons: defaultdict[str, list[Image]] = defaultdict(list)
    for image in images:
        place = pattern.match("/".join(filter(None, image)))
        if isinstance(place, Place):
            matches.append((image, NamedPlace(place, "")))
        else:
            reasons[place or "names do not fit the pattern"].append(image)
    return _Matched(images=matches, name_format=None, unmatched=list(reasons.items()))


def _left_out(images: Sequence[Image], reason: str) -> list[Problem]:
    if not images:
        return []
    names = a_few("/".join(filter(None, image)) for image in images)
    return [Problem(count_of(len(images), "image"), f"left out, {reason}: {names}.")]


def _left_over(listing: Listing) -> list[Problem]:
    problems = []
    strange = [
        name for _, name in listing.others if os.path.splitext(name)[1].lower() not in COMPANIONS
    ]
    if strange:
        what = f"of a type that cannot be read: {a_few(strange)}."
        problems.append(Problem(count_of(len(strange), "file"), what))
    if listing.plates:
        problems.append(
            Problem(a_few(listing.plates), "is a separate plate.", "Open it by its own path.")
        )
    return problems


# Refusals -------------------------------------------------------------------------------------


def _minority(best: NameFormat, matches: list[tuple[Image, NamedPlace]], rest: list[Image]) -> str:
    paths = ["/".join(filter(None, image)) for image in rest]
    return (
        f"Only {len(matches)} of {len(matches) + len(rest)} images have names of "
        f"{best.instrument}, such as {matches[0][0][1]}; the others, such as "
        f"{a_few(name for _, name in rest)}, have not, so that this is not the plate. "
        f"{_advice(paths)}"
    )


def _nothing(listing: Listing, pattern: UserPattern | None) -> str:
    images = listing.tiffs + listing.pictures
    paths = ["/".join(filter(None, image)) for image in images or listing.others]
    files = f"{count_of(len(paths), 'image' if images else 'file')}, such as {a_few(paths)}"
    holds = files if paths else "no files"
    text = f"No images of a plate were recognised in {listing.root}; it holds {holds}. "
    if listing.plates:
        return f"{text}It holds the OME-Zarr {a_few(listing.plates)}: open that by its own path."
    if pattern is not None:
        reason = next((each for path in paths if (each := pattern.match(path))), None)
        why = f" ({reason})" if isinstance(reason, str) else ""
        return (
            f"{text}None fits the pattern {pattern.text!r}, searched in the path from that "
            f"folder{why}. {_learnt(paths)}"
        )
    return f"{text}{_advice(paths)}" if images else f"{text}{_KNOWN}"


_KNOWN = (
    "Known names: "
    + "; ".join(
        f"{NAME_FORMATS[name].examples[0].path} ({NAME_FORMATS[name].instrument})"
        for name in (
            "imagexpress",
            "operetta",
            "scanr",
            "cellvoyager",
            "incell",
            "cellomics",
            "names",
        )
    )
    + " and more (docs/instruments.md). "
)


def _advice(paths: list[str]) -> str:
    return (
        f"{_learnt(paths)}{_KNOWN}For others give a pattern with (?P<well>…), (?P<site>…) and "
        "(?P<channel>…), or a CellProfiler LoadData CSV."
    )


def _learnt(paths: list[str]) -> str:
    learnt = learnt_pattern(paths)
    if learnt is None:
        return ""
    return (
        f"This pattern would read them: --pattern {quote(learnt.text)}. In the first it takes "
        f"{learnt.reading}. "
    )


def _one_plate(
    root: Path, matches: list[tuple[Image, NamedPlace]], name: str | None
) -> tuple[list[tuple[Image, NamedPlace]], str | None]:
    """Choose one of the plates that a user's pattern tells apart."""
    plates = sorted({named.place.plate for _, named in matches if named.place.plate})
    plates.sort(key=natural_key)
    if len(plates) < 2:
        return matches, name or (plates[0] if plates else None)
    if name not in plates:
        what = f"{root} holds {len(plates)} plates by the pattern's group 'plate'"
        raise HcsQcError(which_plate(what, plates, name))
    return [match for match in matches if match[1].place.plate == name], name


# The plate ------------------------------------------------------------------------------------


def _plate_name(root: Path) -> str:
    """Name of the folder, or of the one above where it is but a part of a plate."""
    folder = root
    while PARTS_OF_PLATE.fullmatch(folder.name) and folder.parent != folder:
        folder = folder.parent
    return folder.name or "plate"


def _shape_in_name(name: str) -> tuple[int, int] | None:
    """Shape that the name of a plate tells, such as ``Greiner_384well``."""
    match = _WELLS_IN_NAME.search(name)
    return PLATE_SHAPES[int(match[1])] if match else None


def _is_folder(path: Path) -> bool:
    """Whether it is a folder, or a file of the microscope about the images beside it."""
    is_description = path.suffix.lower() in {".htd", ".xml", ".mrf", ".mes", ".mlf"}
    return not is_remote(path) and (path.is_dir() or (is_description and path.is_file()))


def _open(
    path: Path,
    *,
    pattern: str | None = None,
    name: str | None = None,
    shape: tuple[int, int] | None = None,
    time: int | None = None,
) -> Plate:
    folder = path.parent if path.is_file() else path
    return open_folder(folder, pattern=pattern, name=name, shape=shape, time=time)


READER = Reader(
    name="image folder",
    title="a folder of images",
    recognises=_is_folder,
    open=_open,
    options=frozenset({"pattern", "plate_shape", "time"}),
)
