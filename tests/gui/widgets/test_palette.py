from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from qtpy.QtGui import QColor, QPalette
from qtpy.QtWidgets import QWidget
from skimage.color import deltaE_ciede2000, rgb2lab

from napari_hcs_qc.assay.annotations.annotation import VERDICTS
from napari_hcs_qc.assay.annotations.kind_colours import next_colours
from napari_hcs_qc.assay.annotations.kinds import BUILT_IN_KINDS
from napari_hcs_qc.assay.scoring.well_values import REVIEW_WORDS
from napari_hcs_qc.gui.widgets import palette
from napari_hcs_qc.gui.widgets.palette import RAMP
from napari_hcs_qc.qc.reports.figures import VALUE_MAP

if TYPE_CHECKING:
    from numpy.typing import NDArray

KIND_COLOURS = {kind.name: kind.colour for kind in BUILT_IN_KINDS}

# Machado, Oliveira & Fernandes 2009, IEEE TVCG 15:1291, severity 1.0, linear RGB.
_VISION = {
    "normal": np.eye(3),
    "protan": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deutan": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritan": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}


def linear(colour: str) -> NDArray[np.float64]:
    parts = np.array(palette.rgba(colour)[:3])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def seen(colour: str, vision: str) -> NDArray[np.float64]:
    light = np.clip(_VISION[vision] @ linear(colour), 0, 1)
    parts = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    lab: NDArray[np.float64] = rgb2lab(parts.reshape(1, 1, 3))[0, 0]
    return lab


def contrast(first: str, second: str) -> float:
    weights = np.array([0.2126, 0.7152, 0.0722])
    low, high = sorted(float(weights @ linear(each)) for each in (first, second))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("vision", _VISION)
@pytest.mark.parametrize(
    "colours",
    [
        {
            **KIND_COLOURS,
            "normal": palette.NORMAL_COLOUR,
            "not classified": palette.NEUTRAL_COLOUR,
        },
        palette.REVIEW_COLOURS,
        {
            "normal": palette.NORMAL_COLOUR,
            "abnormal": palette.ABNORMAL_COLOUR,
            "unsure": palette.UNSURE_COLOUR,
            "not classified": palette.NEUTRAL_COLOUR,
        },
    ],
    ids=["kinds", "review", "classes"],
)
def test_colours_are_told_apart_with_any_colour_vision(
    colours: dict[str, str], vision: str
) -> None:
    for first, second in combinations(colours, 2):
        apart = float(deltaE_ciede2000(seen(colours[first], vision), seen(colours[second], vision)))
        assert apart > 10, (first, second)


def test_colours_of_further_kinds_are_told_apart_too_and_seen_on_a_black_image() -> None:
    known = [*KIND_COLOURS.values(), palette.NORMAL_COLOUR, palette.NEUTRAL_COLOUR]
    for least, colour in zip(
        (10, 10, 9, 9, 8, 7.5, 7.5, 7.5), next_colours(KIND_COLOURS.values(), 8), strict=True
    ):
        assert contrast(colour, "#000000") >= 3
        for vision in _VISION:
            for other in known:
                apart = deltaE_ciede2000(seen(colour, vision), seen(other, vision))
                assert apart >= least * (2 if other == palette.NORMAL_COLOUR else 1)
        known.append(colour)


def test_colours_of_cells_are_seen_on_a_black_image() -> None:
    for colour in (
        palette.NORMAL_COLOUR,
        palette.ABNORMAL_COLOUR,
        palette.UNSURE_COLOUR,
        palette.NEUTRAL_COLOUR,
        *KIND_COLOURS.values(),
    ):
        assert contrast(colour, "#000000") >= 3
    lowest = QColor.fromRgbF(*map(float, palette.sequential_rgba([0.0])[0])).name()
    assert contrast(lowest, "#000000") >= 3


def test_every_verdict_has_its_colour() -> None:
    assert set(VERDICTS) <= set(palette.REVIEW_COLOURS)


def test_the_ramp_gets_lighter_and_its_ends_are_kept() -> None:
    colours = palette.sequential_rgba([0.0, 0.5, 1.0, 2.0, -1.0, np.nan], begin=0.0)
    assert colours.shape == (6, 4)
    assert colours[0] == pytest.approx(palette.rgba(RAMP[0]))
    assert colours[2] == pytest.approx(palette.rgba(RAMP[-1]))
    assert np.array_equal(colours[3], colours[2])
    assert np.array_equal(colours[4], colours[0])
    assert colours[5] == pytest.approx(palette.rgba(palette.NEUTRAL_COLOUR))
    many = palette.sequential_rgba(np.linspace(0, 1, 50))[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(many) > 0).all()
    assert palette.sequential_rgba([]).shape == (0, 4)


def test_the_ramp_is_the_one_of_reports() -> None:
    stops = [to_hex(matplotlib.colormaps[VALUE_MAP](index / 9)) for index in range(10)]
    for stop, colour in zip(stops, RAMP, strict=True):
        assert np.allclose(palette.rgba(stop), palette.rgba(colour), atol=0.02)


def test_no_two_categories_share_a_colour() -> None:
    quiet = QColor("#333333")
    review = palette.category_colours(REVIEW_WORDS, quiet)
    assert review["not flagged"] == quiet
    assert len({colour.name() for colour in review.values()}) == len(REVIEW_WORDS)
    others = palette.category_colours(("DMSO", "drug", "exclude"), quiet)
    assert len({colour.name() for colour in others.values()}) == 3
    assert others["exclude"].name() == palette.REVIEW_COLOURS["exclude"]


def test_text_is_readable_on_every_colour() -> None:
    for colour in (*palette.OKABE_ITO, *RAMP, palette.NEUTRAL_COLOUR, "#000000", "#ffffff"):
        assert contrast(palette.readable_on(QColor(colour)).name(), colour) >= 4.5


def test_paper_and_ink_are_those_of_the_theme(qtbot: object) -> None:
    widget = QWidget()
    colours = widget.palette()
    colours.setColor(QPalette.ColorRole.Window, QColor("#101010"))
    colours.setColor(QPalette.ColorRole.WindowText, QColor("#f0f0f0"))
    widget.setPalette(colours)
    assert palette.paper(widget).name() == "#101010"
    assert palette.ink(widget).name() == "#f0f0f0"
    assert palette.faint(widget, 0.5).name() == "#808080"
    widget.deleteLater()
