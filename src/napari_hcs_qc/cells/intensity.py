"""Intensity range and saturation level, per plate and channel, found from the data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from napari_hcs_qc.documents import problems_text
from napari_hcs_qc.errors import HcsQcError, UnreadableSiteError
from napari_hcs_qc.files import fingerprint
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_hcs_qc.plates.plate import Plate, Projection, SiteKey

_LOW_PERCENT, _HIGH_PERCENT = 0.5, 99.9


@dataclass(frozen=True, kw_only=True)
class ChannelRange:
    """Grey values of one channel of one plate."""

    channel: str  # name of the channel
    low: float  # grey value shown as 0
    high: float  # grey value shown as 1
    saturation_level: float | None  # grey value at which the detector saturates
    background: float  # grey value of the typical empty place
    dtype: str  # pixel type of the files, such as ``"uint16"``

    @property
    def ground(self) -> float:
        """Where the background lies between `low` (0) and `high` (1)."""
        return (self.background - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class IntensityRanges:
    """One `ChannelRange` for each channel of a plate, in the plate's order of channels."""

    channels: tuple[ChannelRange, ...]

    def scale(self, pixels: NDArray[Any], channels: Sequence[int]) -> NDArray[np.float32]:
        """Bring grey values to 0 to 1 by the range of the plate, never by that of the image."""
        if pixels.ndim != 3 or len(pixels) != len(channels):
            raise HcsQcError(
                f"Pixels of shape {pixels.shape} were given for {len(channels)} channels; "
                f"({len(channels)}, height, width) was expected."
            )
        unknown = [index for index in channels if not 0 <= index < len(self.channels)]
        if unknown:
            raise HcsQcError(
                f"There is no channel {unknown[0]}: the plate has "
                f"{count_of(len(self.channels), 'channel')}, counted from 0."
            )
        scaled = np.empty(pixels.shape, dtype=np.float32)
        for plane, target, index in zip(pixels, scaled, channels, strict=True):
            channel = self.channels[index]
            np.subtract(plane, channel.low, out=target, casting="unsafe", dtype=np.float32)
            target /= channel.high - channel.low
            np.clip(target, 0.0, 1.0, out=target)
        return scaled

    def to_dict(self) -> dict[str, Any]:
        """Give plain data for JSON; `from_dict` is the inverse."""
        return {"channels": [asdict(channel) for channel in self.channels]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> IntensityRanges:
        """Make the ranges from what `to_dict` gave."""
        try:
            return TypeAdapter(cls).validate_python(data)
        except ValidationError as error:
            problems = problems_text(error, cls)
            raise HcsQcError(f"These are not intensity ranges: {problems} in {data!r}.") from error

    @property
    def fingerprint(self) -> str:
        """Content address: 16 hexadecimal digits."""
        return fingerprint(self.to_dict())


@dataclass(frozen=True, kw_only=True)
class _SiteGreys:
    """What one plane of one site says of the grey values of its channel."""

    low: float
    high: float
    background: float
    top: float
    is_clipped: bool
    dtype: str


def measure_intensity(
    plate: Plate,
    *,
    n_sites: int = 48,
    seed: int = 0,
    projection: Projection = "max",
    job: Job = NO_JOB,
) -> IntensityRanges:
    """Measure the intensity range and saturation level of each channel on a sample of sites.

    Four times `n_sites` sites, spread over the plate, are read, one at a time. Of each channel
    the 0.5 and the 99.9 percentile and the background are taken site by site, and the plate's
    values are the lower quartile, the upper quartile and the median **over sites**: one field with
    a saturated fibre, or a few empty ones, cannot set the range of the plate.

    The saturation level is the highest grey value met if it piles up: many pixels have exactly
    that value, far more than have any value just below it, and they lie side by side. It is never
    taken from the dtype, as cameras of 12 bits, with and without an offset, write 16-bit files.
    """
    greys: list[list[_SiteGreys]] = [[] for _ in plate.channels]
    sample = spread_sample(plate.sites, 4 * n_sites, seed)
    sampled = set(sample)
    rest = (key for key in plate.sites if key not in sampled)
    reason = ""
    for done, site in enumerate(sample):
        job.check()
        job.report(done, len(sample), f"Measuring grey values of {site}")
        reason = _add_site(plate, site, projection, greys) or reason
    for site in rest:
        # A channel that few sites have, or few that can be read: look on until one is found.
        if all(greys):
            break
        job.check()
        if any(not greys[index] for index in plate.available_channels(site)):
            reason = _add_site(plate, site, projection, greys) or reason
    job.report(len(sample), len(sample), "Measured grey values")
    missing = [c.name for c, grey in zip(plate.channels, greys, strict=True) if not grey]
    if missing:
        raise HcsQcError(
            f"No image of channel {', '.join(missing)} of plate {plate.name} can be read; at least "
            f"one was expected. {reason or 'Check the files.'}"
        )
    return IntensityRanges(
        tuple(_combine(c.name, grey) for c, grey in zip(plate.channels, greys, strict=True))
    )


def spread_sample(sites: Sequence[SiteKey], n: int, seed: int = 0) -> list[SiteKey]:
    """Choose at most `n` sites spread evenly over the plate, in plate order.

    The list is cut into `n` stretches of equal length and one site is drawn from each.
    """
    if len(sites) <= n:
        return list(sites)
    rng = np.random.default_rng(seed)
    edges = np.arange(n + 1) * len(sites) // n
    return [sites[index] for index in rng.integers(edges[:-1], edges[1:])]


def find_saturation(image: NDArray[Any]) -> float | None:
    """Find the grey value at which one plane is clipped."""
    top = image.max()
    at_top = image == top
    count = int(np.count_nonzero(at_top))
    if (
        count < 8
        or not (at_top[1:, 1:] & at_top[1:, :-1] & at_top[:-1, 1:] & at_top[:-1, :-1]).any()
    ):
        return None
    below = image[~at_top]
    if below.size > 256:
        below = np.partition(below, below.size - 256)[-256:]
    levels, counts = np.unique(below, return_counts=True)
    # Fewer levels are a drawing or a constant, not a photograph: nothing can be said.
    if len(levels) < 3 or len(np.unique(image[::4, ::4])) < 16:
        return None
    return float(top) if count >= 8 * counts.mean() else None


def _add_site(
    plate: Plate, site: SiteKey, projection: Projection, greys: list[list[_SiteGreys]]
) -> str:
    """Measure every channel of a site into `greys`; give the reason where it cannot be read."""
    channels = plate.available_channels(site)
    try:
        pixels = plate.read_site(site, channels, projection=projection)
    except UnreadableSiteError as error:
        return str(error)
    for index, plane in zip(channels, pixels, strict=True):
        greys[index].append(_measure(plane))
    return ""


def _measure(image: NDArray[Any]) -> _SiteGreys:
    low, middle, high = np.percentile(image, [_LOW_PERCENT, 50.0, _HIGH_PERCENT])
    return _SiteGreys(
        low=float(low),
        high=float(high),
        background=_mode_between(image, float(low), float(middle)),
        top=float(image.max()),
        is_clipped=find_saturation(image) is not None,
        dtype=str(image.dtype),
    )


def _mode_between(image: NDArray[Any], low: float, high: float) -> float:
    """Most frequent grey value from `low` to `high`: that of the empty places of a field."""
    span = high - low
    if span <= 0:
        return low
    width = span / 64
    if np.issubdtype(image.dtype, np.integer):
        # Bins of whole grey values, else some hold one value more than their neighbours.
        width = max(1.0, np.ceil(width))
    edges = np.arange(low - width / 2, high + width, width)
    counts, edges = np.histogram(image, bins=edges)
    smooth = np.convolve(np.pad(counts, 2, mode="edge"), np.ones(5) / 5, mode="valid")
    peak = int(np.argmax(smooth))
    return float((edges[peak] + edges[peak + 1]) / 2)


def _combine(name: str, sites: Sequence[_SiteGreys]) -> ChannelRange:
    def over_sites(values: list[float], percent: float) -> float:
        # "nearest" keeps a value that was measured, and the higher one of two sites.
        return float(np.percentile(values, percent, method="nearest"))

    low = over_sites([site.low for site in sites], 25)
    high = over_sites([site.high for site in sites], 75)
    dtypes = [site.dtype for site in sites]
    top = max(site.top for site in sites)
    is_clipped = any(site.is_clipped for site in sites if site.top == top)
    dtype = max(sorted(set(dtypes)), key=dtypes.count)
    least = 1.0 if np.issubdtype(np.dtype(dtype), np.integer) else max(abs(high), 1.0) * 1e-6
    return ChannelRange(
        channel=name,
        low=low,
        high=max(high, low + least),
        saturation_level=top if is_clipped else None,
        background=over_sites([site.background for site in sites], 50),
        dtype=dtype,
    )
