from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from napari_hcs_qc.errors import HcsQcError, Problem, UnreadableSiteError
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.qc.intervals import Rates
from napari_hcs_qc.qc.reports.plate_charts import AnnotatedMap
from napari_hcs_qc.qc.reports.plate_report import (
    Calls,
    CrossValidated,
    ErrorExamples,
    ModelCard,
    Picture,
    ReportData,
    ReportPlate,
    WellPictures,
    write_report,
)
from napari_hcs_qc.qc.rule import FlagRule

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.qc.export.export_tables import ExportPlate

EVIL = "<script>alert('x')</script>"
VOID = {"meta", "link", "img", "br", "hr"}


class Page(HTMLParser):
    """Elements of a page, and whether every one of them is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def attributes(self, name: str) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.elements if name in attrs]


def pictures(plate: str, well: str, site: int) -> WellPictures:
    rng = np.random.default_rng(site)
    crops = [Picture(rng.integers(0, 255, (8, 8), np.uint8), f"{n / 10}") for n in range(3)]
    return WellPictures(Picture(np.full((6, 9, 3), 9, np.uint8), f"{well} seen"), crops, crops[:1])


@pytest.fixture
def data(scored: ExportPlate) -> ReportData:
    card = ModelCard(
        name="model-1",
        encoder="efficientnet-lite0",
        weights_sha256="ab" * 32,
        recipe="nucleus",
        head="linear",
        seed=0,
        n_annotated={"normal": 194, "abnormal": 94},
        n_kinds={"dead": 50},
        cross_validation=[
            CrossValidated(name="weighted F1", mean=0.951, sd=0.004, interval="0.930–0.970"),
            CrossValidated(name="AUC", mean=0.986),
        ],
        versions={"torch": "2.14.1"},
        facts=[("Trained on", EVIL)],
    )
    plate = ReportPlate(
        name=f"P1 {EVIL}",
        source="/data/ä b",
        shape=(8, 12),
        sites=scored.sites,
        wells=scored.wells,
        reference="plate",
        p_abnormal=scored.predictions["p_abnormal"].to_numpy(),
        verdicts={"B01": "exclude"},
        unreadable=[Problem("B04 s1", f"truncated {EVIL}", "Copy it again.")],
        warnings=[f"Flags are concentrated in {EVIL}"],
    )
    return ReportData(
        title=f"assay {EVIL}",
        created="2026-01-01",
        plates=[plate],
        rule=FlagRule(),
        model=card,
        pictures=pictures,
    )


def read(path: Path) -> tuple[str, Page]:
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


def test_it_is_one_well_formed_page_that_needs_no_network(data: ReportData, tmp_path: Path) -> None:
    text, page = read(write_report(data, tmp_path / "ä b.html"))
    assert page.open == []
    links = page.attributes("href") + page.attributes("xlink:href")
    for address in page.attributes("src") + links:
        assert address.startswith(("data:", "#")), address
    without_names = re.sub(r"http://www\.w3\.org/(2000/svg|1999/xlink)", "", text)
    assert not re.search(r"https?://|url\((?!#)|@import|<script", without_names)
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    targets = {address[1:] for address in links if address.startswith("#")}
    assert targets <= set(ids)
    assert {"p0-A01", "p0-B01", "p0-B04"} <= targets  # flagged wells of the maps


def test_abnormal_cells_are_counted_by_kind_where_kinds_are_predicted(
    data: ReportData, tmp_path: Path
) -> None:
    assert "by kind" not in read(write_report(data, tmp_path / "none.html"))[1].text
    plate = replace(data.plates[0], n_of_kind={"dead": 1200, EVIL: 3, "unknown": 2})
    text, page = read(write_report(replace(data, plates=[plate]), tmp_path / "r.html"))
    assert f"Abnormal cells by kind: dead 1,200, {EVIL} 3, kind unknown 2." in page.text
    assert EVIL not in text


def test_nothing_given_is_taken_as_markup(data: ReportData, tmp_path: Path) -> None:
    text, page = read(write_report(data, tmp_path / "r.html"))
    assert EVIL not in text
    assert page.text.count(EVIL) >= 5


def test_flagged_wells_are_shown_with_reason_and_pictures(data: ReportData, tmp_path: Path) -> None:
    _text, page = read(write_report(data, tmp_path / "r.html"))
    articles = [attrs["id"] for tag, attrs in page.elements if tag == "article"]
    assert sorted(str(name) for name in articles) == ["p0-A01", "p0-B01", "p0-B04"]
    for reason in data.plates[0].wells["flag_reason"]:
        for part in filter(None, reason.split("; ")):
            assert part in page.text
    images = [a for a in page.attributes("src") if a.startswith("data:image/png;base64,")]
    assert len(images) == 3 * 5
    first = Image.open(io.BytesIO(base64.b64decode(images[0].split(",")[1])))
    assert first.size == (9, 6)
    assert "A01 seen" in page.text
    assert "exclude" in page.text


def test_the_pictures_are_of_the_worst_site(data: ReportData, tmp_path: Path) -> None:
    asked = []

    def remember(plate: str, well: str, site: int) -> WellPictures:
        asked.append((well, site))
        return WellPictures()

    write_report(replace(data, pictures=remember), tmp_path / "r.html")
    assert set(asked) >= {("A01", 2), ("B04", 1)}
    assert len(asked) == 3


def test_a_well_whose_pictures_cannot_be_had_is_still_shown(
    data: ReportData, tmp_path: Path
) -> None:
    def fail(plate: str, well: str, site: int) -> WellPictures:
        raise UnreadableSiteError(f"{well} s{site}: file is truncated")

    _, page = read(write_report(replace(data, pictures=fail), tmp_path / "r.html"))
    assert "No pictures: B04 s1: file is truncated" in page.text


def test_the_rest_beyond_the_limit_is_listed_in_words(data: ReportData, tmp_path: Path) -> None:
    _, page = read(write_report(replace(data, max_wells=1), tmp_path / "r.html"))
    assert sum(tag == "article" for tag, _ in page.elements) == 1
    assert "And 2 more" in page.text


def test_headline_model_and_unreadable(data: ReportData, tmp_path: Path) -> None:
    _, page = read(write_report(data, tmp_path / "r.html"))
    text = re.sub(r"\s+", " ", page.text)
    n_cells = f"{len(data.plates[0].p_abnormal):,}"
    assert "3 of 8wells flagged" in text
    assert f"{n_cells}cells" in text
    assert "1site could not be read" in text
    assert "0.951 0.004 0.930–0.970" in text
    assert "ab" * 32 in text
    assert "truncated" in text
    for sentence in FlagRule().describe():
        assert re.sub(r"\s+", " ", sentence) in text


def test_a_true_share_has_an_interval_or_the_report_says_why_not(
    data: ReportData, tmp_path: Path
) -> None:
    _, page = read(write_report(data, tmp_path / "r.html"))
    assert page.text.count("too few annotations or sites for an interval") == 4  # headline, wells
    wells = data.plates[0].wells
    plate = replace(
        data.plates[0],
        wells=wells.assign(
            n_scored=300,
            n_abnormal=np.arange(len(wells)) + 30,
            share_estimated=0.12,
            share_estimated_low=0.08,
            share_estimated_high=0.17,
        ),
    )
    rates = Rates(n_abnormal=100, n_abnormal_called=95, n_normal=200, n_normal_called=6)
    _, page = read(write_report(replace(data, plates=[plate], rates=rates), tmp_path / "r.html"))
    text = re.sub(r"\s+", " ", page.text)
    assert "called abnormal (true share about 12 %, 95 % interval 8–17 %)" in text
    assert re.search(r"of 2,400; true share about [\d.]+ %, 95 % interval \d+–\d+ %", text)
    assert "too few annotations" not in text


def test_too_few_controls_are_said(data: ReportData, tmp_path: Path) -> None:
    plate = replace(data.plates[0], reference_note="only 3 control wells")
    _, page = read(write_report(replace(data, plates=[plate]), tmp_path / "r.html"))
    text = re.sub(r"\s+", " ", page.text)
    assert "compared with the whole plate (only 3 control wells)." in text


def test_without_model_or_flags_there_is_a_report(
    data: ReportData, scored: ExportPlate, tmp_path: Path
) -> None:
    wells = scored.wells.assign(is_flagged=False, share_abnormal=np.nan, n_scored=0)
    plate = replace(data.plates[0], wells=wells, p_abnormal=np.empty(0), unreadable=())
    bare = replace(data, plates=[plate], model=None, pictures=None)
    _, page = read(write_report(bare, tmp_path / "r.html"))
    assert "No well passed a threshold" in page.text
    assert "everything was read" in page.text
    assert "Share of abnormal cells" not in page.text


def test_pictures_of_another_kind_are_refused_and_nothing_is_left(
    data: ReportData, tmp_path: Path
) -> None:
    bad: Any = Picture(np.zeros((4, 4)))  # type: ignore[arg-type]
    with pytest.raises(HcsQcError, match="float64"):
        write_report(replace(data, pictures=lambda *_: WellPictures(site=bad)), tmp_path / "r.html")
    assert list(tmp_path.iterdir()) == []


def test_it_can_be_stopped(data: ReportData, tmp_path: Path) -> None:
    told: list[Any] = []
    write_report(data, tmp_path / "r.html", job=Job(lambda *args: told.append(args)))
    assert [done for done, _, _ in told] == [0, 1, 2, 3]
    before = (tmp_path / "r.html").read_bytes()
    with pytest.raises(Cancelled):
        write_report(data, tmp_path / "r.html", job=Job(should_stop=lambda: True))
    assert (tmp_path / "r.html").read_bytes() == before
    with pytest.raises(HcsQcError, match="no plate"):
        write_report(replace(data, plates=[]), tmp_path / "r.html")


def test_it_shows_where_the_model_is_wrong(data: ReportData, tmp_path: Path) -> None:
    crops = [Picture(np.full((4, 4), 9, np.uint8), "B03 0.97 dead")]
    cells = AnnotatedMap(
        places=np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]]),
        is_abnormal=np.array([False, True, True]),
        is_wrong=np.array([False, False, True]),
        texts=["P A01", f"P {EVIL}", "P A03"],
        rows=np.array([2, 40, 1100]),
        explained=(0.4, 0.1),
        n_annotated=1200,
    )
    title = "Annotated normal, called abnormal: 1 cell"
    assert data.model is not None
    card = replace(
        data.model,
        calls=[Calls(name="of these haze", n=6, n_called=1.0)],
        errors=[ErrorExamples(title=title, pictures=crops, rows=[2])],
        annotated_map=cells,
    )
    text, page = read(write_report(replace(data, model=card), tmp_path / "r.html"))
    assert EVIL not in text
    for shown in (
        "of these haze", "17 %", "called abnormal: 1 cell", "B03 0.97 dead", "drawn from 1,200",
        "first component (40 % of the variance)", "abnormal, called otherwise (1)", f"P {EVIL}",
    ):  # fmt: skip
        assert shown in page.text, shown
