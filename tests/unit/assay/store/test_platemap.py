from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_hcs_qc.assay.store.platemap import read_platemap
from napari_hcs_qc.errors import HcsQcError, ProblemsError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_plate_map_is_read_in_plate_order(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text(
        "Role;note;Treatment;Well\n;x; Taxol ä ;b-2\nCONTROL;;DMSO;A10\nempty;;;a2\n",
        encoding="utf-8",
    )
    assert read_platemap(path, shape=(8, 12)).to_dict("list") == {
        "well": ["A02", "A10", "B02"],
        "treatment": ["", "DMSO", "Taxol ä"],
        "role": ["empty", "control", "sample"],
    }


def test_without_roles_every_well_is_a_sample(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text("well,treatment\nA01,DMSO\n", encoding="utf-8")
    assert read_platemap(path)["role"].tolist() == ["sample"]


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text(
        "well,treatment,role\nA01,a,sample\na1,b,sample\nZ99,c,\nP24,d,\nA02,e,boss\n",
        encoding="utf-8",
    )
    with pytest.raises(ProblemsError, match="4 problems") as caught:
        read_platemap(path, shape=(8, 12))
    found = [(problem.where, problem.what) for problem in caught.value.problems]
    assert [where for where, _ in found] == [f"map.csv line {n}" for n in (3, 4, 5, 6)]
    for (_, what), word in zip(found, ["line 2", "Z99", "8 × 12", "'boss'"], strict=True):
        assert word in what


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("well,role\nA01,sample\n", "no column treatment"),
        ("well,treatment\n", "no rows"),
        ("well,Well,treatment\nA01,A01,x\n", "well twice"),
        ("", "empty"),
    ],
)
def test_what_is_no_plate_map(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "map.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(HcsQcError, match=word):
        read_platemap(path)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        # JUMP
        (
            "plate_map_name\twell_position\tbroad_sample\tpert_type\nM\tA01\t\tnegcon\n"
            "M\tA02\tBRD-1\ttrt\nM\tA03\tBRD-2\tposcon\n",
            [("A01", "DMSO", "control"), ("A02", "BRD-1", "sample"), ("A03", "BRD-2", "sample")],
        ),
        # BBBC022: a row for each image
        (
            "Image_FileName_OrigHoechst,Image_Metadata_CPD_WELL_POSITION,"
            "Image_Metadata_ASSAY_WELL_ROLE,Image_Metadata_SOURCE_COMPOUND_NAME\n"
            "a.tif,a01,mock,\nb.tif,a01,mock,\nc.tif,a02,treated,Taxol\n",
            [("A01", "DMSO", "control"), ("A02", "Taxol", "sample")],
        ),
        ("Row,Col,Compound,Control\n1,1,DMSO,negative control\nB,2,x,\n",
         [("A01", "DMSO", "control"), ("B02", "x", "sample")]),
        # a grid, as it is drawn
        (";1;2\nA;DMSO;x\nB;;untreated\n",
         [("A01", "DMSO", "control"), ("A02", "x", "sample"), ("B02", "untreated", "control")]),
        ("well,treatment,control_type\nA01,DMSO,negcon\nA02,x,trt\n",
         [("A01", "DMSO", "control"), ("A02", "x", "sample")]),
    ],
)  # fmt: skip
def test_plate_maps_of_other_programs(
    tmp_path: Path, text: str, rows: list[tuple[str, str, str]]
) -> None:
    path = tmp_path / "map.txt"
    path.write_text(text, encoding="utf-8")
    found = read_platemap(path, shape=(8, 12)).itertuples(index=False, name=None)
    assert list(found) == rows


def test_of_several_plates_that_of_the_name_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text("Barcode,well,treatment\nP1,A01,x\nP2,A01,y\n", encoding="utf-8")
    assert read_platemap(path, plate="P2")["treatment"].tolist() == ["y"]
    with pytest.raises(ProblemsError, match="already in line 2"):
        read_platemap(path)
