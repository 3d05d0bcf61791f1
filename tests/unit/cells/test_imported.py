from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_hcs_qc.cells.imported.import_cells import import_cells
from napari_hcs_qc.cells.imported.options import ImportOptions
from napari_hcs_qc.cells.table import cells_of_site, join_cells
from napari_hcs_qc.errors import HcsQcError, ProblemsError
from napari_hcs_qc.plates.plate import Plate, SiteKey

if TYPE_CHECKING:
    from collections.abc import Callable

Fields = dict[SiteKey, Any]


def expected(fields: Fields, *, has_ids: bool) -> pd.DataFrame:
    parts = []
    for site, field in fields.items():
        part = cells_of_site(field.labels, field.image, site, source="import")
        if has_ids:
            part["object_number"] = part["label"].astype("Int64")
        parts.append(part)
    return join_cells(parts)


def assert_same_cells(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    """Compare but for the numbering within a site."""
    keys = ["well", "site", "y_px", "x_px"]
    rest = ["cell_id", "label"]
    pd.testing.assert_frame_equal(
        found.sort_values(keys, ignore_index=True).drop(columns=rest),
        wanted.sort_values(keys, ignore_index=True).drop(columns=rest),
    )


@pytest.mark.parametrize(
    "name",
    [
        "plate_{well}_s{site}_w1.tif",
        "plate_{well}_s{site}_w1_cp_masks.tif",
        "PLATE_{well}_S{site}_W1_mask.tif",
        "{well}_s{site}_w1.tif",
        "{well}_{site}.tif",
        "nuclei-of_{well}-f0{site}_labels.tif",
        "sub folder ü/{well}_site{site}.tif",
    ],
)
def test_masks_go_to_their_sites_by_name(
    plate: Plate, fields: Fields, tmp_path: Path, name: str
) -> None:
    for site, field in fields.items():
        path = tmp_path / "masks" / name.format(well=site.well, site=site.site)
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, field.labels.astype(np.uint16))
    result = import_cells(plate, tmp_path / "masks")
    assert result.problems == result.unreadable == ()
    wanted = expected(fields, has_ids=True)
    pd.testing.assert_frame_equal(result.cells, wanted)
    inner = wanted.loc[~wanted["is_cut"], "diameter_px"]
    assert result.diameter_px == pytest.approx(inner.median())


def as_rgba(labels: np.ndarray) -> Image.Image:
    """Paint as in BBBC039: neighbours differ in the red channel, far ones share values."""
    red = np.where(labels > 0, 1 + labels % 5, 0).astype(np.uint8)
    return Image.fromarray(np.stack([red, red * 0, red * 0, red * 0 + 255], axis=-1))


def as_binary(labels: np.ndarray) -> Image.Image:
    return Image.fromarray(((labels > 0) * 255).astype(np.uint8))


def as_grey_ids(labels: np.ndarray) -> Image.Image:
    return Image.fromarray(labels.astype(np.uint8))


@pytest.mark.parametrize(
    ("paint", "has_ids"), [(as_rgba, False), (as_binary, False), (as_grey_ids, True)]
)
def test_masks_as_pictures(
    plate: Plate,
    fields: Fields,
    tmp_path: Path,
    paint: Callable[[np.ndarray], Image.Image],
    has_ids: bool,
) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    for site, field in fields.items():
        paint(field.labels).save(folder / f"plate_{site.well}_s{site.site}_w1.png")
    result = import_cells(plate, folder)
    assert result.problems == ()
    assert_same_cells(result.cells, expected(fields, has_ids=has_ids))


def test_bad_masks_are_listed_once_each(plate: Plate, fields: Fields, tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    good = fields[SiteKey("B03", 1)].labels.astype(np.uint16)
    tifffile.imwrite(folder / "plate_A01_s1_w1.tif", good[:-3])
    tifffile.imwrite(folder / "A01_s2.tif", good)
    whole = (folder / "A01_s2.tif").read_bytes()
    (folder / "A01_s2.tif").write_bytes(whole[: len(whole) // 2])
    tifffile.imwrite(folder / "B03_s1.tif", good)
    tifffile.imwrite(folder / "B03_s1_mask.tif", good)
    tifffile.imwrite(folder / "C07_s1.tif", good)
    tifffile.imwrite(folder / "whatever.tif", good)
    tifffile.imwrite(folder / "B03_s2.tif", np.where(good > 0, 0.5, 0.0).astype(np.float32))
    result = import_cells(plate, folder)
    assert set(zip(result.cells["well"], result.cells["site"], strict=True)) == {("B03", 1)}
    said = {problem.where: problem.what for problem in result.problems}
    assert len(said) == len(result.problems) == 6
    assert "157×200 px; 160×200 px were expected" in said["A01 s1"]
    assert "truncated" in said["A01 s2"]
    assert "whole ids" in said["B03 s2"]
    assert "has the mask B03_s1_mask.tif" in said["B03_s1.tif"]
    assert "no site C07 s1" in said["C07_s1.tif"]
    assert "no image of the plate" in said["whatever.tif"]


def test_a_site_without_mask_or_image_is_told(plate: Plate, fields: Fields, tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    for site in (SiteKey("A01", 1), SiteKey("A01", 2)):
        tifffile.imwrite(folder / f"A01_s{site.site}.tif", fields[site].labels.astype(np.uint16))
    planes = plate.planes
    path = planes.loc[(planes["site"] == 2) & (planes["channel"] == 0), "path"].iloc[0]
    Path(path).write_bytes(b"")
    result = import_cells(plate, folder)
    assert [problem.where for problem in result.unreadable] == ["A01 s2"]
    assert [problem.where for problem in result.problems] == ["B03 s1", "B03 s2"]


def test_a_folder_of_nothing_useful(plate: Plate, fields: Fields, tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    with pytest.raises(HcsQcError, match="no label masks"):
        import_cells(plate, folder)
    with pytest.raises(HcsQcError, match="does not exist"):
        import_cells(plate, tmp_path / "none")
    tifffile.imwrite(folder / "nothing.tif", np.zeros((160, 200), np.uint16))
    with pytest.raises(ProblemsError, match="gives no cells"):
        import_cells(plate, folder)


POSITIONS = [("A01", 1, 20.5, 30.25, 7), ("B03", 2, 100.0, 5.0, 1), ("A01", 2, 0.0, 199.0, 2)]

HEADERS = [
    "well,site,y_px,x_px,object_number",
    "Metadata_Well,Metadata_Site,Location_Center_Y,Location_Center_X,ObjectNumber",
    "Image_Metadata_Well,Image_Metadata_Site,Nuclei_Location_Center_Y,Nuclei_Location_Center_X,"
    "Nuclei_Number_Object_Number",
    "Metadata_Well,Metadata_Field,Nuclei_AreaShape_Center_Y,Nuclei_AreaShape_Center_X,"
    "Metadata_ObjectNumber",
    "Metadata_Well,Image_Metadata_Site,Metadata_Nuclei_Location_Center_Y,"
    "Metadata_Nuclei_Location_Center_X,Metadata_Nuclei_ObjectNumber",
    "Metadata_Well,Metadata_Site,AreaShape_Center_Y,AreaShape_Center_X,ObjectNumber",
]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("kind", ["csv", "semicolon", "utf-16", "parquet"])
def test_positions_of_many_programs(plate: Plate, tmp_path: Path, header: str, kind: str) -> None:
    table = pd.DataFrame(POSITIONS, columns=header.split(","))
    table.insert(0, "Nuclei_Texture", 1.5)
    path = tmp_path / f"positions.{'parquet' if kind == 'parquet' else 'csv'}"
    if kind == "parquet":
        table.to_parquet(path)
    elif kind == "semicolon":
        table.to_csv(path, index=False, sep=";")
    else:
        table.to_csv(path, index=False, encoding="utf-16" if kind == "utf-16" else "utf-8-sig")
    result = import_cells(plate, path)
    cells = result.cells
    rows = cells[["well", "site", "y_px", "x_px", "object_number"]].itertuples(index=False)
    assert [tuple(row) for row in rows] == sorted(POSITIONS)
    assert cells["cell_id"].tolist() == [0, 1, 2]
    assert (cells["label"] == 0).all()
    assert cells["mean_intensity"].isna().all()
    assert (cells["source"] == "import").all()
    # No area is stated: the plate's own nuclei give the size.
    assert result.diameter_px == pytest.approx(28, rel=0.15)
    assert cells["diameter_px"].tolist() == pytest.approx([result.diameter_px] * 3)
    assert cells["is_cut"].tolist() == [False, True, True]


def test_a_stated_area_gives_the_diameter(plate: Plate, tmp_path: Path) -> None:
    path = tmp_path / "nuclei.csv"
    path.write_text(
        "Metadata_Well,Metadata_Site,Location_Center_X,Location_Center_Y,AreaShape_Area\n"
        "A01,1,80,80,314.159265\nA01,2,80,80,\n"
    )
    result = import_cells(plate, path)
    assert result.cells["diameter_px"].tolist() == pytest.approx([20.0, 20.0])
    assert result.cells["area_px"].isna().tolist() == [False, True]
    assert result.diameter_px == pytest.approx(20.0)


def test_bad_rows_are_gathered_by_what_is_wrong(plate: Plate, tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    rows = ["A01,1,10,10", "a-1,s2,11,12", "Z99,1,5,5", "A01,9,5,5", "A01,x,5,5", "A01,1,nan,5",
            "A01,1,,5", "A01,1,-1,5", "A01,1,5,200", "A01,1,159.5,199.5", "A01,1,inf,3",
            *["A05,1,1,1"] * 8]  # fmt: skip
    path.write_text("\n".join(["well,site,y_px,x_px", *rows]) + "\n")
    result = import_cells(plate, path)
    assert result.cells[["site", "y_px"]].to_numpy().tolist() == [[1, 10.0], [1, 159.5], [2, 11.0]]
    said = [str(problem) for problem in result.problems]
    assert len(said) == 6
    assert said[0] == "cells.csv row 4: well 'Z99' is not a well name; left out."
    assert said[1] == "cells.csv row 5: the plate has no site A01 s9; left out."
    assert said[2] == "cells.csv row 6: site 'x' is not a number; left out."
    assert said[3] == "cells.csv rows 7, 8, 12: the position is not a number; left out."
    assert "rows 9, 10: the position is outside the image of 160×200 px" in said[4]
    assert "rows 13, 14, 15, 16, 17 and 3 more: the plate has no site A05 s1" in said[5]


def test_rows_of_other_plates_are_left_out(plate: Plate, tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    header = "Metadata_Plate,well,site,y_px,x_px\n"
    path.write_text(f"{header}{plate.name},A01,1,10,10\nother,A01,1,20,20\n")
    result = import_cells(plate, path)
    assert result.cells["y_px"].tolist() == [10.0]
    assert "row 3: of another plate" in str(result.problems[0])
    path.write_text(f"{header}BR0001,A01,1,10,10\n")  # one plate, by another name
    assert len(import_cells(plate, path).cells) == 1
    path.write_text(f"{header}BR0001,A01,1,10,10\nBR0002,A01,1,10,10\n")
    with pytest.raises(HcsQcError, match="2 plates"):
        import_cells(plate, path)


@pytest.mark.parametrize(
    ("header", "lacks"),
    [
        ("well,site,y_px", "x_px, y_px"),
        ("site,y_px,x_px", "well"),
        ("well,y_px,x_px", "site"),
        ("ImageNumber,ObjectNumber,Location_Center_X,Location_Center_Y", "site, well"),
    ],
)
def test_missing_columns_are_named(plate: Plate, tmp_path: Path, header: str, lacks: str) -> None:
    path = tmp_path / "cells.csv"
    path.write_text(f"{header}\n" + ",".join("1" for _ in header.split(",")) + "\n")
    with pytest.raises(HcsQcError, match=f"lacks a column for {lacks}; .*Metadata_Well"):
        import_cells(plate, path)


def test_files_that_are_no_tables(plate: Plate, tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    path.write_bytes(b"")
    with pytest.raises(HcsQcError, match="empty"):
        import_cells(plate, path)
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(HcsQcError, match="Parquet"):
        import_cells(plate, path)
    path.write_text("well,site,y_px,x_px\nA01,1,10,10,77\n")
    with pytest.raises(ProblemsError, match="line 2"):
        import_cells(plate, path)
    path.write_text("well,site,y_px,x_px\nQ77,1,10,10\n")
    with pytest.raises(ProblemsError, match="gives no cells"):
        import_cells(plate, path)
    path.write_text("well,site,y_px,x_px\n")
    assert import_cells(plate, path).cells.empty


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["A01", "a1", "B-03", "C1", "??", ""]),
            st.sampled_from(["1", "2", "02", "3", "s1", "1.0", "-1", "x"]),
            st.one_of(st.floats(-5, 205), st.just(float("nan"))),
            st.one_of(st.floats(-5, 205), st.just(float("nan"))),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_every_row_is_a_cell_or_a_problem(
    plate: Plate, tmp_path: Path, rows: list[tuple[str, str, float, float]]
) -> None:
    path = tmp_path / "cells.csv"
    table = pd.DataFrame(rows, columns=["well", "site", "y_px", "x_px"])
    table["AreaShape_Area"] = 400  # The plate need not be looked at for the size.
    table.to_csv(path, index=False)
    good = [
        (well.upper().replace("-", ""), int(site.strip("s").split(".")[0]))
        for well, site, y, x in rows
        if well in ("A01", "a1", "B-03")
        and site in ("1", "2", "02", "s1", "1.0")
        and -0.5 <= y <= 159.5
        and -0.5 <= x <= 199.5
    ]
    try:
        cells = import_cells(plate, path).cells
    except ProblemsError as error:
        assert not good
        assert error.problems
        return
    found = list(zip(cells["well"], cells["site"], strict=True))
    assert found == sorted((well.replace("A1", "A01"), site) for well, site in good)


def test_labels_of_an_ome_zarr(fields: Fields, plate: Plate, tmp_path: Path) -> None:
    ngio = pytest.importorskip("ngio")
    from napari_hcs_qc.plates.ome_zarr.convert import convert_plate
    from napari_hcs_qc.plates.open import open_plate

    path = convert_plate(plate, tmp_path / "plate.zarr").path
    zarr_plate = open_plate(path)
    planes = zarr_plate.planes.drop_duplicates(["well", "site"])
    for row in planes.itertuples():
        field = fields[SiteKey(row.well, row.site)]
        image = ngio.open_ome_zarr_container(row.path)
        label = image.derive_label("nuclei")
        label.set_array(field.labels.reshape(label.shape))
        label.consolidate(mode="dask")
    for target in (zarr_plate, plate):  # its own labels, or those of another plate
        result = import_cells(target, path)
        assert result.problems == ()
        pd.testing.assert_frame_equal(result.cells, expected(fields, has_ids=True))
    with pytest.raises(ProblemsError, match=r"label images nuclei, and none called cells"):
        import_cells(zarr_plate, path, options=ImportOptions(labels="cells"))
    for row in planes.itertuples():
        ngio.open_ome_zarr_container(row.path).derive_label("cells")
    with pytest.raises(ProblemsError, match="--labels nuclei"):
        import_cells(zarr_plate, path)
    result = import_cells(zarr_plate, path, options=ImportOptions(labels="nuclei"))
    pd.testing.assert_frame_equal(result.cells, expected(fields, has_ids=True))


@pytest.mark.slow
@pytest.mark.realdata
def test_real_masks(shared_data: Path) -> None:
    from napari_hcs_qc.plates.open import open_plate

    folder = shared_data / "bbbc039"
    plate = open_plate(folder / "20585")
    result = import_cells(plate, folder / "masks")
    assert result.problems == result.unreadable == ()
    assert len(result.cells) == 11717
    labels = import_cells(plate, folder / "labels.csv")
    assert len(labels.cells) == 300
    assert labels.problems == ()
