"""What is drawn on an image is legible: channels, rings, kinds, units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_hcs_qc.assay.annotations.kind_colours import NORMAL_COLOUR, check_colour
from napari_hcs_qc.assay.annotations.kinds import BUILT_IN_KINDS
from napari_hcs_qc.gui.canvas.layers import channel_colours, shown_at_first

if TYPE_CHECKING:
    from pathlib import Path

CHANNELS = {
    "five": ["DNA", "ER", "RNA", "AGP", "Mito"],
    "eight": ["w1", "w2", "w3", "Hoechst", "w5", "w6", "w7", "w8"],
}


@pytest.mark.parametrize("names", CHANNELS.values(), ids=CHANNELS)
def test_channels_have_colours_of_their_own_and_three_are_shown_at_first(names: list[str]) -> None:
    colours = channel_colours(names)
    assert len(set(colours)) == len(names)
    shown = shown_at_first(names)
    assert len(shown) == 3 and {"DNA", "Hoechst"} & set(shown)


def luminance(colour: Any) -> float:
    rgb = np.asarray(colour, dtype=float)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(first: Any, second: Any) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("ground", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_rings_stand_out_from_nuclei_of_any_brightness(
    desk: Any, assay_path: Path, ground: float
) -> None:
    """The ring from its rim, or the rim from the nucleus: one of the two edges is always seen."""
    desk.open(assay_path)
    rings, rims = desk.viewer.layers["cells"], desk.viewer.layers["rims of cells"]
    assert desk.viewer.layers.index(rims) < desk.viewer.layers.index(rings)
    np.testing.assert_array_equal(rims.data, rings.data)
    inner = np.asarray(rims.size) - 2 * np.asarray(rims.border_width)
    assert (np.asarray(rims.size) > np.asarray(rings.size)).all()
    assert (inner < np.asarray(rings.size) - 2 * np.asarray(rings.border_width)).all()
    is_whole = ~np.asarray(rings.features["is_cut"], dtype=bool)
    nucleus = np.full(3, ground)
    for ring, rim in zip(rings.border_color[is_whole], rims.border_color[is_whole], strict=True):
        dark = (1 - rim[3]) * nucleus + rim[3] * rim[:3]
        assert max(contrast(ring[:3], dark), contrast(dark, nucleus)) >= 3


def test_no_kind_looks_normal() -> None:
    for kind in BUILT_IN_KINDS:
        others = {other.name: other.colour for other in BUILT_IN_KINDS if other is not kind}
        if kind.name not in ("empty", "other"):  # dark grey; the colour of abnormal itself
            check_colour(kind.colour, others | {"normal": NORMAL_COLOUR})


def test_shapes_tell_predictions_apart(desk: Any, assay_path: Path) -> None:
    desk.open(assay_path)
    rings = desk.viewer.layers["cells"]
    classes, symbols = rings.features["class"], [str(symbol.value) for symbol in rings.symbol]
    seen = {(cls, symbol) for cls, symbol in zip(classes, symbols, strict=True)}
    assert seen <= {("normal", "disc"), ("abnormal", "square"), ("not classified", "disc")}
    assert ("normal", "disc") in seen


def test_layers_have_units_and_a_table_that_can_be_joined(desk: Any, assay_path: Path) -> None:
    desk.open(assay_path)
    desk.point_at(0)
    pixel_um = desk.session.selection.plate.pixel_size_um
    unit = "micrometer" if pixel_um else "pixel"
    for layer in desk.viewer.layers:
        assert {str(one) for one in layer.units} == {unit}, layer.name
        np.testing.assert_allclose(layer.scale, pixel_um or 1.0)
    features = desk.viewer.layers["cells"].features
    site = desk.session.selection.site
    assert set(features["plate"]) == {"SIM"} and set(features["well"]) == {site.well}
    assert set(features["site"]) == {site.site}
    cells = desk.session.selection.state.plate_cells.cells
    found = features[features["cell_id"] >= 0]
    joined = found.merge(cells, on=["cell_id", "well", "site"])
    assert len(joined) == len(found) > 0
