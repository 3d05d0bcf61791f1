"""Plates as napari layer data; pure functions, no napari needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from napari_hcs_qc.assay.views.pictures import PictureStyle
from napari_hcs_qc.errors import UnreadableSiteError

if TYPE_CHECKING:
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
_FURTHER = ("yellow", "cyan", "magenta", "gray")
_RGB: dict[str, tuple[float, float, float]] = {
    "blue": (0.0, 0.0, 1.0),
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 1.0, 0.0),
    "yellow": (1.0, 1.0, 0.0),
    "cyan": (0.0, 1.0, 1.0),
    "magenta": (1.0, 0.0, 1.0),
    "gray": (1.0, 1.0, 1.0),
}
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


def picture_style(plate: Plate) -> PictureStyle:
    """Give the colours in which crops and thumbnails of a plate are drawn: those of its layers."""
    names = channel_colours([channel.name for channel in plate.channels])
    return PictureStyle(tuple(_RGB[name] for name in names), GAMMA)


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
