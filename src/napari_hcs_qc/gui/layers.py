"""Plates as napari layer data; pure functions, no napari needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from napari_hcs_qc.errors import UnreadableSiteError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
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

# Okabe & Ito's orange and blue: told apart with any kind of colour vision.
ABNORMAL_COLOUR = "#e69f00"
NORMAL_COLOUR = "#56b4e9"
_COLOUR_OF_CLASS = {"abnormal": ABNORMAL_COLOUR, "normal": NORMAL_COLOUR, "not judged": "white"}


def channel_colours(names: list[str]) -> list[str]:
    """Choose a colormap for each channel: grey when it is alone, else by stain."""
    if len(names) == 1:
        return ["gray"]
    spare = [*_FURTHER]
    chosen: list[str] = []
    for name in names:
        fitting = [
            colour
            for colour, words in _COLOURS.items()
            if colour not in chosen and any(word in name.casefold() for word in words)
        ]
        chosen.append(fitting[0] if fitting else spare.pop(0) if spare else "gray")
    return chosen


def image_layers(
    plate: Plate,
    site: SiteKey,
    pixels: NDArray[np.generic],
    ranges: IntensityRanges,
) -> list[LayerData]:
    """Give one image layer a channel, with the plate's contrast and never the image's own.

    Parameters
    ----------
    plate, site
        What is shown.
    pixels
        (n_channels, height, width), the channels that the site has
        (``plate.available_channels(site)``).
    ranges
        Intensity ranges of the plate.
    """
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
            # Dim debris is to be seen beside bright nuclei.
            "gamma": 0.6,
            "scale": scale,
            "metadata": {"plate": plate.name, "well": site.well, "site": site.site},
        }
        layers.append((plane, options, "image"))
    return layers


def cell_layer(plate: Plate, cells: pd.DataFrame, predictions: pd.DataFrame) -> LayerData:
    """Give the cells of one site as points, coloured by predicted class.

    Parameters
    ----------
    plate
        The plate.
    cells, predictions
        Rows of one site, in the same order.
    """
    features = {
        "p_abnormal": predictions["p_abnormal"].to_numpy(),
        "predicted_class": predictions["predicted_class"].fillna("not judged").to_numpy(dtype=str),
    }
    scale = (plate.pixel_size_um,) * 2 if plate.pixel_size_um else (1.0, 1.0)
    options = {
        "name": "cells",
        "features": features,
        "size": 1.4 * cells["diameter_px"].to_numpy(),
        # Outlines only: the cell itself stays visible.
        "face_color": "transparent",
        "border_color": [_COLOUR_OF_CLASS[word] for word in features["predicted_class"]],
        "border_width": 0.08,
        "scale": scale,
    }
    return cells[["y_px", "x_px"]].to_numpy(), options, "points"


def first_readable(
    plate: Plate, projection: Projection = "max"
) -> tuple[SiteKey, NDArray[np.generic]]:
    """Read the first site of a plate that can be read.

    Raises
    ------
    UnreadableSiteError
        When none can; the reason is that of the last.
    """
    reason = UnreadableSiteError(f"Plate {plate.name} has no sites.")
    for site in plate.sites:
        try:
            channels = plate.available_channels(site)
            return site, plate.read_site(site, channels, projection=projection)
        except UnreadableSiteError as error:
            reason = error
    raise reason
