"""The formats of names that are built in, and which of them a folder's names have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hcs_qc.plates.readers.names.instruments import (
    agilent,
    becton_dickinson,
    cytiva,
    evident,
    laboratory,
    leica,
    molecular_devices,
    nikon,
    open_hardware,
    revvity,
    sartorius,
    thermo_fisher,
    yokogawa,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hcs_qc.plates.readers.names.name_format import NamedPlace, NameFormat
    from napari_hcs_qc.plates.readers.names.place import Place

NAME_FORMATS: dict[str, NameFormat] = {
    each.name: each
    for module in (
        revvity,
        evident,
        yokogawa,
        cytiva,
        thermo_fisher,
        nikon,
        leica,
        sartorius,
        becton_dickinson,
        open_hardware,
        agilent,
        molecular_devices,
        laboratory,
    )
    for each in module.FORMATS
}
"""By name, the most particular first."""

FORMATS = tuple(NAME_FORMATS)

_SAMPLE = 500
_LEAST_TOLD_APART = 4
_LEAST_WELLS = 3


def match_name(plate_format: str, folder: str, name: str) -> Place | None:
    """Read a file name in one of `FORMATS`."""
    match = NAME_FORMATS[plate_format].match(folder, name)
    return None if match is None else match.place


def best_format(
    images: Sequence[tuple[str, str]],
) -> tuple[NameFormat | None, list[tuple[tuple[str, str], NamedPlace]]]:
    """Find the format that most names fit, and what they say in it.

    A format that fits much counts only where it fits more than twice as many names as the others,
    or all of theirs and tells the channel where they do not.
    """
    sample = images[:: max(1, len(images) // _SAMPLE)]
    best: NameFormat | None = None
    matches: list[tuple[tuple[str, str], NamedPlace]] = []
    for each in NAME_FORMATS.values():
        if len(matches) == len(images) and _has_channel(matches):
            break  # none can fit better
        if len(sample) < len(images) and not any(each.match(*image) for image in sample):
            continue
        fitting = [(image, place) for image in images if (place := each.match(*image))]
        if _is_blind(fitting) or (each.is_loose and _is_torn(fitting)):
            continue
        is_better = len(fitting) > len(matches)
        if each.is_loose and best is not None:
            is_better = len(fitting) > 2 * len(matches) or (
                len(fitting) == len(matches) and not _has_channel(matches) and _has_channel(fitting)
            )
        if is_better:
            best, matches = each, fitting
    return best, matches


def _is_blind(matches: Sequence[tuple[tuple[str, str], NamedPlace]]) -> bool:
    """Whether what differs between the names is not read: all are at one place."""
    if len(matches) < _LEAST_TOLD_APART:
        return False
    places = {(folder, named.place._replace(plate="")) for (folder, _), named in matches}
    return len({place.well for _, place in places}) == 1 and 2 * len(places) <= len(matches)


def _is_torn(matches: Sequence[tuple[tuple[str, str], NamedPlace]]) -> bool:
    """Whether most channels are at few of the wells or sites.

    Treatments were taken for stains then, or running numbers for sites.
    """
    wells = {named.place.well for _, named in matches}
    channels = {named.place.channel.casefold() for _, named in matches}
    if len(wells) < _LEAST_WELLS or len(channels) < 2:
        return False
    for key in ("well",), ("well", "site"):
        places = {tuple(getattr(named.place, part) for part in key) for _, named in matches}
        pairs = {
            (*(getattr(named.place, part) for part in key), named.place.channel.casefold())
            for _, named in matches
        }
        if 2 * len(pairs) <= len(places) * len(channels):
            return True
    return False


def _has_channel(matches: Sequence[tuple[tuple[str, str], NamedPlace]]) -> bool:
    return any(named.place.channel for _, named in matches)
