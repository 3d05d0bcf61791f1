"""The measures of a whole image, see `image_quality`; who reads them needs no more than this."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class ChannelQuality:
    """What one channel of one site looks like, as numbers.

    NaN stands where a measure has no meaning, such as the width of edges in an empty image.
    """

    channel: str  # name of the channel
    # Slope of log power over log frequency of the radially averaged power spectrum, each octave
    # of equal weight up to the Nyquist frequency: where slight blur shows
    octave_power_slope: float
    # CellProfiler's ImageQuality_PowerLogLogSlope: low frequencies only, sums and not means
    power_log_log_slope: float
    edge_width_px: float
    saturated_share: float  # share of pixels at the saturation level of the plate's channel
    saturated_spot_nuclei: float  # largest connected saturated area, in areas of a typical nucleus
    background: float  # background grey value: 5th percentile of the image
    # Background above that of the plate, as a share of the plate's intensity range
    background_rise: float
    background_span: float
    bright_outside_share: float
    # Nuclear channel only: share of the image covered by bright structures wider than nuclei
    bright_structure_share: float
    bright_extent_nuclei: float
    noise: float  # standard deviation of the pixel noise in the dark half of the image, grey values
    signal_to_noise: float  # height of the signal above the background, in units of `noise`
    mean_intensity: float  # mean grey value
    n_nuclei: float  # nuclear channel only: number of nuclei in the mask
    nuclei_area_share: float  # nuclear channel only: share of the image covered by nuclei


MEASURES: tuple[str, ...] = tuple(
    field.name for field in fields(ChannelQuality) if field.name != "channel"
)
"""Names of the measures of `ChannelQuality`, in table order."""

QUALITY_COLUMNS: tuple[str, ...] = ("well", "site", "channel", *MEASURES)
"""Columns of the table of image quality: one row for each site and channel."""
