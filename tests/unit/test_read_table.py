from __future__ import annotations

import csv
import gzip
import io
import re
import zipfile
from datetime import datetime
from typing import TYPE_CHECKING, Any

import openpyxl
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_hcs_qc.errors import HcsQcError, ProblemsError
from napari_hcs_qc.read_table import encoding_note, read_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEXT = "well,treatment\nA01,Käse\nB02,\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_encodings_delimiters_and_line_ends_give_the_same_table(
    tmp_path: Path, encoding: str, delimiter: str, newline: str
) -> None:
    text = TEXT.replace(",", delimiter).replace("\n", newline)
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    path = tmp_path / "tabelle ä.csv"
    path.write_bytes((mark + text).encode(encoding))
    table = read_table(path)
    assert table.to_dict("list") == {"well": ["A01", "B02"], "treatment": ["Käse", ""]}
    assert list(table.index) == [2, 3]


def test_values_stay_as_written(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('a, b ,\n007, x ,"1,5"\nNA,"two\nlines",""\n\n ,,\n1e3,,\n', encoding="utf-8")
    table = read_table(path)
    assert list(table.columns) == ["a", "b", "column 3"]
    assert table.values.tolist() == [
        ["007", " x ", "1,5"],
        ["NA", "two\nlines", ""],
        ["1e3", "", ""],
    ]
    assert list(table.index) == [2, 3, 7]  # the file's own line numbers


def test_header_only_gives_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("well,site\n", encoding="utf-8")
    table = read_table(path)
    assert list(table.columns) == ["well", "site"]
    assert len(table) == 0


def test_parquet_is_read_as_text_under_any_name(tmp_path: Path) -> None:
    path = tmp_path / "t.dat"
    frame = pd.DataFrame(
        {
            "well": ["A01", None],
            "site": pd.array([1, None], dtype="Int64"),
            "y_px": [284.6, float("nan")],
            "kind": pd.Categorical(["blur", "dead"]),
        }
    )
    frame.to_parquet(path)
    table = read_table(path)
    assert table.to_dict("list") == {
        "well": ["A01", ""],
        "site": ["1", ""],
        "y_px": ["284.6", ""],
        "kind": ["blur", "dead"],
    }
    assert list(table.index) == [1, 2]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["is empty"]),
        (b"\n  \n", ["is empty"]),
        ("well,x\nA01,ä\nA02,K".encode() + b"\xe4se\n", ["UTF-8", "0xe4", "line 3"]),
        (b"well,x\nA01,\x00\x01\x02\xfe\n", ["binary"]),
        (b"well,x\nA01,\x01\x02\xfe\n", ["binary"]),
        (b"PK\x03\x04rest", ["workbook", "CSV UTF-8"]),
        (b"PAR1 but not", ["Parquet"]),
        (b"a,b,a\n1,2,3\n", ["'a'", "twice"]),
        (b"\xff\xfea", ["UTF-16"]),
        (b"\xff\xfew\x00,\x00x\x00\n\x001", ["UTF-16"]),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes, words: list[str]) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(HcsQcError) as caught:
        read_table(path)
    for word in [*words, "t.csv"]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("encoding", "note"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("utf-16", "read as UTF-16"),
        ("utf-16-le", "read as UTF-16"),
        ("utf-16-be", "read as UTF-16"),
        ("latin-1", "read as Windows-1252 (Latin-1), since it is not UTF-8"),
        ("cp1252", "read as Windows-1252 (Latin-1), since it is not UTF-8"),
    ],
)
@pytest.mark.parametrize("n_rows", [1, 9000])  # more than is looked at first
def test_the_encoding_is_told_by_the_content_and_said(
    tmp_path: Path, encoding: str, note: str, n_rows: int
) -> None:
    path = tmp_path / "t.csv"
    rows = [f"A01;plain {n}" for n in range(n_rows)]
    path.write_bytes("\n".join(["well;x", *rows, "A02;Käse 2 µM"]).encode(encoding))
    assert read_table(path)["x"].iloc[-1] == "Käse 2 µM"
    assert encoding_note(path) == note


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(HcsQcError, match="does not exist"):
        read_table(tmp_path / "absent.csv")
    with pytest.raises(HcsQcError, match="cannot be read"):
        read_table(tmp_path)


def test_every_misfit_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n1\n1,2,3\n", encoding="utf-8")
    with pytest.raises(ProblemsError) as caught:
        read_table(path)
    assert [problem.where for problem in caught.value.problems] == ["t.csv line 3", "t.csv line 4"]


CELLS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=8)


@given(rows=st.lists(st.tuples(CELLS, CELLS), max_size=6))
def test_whatever_csv_wrote_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([("first", "second"), *rows])
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_bytes(buffer.getvalue().encode())
    kept = [row for row in rows if any(value.strip() for value in row)]
    assert list(read_table(path).itertuples(index=False, name=None)) == kept


def test_excel_workbooks(tmp_path: Path) -> None:
    path = tmp_path / "t.dat"  # what a file is, is told by its content
    book = openpyxl.Workbook()
    rows: list[list[Any]] = [
        ["well", "y_px", "good", "day"],
        ["A01", 20.5, None, datetime(2026, 3, 1)],
        [],
        ["B02", 3.0, True, datetime(2026, 3, 1, 12, 30)],
        ["ä", 1e-7, False],
        ["007", 0.1, "=1+1"],  # a formula no program has computed
    ]
    for row in rows:
        book.active.append(row)
    book.create_sheet("other").append(["not read"])
    book.save(path)
    table = read_table(path)
    assert list(table.columns) == ["well", "y_px", "good", "day"]
    assert table.values.tolist() == [
        ["A01", "20.5", "", "2026-03-01"],
        ["B02", "3", "True", "2026-03-01 12:30:00"],
        ["ä", "1e-07", "False", ""],
        ["007", "0.1", "", ""],
    ]
    assert list(table.index) == [2, 4, 5, 6]


def rewrite(source: Path, out: Path, change: Callable[[str, bytes], bytes]) -> None:
    """Write a workbook with other contents of its parts."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))


def test_excel_workbooks_with_wrong_dimensions_and_extensions(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["well", "label"], ["A01", "good"]):
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    path = tmp_path / "odd.xlsx"

    def odd(name: str, content: bytes) -> bytes:
        if name != "xl/worksheets/sheet1.xml":
            return content
        content, n_dimensions = re.subn(rb'(<dimension ref="A1):B2"', rb'\1"', content)
        assert n_dimensions == 1
        # Rules of Excel 2010 and later for the format of cells: openpyxl warns of them.
        uri = b"{78C0D931-6437-407d-A8EE-F0AAD7539E65}"
        extension = b'<extLst><ext uri="' + uri + b'"/></extLst></worksheet>'
        return content.replace(b"</worksheet>", extension)

    rewrite(tmp_path / "t.xlsx", path, odd)
    assert read_table(path).to_dict("list") == {"well": ["A01"], "label": ["good"]}


def test_damaged_excel_workbooks_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = openpyxl.Workbook()
    book.active.append(["well", "label"])
    book.active.append(["A01", "x" * 1000])
    whole = tmp_path / "t.xlsx"
    book.save(whole)
    path = tmp_path / "damaged.xlsx"

    def refused(why: str) -> None:
        with pytest.raises(HcsQcError, match=rf"damaged\.xlsx.* {why}"):
            read_table(path)

    path.write_bytes(whole.read_bytes()[:-100])
    refused(r"cannot be read as an Excel workbook: .*CSV UTF-8")
    rewrite(whole, path, lambda name, content: content[: -40 if "sheet1" in name else None])
    refused(r"cannot be read as an Excel workbook: .*CSV UTF-8")
    rewrite(whole, path, lambda _, content: content.replace(b'row r="2"', b'row r="9999999999"'))
    refused(r"more than 1048576 rows.*CSV UTF-8")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<a/>")
    refused(r"no Excel workbook \(\.xlsx\)")
    monkeypatch.setattr("napari_hcs_qc.read_table._MOST_PART_BYTES", 500)
    path.write_bytes(whole.read_bytes())
    with pytest.raises(HcsQcError, match=r"part .* is too large to be read\. Save it as CSV"):
        read_table(path)


def test_gzip_preamble_and_two_header_lines(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("Database\tx\n\n[Data]\nRow\tColumn\n1\t2\n")
    assert read_table(path).to_dict("list") == {"Row": ["1"], "Column": ["2"]}
    path.write_bytes(gzip.compress(b"a,b\n1,2\n")[:-6])
    with pytest.raises(HcsQcError, match="cannot be read"):
        read_table(path)
    path = tmp_path / "object.csv"
    path.write_text("Image,Image,Nuclei\nImageNumber,Metadata_Well,Location_Center_X\n1,A01,3\n")
    assert list(read_table(path).columns) == [
        "ImageNumber",
        "Metadata_Well",
        "Nuclei_Location_Center_X",
    ]


def test_only_the_wanted_columns_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,c\n1,2,3\n")
    assert read_table(path, lambda names: names[1:]).to_dict("list") == {"b": ["2"], "c": ["3"]}
