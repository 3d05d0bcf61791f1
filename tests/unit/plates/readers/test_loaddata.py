from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_hcs_qc.errors import HcsQcError, ProblemsError, UnreadableSiteError
from napari_hcs_qc.plates import Plate, SiteKey, open_plate
from napari_hcs_qc.plates.remote import is_remote

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

FILES = [f"img_{well}_{site}_{ch}.tif" for well in ("A01", "B02") for site in (1, 3) for ch in "da"]


@pytest.fixture
def images(write_images: Callable[..., Path]) -> Path:
    return write_images(FILES, folder="images é")


def rows(folder: str, *, plate: str = "P1") -> pd.DataFrame:
    places = [(well, site) for well in ("A01", "B02") for site in (1, 3)]
    return pd.DataFrame(
        {
            "FileName_DNA": [f"img_{well}_{site}_d.tif" for well, site in places],
            "PathName_DNA": folder,
            "FileName_Actin": [f"img_{well}_{site}_a.tif" for well, site in places],
            "PathName_Actin": folder,
            "Metadata_Plate": plate,
            "Metadata_Well": [well for well, _ in places],
            "Metadata_Site": [site for _, site in places],
            "Metadata_Compound": "DMSO, 1 µM",
        }
    )


def values(plate: Plate, value_of: Callable[[NDArray[Any]], int]) -> list[list[int]]:
    return [[value_of(plane) for plane in plate.read_site(site)] for site in plate.sites]


ALL = [[1, 2], [3, 4], [5, 6], [7, 8]]


@pytest.mark.parametrize("prefix", ["", "Image_"])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_with_absolute_folders(
    images: Path, value_of: Callable[[NDArray[Any]], int], prefix: str, kind: str
) -> None:
    table = rows(str(images)).add_prefix(prefix)
    path = images.parent / f"load_data.{kind}"
    if kind == "csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path)
    plate = open_plate(path)
    assert plate.format == "loaddata"
    assert plate.name == "P1"
    assert [channel.name for channel in plate.channels] == ["DNA", "Actin"]
    assert plate.sites == (("A01", 1), ("A01", 3), ("B02", 1), ("B02", 3))
    assert values(plate, value_of) == ALL
    assert plate.problems == ()


def test_folders_as_urls_of_this_machine(
    images: Path, value_of: Callable[[NDArray[Any]], int]
) -> None:
    path = images.parent / "t.csv"
    rows(f"file://{images}").to_csv(path, index=False)
    assert values(open_plate(path), value_of) == ALL


@pytest.mark.parametrize("folder", ["images é", "./images é/", "sub/../images é", ".\\images é"])
def test_relative_folders_count_from_the_table(
    images: Path,
    value_of: Callable[[NDArray[Any]], int],
    folder: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    path = images.parent / "t.csv"
    rows(folder).to_csv(path, index=False)
    assert values(open_plate(path), value_of) == ALL


def test_without_folder_columns_files_lie_beside_the_table(
    images: Path, value_of: Callable[[NDArray[Any]], int]
) -> None:
    path = images / "t.csv"
    table = rows("")
    table.drop(columns=["PathName_DNA", "PathName_Actin"]).to_csv(path, index=False)
    assert values(open_plate(path), value_of) == ALL


@pytest.mark.parametrize(
    "recorded",
    [
        "/cluster/screen/2013/images é",
        "D:\\data\\screen\\images é",
        "\\\\server\\share\\images é\\",
        "s3://bucket/images é",
        "images é",
    ],
)
@pytest.mark.parametrize("root", [".", "images é"])
def test_images_that_moved_are_found_below_the_image_root(
    images: Path, value_of: Callable[[NDArray[Any]], int], recorded: str, root: str
) -> None:
    path = images.parent / "tables" / "t.csv"
    path.parent.mkdir()
    rows(recorded).to_csv(path, index=False)
    plate = open_plate(path, image_root=images.parent / root)
    assert values(plate, value_of) == ALL
    # Whether those of a server are there is seen when they are read, and it is asked when allowed.
    remedy = (
        r"images on s3://bucket\..*--allow-remote"
        if is_remote(recorded)
        else "give the folder they are in now as the image root"
    )
    with pytest.raises(HcsQcError, match=remedy):
        open_plate(path)
    with pytest.raises(HcsQcError, match="check the image root"):
        open_plate(path, image_root=path.parent)


def test_moved_images_are_found_also_where_the_first_of_the_table_is_missing(
    images: Path,
) -> None:
    (images / FILES[0]).unlink()
    path = images.parent / "load_data.csv"
    rows("/somewhere/else").to_csv(path, index=False)
    plate = open_plate(path, image_root=images)
    assert len(plate.sites) == 4
    with pytest.raises(UnreadableSiteError):
        plate.read_site(plate.sites[0])
    assert plate.read_site(plate.sites[1]).shape[0] == 2


def test_file_extensions_may_differ_in_case(
    images: Path, value_of: Callable[[NDArray[Any]], int]
) -> None:
    path = images / "t.csv"
    table = rows(".")
    table["FileName_DNA"] = table["FileName_DNA"].str.replace(".tif", ".TIF")
    table.to_csv(path, index=False)
    assert values(open_plate(path), value_of) == ALL


def test_several_plates_need_a_name(images: Path, value_of: Callable[[NDArray[Any]], int]) -> None:
    other = rows("images é", plate="P2").iloc[:2]
    path = images.parent / "t.csv"
    nowhere = rows("images é", plate="").iloc[3:]
    pd.concat([rows("images é"), other, nowhere]).to_csv(path, index=False)
    with pytest.raises(HcsQcError, match="2 plates: P1, P2; give the name"):
        open_plate(path)
    with pytest.raises(HcsQcError, match="none is called P9"):
        open_plate(path, name="P9")
    plate = open_plate(path, name="P2")
    assert plate.name == "P2"
    assert plate.wells == ("A01",)
    assert [str(problem) for problem in plate.problems] == [
        "t.csv: 1 row: without a plate in Metadata_Plate; left out."
    ]
    assert values(open_plate(path, name="P1"), value_of) == ALL


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-le"]
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_encodings_and_delimiters(
    images: Path, value_of: Callable[[NDArray[Any]], int], encoding: str, delimiter: str
) -> None:
    path = images.parent / "t.csv"
    text = rows("images é").to_csv(index=False, sep=delimiter)
    path.write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert values(open_plate(path), value_of) == ALL


@pytest.mark.parametrize("content", [bytes(range(256)) * 4, b"PK\x03\x04\x00\x00\x01"])
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(HcsQcError, match=r"t\.csv is not text in UTF-8"):
        open_plate(path)


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "empty"), (b"FileName_DNA,Metadata_Well\n", "no line of 2 values")]
)
def test_tables_without_rows_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(HcsQcError, match=words):
        open_plate(path)


def test_a_parquet_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1 nonsense")
    with pytest.raises(HcsQcError, match=r"t\.parquet"):
        open_plate(path)


def test_every_missing_column_is_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("Metadata_Plate,Metadata_Site\nP1,1\n")
    with pytest.raises(ProblemsError) as caught:
        open_plate(path)
    assert len(caught.value.problems) == 2
    assert "FileName_<channel>" in str(caught.value)
    assert "Metadata_Well" in str(caught.value)


def test_missing_files_are_a_problem_and_their_sites_unreadable(
    images: Path, value_of: Callable[[NDArray[Any]], int]
) -> None:
    (images / FILES[2]).unlink()
    path = images / "t.csv"
    rows(".").to_csv(path, index=False)
    plate = open_plate(path)
    assert len(plate.sites) == 4
    assert len(plate.problems) == 1
    absent = images / FILES[2]
    assert str(plate.problems[0]) == f"t.csv: 1 of 8 images does not exist: {absent}."
    with pytest.raises(UnreadableSiteError, match=r"A01 s3.*does not exist"):
        plate.read_site(SiteKey("A01", 3))
    assert value_of(plate.read_site(SiteKey("A01", 3), [1])[0]) == 4


def test_a_row_without_a_file_name_lacks_that_channel(images: Path) -> None:
    path = images / "t.csv"
    table = rows(".")
    table.loc[1, "FileName_Actin"] = None
    table.to_csv(path, index=False)
    plate = open_plate(path)
    assert plate.available_channels(SiteKey("A01", 3)) == (0,)
    assert any("channel Actin" in str(problem) for problem in plate.problems)


def test_bad_wells_and_sites_are_listed(images: Path) -> None:
    path = images / "t.csv"
    table = rows(".").astype({"Metadata_Site": str})
    table.loc[0, "Metadata_Site"] = "left"
    table.loc[1, "Metadata_Well"] = "Q99"
    table.to_csv(path, index=False)
    plate = open_plate(path)
    assert plate.wells == ("B02",)
    text = " ".join(str(problem) for problem in plate.problems)
    assert "'left'" in text
    assert "well Q99" in text
    table["Metadata_Site"] = "none"
    table.to_csv(path, index=False)
    with pytest.raises(HcsQcError, match="Metadata_Site holds 'none'"):
        open_plate(path)


def test_sites_written_as_floats_and_rows_and_columns(
    images: Path, value_of: Callable[[NDArray[Any]], int]
) -> None:
    path = images / "t.csv"
    table = rows(".").astype({"Metadata_Site": float})
    table["Metadata_Row"] = [1, 1, 2, 2]
    table["Metadata_Col"] = [1.0, 1.0, 2.0, 2.0]
    table.drop(columns="Metadata_Well").to_csv(path, index=False)
    plate = open_plate(path)
    assert plate.sites == (("A01", 1), ("A01", 3), ("B02", 1), ("B02", 3))
    assert values(plate, value_of) == ALL


def test_fields_without_a_site_column_are_numbered_in_order(images: Path) -> None:
    path = images / "t.csv"
    rows(".").drop(columns="Metadata_Site").to_csv(path, index=False)
    assert open_plate(path).sites == (("A01", 1), ("A01", 2), ("B02", 1), ("B02", 2))


BBBC021 = (
    "TableNumber,ImageNumber,Image_FileName_DAPI,Image_PathName_DAPI,Image_FileName_Tubulin,"
    "Image_PathName_Tubulin,Image_FileName_Actin,Image_PathName_Actin,Image_Metadata_Plate_DAPI,"
    "Image_Metadata_Well_DAPI,Replicate,Image_Metadata_Compound,Image_Metadata_Concentration\n"
)


def test_bbbc021_describes_its_plates_without_a_site_column(
    write_images: Callable[..., Path], value_of: Callable[[NDArray[Any]], int]
) -> None:
    guid = "BEDC2073-A983-4B98-95E9-84466707A25D"
    names = [f"G10_s{site}_w{wave}{guid}.tif" for site in (1, 4) for wave in (1, 2, 4)]
    root = write_images([f"Week1/Week1_22123/{name}" for name in names], folder="BBBC021")
    lines = []
    for number, site in enumerate((4, 1)):
        files = ",".join(f"G10_s{site}_w{wave}{guid}.tif,Week1/Week1_22123" for wave in (1, 2, 4))
        lines.append(f"4,{number},{files},Week1_22123,G10,1,5-fluorouracil,0.003")
    path = root / "BBBC021_v1_image.csv"
    path.write_text(BBBC021 + "\n".join(lines) + "\n")
    plate = open_plate(path)
    assert plate.name == "Week1_22123"
    assert [channel.name for channel in plate.channels] == ["DAPI", "Tubulin", "Actin"]
    assert plate.sites == (("G10", 1), ("G10", 4))  # as their names say, not as they are listed
    assert values(plate, value_of) == [[1, 2, 3], [4, 5, 6]]


def test_bbbc022_with_lines_that_do_not_fit(
    write_images: Callable[..., Path], value_of: Callable[[NDArray[Any]], int]
) -> None:
    root = write_images(["20585/a_d.tif", "20585/a_e.tif", "20585/b_d.tif", "20585/b_e.tif"])
    path = root / "BBBC022_v1_image.csv"
    path.write_text(
        "Image_FileName_OrigER,Image_FileName_OrigHoechst,Image_PathName_OrigER,"
        "Image_PathName_OrigHoechst,Image_Metadata_CPD_WELL_POSITION,Image_Metadata_PlateID,"
        "Image_Metadata_Site,Image_Metadata_SOURCE_COMPOUND_NAME\n"
        "a_e.tif,a_d.tif,20585,20585,A02,20585,9,mock\n"
        'x_e.tif,x_d.tif,20585,20585,A03,20585,9,"2,3-dione\n'
        "x_e.tif,x_d.tif,20585,20585,A03,20585,9,2,3-dione\n"
        "b_e.tif,b_d.tif,20585,20585,A04,20585,1,mock\n"
    )
    plate = open_plate(path)
    assert plate.name == "20585"
    assert [channel.name for channel in plate.channels] == ["OrigER", "OrigHoechst"]
    assert [value_of(plane) for plane in plate.read_site(SiteKey("A02", 9))] == [2, 1]
    assert [value_of(plane) for plane in plate.read_site(SiteKey("A04", 1))] == [4, 3]
    assert any("line 4" in str(problem) for problem in plate.problems)


def test_illumination_functions_and_outlines_are_no_channels(
    images: Path, value_of: Callable[[NDArray[Any]], int]
) -> None:
    path = images / "t.csv"
    table = rows(".")
    table["FileName_IllumDNA"] = "P1_IllumDNA.npy"
    table["FileName_CellOutlines"] = "outlines.png"
    table.to_csv(path, index=False)
    plate = open_plate(path)
    assert [channel.name for channel in plate.channels] == ["DNA", "Actin"]
    assert values(plate, value_of) == ALL


@pytest.mark.parametrize("has_frames", [True, False])
def test_channels_of_one_file_are_told_apart(tmp_path: Path, has_frames: bool) -> None:
    planes = np.arange(2 * 20 * 30, dtype=np.uint16).reshape(2, 20, 30)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="minisblack")
    table = pd.DataFrame(
        {"FileName_A": ["a.tif"], "FileName_B": ["a.tif"], "Metadata_Well": ["A01"]}
    )
    if has_frames:
        table["Frame_A"], table["Frame_B"] = [1], [0]
    table.to_csv(tmp_path / "t.csv", index=False)
    plate = open_plate(tmp_path / "t.csv")
    expected = planes[::-1] if has_frames else planes
    assert np.array_equal(plate.read_site(SiteKey("A01", 1)), expected)


def test_a_large_table_asks_the_disk_once_a_folder(
    write_images: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_images([f"a/{n}.tif" for n in range(30)])
    table = pd.DataFrame(
        {
            "FileName_DNA": [f"{n}.tif" for n in range(30)],
            "PathName_DNA": "a",
            "Metadata_Well": [f"A{n + 1:02d}" for n in range(30)],
        }
    )
    table.to_csv(root / "t.csv", index=False)
    asked = []
    genuine = __import__("os").listdir

    def counted(path: str) -> list[str]:
        asked.append(path)
        return list(genuine(path))

    monkeypatch.setattr("os.listdir", counted)
    assert len(open_plate(root / "t.csv").sites) == 30
    assert len(asked) == 1


# Planes, addresses and what is no channel -------------------------------------------------------


def test_rows_of_planes_and_times_are_planes(
    write_images: Callable[..., Path], value_of: Callable[[NDArray[Any]], int]
) -> None:
    names = [f"{w}_z{z}_t{t}.tif" for w in ("A01", "B02") for t in (1, 2) for z in (1, 2, 3)]
    root = write_images(names, folder="images")
    table = pd.DataFrame(
        {
            "FileName_DNA": names,
            "PathName_DNA": "images",
            "Metadata_Well": [name[:3] for name in names],
            "Metadata_Site": "1",
            "Metadata_PlaneID": [name[5] for name in names],
            "Metadata_TimepointID": [name[8] for name in names],
            "Metadata_ImageResolutionX": "6.5e-07",
            "Metadata_PositionZ": [f"{int(name[5]) * 1.5e-6}" for name in names],
        }
    )
    path = root.parent / "t.csv"
    table.to_csv(path, index=False)
    plate = open_plate(path)
    assert plate.sites == (("A01", 1), ("B02", 1))
    assert [problem.where for problem in plate.problems] == ["time points"]
    assert (plate.pixel_size_um, plate.reasons.pixel_size) == (pytest.approx(0.65), "t.csv")
    assert plate.time_points == (1, 2)
    assert [value_of(plate.read_site(site)[0]) for site in plate.sites] == [3, 9]
    assert value_of(plate.read_site(plate.sites[1], projection=2)[0]) == 8
    later = open_plate(path, time=2, plate_shape=96)
    assert (later.shape, value_of(later.read_site(later.sites[0])[0])) == ((8, 12), 6)
    table.drop(columns="Metadata_Site").to_csv(path, index=False)
    assert open_plate(path).sites == plate.sites


@pytest.mark.parametrize(("value", "size"), [("0.65", 0.65), ("6.5e-07", 0.65), ("x", None)])
def test_the_unit_of_the_resolution(images: Path, value: str, size: float | None) -> None:
    path = images.parent / "t.csv"
    rows(str(images)).assign(Metadata_ImageResolutionX=value).to_csv(path, index=False)
    assert open_plate(path).pixel_size_um == (None if size is None else pytest.approx(size))


def test_an_address_of_this_machine_is_decoded(
    write_images: Callable[..., Path], value_of: Callable[[NDArray[Any]], int]
) -> None:
    root = write_images(["A01 µ.tif"], folder="im ages")
    path = root.parent / "t.csv"
    url = (root / "A01 µ.tif").as_uri()
    assert "%20" in url
    pd.DataFrame({"URL_DNA": [url], "Metadata_Well": ["A01"]}).to_csv(path, index=False)
    plate = open_plate(path)
    assert value_of(plate.read_site(plate.sites[0])[0]) == 1


@pytest.mark.parametrize("form", ["s{}", "f{:02d}", "Site_{}", "{}.0"])
def test_sites_with_a_letter(
    images: Path, value_of: Callable[[NDArray[Any]], int], form: str
) -> None:
    path = images.parent / "t.csv"
    table = rows(str(images))
    table["Metadata_Site"] = [form.format(site) for site in table["Metadata_Site"]]
    table.to_csv(path, index=False)
    assert values(open_plate(path), value_of) == ALL


@pytest.mark.parametrize(
    "extra", ["IllumDNA", "NucleiOutlines", "NucleiObjects", "CellMasks", "NucleiLabels"]
)
def test_saved_objects_are_no_channels(images: Path, extra: str) -> None:
    path = images.parent / "t.csv"
    table = rows(str(images))
    table[f"FileName_{extra}"] = table["FileName_DNA"]
    table.to_csv(path, index=False)
    assert [channel.name for channel in open_plate(path).channels] == ["DNA", "Actin"]
