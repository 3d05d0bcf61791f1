"""Plates as napari layer data; pure functions, no napari needed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from napari_hcs_qc.assay.views.pictures import PictureStyle
from napari_hcs_qc.errors import UnreadableSiteError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_hcs_qc.cells.intensity import IntensityRanges
    from napari_hcs_qc.plates.plate import Plate, Projection, SiteKey

LayerData: TypeAlias = tuple[Any, dict[str, Any], str]

_COLOURS = {
    "blue": ("dna", "dapi", "hoechst", "draq", "nucle"),
    "red": ("actin", "phalloidin", "golgi", "agp", "texas", "mcherry", "rfp"),
    "green": ("mito", "tubulin", "gfp", "fitc", "er"),
}
_FURTHER = ("yellow", "magenta", "cyan", "bop orange", "I Purple", "gray", "I Bordeaux", "bop blue")
_RGB: dict[str, tuple[float, float, float]] = {
    "blue": (0.0, 0.0, 1.0),
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 1.0, 0.0),
    "yellow": (1.0, 1.0, 0.0),
    "cyan": (0.0, 1.0, 1.0),
    "magenta": (1.0, 0.0, 1.0),
    "bop orange": (0.97, 0.68, 0.13),
    "I Purple": (0.46, 0.0, 1.0),
    "gray": (1.0, 1.0, 1.0),
    "I Bordeaux": (0.8, 0.0, 0.2),
    "bop blue": (0.13, 0.68, 0.97),
}
_MOST_AT_FIRST = 3  # channels; more than three colours on one place are none
GAMMA = 0.6
"""Of channels and pictures: dim debris is to be seen beside bright nuclei."""


def channel_colours(names: list[str]) -> list[str]:
    """Choose a colormap for each channel: grey when it is alone, else by stain."""
    if len(names) == 1:
        return ["gray"]
    spare = [*_FURTHER]
    chosen: list[str] = []
    for name in names:
        fitting = [
            colour
            for colour, stains in _COLOURS.items()
            if colour not in chosen and any(stain in name.casefold() for stain in stains)
        ]
        chosen.append(fitting[0] if fitting else spare.pop(0) if spare else "gray")
    return chosen


def shown_at_first(names: list[str]) -> tuple[str, ...]:
    """Choose the channels that are shown before somebody chooses others: DNA and two more."""
    stains = [stain for stains in _COLOURS.values() for stain in stains]
    is_dna = {name: any(s in name.casefold() for s in _COLOURS["blue"]) for name in names}
    is_known = {name: any(s in name.casefold() for s in stains) for name in names}
    by_use = sorted(names, key=lambda name: (not is_dna[name], not is_known[name]))
    return tuple(by_use[:_MOST_AT_FIRST])


def picture_style(plate: Plate, shown: Collection[str] | None = None) -> PictureStyle:
    """Give the colours in which crops and thumbnails of a plate are drawn: those of its layers.

    Channels that are not `shown` are black.
    """
    names = [channel.name for channel in plate.channels]
    colours = dict(zip(names, channel_colours(names), strict=True))
    seen = shown_at_first(names) if shown is None else shown
    black = (0.0, 0.0, 0.0)
    return PictureStyle(
        tuple(_RGB[colours[name]] if name in seen else black for name in names), GAMMA
    )


def picture_look(
    plate: Plate, ranges: IntensityRanges, images: Sequence[Any]
) -> tuple[PictureStyle, IntensityRanges]:
    """Give colours and contrast of pictures that look as the layers of a plate do now."""
    layers = {layer.name: layer for layer in images}
    gammas = [float(layer.gamma) for layer in images if layer.visible]
    colours: list[tuple[float, float, float]] = []
    channels = []
    for channel in ranges.channels:
        layer = layers.get(channel.channel)
        if layer is None or not layer.visible:
            colours.append((0.0, 0.0, 0.0))
            channels.append(channel)
            continue
        red, green, blue, *_ = (min(1.0, max(0.0, float(x))) for x in layer.colormap.colors[-1])
        colours.append((red, green, blue))
        low, high = (float(limit) for limit in layer.contrast_limits)
        channels.append(replace(channel, low=low, high=max(high, low + 1e-6)))
    style = PictureStyle(tuple(colours), gammas[0] if gammas else GAMMA)
    return style, replace(ranges, channels=tuple(channels))


def image_layers(
    plate: Plate,
    site: SiteKey,
    pixels: NDArray[np.generic],
    ranges: IntensityRanges,
) -> list[LayerData]:
    """Give one image layer a channel, with the plate's contrast and never the image's own."""
    names = [channel.name for channel in plate.channels]
    colours = channel_colours(names)
    scale = (plate.pixel_size_um,) * 2 if plate.pixel_size_um else (1.0, 1.0)
    unit = "um" if plate.pixel_size_um else "pixel"
    at_first = shown_at_first(names)
    layers: list[LayerData] = []
    for plane, index in zip(pixels, plate.available_channels(site), strict=True):
        grey = ranges.channels[index]
        options = {
            "name": names[index],
            "colormap": colours[index],
            "contrast_limits": (grey.low, grey.high),
            "blending": "additive",
            "gamma": GAMMA,
            "scale": scale,
            "units": (unit, unit),
            "axis_labels": ("y", "x"),
            "visible": names[index] in at_first,
            "metadata": {"plate": plate.name, "well": site.well, "site": site.site},
        }
        layers.append((plane, options, "image"))
    return layers


def first_readable(
    plate: Plate, projection: Projection = "max"
) -> tuple[SiteKey, NDArray[np.generic]]:
    """Read the first site of a plate that can be read."""
    reason = UnreadableSiteError(f"Plate {plate.name} has no sites.")
    for site in plate.sites:
        try:
            channels = plate.available_channels(site)
            return site, plate.read_site(site, channels, projection=projection)
        except UnreadableSiteError as error:
            reason = error
    raise reason
