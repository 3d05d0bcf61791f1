"""One image of each channel is read before a plate is worked on: names promise more than files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.errors import Problem, ProblemsError, UnreadableSiteError
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_hcs_qc.plates.plate import Plate

_SPREAD = 4  # images tried first; all others only where none of these is readable


def looked_at(plate: Plate) -> Plate:
    """Give the plate with what a first look found; refuse it where a channel has no readable image.

    Raises
    ------
    ProblemsError
        With all such channels, and why.
    """
    unreadable, found = [], []
    for index, channel in enumerate(plate.channels):
        reasons: list[str] = []
        for site, z, time in _images(plate, index):
            try:
                plate.read_site(site, [index], projection=z, time=time)
                break
            except UnreadableSiteError as error:
                reasons.append(str(error))
        else:
            what = f"none of {count_of(len(reasons), 'image')} can be read, such as {reasons[0]}."
            unreadable.append(Problem(f"channel {channel.name}", what))
            continue
        if reasons:
            what = f"{count_of(len(reasons), 'image')} cannot be read, such as {reasons[0]}."
            found.append(Problem(f"channel {channel.name}", what, "Others of it can."))
    if unreadable:
        raise ProblemsError(
            f"{plate.source}: {len(unreadable)} of {count_of(len(plate.channels), 'channel')} "
            "cannot be read. To do without a channel, move its files out of the folder, give a "
            "pattern (--pattern) that they do not fit, or take its columns out of the table",
            unreadable,
        )
    found += _scaled_channels(plate)
    return replace(plate, problems=(*plate.problems, *found)) if found else plate


def _scaled_channels(plate: Plate) -> list[Problem]:
    """Note the channels that are scaled to the pixels of others."""
    shape = plate.layout.shape
    problems = []
    for index, channel in enumerate(plate.channels):
        own = plate.channel_layouts[index]
        if own is not None and own.shape != shape and index not in plate.varying:
            what = f"has {own.shape[0]}×{own.shape[1]} px and is scaled to {shape[0]}×{shape[1]} px"
            problems.append(Problem(f"channel {channel.name}", f"{what} of other channels."))
    return problems


def _images(plate: Plate, channel: int) -> Iterator[tuple[SiteKey, int, int]]:
    """Give site, z and time of the first image of each site, those spread over the plate first."""
    rows = plate.planes[plate.planes["channel"] == channel].sort_values("time", kind="stable")
    rows = rows.drop_duplicates(["well", "site"])
    places = list(zip(rows["well"], rows["site"], rows["z"], rows["time"], strict=True))
    spread = np.linspace(0, len(places) - 1, min(_SPREAD, len(places))).round().astype(int).tolist()
    others = sorted(set(range(len(places))) - set(spread))
    for number in (*spread, *others):
        well, site, z, time = places[number]
        yield SiteKey(str(well), int(site)), int(z), int(time)
