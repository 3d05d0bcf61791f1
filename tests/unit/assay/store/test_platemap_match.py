"""A plate map is of the plate, or is refused with the likely cause; what matched is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_hcs_qc.assay.store.platemap import read_platemap
from napari_hcs_qc.assay.store.platemap_match import check_platemap, match_platemap
from napari_hcs_qc.cli import main
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates import open_plate
from napari_hcs_qc.plates.wells import parse_well, well_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_hcs_qc.plates.plate import Plate

INNER = [well_name(row, column) for row in range(1, 4) for column in range(1, 11)]


@pytest.fixture(scope="module")
def plate(tmp_path_factory: pytest.TempPathFactory) -> Plate:
    """Of 96 wells the columns 2 to 11 of three rows."""
    import numpy as np
    import tifffile

    folder = tmp_path_factory.mktemp("of plates") / "P1"
    folder.mkdir()
    for well in INNER:
        tifffile.imwrite(folder / f"P1_{well}_s1_w1.tif", np.zeros((16, 16), np.uint16))
    return open_plate(folder, plate_shape="8x12")


def platemap(
    tmp_path: Path, wells: Sequence[str], header: str = "well,treatment", before: str = ""
) -> Path:
    path = tmp_path / "a map.csv"
    path.write_text("\n".join([header, *(f"{before}{well},x" for well in wells)]))
    return path


def moved(row: int, column: int, exchange: bool = False) -> list[str]:
    places = [parse_well(well) for well in INNER]
    pairs = [(p.column, p.row) if exchange else (p.row + row, p.column + column) for p in places]
    return [well_name(*pair) for pair in pairs]


def test_what_matched_is_said(plate: Plate, tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text("well,treatment,role\nB02,DMSO,control\nB03,x,\nH12,y,\nA01,,empty\n")
    match = match_platemap(plate, path)
    match.check(path)
    assert match.sentence == "map.csv: 2 of 30 imaged wells (1 control, 1 sample)"


@pytest.mark.parametrize(
    ("wells", "words"),
    [
        (moved(0, 0, exchange=True), ["rows and columns exchanged, 30 would be", "Exchange them"]),
        (
            [f"{well[0]}{int(well[1:]) + 24}" for well in INNER],
            ["0 of its 30 wells", "other plate"],
        ),
        (moved(-1, -1)[:10], ["0 of its 10 wells", "rows and columns counted from 0", "Add 1 to"]),
        ([*moved(4, -1), "B02"], ["1 of its 31 wells (B02, F01, F02 and 28 more) was imaged"]),
    ],
)
def test_a_map_that_hardly_matches_is_refused_with_the_likely_cause(
    plate: Plate, tmp_path: Path, wells: list[str], words: list[str]
) -> None:
    path = platemap(tmp_path, wells)
    with pytest.raises(HcsQcError) as caught:
        check_platemap([plate], path, ())
    for word in [*words, "a map.csv", "P1"]:
        assert word in str(caught.value)


def test_where_most_match_another_reading_is_only_a_warning(plate: Plate, tmp_path: Path) -> None:
    path = platemap(tmp_path, moved(0, -1))
    check_platemap([plate], path, ())
    assert match_platemap(plate, path).sentence == "a map.csv: 27 of 30 imaged wells (27 sample)"
    shifted = match_platemap(plate, platemap(tmp_path, moved(-1, -1)))
    assert "with rows and columns counted from 0, 30 would be: check the map" in shifted.sentence


@pytest.mark.parametrize(
    ("header", "row", "words"),
    [
        ("well,treatment", "B00,x", ["counts columns from 0", "'B00'", "Add 1"]),
        ("row,column,treatment", "0,1,x", ["counts rows from 0", "column row"]),
        ("row,column,treatment", "B,0,x", ["counts columns from 0"]),
    ],
)
def test_counting_from_0_is_named(
    plate: Plate, tmp_path: Path, header: str, row: str, words: list[str]
) -> None:
    path = tmp_path / "a map.csv"
    path.write_text(f"{header}\n{row}\n")
    with pytest.raises(HcsQcError) as caught:
        check_platemap([plate], path, ())
    for word in [*words, "a map.csv"]:
        assert word in str(caught.value)


def test_names_of_plates(plate: Plate, tmp_path: Path) -> None:
    header = "Barcode,well,treatment"
    one = platemap(tmp_path, INNER, header, "BR9,")
    check_platemap([plate], one, ())
    assert "its plate is called BR9, here it is P1" in match_platemap(plate, one).sentence
    # BR9 is another plate of the assay, so that the map has nothing for this one.
    assert read_platemap(one, plate="P1", plates=["BR9", "P1"]).empty
    with pytest.raises(HcsQcError, match=r"has the plate BR9, not P1.*--plate-name"):
        check_platemap([plate], one, ["BR9"])
    path = tmp_path / "several.csv"
    path.write_text(f"{header}\nBR8,B02,x\nBR9,B02,y\n")
    with pytest.raises(HcsQcError, match="has the plates BR8, BR9, not P1"):
        check_platemap([plate], path, ())
    path.write_text(f"{header}\nBR8,B02,x\nP1,B02,y\n")
    assert match_platemap(plate, path).sentence == "several.csv: 1 of 30 imaged wells (1 sample)"
    assert main(["new", str(tmp_path / "A"), str(plate.source), "--platemap", str(path)]) == 0
    assert main(["check", str(tmp_path / "A")]) == 0


def test_new_and_status_show_the_map(
    plate: Plate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = platemap(tmp_path, INNER)
    path.write_bytes(path.read_text().replace("B02,x", "B02,Käse").encode("latin-1"))
    assay = str(tmp_path / "assay")
    new = ["new", assay, str(plate.source), "--platemap", str(path), "--plate-shape", "96"]
    assert main(new) == 0
    line = (
        "Plate map a map.csv: 30 of 30 imaged wells (30 sample); read as Windows-1252 (Latin-1), "
        "since it is not UTF-8"
    )
    assert line in capsys.readouterr().out
    assert main(["status", assay]) == 0
    assert line in capsys.readouterr().out
    assert main([*new[:4], str(platemap(tmp_path, ["H12"]))]) == 2
    assert "give the map of this one" in capsys.readouterr().err


def test_a_map_of_one_plate_does_not_replace_that_of_another(
    plate: Plate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    source = plate.source
    shutil.copytree(source, tmp_path / "P2")
    for path in (tmp_path / "P2").iterdir():
        path.rename(path.with_name(path.name.replace("P1_", "P2_")))
    first = platemap(tmp_path, INNER).rename(tmp_path / "first.csv")
    assay = str(tmp_path / "assay")
    shape = ["--plate-shape", "8x12"]
    assert main(["new", assay, str(source), "--platemap", str(first), *shape]) == 0
    kept = (tmp_path / "assay" / "platemap.csv").read_text()
    second = platemap(tmp_path, INNER[:20]).rename(tmp_path / "second.csv")
    add = ["new", assay, str(tmp_path / "P2"), *shape]
    capsys.readouterr()
    assert main([*add, "--platemap", str(second)]) == 2
    text = capsys.readouterr().err
    assert "first.csv" in text and "P1" in text and "second.csv" in text
    assert (tmp_path / "assay" / "platemap.csv").read_text() == kept
    # As it says: both plates in one map, or all plates beside it.
    rows = [f"{name},{well},x" for name in ("P1", "P2") for well in INNER]
    both = tmp_path / "both.csv"
    both.write_text("\n".join(["plate,well,treatment", *rows]))
    assert main([*add, "--platemap", str(both)]) == 0
    both_plates = ["new", assay, str(source), str(tmp_path / "P2"), *shape]
    assert main([*both_plates, "--platemap", str(second)]) == 0

    # What was changed after it was given is told, and giving it again mends that.
    inside = tmp_path / "assay" / "platemap.csv"
    assert main(["check", assay]) == 0
    inside.write_text(inside.read_text().replace("B02", "H12"))
    capsys.readouterr()
    assert main(["check", assay]) == 2
    assert "platemap.csv" in "".join(capsys.readouterr())
    assert main([*both_plates, "--platemap", str(inside)]) == 0
    assert main(["check", assay]) == 0
