"""A first look at a plate: how it was understood, and a picture of each channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.assay.views.pictures import PictureStyle, site_thumbnail
from napari_hcs_qc.cells.intensity import ChannelRange, IntensityRanges
from napari_hcs_qc.errors import UnreadableSiteError
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates.site_cache import SitePixels
from napari_hcs_qc.plates.summary import plate_lines

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.plates.plate import Plate

_LONGER_PX = 112
_WHITE = (1.0, 1.0, 1.0)
_LOW_PERCENT, _HIGH_PERCENT = 0.5, 99.8
_TRIES = 4  # sites, from the middle of the plate, before a channel counts as unreadable


@dataclass(frozen=True, eq=False, kw_only=True)
class PlateLook:
    """What a person sees of a plate before an assay is made of it."""

    plate: Plate
    lines: tuple[str, ...]  # how it was understood, then what is in doubt
    pictures: dict[str, NDArray[np.uint8] | None]  # by channel; None where it cannot be read
    problems: tuple[str, ...]  # of channels that cannot be read


def look_at(plate: Plate, *, job: Job = NO_JOB) -> PlateLook:
    """Read one site of each channel, from the middle of the plate, where cells are likely."""
    pictures: dict[str, NDArray[np.uint8] | None] = {}
    problems = []
    for index, channel in enumerate(plate.channels):
        job.check()
        job.report(index, len(plate.channels), f"Reading channel {channel.name}")
        pictures[channel.name], problem = _picture(plate, index)
        if problem:
            problems.append(f"Channel {channel.name} cannot be read: {problem}")
    lines = [*plate_lines(plate), *(str(problem) for problem in plate.problems)]
    return PlateLook(plate=plate, lines=tuple(lines), pictures=pictures, problems=tuple(problems))


def _picture(plate: Plate, channel: int) -> tuple[NDArray[np.uint8] | None, str]:
    """Make the grey picture of a channel, by its own range, or say why there is none."""
    sites = [site for site in plate.sites if channel in plate.available_channels(site)]
    middle = len(sites) // 2
    problem = "no site has it"
    for site in (sites[middle:] + sites[:middle])[:_TRIES]:
        try:
            pixels = plate.read_site(site, [channel])
        except UnreadableSiteError as error:
            problem = str(error)
            continue
        ranges = IntensityRanges((_range(pixels, plate.channels[channel].name),))
        shown = SitePixels(site=site, channels=(0,), pixels=pixels)
        return site_thumbnail(shown, ranges, PictureStyle((_WHITE,)), _LONGER_PX), ""
    return None, problem


def _range(pixels: NDArray[Any], name: str) -> ChannelRange:
    low, high = (float(value) for value in np.percentile(pixels, (_LOW_PERCENT, _HIGH_PERCENT)))
    return ChannelRange(
        channel=name,
        low=low,
        high=max(high, low + 1),
        saturation_level=None,
        background=low,
        dtype=str(pixels.dtype),
    )
