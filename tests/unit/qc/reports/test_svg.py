from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_hcs_qc.plates.wells import PLATE_SHAPES
from napari_hcs_qc.qc.reports.svg import (
    FLAG_COLOUR,
    RAMP,
    PlateMap,
    draw_histogram,
    draw_plate,
    draw_reliability,
    nice_ceiling,
    ramp_colour,
)
from napari_hcs_qc.text import count_of, interval, listing, number, percent

SVG = "{http://www.w3.org/2000/svg}"


def luminance(colour: str) -> float:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_colours_run_from_dark_to_light() -> None:
    shades = [luminance(ramp_colour(position)) for position in np.linspace(0, 1, 60)]
    assert all(np.diff(shades) > 0)
    assert [ramp_colour(index / 9) for index in range(10)] == list(RAMP)
    assert ramp_colour(-1) == RAMP[0]
    assert ramp_colour(7) == RAMP[-1]


@given(st.floats(1e-6, 1e9))
def test_the_end_of_a_scale_is_round_and_not_below(value: float) -> None:
    end = nice_ceiling(value)
    assert value * (1 - 1e-6) <= end <= 2.6 * value
    lead = end / 10 ** math.floor(math.log10(end) + 1e-9)
    assert any(lead == pytest.approx(s) for s in (1, 2, 2.5, 5, 10))


def test_each_bin_of_the_reliability_stands_where_its_figures_say() -> None:
    bins = [(0.05, 0.0, 0.0, 0.02, 180), (0.5, 0.75, 0.3, 0.95, 4), (1.0, 1.0, 0.95, 1.0, 78)]
    root = ET.fromstring(draw_reliability(bins))
    dots = root.findall(f"{SVG}circle")
    x = [float(dot.get("cx", "")) for dot in dots]
    y = [float(dot.get("cy", "")) for dot in dots]
    radius = [float(dot.get("r", "")) for dot in dots]
    # Of one scale: 0 to 1 is as long to the right as upwards.
    side = (x[2] - x[0]) / 0.95
    assert y[0] - y[2] == pytest.approx(side, abs=0.2)
    assert (y[0] - y[1]) / side == pytest.approx(0.75, abs=0.01)
    assert radius[0] > radius[2] > radius[1] > 2
    told = dots[1].findtext(f"{SVG}title")
    assert told == "4 cells given 0.50 on average: 75 % are abnormal (95 % interval 30–95 %)"
    assert len(ET.fromstring(draw_reliability([])).findall(f"{SVG}circle")) == 0


def a_map(shape: tuple[int, int] = (8, 12)) -> PlateMap:
    return PlateMap(
        title="a < b",
        shape=shape,
        values={"A01": 0.0, "A02": 0.5, "B01": math.nan, "B02": 3.0},
        low=0.0,
        high=1.0,
        words=percent,
        flagged={"A02"},
        links={"A02": '#x"&y'},
        notes={"A02": "<script>alert(1)</script>"},
    )


def test_wells_have_the_colour_of_their_value() -> None:
    root = ET.fromstring(draw_plate(a_map(), "k"))
    fills = {
        (rect.findtext(f"{SVG}title") or "").split(":")[0]: rect.get("fill")
        for rect in root.iter(f"{SVG}rect")
    }
    assert fills["A01"] == RAMP[0]
    assert fills["A02"] == ramp_colour(0.5)
    assert fills["B01"] == "url(#hatch-k)"
    assert fills["B02"] == RAMP[-1]
    assert "A03" not in fills


def test_flagged_wells_are_outlined_and_linked() -> None:
    root = ET.fromstring(draw_plate(a_map(), "k"))
    outlines = [r for r in root.iter(f"{SVG}rect") if r.get("stroke") == FLAG_COLOUR]
    assert len(outlines) == 2  # the well and the legend
    (link,) = root.iter(f"{SVG}a")
    assert link.get("href") == '#x"&y'
    assert link.find(f"{SVG}rect/{SVG}title").text == "A02: 50 % – <script>alert(1)</script>"  # type: ignore[union-attr]


def test_the_legend_tells_the_scale() -> None:
    texts = [t.text for t in ET.fromstring(draw_plate(a_map(), "k")).iter(f"{SVG}text")]
    assert "0 %" in texts
    assert "50 %" in texts
    assert "≥ 100 %" in texts


@pytest.mark.parametrize("shape", PLATE_SHAPES.values())
def test_every_plate_fits_its_frame(shape: tuple[int, int]) -> None:
    root = ET.fromstring(draw_plate(a_map(shape), "k"))
    _, _, width, height = (float(value) for value in root.get("viewBox", "").split())
    for rect in root.iter(f"{SVG}rect"):
        if rect.get("x") is not None:
            assert float(rect.get("x", 0)) + float(rect.get("width", 0)) <= width
            assert float(rect.get("y", 0)) + float(rect.get("height", 0)) <= height
    assert len(list(root.iter(f"{SVG}circle"))) == shape[0] * shape[1] - 4


def test_the_histogram_counts_every_value_once() -> None:
    values = np.r_[np.linspace(0, 1, 501), np.nan]
    root = ET.fromstring(draw_histogram(values))
    counts = [
        int((rect.findtext(f"{SVG}title") or "").split(": ")[1].split()[0].replace(",", ""))
        for rect in root.iter(f"{SVG}rect")
    ]
    assert len(counts) == 40
    assert sum(counts) == 501
    colours = [rect.get("fill") for rect in root.iter(f"{SVG}rect")]
    assert len(set(colours[:20])) == len(set(colours[20:])) == 1
    assert colours[0] != colours[-1]
    assert ET.fromstring(draw_histogram([])) is not None


def test_numbers_are_written_as_a_person_reads_them() -> None:
    assert [percent(x) for x in (0, 0.0004, 0.006, 0.0631, 0.0999, 0.41, 1)] == [
        "0 %",
        "0.04 %",
        "0.6 %",
        "6.3 %",
        "10 %",
        "41 %",
        "100 %",
    ]
    assert [number(x) for x in (0, 0.044, 1.13, 12, 12.5, 118.4, -6.2)] == [
        "0",
        "0.04",
        "1.1",
        "12",
        "12.5",
        "118",
        "-6.2",
    ]
    assert interval(0.333, 0.487) == "33–49 %"
    assert count_of(1, "site") == "1 site"
    assert count_of(1200, "site") == "1,200 sites"
    assert listing([2]) == "2"
    assert listing([2, 3, 5]) == "2, 3 and 5"
    assert listing(range(9)) == "0, 1, 2, 3, 4, 5 and 3 more"
