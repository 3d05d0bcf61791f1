from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from napari_hcs_qc.assay.annotations.journal import Journal
from napari_hcs_qc.assay.annotations.kinds import BUILT_IN_KINDS, new_kind
from napari_hcs_qc.assay.annotations.labels_csv import LABEL_COLUMNS, LabelOptions, read_labels
from napari_hcs_qc.errors import HcsQcError, ProblemsError
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.tables.plate_sites import PlateSites

if TYPE_CHECKING:
    from pathlib import Path


def sites(*keys: tuple[str, int], shape: tuple[int, int] = (100, 200)) -> PlateSites:
    return PlateSites(name="p1", sites=tuple(SiteKey(*key) for key in keys), shape=shape)


PLATE = sites(("A01", 1), ("A01", 2), ("B02", 1))
HEADER = "well,site,y_px,x_px,label"


def read(
    tmp_path: Path,
    *rows: str,
    header: str = HEADER,
    plates: dict[str, PlateSites] | None = None,
) -> pd.DataFrame:
    path = tmp_path / "labels ä.csv"
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return read_labels(path, plates or {"p1": PLATE}, annotator="anna").table


def problems(tmp_path: Path, *rows: str, **kwargs: object) -> list[tuple[str, str]]:
    with pytest.raises(ProblemsError) as caught:
        read(tmp_path, *rows, **kwargs)  # type: ignore[arg-type]
    return [(problem.where, problem.what) for problem in caught.value.problems]


def test_rows_are_read(tmp_path: Path) -> None:
    frame = read(
        tmp_path,
        "a1, 1 ,10.5,20,Normal,,",
        "A01,2.0,0,199.4,ABNORMAL,Blur,ben",
        "b-02,1,-0.5,0,,,",
        "B02,1,50,50,normal,Mitosis,",
        "B02,1,60,50,unsure,mitosis,",
        "B02,1,70,50,abnormal,,",
        header=HEADER + ",kind,annotator",
    )
    assert list(frame.columns) == list(LABEL_COLUMNS)
    assert frame.drop(columns="plate").values.tolist() == [
        ["A01", 1, 10.5, 20.0, "normal", None, "anna", None],
        ["A01", 2, 0.0, 199.4, "abnormal", "blur", "ben", None],
        ["B02", 1, -0.5, 0.0, "unsure", None, "anna", None],
        ["B02", 1, 50.0, 50.0, "normal", None, "anna", "mitosis"],
        ["B02", 1, 60.0, 50.0, "unsure", None, "anna", "mitosis"],
        ["B02", 1, 70.0, 50.0, "abnormal", None, "anna", None],
    ]
    assert set(frame["plate"]) == {"p1"}
    assert list(frame.index) == [2, 3, 4, 5, 6, 7]


def test_notes_are_read(tmp_path: Path) -> None:
    rows = ["A01,1,10,20,normal,telophase", "A01,1,50,20,abnormal,", "A01,2,50,20,normal, two "]
    frame = read(tmp_path, *rows, header=HEADER + ",note")
    assert frame["note"].tolist() == ["telophase", None, "two"]


def test_our_own_predictions_in_geojson_are_no_annotations(tmp_path: Path) -> None:
    def feature(name: str, by: str, x: int) -> dict[str, object]:
        ring = [[x, 10], [x + 8, 10], [x + 8, 18], [x, 18], [x, 10]]
        return {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {"classification": {"name": name}, "metadata": {"classified by": by}},
        }

    path = tmp_path / "p1_A01_s1.geojson"
    features = [feature("abnormal: debris", "person", 10), feature("abnormal", "model", 40)]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    table = read_labels(path, {"p1": PLATE}, annotator="anna").table
    assert table[["class", "kind"]].to_numpy().tolist() == [["abnormal", "debris"]]


def test_further_columns_and_their_order_do_not_matter(tmp_path: Path) -> None:
    frame = read(
        tmp_path, "x,normal,2,1,1,A01,y", header="crop, Label ,X_px,Y_px,Site,WELL,label_a"
    )
    assert frame.iloc[0].tolist() == ["p1", "A01", 1, 1.0, 2.0, "normal", None, "anna", None]


def test_plates_by_name(tmp_path: Path) -> None:
    plates = {"p1": PLATE, "p2": sites(("C03", 1), shape=(50, 50))}
    header = "plate," + HEADER
    frame = read(tmp_path, "p2,C03,1,1,1,", "p1,A01,1,1,1,", header=header, plates=plates)
    assert frame["plate"].tolist() == ["p2", "p1"]
    found = problems(
        tmp_path, "p3,A01,1,1,1,", ",A01,1,1,1,", "p2,A01,1,1,1,", header=header, plates=plates
    )
    assert found == [
        ("labels ä.csv line 2", "The plate 'p3' is not in the assay, which has p1, p2."),
        ("labels ä.csv line 3", "The plate '' is not in the assay, which has p1, p2."),
        ("labels ä.csv line 4", "The well A01 is not on the plate p2, which has C03."),
    ]
    with pytest.raises(HcsQcError, match=r"names no plate and the assay has 2 \(p1, p2\)"):
        read(tmp_path, "A01,1,1,1,", plates=plates)


def test_another_name_of_the_plate_is_said(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"Barcode,{HEADER}\nBR00117,A01,1,1,1,normal\n")
    seen = []
    labels = read_labels(
        path, {"p1": PLATE}, annotator="anna", check=lambda *arguments: seen.append(arguments[2])
    )
    assert labels.table["plate"].tolist() == ["p1"]
    assert "its plate is called BR00117, here it is p1" in labels.understood
    assert seen == ["BR00117"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("A99,1,1,1,normal,", ["A99", "plate"]),
        ("C01,1,1,1,normal,", ["C01", "A01, B02"]),
        ("A01,7,1,1,normal,", ["no site 7", "1, 2"]),
        ("A01,1.5,1,1,normal,", ["'1.5'", "whole number"]),
        ("A01,,1,1,normal,", ["site ''"]),
        ("A01,inf,1,1,normal,", ["site 'inf'"]),
        ("A01,1,,1,normal,", ["y_px ''", "not a number"]),
        ("A01,1,1,nan,normal,", ["x_px 'nan'"]),
        ("A01,1,100,1,normal,", ["y_px 100", "100 px high"]),
        ("A01,1,1,-1,normal,", ["x_px -1", "200 px wide"]),
        ("A01,1,1,1,wicked,", ["'wicked'", "normal, abnormal or unsure", "--classes wicked="]),
        ("A01,1,1,1,abnormal,mitosis", ["mitosis is normal"]),
        ("A01,1,1,1,abnormal,fuzzy", ["'fuzzy'", "blur, saturation"]),
        ("A01,1,1,1,abnormal,9 lives", ["'9 lives'", "beginning with a letter"]),
        ("A01,1,1,1,normal,dead", ["dead", "label is normal"]),
        ("A01,1,1,1,,dead", ["dead", "label is unsure"]),
        ("Q,x,1,-9,normal,", ["'Q'", "'x'"]),  # all that is wrong with a row
    ],
)
def test_bad_rows_are_named_with_line_value_and_expectation(
    tmp_path: Path, row: str, words: list[str]
) -> None:
    found = problems(tmp_path, "A01,1,1,1,normal,", row, header=HEADER + ",kind")
    assert [where for where, _ in found] == ["labels ä.csv line 3"]
    for word in words:
        assert word in found[0][1]


def test_each_kind_that_the_assay_does_not_list_is_reported_once(tmp_path: Path) -> None:
    rows = [
        f"A01,1,{y},{x},abnormal,{kind}"
        for y in range(3)
        for x, kind in enumerate(("Fibre", "neurite"))
    ]
    path = tmp_path / "labels.csv"
    path.write_text("\n".join([HEADER + ",kind", *rows, "A01,1,9,9,wicked,"]), encoding="utf-8")
    with pytest.raises(ProblemsError, match="7 of 7 rows are not valid") as caught:
        read_labels(path, {"p1": PLATE}, annotator="anna")
    bad, fibre, neurite = caught.value.problems
    assert bad.where == "labels.csv line 8" and "'wicked' (1 row)" in bad.what
    assert fibre.where == "labels.csv line 2 and 2 further rows"
    assert "'fibre' is not one of blur, saturation" in fibre.what
    assert '--add-kind "fibre"' in fibre.what and "+ in the Annotate panel" in fibre.what
    assert (neurite.where, "'neurite'" in neurite.what) == (
        "labels.csv line 3 and 2 further rows",
        True,
    )

    path.write_text("\n".join([HEADER + ",kind", *rows]), encoding="utf-8")
    kinds = [*BUILT_IN_KINDS]
    for name in ("fibre", "neurite"):
        kinds.append(new_kind(kinds, name))
    for listed in (kinds, None):
        frame = read_labels(path, {"p1": PLATE}, annotator="anna", kinds=listed).table
        assert frame["kind"].tolist() == ["fibre", "neurite"] * 3


def test_all_bad_rows_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(ProblemsError, match="7 of 8 rows are not valid") as caught:
        read(tmp_path, "A01,1,1,1,normal", *["A01,1,x,1,normal"] * 7)
    assert len(caught.value.problems) == 7


def options(**classes: str) -> LabelOptions:
    return LabelOptions(classes=classes)


def test_all_unknown_words_are_listed_and_none_is_assumed(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    rows = ["A01,1,1,1,2", "A01,1,2,1,1", "A01,1,3,1,1", "A01,1,4,1,ugly one", "B02,9,1,1,vile"]
    path.write_text("\n".join([HEADER, *rows]), encoding="utf-8")
    with pytest.raises(ProblemsError, match="5 of 5 rows") as caught:
        read_labels(path, {"p1": PLATE}, annotator="anna")
    words, site = caught.value.problems
    assert words.where == "labels.csv line 2 and 4 further rows"
    assert "'2' (1 row), '1' (2 rows), 'ugly one' (1 row), 'vile' (1 row)" in words.what
    assert "--classes '2=CLASS,1=CLASS,ugly one=CLASS,vile=CLASS'" in words.what
    assert "=abnormal" not in words.what and "=normal" not in words.what
    assert "no site 9" in site.what

    path.write_text("\n".join([HEADER, *rows[:3]]), encoding="utf-8")
    with pytest.raises(ProblemsError, match=r"2 of 3 rows .* '1' \(2 rows\), beside '2'"):
        read_labels(path, {"p1": PLATE}, annotator="anna", options=options(**{"2": "abnormal"}))
    both = options(**{"2": "abnormal", "1": "normal"})
    read_both = read_labels(path, {"p1": PLATE}, annotator="anna", options=both)
    assert read_both.table["class"].tolist() == ["abnormal", "normal", "normal"]
    assert "'1' is normal" in read_both.understood


@pytest.mark.parametrize(
    ("column", "words", "classes"),
    [
        ("class", ["0", "1"], ["normal", "abnormal"]),
        ("is_outlier", ["1", "1"], ["abnormal", "abnormal"]),
        ("Metadata_good", ["1", "1"], ["normal", "normal"]),
        ("class", ["1", "1"], None),  # of a file with one class of 1 and 2, say
        ("class", ["0", "0"], None),
        ("class", ["1", "3"], None),
        ("class", ["1", ""], None),
        ("annotations", ["1", "0"], None),  # 0 is of a cell that nobody annotated
        ("class", ["1", "good"], ["abnormal", "normal"]),
    ],
)
def test_numbers_are_yes_and_no_only_where_that_is_plain(
    tmp_path: Path, column: str, words: list[str], classes: list[str] | None
) -> None:
    header = f"well,site,y_px,x_px,{column}"
    rows = [f"A01,1,{n},1,{word}" for n, word in enumerate(words)]
    if classes is None:
        assert (
            "CLASS is normal, abnormal or unsure" in problems(tmp_path, *rows, header=header)[0][1]
        )
    else:
        assert read(tmp_path, *rows, header=header)["class"].tolist() == classes


def test_the_same_word_twice_is_fine_another_is_not(tmp_path: Path) -> None:
    header = HEADER + ",annotator"
    rows = ["A01,1,1,1,normal,anna", "A01,1,1.001,1,normal,anna", "A01,1,1,1,abnormal,ben"]
    frame = read(tmp_path, *rows, header=header)
    assert frame["annotator"].tolist() == ["anna", "ben"]
    found = problems(tmp_path, *rows, "a1,1,1,1,,", header=header)
    assert found == [
        (
            "labels ä.csv line 5",
            "anna annotates the position of line 2 as unsure, there it is normal; remove one of "
            "the two.",
        )
    ]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("well,site,label", ["x_px, y_px", "It has well, site, label"]),
        ("well,Well,site,y_px,x_px,label", ["well", "twice"]),
    ],
)
def test_missing_and_double_columns(tmp_path: Path, header: str, words: list[str]) -> None:
    with pytest.raises(HcsQcError) as caught:
        read(tmp_path, ",".join(["A01"] * len(header.split(","))), header=header)
    for word in [*words, "labels ä.csv"]:
        assert word in str(caught.value)


def test_words_of_other_programs(tmp_path: Path) -> None:
    header = "Metadata_Well,Metadata_Site,Nuclei_Location_Center_Y,Nuclei_Location_Center_X,class"
    rows = ['A01,f01,"10,5",20,good', "A01,1,11,20,BAD", "A01,1,12,20,1", "A01,1,13,20,debris",
            "A01,1,14,20,mitosis", "A01,1,15,20,?"]  # fmt: skip
    frame = read(tmp_path, *rows, header=header)
    assert frame["y_px"].tolist() == [10.5, 11, 12, 13, 14, 15]
    assert frame["class"].tolist() == [
        "normal", "abnormal", "abnormal", "abnormal", "normal", "unsure"
    ]  # fmt: skip
    assert frame["kind"].dropna().tolist() == ["debris"]
    assert frame["note"].dropna().tolist() == ["mitosis"]
    options = LabelOptions(classes={"Smear": "abnormal"})
    path = tmp_path / "words.csv"
    path.write_text(f"{header}\nA01,1,1,1,smear\n")
    labels = read_labels(path, {"p1": PLATE}, annotator="anna", options=options)
    assert labels.table["class"].tolist() == ["abnormal"]
    assert "'smear' is abnormal" in labels.understood


def test_where_all_cells_are_listed_only_the_annotated_ones_count(tmp_path: Path) -> None:
    for name in ("annotated_class", "User Label", "Classification"):
        rows = ["A01,1,1,1,normal", "A01,1,2,1,", "A01,1,3,1,abnormal"]
        frame = read(tmp_path, *rows, header=f"well,site,y_px,x_px,{name}")
        assert frame["y_px"].tolist() == [1, 3]


def test_qupath_and_training_sets_of_cpa(tmp_path: Path) -> None:
    plate = sites(("A01", 1), ("A01", 2))
    folder = tmp_path / "annotated"
    folder.mkdir()
    for number in (1, 2):
        corners = [[9.5, 19.5], [11.5, 19.5], [11.5, 21.5], [9.5, 21.5]]
        feature = {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [corners]},
            "properties": {"classification": {"name": "Normal" if number == 1 else "Abnormal"}},
        }
        path = folder / f"A01_s{number}.geojson"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    frame = read_labels(folder, {"p1": plate}, annotator="anna").table
    assert frame[["site", "y_px", "x_px", "class"]].values.tolist() == [
        [1, 20.0, 10.0, "normal"],
        [2, 20.0, 10.0, "abnormal"],
    ]
    path = tmp_path / "training.txt"
    path.write_text("label good bad\ngood 7 1 10 20\nbad 9 4 30 40\n")
    read_set = read_labels(path, {"p1": plate}, annotator="anna")
    assert read_set.table[["site", "y_px", "x_px", "class"]].values.tolist() == [
        [1, 20.0, 10.0, "normal"],
        [2, 40.0, 30.0, "abnormal"],
    ]
    assert "images numbered in the order of the plate's sites" in read_set.understood


def test_no_rows_and_other_encoding(tmp_path: Path) -> None:
    with pytest.raises(HcsQcError, match="no rows"):
        read(tmp_path)
    path = tmp_path / "latin.csv"
    path.write_bytes((HEADER + ",annotator\nA01,1,1,1,normal,Jürg\n").encode("latin-1"))
    labels = read_labels(path, {"p1": PLATE}, annotator="anna")
    assert labels.table["annotator"].tolist() == ["Jürg"]
    assert "read as Windows-1252 (Latin-1)" in labels.understood
    path.write_bytes((HEADER + ",annotator\nA01,1,1,1,normal,Jürg\n").encode("utf-16"))
    labels = read_labels(path, {"p1": PLATE}, annotator="anna")
    assert labels.table["annotator"].tolist() == ["Jürg"]
    assert "read as UTF-16" in labels.understood


def test_labels_go_into_the_journal(tmp_path: Path) -> None:
    frame = read(tmp_path, "A01,1,1,1,normal,mitosis", "A01,1,2,1,,", header=HEADER + ",kind")
    journal = Journal.open(tmp_path / "journal.sqlite")
    assert journal.add_labels(frame, source="labels ä.csv") == (2, 0)
    back = journal.annotations()[list(LABEL_COLUMNS)]
    pd.testing.assert_frame_equal(back, frame.reset_index(drop=True), check_dtype=False)


@pytest.mark.realdata
def test_labels_of_bbbc039(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "bbbc039" / "labels.csv"
    raw = pd.read_csv(path)
    keys = zip(raw["well"], raw["site"], strict=True)
    plate = sites(*dict.fromkeys(keys), shape=(520, 696))
    frame = read_labels(path, {"20585": plate}, annotator="consensus").table
    assert frame["class"].value_counts().to_dict() == {"normal": 194, "abnormal": 94, "unsure": 12}
    assert (frame["note"] == "mitosis").sum() == (raw["kind"] == "mitosis").sum() == 44
    assert frame["kind"].value_counts().to_dict() == {
        "debris": 42,
        "dead": 37,
        "haze": 2,
        "blur": 1,
    }
    assert frame["y_px"].tolist() == raw["y_px"].tolist()
    journal = Journal.open(tmp_path / "journal.sqlite")
    assert journal.add_labels(frame, source=path.name) == (300, 0)
