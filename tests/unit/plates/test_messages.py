"""Every error of the readers names the file and a next step, and that step is tried here."""

from __future__ import annotations

import ast
import json
import shlex
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image

import napari_hcs_qc.plates
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates import open_plate
from napari_hcs_qc.plates.first_look import looked_at
from napari_hcs_qc.plates.open import at_time_point

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_hcs_qc.plates import Plate

WELLS = ("A01", "A02", "B01", "B02")
PLATES = Path(napari_hcs_qc.plates.__file__).parent

Options = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A plate that is refused, and what the refusal advises."""

    make: Callable[[Path], Options]  # writes it; gives the options of `open_plate`
    names: str  # the file or folder that the message names
    advice: str  # its next step, as it is written
    follow: Callable[[Path, str], Options]  # does that; gives the options for the second try
    then: str = ""  # the next error, where there is one


def tif(path: Path, pixels: Any = None, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.full((6, 8), 3, np.uint16) if pixels is None else pixels, **options)


def folder(*forms: str, **options: Any) -> Callable[[Path], Options]:
    """Images of four wells."""

    def make(root: Path) -> Options:
        for form in forms:
            for well in WELLS:
                tif(root / form.format(w=well))
        return {"path": root, **options}

    return make


def bad(pixels: Any = None, *, content: bytes | None = None, name: str = "P_{w}_s1_w1.tif",
        **how: Any) -> Callable[[Path], Options]:  # fmt: skip
    """Give a plate whose images are of one bad kind."""

    def make(root: Path) -> Options:
        for well in WELLS:
            path = root / name.format(w=well)
            if content is None:
                tif(path, pixels, **how)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        return {"path": root}

    return make


def exported_again(root: Path, _text: str) -> Options:
    for path in root.glob("*.*"):
        if path.suffix in (".tif", ".png"):
            path.unlink()
            tif(path.with_suffix(".tif"))
    return {"path": root}


def one_by_time(root: Path, _text: str) -> Options:
    for path in list(root.glob("*.tif")):
        for time in (1, 2):
            tif(path.with_stem(f"{path.stem}_t{time}"))
        path.unlink()
    return {"path": root}


def flag(name: str, option: str) -> Callable[[Path, str], Options]:
    """Take what stands after a flag in the message, as a shell does."""

    def follow(root: Path, text: str) -> Options:
        after = text[text.index(f"{name} ") + len(name) :]
        words = shlex.shlex(after, posix=True)
        words.whitespace_split, words.commenters = True, ""
        value = next(words).rstrip("),.;")
        return {"path": root, option: value}

    return follow


def without(option: str) -> Callable[[Path, str], Options]:
    def follow(root: Path, _text: str) -> Options:
        return {"path": next(root.glob("*.csv"), root)}

    return follow


def options(**given: Any) -> Callable[[Path, str], Options]:
    return lambda root, _text: {"path": next(root.glob("*.csv"), root), **given}


def table(text: str, *, images: bool = True, **given: Any) -> Callable[[Path], Options]:
    def make(root: Path) -> Options:
        if images:
            for well in WELLS:
                tif(root / f"{well}.tif")
        root.mkdir(parents=True, exist_ok=True)
        path = root / "load_data.csv"
        path.write_bytes(text.encode("latin-1"))
        return {"path": path, **given}

    return make


def table_again(text: str) -> Callable[[Path, str], Options]:
    return lambda root, _text: table(text)(root)


GOOD = "FileName_DNA,Metadata_Well,Metadata_Site\nA01.tif,A01,1\nA02.tif,A02,1\n"


def zarr_folder(text: str | None) -> Callable[[Path], Options]:
    def make(root: Path) -> Options:
        path = root / "p.zarr"
        path.mkdir(parents=True)
        if text is not None:
            (path / ".zgroup").write_text('{"zarr_format": 2}')
            (path / ".zattrs").write_text(text)
        return {"path": path}

    return make


def zarr_again(root: Path, _text: str) -> Options:
    """Copy the plate whole, over what is there."""
    path = root / "p.zarr"
    plate = {
        "rows": [{"name": "A"}],
        "columns": [{"name": "1"}],
        "wells": [{"path": "A/1", "rowIndex": 0, "columnIndex": 0}],
    }
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "yx"]
    scale = [{"type": "scale", "scale": [1.0, 1.0]}]
    image = {"version": "0.4", "axes": axes, "datasets": [
        {"path": "0", "coordinateTransformations": scale}]}  # fmt: skip
    for group, attributes in (
        (path, {"plate": plate}),
        (path / "A", {}),
        (path / "A/1", {"well": {"images": [{"path": "0"}]}}),
        (path / "A/1/0", {"multiscales": [image]}),
    ):
        group.mkdir(parents=True, exist_ok=True)
        (group / ".zgroup").write_text('{"zarr_format": 2}')
        (group / ".zattrs").write_text(json.dumps(attributes))
    import zarr

    array = zarr.create_array(
        store=str(path / "A/1/0/0"), shape=(6, 8), chunks=(6, 8), dtype="u2", zarr_format=2,
        overwrite=True,
    )  # fmt: skip
    array[...] = 3
    return {"path": path}


def zarr_plate(**given: Any) -> Callable[[Path], Options]:
    return lambda root: {**zarr_again(root, ""), **given}


def lacking(*parts: str) -> Callable[[Path], Options]:
    """An OME-Zarr plate some of whose files are gone."""

    def make(root: Path) -> Options:
        result = zarr_again(root, "")
        for part in parts:
            (root / "p.zarr" / part).unlink()
        return result

    return make


def other_well(path: str, **given: Any) -> Callable[[Path], Options]:
    """An OME-Zarr plate whose well has another path."""

    def make(root: Path) -> Options:
        result = zarr_again(root, "")
        attributes = root / "p.zarr/.zattrs"
        (root / "p.zarr" / path).parent.mkdir(exist_ok=True)
        (root / "p.zarr/A/1").rename(root / "p.zarr" / path)
        attributes.write_text(attributes.read_text().replace("A/1", path))
        return {**result, **given}

    return make


def zarr_flag(**given: Any) -> Callable[[Path, str], Options]:
    return lambda root, _text: {"path": root / "p.zarr", **given}


def bad_archive(root: Path) -> Options:
    root.mkdir(parents=True)
    (root / "p.zarr.zip").write_bytes(b"PK")
    return {"path": root / "p.zarr.zip"}


def archive_again(root: Path, _text: str) -> Options:
    folder = zarr_again(root, "")["path"]
    with zipfile.ZipFile(root / "p.zarr.zip", "w") as archive:
        for file in folder.rglob("*"):
            archive.write(file, file.relative_to(folder).as_posix())
    return {"path": root / "p.zarr.zip"}


def picture(mode: str) -> Callable[[Path], Options]:
    def make(root: Path) -> Options:
        root.mkdir(parents=True)
        noise = np.random.default_rng(0).integers(0, 255, (6, 8, 4 if mode == "CMYK" else 3))
        for well in WELLS:
            image = Image.fromarray(noise.astype(np.uint8), mode)
            extension = "jpg" if mode == "CMYK" else "png"
            image.save(root / f"P_{well}_s1_w1.{extension}")
        return {"path": root}

    return make


def renamed(old: str, new: str) -> Callable[[Path, str], Options]:
    def follow(root: Path, _text: str) -> Options:
        for path in root.glob(f"*{old}*"):
            path.rename(path.with_name(path.name.replace(old, new)))
        return {"path": root}

    return follow


def removed(pattern: str) -> Callable[[Path, str], Options]:
    def follow(root: Path, _text: str) -> Options:
        for path in root.glob(pattern):
            path.unlink()
        return {"path": root}

    return follow


COLOUR = np.random.default_rng(0).integers(0, 255, (6, 8, 3)).astype(np.uint8)
TRUNCATED = "copy it again from the microscope"
EXPORT_COLOUR = "export every channel as its own grey image"
SITE = r"(?P<well>[A-P]\d\d)_f(?P<site>\w+)_(?P<channel>\w+)\."
SLOW = r"(?P<well>[A-Z]\d\d)(a|aa)+!$"


def truncated(root: Path) -> Options:
    """Pixels are cut off at the end."""
    bad(np.zeros((60, 80), np.uint16))(root)
    for path in root.glob("*.tif"):
        path.write_bytes(path.read_bytes()[:900])
    return {"path": root}


def page_lost(root: Path) -> Options:
    """A stack whose last pages are cut off."""
    bad(np.random.default_rng(0).integers(0, 9, (3, 60, 80)).astype(np.uint16),
        photometric="minisblack", compression="zlib", metadata=None)(root)  # fmt: skip
    for path in root.glob("*.tif"):
        with tifffile.TiffFile(path) as tif_file:
            end = tif_file.pages[2].offset
        path.write_bytes(path.read_bytes()[:end])
    return {"path": root}


def two_sizes(shape: tuple[int, int]) -> Callable[[Path], Options]:
    def make(root: Path) -> Options:
        folder("P_{w}_s1_w1.tif")(root)
        bad(np.zeros(shape, np.uint16), name="P_{w}_s1_w2.tif")(root)
        return {"path": root}

    return make


CASES: dict[str, Case] = {
    # The path
    "nothing there": Case(
        lambda root: {"path": root / "absent"}, "absent", "Check the path",
        lambda root, _: folder("P_{w}_s1_w1.tif")(root)),
    "one image": Case(
        lambda root: folder("P_{w}_s1_w1.tif")(root) | {"path": root / "P_A01_s1_w1.tif"},
        "P_A01_s1_w1.tif", "give the folder that it is in", lambda root, _: {"path": root}),
    "a server": Case(
        lambda _root: {"path": "memory://nowhere/plate"}, "memory://nowhere/plate",
        "a LoadData CSV or Parquet file, or an OME-Zarr plate was expected",
        lambda root, _: zarr_again(root, "")),
    "an option that is for others": Case(
        table(GOOD, pattern="(?P<well>A)"), "load_data.csv", "omit the pattern",
        without("pattern")),
    "an image root that is none": Case(
        table(GOOD, image_root="/nowhere"), "/nowhere", "(--image-root)",
        lambda root, _: {"path": root / "load_data.csv", "image_root": root}),
    "a plate shape that is none": Case(
        folder("P_{w}_s1_w1.tif", plate_shape="7x9"), "7x9", "96 (8x12)", flag("(8x12),",
        "plate_shape") and options(plate_shape="8x12")),
    # The names
    "no names that are known": Case(
        folder("x~{w}~1.tif", "x~{w}~2.tif"), "x~A01~1.tif", "--pattern",
        flag("--pattern", "pattern")),
    "no images": Case(
        lambda root: (root.mkdir(parents=True), {"path": root})[1], "plate", "Known names:",
        lambda root, _: folder("B02_f1_DAPI.tif")(root)),
    "a few of many": Case(
        lambda root: folder("x~{w}~1.tif", "x~{w}~2.tif")(root)
        | folder("A - 1(fld 1 wv Cy5 - Cy5).tif")(root),
        "x~A01~1.tif", "--pattern", flag("--pattern", "pattern")),
    "wells of no plate": Case(
        lambda root: (tif(root / "x_A49_s1_w1.tif"), {"path": root})[1], "x_A49_s1_w1.tif",
        "--pattern", options(pattern=r"(?P<well>A4)9_s(?P<site>\d)")),
    "well numbers of no plate": Case(
        lambda root: (tif(root / "w99999_1.tif"), {
            "path": root, "pattern": r"w(?P<number>\d+)_(?P<site>\d)"})[1],
        "99999", "Give a pattern with (?P<site>…)",
        options(pattern=r"(?P<row>w)(?P<column>9)9999_(?P<site>\d)")),
    "a plate shape too small": Case(
        folder("P_{w}_s1_w1.tif", "P_H12_s1_w1.tif", plate_shape="6"), "H12",
        "Give a larger plate shape, or none", options(plate_shape="96")),
    "a time point that is none": Case(
        folder("P_{w}_s1_w1_t1.tif", "P_{w}_s1_w1_t2.tif", time=5), "plate", "(--time)",
        options(time=2)),
    "two plates": Case(
        folder("plate A/P_{w}_s1_w1.tif", "plate B/P_{w}_s1_w1.tif"), "'plate A'",
        "--plate-name 'plate A'", flag("--plate-name", "name")),
    "two plates, by folder": Case(
        folder("plate A/P_{w}_s1_w1.tif", "plate B/P_{w}_s1_w1.tif"), "'plate A'",
        "or by its own folder", lambda root, _: {"path": root / "plate A"}),
    "two plates with other wells": Case(
        lambda root: [tif(root / f"P{p}_{p}0{n}_s1_w1.tif") for p in "AB" for n in (1, 2)]
        and {"path": root},
        "PA and PB", "a pattern (--pattern)",
        options(pattern=r"(?P<well>[A-P]\d\d)_s(?P<site>\d)_w(?P<channel>\d)")),
    "two acquisitions": Case(
        folder("P_{w}_T0001F001L01A01Z01C01.tif", "P_{w}_T0001F001L01A02Z01C01.tif"), "plate",
        "--plate-name L01A01", flag("--plate-name", "name")),
    "several files a plane": Case(
        folder("P_{w}_s1_w1.tif", "P_{w}_s1_w1.tiff"), "P_A01_s1_w1.tiff", "by a --pattern",
        options(pattern=r"_(?P<well>[A-P]\d\d)_s(?P<site>\d)_w(?P<channel>\d)\.tif$")),
    "channels in two spellings": Case(
        folder("{w}_f1_DAPI.tif", "{w}_f1_dapi.tif"), "A01_f1_dapi.tif",
        "Rename the files of one", renamed("dapi", "other")),
    "channels in two spellings, moved": Case(
        folder("{w}_f1_DAPI.tif", "{w}_f1_dapi.tif"), "A01_f1_dapi.tif",
        "move them out of the folder", removed("*_dapi.tif")),
    # Patterns
    "a pattern that is none": Case(
        folder("{w}_f1_x.tif", pattern="("), "'('", "An example",
        lambda root, text: {"path": root, "pattern": text.split("'")[-2]}),
    "a pattern without a well": Case(
        folder("{w}_f1_x.tif", pattern=r"_f(?P<site>\d)"), "(?P<site>", "(?P<well>…)",
        options(pattern=r"(?P<well>[A-P]\d\d)_f(?P<site>\d)")),
    "a pattern with unknown groups": Case(
        folder("{w}_f1_x.tif", pattern=r"(?P<well>[A-P]\d\d)_(?P<dye>f\d)"), "dye",
        "Use (?:…) where no name is needed", options(pattern=r"(?P<well>[A-P]\d\d)_(?:f\d)")),
    "a pattern that fits nothing": Case(
        folder("x~{w}~1.tif", pattern=r"(?P<well>[A-P]\d\d)_"), "x~A01~1.tif", "--pattern",
        flag("--pattern", "pattern")),
    "a pattern whose numbers are none": Case(
        folder("{w}_fx_DAPI.tif", pattern=SITE.replace("f(", "(")), "'fx'", "--pattern",
        options(pattern=SITE.replace(r"_f(?P<site>\w+)", "_fx"))),
    "a pattern that does not tell files apart": Case(
        folder("{w}_f1_D.tif", "{w}_f2_D.tif", pattern=r"(?P<well>[A-P]\d\d)_f\d"),
        "A01_f2_D.tif", "A group such as (?P<site>…)",
        options(pattern=r"(?P<well>[A-P]\d\d)_f(?P<site>\d)")),
    "a pattern that tells plates apart": Case(
        folder("p 1~{w}.tif", "p 2~{w}.tif", pattern=r"(?P<plate>p \d)~(?P<well>[A-P]\d\d)"),
        "plate", "--plate-name 'p 1'",
        options(name="p 1", pattern=r"(?P<plate>p \d)~(?P<well>[A-P]\d\d)")),
    "rows from 0": Case(
        lambda root: [tif(root / f"U{c}_V{r}.tif") for r in (0, 1) for c in (0, 1)]
        and {"path": root, "pattern": r"U(?P<column>\d)_V(?P<row>\d)"},
        "U0_V0.tif", "(?P<row0>…)", options(pattern=r"U(?P<column0>\d)_V(?P<row0>\d)")),
    "a pattern without an end": Case(
        folder("{w}" + "a" * 200 + ".tif", pattern=SLOW), "A01aaa", "write it without them",
        options(pattern=r"(?P<well>[A-Z]\d\d)\w+\.tif")),
    # Tables
    "a table of images on servers": Case(
        table("URL_DNA,Metadata_Well,Metadata_Site\nhttps://127.0.0.1:1/a.tif,A01,1\n"),
        "load_data.csv", "--allow-remote",
        lambda root, _: {"path": root / "load_data.csv", "allow_remote": True},
        then="cannot be read"),
    "an empty table": Case(table(""), "load_data.csv", "Export it again", table_again(GOOD)),
    "a table without rows": Case(
        table("FileName_DNA,Metadata_Well\n"), "load_data.csv", "Export it again",
        table_again(GOOD)),
    "a table that is no text": Case(
        table("\1\2\3,\4\n\5,\6\n"), "load_data.csv", "Save it as CSV in UTF-8",
        table_again(GOOD)),
    "a table of other columns": Case(
        table("a,b\n1,2\n"), "load_data.csv", "add or rename columns", table_again(GOOD)),
    "a table of two plates": Case(
        table("FileName_DNA,Metadata_Well,Metadata_Plate\nA01.tif,A01,my 1\nA02.tif,A02,my 2\n"),
        "load_data.csv", "--plate-name 'my 1'",
        lambda root, text: {**flag("--plate-name", "name")(root, text),
                            "path": root / "load_data.csv"}),
    "a table whose sites are none": Case(
        table("FileName_DNA,Metadata_Well,Metadata_Site\nA01.tif,A01,left\nA02.tif,A02,left\n"),
        "load_data.csv", "rename the column",
        table_again("FileName_DNA,Metadata_Well,Side\nA01.tif,A01,left\nA02.tif,A02,left\n")),
    "a table whose images moved": Case(
        table("FileName_DNA,PathName_DNA,Metadata_Well\nA01.tif,/old/place,A01\n"),
        "/old/place/A01.tif", "(--image-root)",
        lambda root, _: {"path": root / "load_data.csv", "image_root": root}),
    # OME-Zarr
    "a Zarr without metadata": Case(
        zarr_folder(None), "p.zarr", "check that it was copied whole", zarr_again),
    "a zipped Zarr that is no archive": Case(
        bad_archive, "p.zarr.zip", "copy it again", archive_again),
    "a Zarr that is no plate": Case(
        zarr_folder('{"multiscales": []}'), "p.zarr", "Give the group above it that has",
        zarr_again),
    "a Zarr whose metadata are damaged": Case(
        zarr_folder('{"plate": {"wells": [{"pa'), "p.zarr", "Copy it again", zarr_again),
    "a Zarr without fields": Case(
        lacking("A/1/.zattrs"), "p.zarr", "Check that it was copied whole", zarr_again),
    "a Zarr without an array": Case(
        lacking("A/1/0/0/.zarray"), "p.zarr", "Check that it was copied whole", zarr_again),
    "a Zarr with a well that is none": Case(
        other_well("A1"), "'A1'", "write it anew from its source", zarr_again),
    "a Zarr on too small a plate": Case(
        other_well("B/9", plate_shape="6"), "p.zarr", "Give a larger plate shape, or none",
        zarr_flag(plate_shape="96")),
    "a Zarr at a time point that is none": Case(
        zarr_plate(time=3), "p.zarr", "(--time)", zarr_flag(time=0)),
    # Images
    "an empty image": Case(bad(content=b""), "P_A01_s1_w1.tif", TRUNCATED, exported_again),
    "no TIFF": Case(bad(content=b"garbage" * 9), "P_A01_s1_w1.tif", TRUNCATED, exported_again),
    "no picture": Case(
        bad(content=b"garbage" * 9, name="P_{w}_s1_w1.png"), "P_A01_s1_w1.png", TRUNCATED,
        exported_again),
    "an image cut off": Case(truncated, "P_A01_s1_w1.tif", TRUNCATED, exported_again),
    "a page cut off": Case(page_lost, "P_A01_s1_w1.tif", TRUNCATED, exported_again),
    "a colour image": Case(
        bad(COLOUR, photometric="rgb"), "P_A01_s1_w1.tif", EXPORT_COLOUR, exported_again),
    "colour images in a stack": Case(
        bad(np.stack([COLOUR, COLOUR]), photometric="rgb"), "P_A01_s1_w1.tif", EXPORT_COLOUR,
        exported_again),
    "a colour picture": Case(picture("RGB"), "P_A01_s1_w1.png", EXPORT_COLOUR, exported_again),
    "a colour picture for print": Case(
        picture("CMYK"), "P_A01_s1_w1.jpg", EXPORT_COLOUR,
        lambda root, _: removed("*.jpg")(root, "") | folder("P_{w}_s1_w1.tif")(root)),
    "complex numbers": Case(
        bad(np.zeros((6, 8), np.complex64)), "P_A01_s1_w1.tif", "export it as 16-bit integers",
        exported_again),
    "pixels that are no numbers": Case(
        bad(np.full((6, 8), np.nan, np.float32)), "P_A01_s1_w1.tif",
        "Export it again as integers", exported_again),
    "a time series in a file": Case(
        bad(np.zeros((5, 6, 8), np.uint16), imagej=True, metadata={"axes": "TYX"}),
        "P_A01_s1_w1.tif", "export one file per time point", one_by_time),
    "four axes without names": Case(
        bad(np.zeros((2, 3, 6, 8), np.uint16), photometric="minisblack"), "P_A01_s1_w1.tif",
        "save it as OME-TIFF or ImageJ hyperstack, or one file per plane", exported_again),
    "three axes that are no stack": Case(
        bad(np.zeros((60, 80, 40), np.uint16), photometric="minisblack",
            metadata={"axes": "YXQ"}),
        "P_A01_s1_w1.tif", "save it as OME-TIFF, or one file per plane", exported_again),
    "channels in names and in files": Case(
        bad(np.zeros((3, 6, 8), np.uint16), photometric="minisblack", ome=True,
            metadata={"axes": "CYX"}),
        "P_A01_s1_w1.tif", "export one file per plane", exported_again),
    "an image of another size": Case(
        two_sizes((3, 7)), "P_A01_s1_w2.tif", "Export it with the same field of view",
        exported_again),
    "an image of another size, left out": Case(
        two_sizes((3, 7)), "P_A01_s1_w2.tif", "move its files out of the folder",
        removed("*_w2.tif")),
    "an image of another size, left out by a pattern": Case(
        two_sizes((3, 7)), "P_A01_s1_w2.tif", "give a pattern (--pattern) that they do not fit",
        options(pattern=r"(?P<well>[A-P]\d\d)_s(?P<site>\d)_w(?P<channel>1)")),
}  # fmt: skip


def opened(given: Options) -> Plate:
    return looked_at(open_plate(**given))


@pytest.mark.parametrize("case", CASES)
def test_an_error_names_the_file_and_a_step_that_works(tmp_path: Path, case: str) -> None:
    root = tmp_path / "plate"
    this = CASES[case]
    with pytest.raises(HcsQcError) as caught:
        opened(this.make(root))
    text = str(caught.value)
    assert this.names in text
    assert this.advice in text
    given = this.follow(root, text)
    if this.then:
        with pytest.raises(HcsQcError, match=this.then):
            opened(given)
    else:
        plate = opened(given)
        assert plate.read_site(plate.sites[0]).max() == 3


XML = '<?xml version="1.0"?><!DOCTYPE x><x/>'
CELLVOYAGER = "P_{w}_T0001F001L01A01Z01C01.tif"
SCANR = "{w}--W00001--P00001--Z00000--T00000--GFP.tif"
HARMONY = "r01c01f01p01-ch1sk1fk1fl1.tiff"
_PIXELS = "conversion factor um/pixel"
COMPANIONS = {
    "an HTD that is none": ("P_{w}_s1_w1.tif", "P.HTD", b"garbage"),
    "an HTD of too many wells": ("P_{w}_s1_w1.tif", "P.HTD", b'"XWells", 9999\n"YWells", 9999\n'),
    "an HTD of too many sites": (
        "P_{w}_s1_w1.tif", "P.HTD", b'"HTSInfoFile", 1\n"YSites", 99999\n'),
    "an Index.xml that is none": (HARMONY, "Index.xml", b"<EvaluationInputData>"),
    "an Index.xml with a document type": (HARMONY, "Index.xml", XML.encode()),
    "a descriptor of ScanR that is none": (SCANR, "experiment_descriptor.xml", b"<LVData>x</x>"),
    "a descriptor of ScanR with a document type": (
        SCANR, "experiment_descriptor.xml", XML.encode()),
    "an mrf that is none": (CELLVOYAGER, "MeasurementDetail.mrf", b"<bts:"),
    "an mrf with a document type": (CELLVOYAGER, "MeasurementDetail.mrf", XML.encode()),
    "an mrf that is too large": (CELLVOYAGER, "MeasurementDetail.mrf", b" " * 50_000_001),
}  # fmt: skip


@pytest.mark.parametrize("case", COMPANIONS)
def test_a_damaged_file_of_the_microscope_is_noted_with_a_step_that_works(
    tmp_path: Path, case: str
) -> None:
    form, name, content = COMPANIONS[case]
    given = folder(form)(tmp_path)
    (tmp_path / name).write_bytes(content)
    (problem,) = opened(given).problems
    assert name in problem.where
    assert "copy it again from the microscope" in problem.fix
    whole = {
        "P.HTD": '"HTSInfoFile", 1\n"XWells", 12\n"YWells", 8\n',
        "Index.xml": "<x><PlateRows>8</PlateRows><PlateColumns>12</PlateColumns></x>",
        "experiment_descriptor.xml": f"<x><Name>{_PIXELS}</Name><Val>0.65</Val></x>",
        "MeasurementDetail.mrf": '<MeasurementDetail RowCount="8" ColumnCount="12"/>',
    }
    (tmp_path / name).write_text(whole[name])
    plate = opened(given)
    assert plate.problems == ()
    if name == "experiment_descriptor.xml":
        assert (plate.pixel_size_um, plate.reasons.pixel_size) == (0.65, name)
    else:
        assert (plate.shape, plate.reasons.shape) == ((8, 12), name)


def raises(path: Path) -> list[ast.Raise]:
    """Places where a module raises errors of its own; not those of the disk and of servers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    of_disk = {
        node
        for handler in ast.walk(tree)
        if isinstance(handler, ast.ExceptHandler)
        and ast.unparse(handler.type or ast.Tuple()) in ("OSError", "RemoteError")
        for node in ast.walk(handler)
    }
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    return [node for node in nodes if isinstance(node.exc, ast.Call) and node not in of_disk]


def test_all_errors_of_the_readers_are_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The places in the readers at which errors are made are those that the cases above go by."""
    met: set[tuple[str, int]] = set()
    genuine = HcsQcError.__init__

    def recorded(self: HcsQcError, *arguments: Any) -> None:
        frame = sys._getframe(1)
        while frame.f_code.co_name == "__init__":  # of a kind of error
            frame = frame.f_back  # type: ignore[assignment]
        met.add((frame.f_code.co_filename, frame.f_lineno))
        genuine(self, *arguments)

    monkeypatch.setattr(HcsQcError, "__init__", recorded)
    for number, this in enumerate(CASES.values()):
        with pytest.raises(HcsQcError):
            opened(this.make(tmp_path / str(number) / "plate"))
    for case, (form, name, content) in COMPANIONS.items():
        given = folder(form)(tmp_path / case)
        (tmp_path / case / name).write_bytes(content)
        last = opened(given)
    with pytest.raises(HcsQcError, match=r"has no time point 7, which is P_t7 here.*remove P_t7"):
        at_time_point(last, 7, "P_t7")
    files = [PLATES / "open.py", PLATES / "ome_zarr/zarr_plate.py", PLATES / "first_look.py"]
    # A folder that may not be listed is met in test_open, what bioio does not read in test_scenes.
    files += sorted(
        {*(PLATES / "readers").rglob("*.py")}
        - {PLATES / f"readers/{name}.py" for name in ("registry", "folder_listing", "scenes")}
    )
    missed = [
        f"{path.relative_to(PLATES)}:{node.lineno}"
        for path in files
        for node in raises(path)
        if not any((str(path), line) in met for line in range(node.lineno, node.end_lineno + 1))
    ]
    assert not missed, " ".join(missed)
