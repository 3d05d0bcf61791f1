"""Charts in files: what is drawn, in one style, the same bytes each time, in three formats."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from PIL import Image

import napari_hcs_qc
from napari_hcs_qc.plates.wells import PLATE_SHAPES
from napari_hcs_qc.qc.plate_level.position_effects import Drift, Estimate, PositionEffect
from napari_hcs_qc.qc.reports.figures import (
    ABNORMAL,
    FLAGGED,
    NORMAL,
    new_figure,
    nice_ceiling,
    save_chart,
    set_tooltips,
    styled,
    to_svg,
)
from napari_hcs_qc.qc.reports.plate_charts import (
    PlateMap,
    plate_map,
    reliability_chart,
    score_histogram,
)
from napari_hcs_qc.qc.reports.screen_charts import drift_chart, effects_chart, plate_thumbnail
from napari_hcs_qc.text import percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SVG, LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
NASTY = "a_b <&> $x^2$ 中 \x07\" 'µ"


@styled
def any_chart(title: str = "any") -> Figure:
    figure = new_figure(title, 300, 200)
    axes = figure.subplots()
    dots = axes.scatter([1, 2, 3], [3, 1, 2], label=title)
    dots.set_urls(["#here", None, None])
    set_tooltips(dots, ["first", title, "third"])
    axes.set(title=title, xlabel="size (µm)")
    axes.legend()
    return figure


def texts_of(root: ET.Element) -> list[str]:
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]


def tooltips_of(figure: Figure) -> dict[str, ET.Element]:
    """Each mark with a tooltip, by its text."""
    root = ET.fromstring(to_svg(figure))
    return {child.text or "": mark for mark in root.iter() for child in mark.findall(f"{SVG}title")}


def test_a_chart_is_the_same_bytes_each_time_in_three_formats(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        written = save_chart(any_chart(), tmp_path / folder / "chart.v1")
    assert [path.name for path in written] == ["chart.v1.svg", "chart.v1.png", "chart.v1.pdf"]
    for path in written:
        assert path.read_bytes() == (tmp_path / "one" / path.name).read_bytes()
    with Image.open(written[1]) as image:
        assert image.size == (600, 400)
        assert image.info["Title"] == "any"
    assert written[2].read_bytes().startswith(b"%PDF")
    root = ET.parse(written[0]).getroot()
    assert (root.get("width"), root.get("height")) == ("300", "200")
    assert (root.get("role"), root.get("aria-label")) == ("img", "any")
    assert "size (µm)" in texts_of(root)


def test_names_are_text_and_never_markup_or_formulas(tmp_path: Path) -> None:
    shown = NASTY.replace("\x07", "")
    written = save_chart(any_chart(NASTY), tmp_path / "chart")
    root = ET.parse(written[0]).getroot()
    assert texts_of(root).count(shown) == 2  # title and legend
    assert root.get("aria-label") == shown


def test_tooltips_and_links_are_those_of_their_marks() -> None:
    marks = tooltips_of(any_chart())
    assert list(marks) == ["first", "any", "third"]
    x = [float(mark.get("x") or mark.get("d", "M 0").split()[1]) for mark in marks.values()]
    assert x == sorted(x)
    root = ET.fromstring(to_svg(any_chart()))
    (link,) = root.iter(f"{SVG}a")
    assert link.get(LINK) == "#here"
    assert link.get("target") is None
    assert link.find(f".//{SVG}title").text == "first"  # type: ignore[union-attr]


def test_charts_of_a_page_do_not_touch_each_other() -> None:
    ids = []
    for title in ("one", "two"):
        root = ET.fromstring(to_svg(any_chart(title)))
        assert not list(root.iter(f"{SVG}style"))
        own = [element.get("id") for element in root.iter() if element.get("id")]
        text = to_svg(any_chart(title))
        assert own and all(f"#{name}" in text for name in own)
        ids += own
    assert len(ids) == len(set(ids))


def test_matplotlib_is_left_as_it_was_and_its_settings_change_nothing() -> None:
    plain = to_svg(any_chart())
    with matplotlib.rc_context({"font.size": 40, "axes.facecolor": "red"}):
        before = dict(matplotlib.rcParams)
        assert to_svg(any_chart()) == plain
        assert dict(matplotlib.rcParams) == before


def test_matplotlib_is_loaded_by_drawing_and_pyplot_never() -> None:
    code = """
import sys
from napari_hcs_qc.qc.reports import plate_report, screen_report
from napari_hcs_qc.qc.reports.figures import to_svg
assert "matplotlib" not in sys.modules
to_svg(plate_report.score_histogram([0.1, 0.9]))
assert "matplotlib.figure" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_else_draws_charts() -> None:
    source = Path(napari_hcs_qc.__file__).parent
    for path in source.rglob("*.py"):
        if "gui" not in path.relative_to(source).parts:  # where Qt takes rich text
            assert not re.search(r"ImageDraw|<svg |<html|<table", path.read_text("utf-8")), path


@given(st.floats(1e-6, 1e9))
def test_the_end_of_a_scale_is_round_and_not_below(value: float) -> None:
    end = nice_ceiling(value)
    assert value * (1 - 1e-6) <= end <= 2.6 * value
    lead = end / 10 ** math.floor(math.log10(end) + 1e-9)
    assert any(lead == pytest.approx(s) for s in (1, 2, 2.5, 5, 10))


# ---- a plate ---------------------------------------------------------------------------------


def a_map(shape: tuple[int, int] = (8, 12), **changes: object) -> PlateMap:
    values = {
        "title": "a < b",
        "shape": shape,
        "values": {"A01": 0.0, "A02": 0.5, "B01": math.nan, "B02": 3.0},
        "low": 0.0,
        "high": 1.0,
        "to_text": percent,
        "flagged": {"A02"},
        "links": {"A02": '#x"&y'},
        "notes": {"A02": "<script>alert(1)</script>"},
    }
    return PlateMap(**(values | changes))  # type: ignore[arg-type]


def fill_of(mark: ET.Element) -> str:
    return dict(part.split(": ") for part in mark.get("style", "").split("; "))["fill"]


def test_wells_have_the_colour_of_their_value() -> None:
    marks = {text.split(":")[0]: fill_of(mark) for text, mark in tooltips_of(
        plate_map(a_map(flagged=()))).items()}  # fmt: skip
    colours = matplotlib.colormaps["cividis"]
    assert marks.pop("B01").startswith("url(#h")  # hatched
    assert marks == {
        "A01": to_hex(colours(0.0)),
        "A02": to_hex(colours(0.5)),
        "B02": to_hex(colours(1.0)),
    }


def test_flagged_wells_are_framed_and_linked() -> None:
    figure = plate_map(a_map())
    root = ET.fromstring(to_svg(figure))
    links = list(root.iter(f"{SVG}a"))
    assert {link.get(LINK) for link in links} == {'#x"&y'}
    assert {link.find(f".//{SVG}title").text for link in links} == {  # type: ignore[union-attr]
        "A02: 50 % – <script>alert(1)</script>"
    }
    assert any(f"stroke: {FLAGGED}" in str(mark.get("style")) for link in links for mark in link)
    assert {"flagged", "no value", "not imaged"} <= set(texts_of(root))
    plain = ET.fromstring(to_svg(plate_map(a_map(flagged=(), values={"A01": 1.0}))))
    assert not {"flagged", "no value"} & set(texts_of(plain))


def test_the_scale_has_its_ends_and_says_what_is_beyond() -> None:
    texts = texts_of(ET.fromstring(to_svg(plate_map(a_map()))))
    assert {"0 %", "50 %", "≥ 100 %"} <= set(texts)
    both = a_map(low=-0.1, values={"A01": -3.0, "A02": 0.0})
    texts = texts_of(ET.fromstring(to_svg(plate_map(both))))
    assert {"≤ -10 %", "100 %"} <= set(texts)


@pytest.mark.parametrize("shape", PLATE_SHAPES.values())
def test_every_plate_fits_its_frame(shape: tuple[int, int]) -> None:
    figure = plate_map(a_map(shape))
    svg = to_svg(figure)
    root = ET.fromstring(svg)
    _, _, width, height = (float(value) for value in root.get("viewBox", "").split())
    for mark in root.iter(f"{SVG}use"):
        assert 0 <= float(mark.get("x", 0)) <= width
        assert 0 <= float(mark.get("y", 0)) <= height
    frame = figure.bbox
    for axes in figure.axes:
        for text in (*axes.get_xticklabels(), *axes.get_yticklabels(), axes.get_legend()):
            box = text.get_window_extent() if text else frame
            assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0, text
    (absent,) = [dots for dots in figure.axes[0].collections if dots.get_label() == "not imaged"]
    assert len(absent.get_offsets()) == shape[0] * shape[1] - 4


def test_a_full_plate_of_1536_wells_stays_small() -> None:
    wells = [f"{row}{column:02d}" for row in [*map(chr, range(65, 91)), "AA", "AB", "AC", "AD",
             "AE", "AF"] for column in range(1, 49)]  # fmt: skip
    values = dict(zip(wells, np.linspace(0, 1, len(wells)).tolist(), strict=True))
    data = a_map((32, 48), values=values, flagged=(), notes={}, links={})
    svg = to_svg(plate_map(data))
    assert svg.count("<title>") == 1536
    assert len(svg) < 250_000


def test_the_histogram_counts_every_value_once() -> None:
    values = np.r_[np.linspace(0, 1, 501), np.nan]
    figure = score_histogram(values, threshold=0.5)
    bars = figure.axes[0].patches
    assert len(bars) == 40
    assert sum(bar.get_height() for bar in bars) == 501
    assert [to_hex(bar.get_facecolor()) for bar in bars] == [NORMAL] * 20 + [ABNORMAL] * 20
    tooltips = list(tooltips_of(figure))
    assert tooltips[0] == "0–0.025: 13 cells"
    assert sum(int(text.split(": ")[1].split()[0]) for text in tooltips) == 501
    texts = texts_of(ET.fromstring(to_svg(figure)))
    assert "abnormal score (n = 501 cells)" in texts
    assert len(score_histogram([]).axes[0].patches) == 40


def test_each_bin_of_the_reliability_stands_where_its_figures_say() -> None:
    bins = [(0.05, 0.0, 0.0, 0.02, 180), (0.5, 0.75, 0.3, 0.95, 4), (1.0, 1.0, 0.95, 1.0, 78)]
    figure = reliability_chart(bins)
    axes = figure.axes[0]
    assert axes.get_aspect() == 1.0
    intervals, dots = axes.collections
    assert np.allclose(np.asarray(dots.get_offsets()), [(p, share) for p, share, *_ in bins])
    spans = [(path[0][1], path[1][1]) for path in intervals.get_segments()]  # type: ignore[attr-defined]
    assert np.allclose(spans, [(low, high) for *_, low, high, _ in bins])
    first, second, third = dots.get_sizes()  # type: ignore[attr-defined]
    assert first > third > second > 4
    assert list(tooltips_of(figure))[1] == (
        "4 cells given 0.50 on average: 75 % are abnormal (95 % interval 30–95 %)"
    )
    assert not reliability_chart([]).axes[0].collections


# ---- a screen --------------------------------------------------------------------------------


def a_drift(*, is_sure: bool) -> Drift:
    low = 0.001 if is_sure else -0.001
    return Drift(
        slope=Estimate(0.01, low, 0.02),
        change=0.02,
        rho=Estimate(0.5, -0.1, 0.9),
        n=3,
        intercept=0.04,
    )


@pytest.mark.parametrize("is_sure", [True, False])
def test_a_drift_has_a_dot_for_each_plate_with_a_value_and_its_line(is_sure: bool) -> None:
    figure = drift_chart(
        [1, 2, 3, 4],
        [0.05, math.nan, 0.07, 0.09],
        ["P1", "P2", "P<3>", "P4"],
        title="Share",
        ends=[(1, "no. 1"), (4, "no. 4")],
        is_share=True,
        flagged=[False, False, True, False],
        drift=a_drift(is_sure=is_sure),
    )
    marks = tooltips_of(figure)
    assert list(marks) == ["P1: 5.0 %", "P<3>: 7.0 %", "P4: 9.0 %"]
    assert [fill_of(mark) for mark in marks.values()] == [NORMAL, FLAGGED, NORMAL]
    (line,) = figure.axes[0].lines
    assert np.allclose(line.get_xydata(), [(1, 0.05), (4, 0.08)])
    assert line.is_dashed() != is_sure
    texts = texts_of(ET.fromstring(to_svg(figure)))
    assert {"no. 1", "no. 4", "%"} <= set(texts)


def test_a_drift_without_plates_or_line_is_drawn() -> None:
    empty = drift_chart([], [], [], title="None", ends=[], is_share=False, flagged=[], drift=None)
    assert not empty.axes[0].lines
    assert not tooltips_of(empty)


def test_effects_are_red_where_the_interval_excludes_0() -> None:
    effects = [
        PositionEffect(
            measure="share_abnormal",
            place="edge",
            shift=Estimate(0.05, 0.02, 0.08),
            n=12,
            n_others=0,
        ),
        PositionEffect(
            measure="share_abnormal",
            place="row B",
            shift=Estimate(-0.01, -0.03, math.inf),
            n=9,
            n_others=40,
        ),
        PositionEffect(
            measure="share_abnormal",
            place="column 3",
            shift=Estimate(math.nan, math.nan, math.nan),
            n=2,
            n_others=9,
        ),
    ]
    figure = effects_chart(effects, title="Effects", unit="points")
    marks = tooltips_of(figure)
    assert list(marks) == [
        "edge: +5.0 (95 % interval +2.0 to +8.0, 12 plates)",
        "row B: -1.0 (95 % interval -3.0 to +inf, 9 wells)",
    ]
    assert [fill_of(mark) for mark in marks.values()] == [FLAGGED, NORMAL]
    texts = texts_of(ET.fromstring(to_svg(figure)))
    assert {"edge", "B", "points", "+10", "0"} <= set(texts)
    assert figure.axes[0].get_ylim() == (-10.0, 10.0)
    assert not tooltips_of(effects_chart([], title="none", unit="%"))


def test_a_thumbnail_has_a_pixel_for_each_well() -> None:
    image = plate_thumbnail(np.array([[0.0, 0.1, 0.9], [np.nan, np.inf, 0.05]]), 0.1)
    assert image.shape == (2, 3, 4)
    assert image.dtype == np.uint8
    assert (image[0, 1] == image[0, 2]).all()  # beyond the end
    assert image[1, 1, 3] == 0  # no such well
    red, green, blue, alpha = image[1, 0].tolist()
    assert alpha == 255 and max(red, green, blue) - min(red, green, blue) < 20  # grey
