"""What the files that a microscope writes beside the images say of plate, channels and pixels."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, TypeVar

from napari_hcs_qc.errors import HcsQcError, Problem
from napari_hcs_qc.plates.readers import cellvoyager, imagexpress, operetta, scanr
from napari_hcs_qc.plates.readers.names.runs import PARTS_OF_PLATE
from napari_hcs_qc.text import a_few, count_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_hcs_qc.plates.readers.assemble import Parts
    from napari_hcs_qc.plates.readers.folder_listing import Listing

T = TypeVar("T")


def describe(parts: Parts, listing: Listing, channels: set[str]) -> None:
    """Add what there is, by the format of the names."""
    if parts.format == "imagexpress":
        description = _described(parts, listing, _HTD, imagexpress.read_htd)
        if description is not None:
            _set_shape(parts, description[1].shape, description[0].name)
            parts.channels = imagexpress.wave_channels(description[1])
            parts.channels_reason = description[0].name
    elif parts.format == "operetta":
        index = _described(
            parts,
            listing,
            r"index(?:\.idx)?\.xml",
            lambda path: operetta.read_index(path, channels),
        )
        if index is not None:
            _use(parts, index[1], index[0].name)
    elif parts.format in ("scanr", "scanr-numbers"):
        descriptor = _described(
            parts, listing, r"experiment_descriptor\.xml", scanr.read_descriptor
        )
        if descriptor is not None:
            _use(parts, descriptor[1], descriptor[0].name)
    elif parts.format in ("cellvoyager", "cq1"):
        details = _described(
            parts, listing, r"measurementdetail\.mrf", cellvoyager.read_measurement
        )
        if details is not None:
            _use(parts, details[1], details[0].name)


_WITHOUT = (
    "The plate is opened without it; copy it again from the microscope for what it says of plate, "
    "channels and pixels."
)
_HTD = r"[^.].*\.htd"


def use_htd(parts: Parts, listing: Listing) -> None:
    """Name what an ``.HTD`` file promises and does not keep, and leave projections out."""
    path = _companion(listing, re.compile(_HTD, re.IGNORECASE))
    try:
        description = None if path is None else imagexpress.read_htd(path)
    except HcsQcError:  # noted where it was read first
        description = None
    if description is not None:
        parts.problems += imagexpress.unkept_promises(description, parts.files)
    files = imagexpress.without_projections(parts.files, description)
    planes = {file.path for file in files}
    projections = [file.path for file in parts.files if file.path not in planes]
    if projections:
        names = a_few(os.path.relpath(path, listing.root) for path in projections)
        what = f"left out, projections of stacks whose planes are there: {names}."
        parts.problems.append(Problem(count_of(len(projections), "image"), what))
    parts.files = files


def _use(parts: Parts, index: operetta.Index, name: str) -> None:
    _set_shape(parts, index.shape, name)
    if index.channels:
        parts.channels, parts.channels_reason = index.channels, name
    if index.pixel_size_um:
        parts.pixel_size_um, parts.pixel_size_reason = index.pixel_size_um, name


def _set_shape(parts: Parts, shape: tuple[int, int] | None, name: str) -> None:
    if shape is not None:
        parts.shape, parts.shape_reason = shape, name


def _companion(listing: Listing, names: re.Pattern[str]) -> Path | None:
    """Find the file of that name nearest to the folder; also one level up inside a plate."""
    companion = listing.companion(names)
    if companion is None and PARTS_OF_PLATE.fullmatch(listing.root.name):
        beside = sorted(p for p in listing.root.parent.iterdir() if names.fullmatch(p.name))
        return beside[0] if beside else None
    return companion


def _described(
    parts: Parts, listing: Listing, names: str, read: Callable[[Path], T]
) -> tuple[Path, T] | None:
    """Read the file of the microscope that describes the images; None without a readable one."""
    path = _companion(listing, re.compile(names, re.IGNORECASE))
    try:
        return None if path is None else (path, read(path))
    except HcsQcError as error:
        assert path is not None
        parts.problems.append(Problem(path.name, str(error), _WITHOUT))
        return None
