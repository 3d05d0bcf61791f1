"""Numbers in files from elsewhere are limits to check, not loop counts to trust."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates import limits, open_plate
from napari_hcs_qc.plates.readers.imagexpress import read_htd

if TYPE_CHECKING:
    from pathlib import Path

_BEGIN = '"HTSInfoFile", 1\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "plate"
    folder.mkdir()
    for well in ("A01", "A02"):
        tifffile.imwrite(folder / f"p_{well}_s1_w1.tif", np.full((8, 8), 7, np.uint16))
    return folder


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('"XWells", 12\n"YWells", 4000000000\n', "4,000,000,000 × 12 wells"),
        ('"XWells", 96\n"YWells", 64\n', "64 × 96 wells; plates of up to 32 × 48"),
        ('"Sites", TRUE\n"YSites", 4000000000\n', "YSites is 4,000,000,000"),
        ('"NWavelengths", 400000000\n', "NWavelengths is 400,000,000"),
        (f'"YWells", {"9" * 5000}\n', "999,999,999,999 × 0 wells"),
        (f'"X", "{"A" * 140_000}"\n', "field larger than field limit"),
    ],
)
def test_an_htd_file_that_claims_too_much_is_told_at_once(
    folder: Path, text: str, told: str
) -> None:
    path = folder / "p.HTD"
    path.write_text(_BEGIN + text, encoding="latin-1")
    with pytest.raises(HcsQcError, match=told):
        read_htd(path)
    try:  # with a word on it, or without it
        plate = open_plate(folder)
    except HcsQcError as error:
        assert "p.HTD" in str(error)
    else:
        assert any("p.HTD" in str(problem) for problem in plate.problems)


@pytest.mark.parametrize(
    ("site", "note"), [("1", "A" * 140_000), ("9" * 5000, "x"), ("1e400", "x"), ("-1", "x")]
)
def test_load_data_tables_of_nonsense_are_told(folder: Path, site: str, note: str) -> None:
    table = folder / "load_data.csv"
    table.write_text(
        "Metadata_Well,Metadata_Site,FileName_DNA,PathName_DNA,Note\n"
        f"A01,{site},p_A01_s1_w1.tif,{folder},{note}\n",
        encoding="utf-8",
    )
    with pytest.raises(HcsQcError):
        open_plate(table)


def test_a_pattern_that_never_ends_is_told(folder: Path) -> None:
    began = time.monotonic()
    for n in range(40):
        (folder / f"p_{'a' * 40}{n}!.tif").touch()
    with pytest.raises(HcsQcError, match="takes longer than"):
        open_plate(folder, pattern=r"p_(?:a|aa)+[bc](?P<well>[A-P]\d\d)")
    assert time.monotonic() - began < 60  # of hours


def test_an_image_that_claims_more_pixels_than_any_site_has(folder: Path) -> None:
    path = folder / "p_A01_s1_w1.tif"
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages.first.tags["ImageLength"].valueoffset
    data = bytearray(path.read_bytes())
    data[offset : offset + 4] = (2**31 - 1).to_bytes(4, "little")
    path.write_bytes(data)
    plate = open_plate(folder)
    with pytest.raises(HcsQcError):
        plate.read_site(("A01", 1), [0])
    assert limits.excessive_size((2**31 - 1, 8))
    assert limits.excessive_size((3, 2160, 2560)) == ""
    dtype = np.dtype(np.uint16)
    assert limits.excessive_array((5, 3, 2160, 2560), (1, 1, 1080, 1280), dtype) == ""
    for shape, chunks, kind in (
        ((4, 2**12, 2**12), (1, 1, 1), dtype),
        ((4, 2**12, 2**12), (1, 2**12, 4_000_000_000), dtype),
        ((4, 2**20, 2**20), (1, 2**12, 2**12), dtype),
        ((4_000_000_000, 1, 4, 4), (2**20, 1, 4, 4), dtype),
        ((4, 64, 64), (1, 64, 64), np.dtype("V4000000")),
        ((64,), (64,), dtype),
    ):
        assert limits.excessive_array(shape, chunks, kind)


def test_too_little_memory_is_no_damaged_image(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_args: object, **_kwargs: object) -> None:
        raise MemoryError

    plate = open_plate(folder)
    monkeypatch.setattr(tifffile, "TiffFile", failing)
    with pytest.raises(MemoryError):
        plate.read_site(("A01", 1), [0])
