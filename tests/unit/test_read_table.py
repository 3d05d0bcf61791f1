from __future__ import annotations

import csv
import gzip
import io
import zipfile
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_hcs_qc.errors import HcsQcError, ProblemsError
from napari_hcs_qc.read_table import read_table

if TYPE_CHECKING:
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
        ("well,treatment\nA01,ok\nA02,Käse\n".encode("latin-1"), ["UTF-8", "0xe4", "line 3"]),
        (TEXT.encode("utf-16-le"), ["byte order mark"]),
        (b"PK\x03\x04rest", ["workbook", "CSV UTF-8"]),
        (b"PAR1 but not", ["Parquet"]),
        (b"a,b,a\n1,2,3\n", ["'a'", "twice"]),
        (b"\xff\xfea", ["UTF-16", "0x61"]),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes, words: list[str]) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(HcsQcError) as caught:
        read_table(path)
    for word in [*words, "t.csv"]:
        assert word in str(caught.value)


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


def workbook(path: Path, rows: list[list[str | float]]) -> None:
    """An Excel workbook as Excel lays it out: texts apart, blank cells left out."""
    texts = sorted({value for row in rows for value in row if isinstance(value, str) and value})
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    lines = []
    for number, row in enumerate(rows, start=1):
        cells = [
            f'<c r="{chr(65 + column)}{number}" t="s"><v>{texts.index(value)}</v></c>'
            if isinstance(value, str)
            else f'<c r="{chr(65 + column)}{number}"><v>{value}</v></c>'
            for column, value in enumerate(row)
            if value != ""
        ]
        lines.append(f'<row r="{number}">{"".join(cells)}</row>')
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "xl/sharedStrings.xml",
            f"<sst {main}>{''.join(f'<si><r><t>{text}</t></r></si>' for text in texts)}</sst>",
        )
        sheet = f"<worksheet {main}><sheetData>{''.join(lines)}</sheetData></worksheet>"
        archive.writestr("xl/worksheets/sheet1.xml", sheet)


def test_excel_workbooks(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    workbook(path, [["well", "y_px", "label"], ["A01", 20.5, ""], ["", "", ""], ["B02", 3, "ä"]])
    table = read_table(path)
    assert table.values.tolist() == [["A01", "20.5", ""], ["B02", "3", "ä"]]
    assert list(table.columns) == ["well", "y_px", "label"]
    assert list(table.index) == [2, 4]


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
