"""Cells as the programs of the field save them."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import sqlite3
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from roifile import ROI_TYPE, ImagejRoi, roiwrite
from skimage.measure import find_contours

from napari_hcs_qc.cells.imported.import_cells import import_cells
from napari_hcs_qc.cells.imported.masks import read_mask
from napari_hcs_qc.cells.imported.options import ImportOptions
from napari_hcs_qc.cells.table import cells_of_site, join_cells
from napari_hcs_qc.errors import HcsQcError, ProblemsError
from napari_hcs_qc.plates.plate import Plate, SiteKey
from napari_hcs_qc.tables.positions_are import positions_are

if TYPE_CHECKING:
    from pathlib import Path

Fields = dict[SiteKey, Any]


@pytest.fixture
def truth(fields: Fields) -> pd.DataFrame:
    return join_cells(
        [cells_of_site(field.labels, field.image, site) for site, field in fields.items()]
    )


def assert_near(found: pd.DataFrame, truth: pd.DataFrame, px: float = 1.0) -> None:
    """The same cells, but for their order within a site."""
    assert len(found) == len(truth)
    for site in SITES:
        here, there = (
            table[(table["well"] == site.well) & (table["site"] == site.site)][["y_px", "x_px"]]
            for table in (found, truth)
        )
        distance = np.linalg.norm(
            here.to_numpy(float)[:, None] - there.to_numpy(float)[None], axis=2
        )
        assert len(here) == len(there)
        assert not len(here) or (distance.min(axis=1) <= px).all()


SITES = (SiteKey("A01", 1), SiteKey("A01", 2), SiteKey("B03", 1), SiteKey("B03", 2))


def outlines(labels: np.ndarray) -> list[np.ndarray]:
    """Outlines (y, x) of the objects, along the borders of their pixels."""
    found = []
    for number in np.unique(labels[labels > 0]):
        padded = np.pad(labels == number, 1).astype(float)
        found.append(max(find_contours(padded, 0.5), key=len) - 1)
    return found


def as_geojson(labels: np.ndarray, path: Path) -> None:
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [(yx[:, ::-1] + 0.5).tolist()]},
            "properties": {"objectType": "detection"},
        }
        for yx in outlines(labels)
    ]
    path.with_suffix(".geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": features})
    )


def as_roi_set(labels: np.ndarray, path: Path) -> None:
    rois = [ImagejRoi.frompoints(yx[:, ::-1] + 0.5) for yx in outlines(labels)]
    roiwrite(path.with_name(f"{path.name}_RoiSet.zip"), rois)


def as_seg_npy(labels: np.ndarray, path: Path) -> None:
    content = {"masks": labels.astype(np.uint16), "filename": "x.tif", "flows": [np.zeros(2)]}
    np.save(path.with_name(f"{path.name}_seg.npy"), content, allow_pickle=True)  # type: ignore[arg-type]


def as_regionprops(labels: np.ndarray, path: Path) -> None:
    cells = cells_of_site(labels, None, SITES[0])
    names = {"label": "label", "y_px": "centroid-0", "x_px": "centroid-1", "area_px": "area"}
    cells[list(names)].rename(columns=names).to_csv(path.with_suffix(".csv"), index=False)


@pytest.mark.parametrize("write", [as_geojson, as_roi_set, as_seg_npy, as_regionprops])
def test_a_file_for_each_image(
    plate: Plate, fields: Fields, truth: pd.DataFrame, tmp_path: Path, write: Any
) -> None:
    folder = tmp_path / "objects"
    folder.mkdir()
    for site, field in fields.items():
        write(field.labels, folder / f"plate_{site.well}_s{site.site}_w1")
    result = import_cells(plate, folder)
    assert result.problems == ()
    assert_near(result.cells, truth)
    assert len(truth) == 30
    assert "30 of 30 positions on a nucleus" in result.check


def test_folders_of_wells_and_masks_of_cells_beside_nuclei(
    plate: Plate, fields: Fields, truth: pd.DataFrame, tmp_path: Path
) -> None:
    for site, field in fields.items():
        for what, labels in (("cells", field.labels > 0), ("nuclei", field.labels)):
            path = tmp_path / "masks" / site.well / f"{site.site}_{what}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, labels.astype(np.uint16))
    result = import_cells(plate, tmp_path / "masks")
    assert_near(result.cells, truth, 0.1)
    assert all("_cells.tif" in problem.where for problem in result.problems)


def test_masks_of_other_images_are_refused(plate: Plate, fields: Fields, tmp_path: Path) -> None:
    turned = {SITES[0]: SITES[1], SITES[1]: SITES[2], SITES[2]: SITES[0], SITES[3]: SITES[3]}
    for site, other in turned.items():
        labels = np.ascontiguousarray(fields[other].labels[::-1]).astype(np.uint16)
        tifffile.imwrite(tmp_path / f"{site.well}_s{site.site}.tif", labels)
    with pytest.raises(HcsQcError, match=r"of 30 positions on a nucleus .*name of its image"):
        import_cells(plate, tmp_path)
    accepted = import_cells(plate, tmp_path, options=ImportOptions(accept_positions=True))
    assert len(accepted.cells) == 30


def test_two_masks_that_may_be_meant_are_refused_by_name(
    plate: Plate, fields: Fields, tmp_path: Path
) -> None:
    labels = fields[SITES[0]].labels.astype(np.uint16)
    for name in ("A01_s1_mask.tif", "A01_s1_labels.png.tif"):
        tifffile.imwrite(tmp_path / name, labels)
    with pytest.raises(HcsQcError, match=r"A01_s1_labels\.png\.tif and A01_s1_mask\.tif may each"):
        import_cells(plate, tmp_path)


def test_what_is_no_mask_of_objects_is_refused(fields: Fields, tmp_path: Path) -> None:
    field = fields[SITES[0]]
    shape = field.labels.shape
    path = tmp_path / "mask.tif"

    def refused(pixels: np.ndarray, why: str) -> None:
        tifffile.imwrite(path, pixels)
        with pytest.raises(HcsQcError, match=why):
            read_mask(path, shape)

    refused(field.image, "is an image, not a mask")
    is_nucleus = field.labels > 0
    refused(np.where(is_nucleus, 2, 1).astype(np.uint8), "classes of pixels")
    refused(np.where(is_nucleus, 0, 255).astype(np.uint8), "an object of .* of the image")
    half = np.arange(shape[1])[None] < shape[1] // 2
    classes = np.where(is_nucleus & half, 1, np.where(is_nucleus, 2, 0)).astype(np.uint8)
    refused(classes, "2 values in .* separate areas: classes of pixels")


def test_a_seg_npy_runs_no_code(plate: Plate, tmp_path: Path) -> None:
    class Bad:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "made"),)

    path = tmp_path / "A01_s1_seg.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|O", "fortran_order": False, "shape": ()}
        )
        pickle.dump(Bad(), file)
    with pytest.raises(ProblemsError, match=r"mkdir, which no mask needs"):
        import_cells(plate, path)
    assert not (tmp_path / "made").exists()


def test_kinds_of_imagej_rois(tmp_path: Path) -> None:
    rois = [
        ImagejRoi(roitype=ROI_TYPE.RECT, left=2, top=3, right=6, bottom=5),
        ImagejRoi(roitype=ROI_TYPE.OVAL, left=10, top=2, right=20, bottom=12),
        ImagejRoi(roitype=ROI_TYPE.LINE, x1=1, y1=1, x2=30, y2=30),
        ImagejRoi.frompoints(np.array([[2, 20], [8, 20], [8, 26], [2, 26]])),
    ]
    rois[3].roitype = ROI_TYPE.POLYGON
    roiwrite(tmp_path / "RoiSet.zip", rois)
    labels = read_mask(tmp_path / "RoiSet.zip", (40, 40)).labels
    assert np.argwhere(labels == 1).tolist() == [[y, x] for y in (3, 4) for x in range(2, 6)]
    assert (labels == 2).sum() == pytest.approx(np.pi * 25, rel=0.1)
    assert np.argwhere(labels == 2).mean(axis=0) == pytest.approx([6.5, 14.5], abs=0.2)
    assert np.argwhere(labels == 3).mean(axis=0) == pytest.approx([22.5, 4.5], abs=0.1)
    assert labels.max() == 3  # a line is no cell
    rois[0].tofile(tmp_path / "only.roi")
    only = read_mask(tmp_path / "only.roi", (40, 40)).labels
    assert np.array_equal(only > 0, labels == 1)
    # Two parts joined into one ROI, (x, y) after each command: begin 0, line 1, close 4.
    small = [0, 5, 5, 1, 5, 9, 1, 9, 9, 4]
    large = [0, 20, 20, 1, 20, 30, 1, 30, 30, 1, 30, 20, 4]
    path = np.array(small + large, np.float32)
    box = {"left": 5, "top": 5, "right": 30, "bottom": 30}
    ImagejRoi(
        roitype=ROI_TYPE.RECT, **box, shape_roi_size=len(path), multi_coordinates=path
    ).tofile(tmp_path / "parts.roi")
    parts = read_mask(tmp_path / "parts.roi", (40, 40)).labels
    assert np.argwhere(parts).tolist() == [[y, x] for y in range(20, 30) for x in range(20, 30)]


def test_damaged_imagej_rois_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ImagejRoi.frompoints(np.array([[2.0, 20], [8, 20], [8, 26]])).tobytes()

    def refused(name: str, why: str) -> None:
        with pytest.raises(HcsQcError, match=rf"{name} .*{why}"):
            read_mask(tmp_path / name, (40, 40))

    def write_zip(name: str, content: bytes) -> None:
        with zipfile.ZipFile(tmp_path / "RoiSet.zip", "w") as archive:
            archive.writestr(name, content)

    (tmp_path / "cut.roi").write_bytes(whole[:70])
    refused("cut.roi", "cannot be read as ROIs of ImageJ: .*save it again")
    (tmp_path / "cut.zip").write_bytes(b"PK")
    refused("cut.zip", "cannot be read as ROIs of ImageJ: .*save it again")
    write_zip("1.roi", b"Jout" + whole[4:])
    refused("RoiSet.zip", "cannot be read as ROIs of ImageJ: .*save it again")
    write_zip("notes.txt", b"")
    refused("RoiSet.zip", "holds no ROIs")
    monkeypatch.setattr("napari_hcs_qc.cells.imported.objects._MOST_BYTES", 100)
    write_zip("1.roi", whole)
    refused("RoiSet.zip", r"1\.roi is larger than any outline")


# ---- tables of all images ----------------------------------------------------------------


def objects(truth: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`Nuclei.csv` and `Image.csv` of CellProfiler."""
    keys = truth[["well", "site"]].drop_duplicates().reset_index(drop=True)
    number = truth.merge(keys.assign(n=keys.index + 1), on=["well", "site"])["n"]
    table = pd.DataFrame(
        {
            "ImageNumber": number,
            "ObjectNumber": truth.groupby(["well", "site"]).cumcount() + 1,
            "AreaShape_Area": truth["area_px"],
            "Location_Center_X": truth["x_px"],
            "Location_Center_Y": truth["y_px"],
        }
    )
    images = pd.DataFrame(
        {
            "ImageNumber": keys.index + 1,
            "FileName_DNA": [f"plate_{w}_s{s}_w1.tif" for w, s in keys.itertuples(index=False)],
            "Metadata_Well": keys["well"],
        }
    )
    return table, images


def write_cellprofiler(truth: pd.DataFrame, folder: Path, kind: str) -> Path:
    table, images = objects(truth)
    folder.mkdir()
    if kind == "folder":
        table.to_csv(folder / "MyExpt_Nuclei.csv", index=False)
        table[["ImageNumber", "ObjectNumber"]].to_csv(folder / "MyExpt_Cells.csv", index=False)
        images.to_csv(folder / "MyExpt_Image.csv", index=False)
        return folder
    if kind == "gzip":
        images.to_csv(folder / "Image.csv", index=False)
        with gzip.open(folder / "MyBlobs.csv.gz", "wt", newline="") as file:
            table.to_csv(file, index=False)
        return folder / "MyBlobs.csv.gz"
    if kind == "combined":
        joined = table.merge(images, on="ImageNumber")
        names = [("Image", "ImageNumber"), *(("Image", name) for name in images.columns[1:])]
        names += [("Nuclei", name) for name in table.columns[1:]]
        lines = [",".join(of for of, _ in names), ",".join(name for _, name in names)]
        rows = joined[[name for _, name in names]].to_csv(index=False, header=False)
        (folder / "object.csv").write_text("\n".join([*lines, rows]))
        return folder / "object.csv"
    connection = sqlite3.connect(folder / "cp.db")
    own = {name: f"MyBlobs_{name}" for name in table.columns if name != "ImageNumber"}
    table.rename(columns=own).to_sql("MyExpt_Per_MyBlobs", connection, index=False)
    names = {name: f"Image_{name}" for name in images.columns if name != "ImageNumber"}
    images.rename(columns=names).to_sql("MyExpt_Per_Image", connection, index=False)
    connection.close()
    return folder / "cp.db"


@pytest.mark.parametrize("kind", ["folder", "gzip", "combined", "sqlite"])
def test_cellprofiler(plate: Plate, truth: pd.DataFrame, tmp_path: Path, kind: str) -> None:
    result = import_cells(plate, write_cellprofiler(truth, tmp_path / "cp", kind))
    assert result.problems == ()
    assert_near(result.cells, truth, 0.01)
    numbers = truth.groupby(["well", "site"]).cumcount() + 1
    assert result.cells["object_number"].tolist() == numbers.tolist()


UM = 0.65


def instrument_table(truth: pd.DataFrame, program: str) -> tuple[pd.DataFrame, str]:
    """Table of a program, and what stands before it in the file."""
    height, width = 160, 200
    y, x, well, site = (truth[name] for name in ("y_px", "x_px", "well", "site"))
    if program == "harmony":
        head = "Database Name\tX\nEvaluation\t1\n\n[Data]\n"
        return pd.DataFrame({
            "Row": well.str[0].map(ord) - 64, "Column": well.str[1:].astype(int), "Field": site,
            "Object No": range(len(truth)),
            "Position X [µm]": (x - (width - 1) / 2) * UM,
            "Position Y [µm]": ((height - 1) / 2 - y) * UM,
        }), head  # fmt: skip
    if program == "qupath":
        name = "plate_" + well + "_s" + site.astype(str) + "_w1.tif"
        return pd.DataFrame({"Image": name, "Centroid X µm": x * UM, "Centroid Y µm": y * UM}), ""
    return pd.DataFrame({
        "Well Name": well, "Site ID": site, "Nucleus: Centroid X": x, "Nucleus: Centroid Y": y
    }), ""  # fmt: skip


@pytest.mark.parametrize("program", ["harmony", "qupath", "metaxpress"])
def test_tables_of_instruments(
    plate: Plate, truth: pd.DataFrame, tmp_path: Path, program: str
) -> None:
    table, head = instrument_table(truth, program)
    path = tmp_path / "objects.txt"
    path.write_text(head + table.to_csv(index=False, sep="\t"), encoding="utf-8")
    if program != "metaxpress":
        with pytest.raises(HcsQcError, match=r"does not state the size of a pixel.*um:0\.65"):
            import_cells(plate, path)
    are = {"harmony": ["um:0.65", "centred", "y-up"], "qupath": ["um:0.65"]}.get(program, [])
    result = import_cells(plate, path, options=ImportOptions(positions_are=positions_are(are)))
    assert_near(result.cells, truth, 0.01)


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (lambda t: t.assign(y_px=t["x_px"], x_px=t["y_px"]), "swapped"),
        (lambda t: t.assign(y_px=t["y_px"] / 2, x_px=t["x_px"] / 2), "binned:2"),
        (lambda t: t.assign(y_px=159 - t["y_px"]), "y-up"),
        (lambda t: t.assign(site=t["site"] - 1), "sites-from:0"),
        (lambda t: t.assign(y_px=t["y_px"] * 0.4, x_px=t["x_px"] * 0.4), "um:0.4"),
    ],
)
def test_what_positions_are_is_found_out(
    plate: Plate, truth: pd.DataFrame, tmp_path: Path, change: Any, remedy: str
) -> None:
    path = tmp_path / "cells.csv"
    change(truth[["well", "site", "y_px", "x_px"]]).to_csv(path, index=False)
    with pytest.raises(HcsQcError, match=rf"--positions-are {remedy}\. .*--accept-positions"):
        import_cells(plate, path)
    options = ImportOptions(positions_are=positions_are([remedy]))
    assert_near(import_cells(plate, path, options=options).cells, truth, 0.6)
    accepted = import_cells(plate, path, options=ImportOptions(accept_positions=True))
    assert "not clearly more" in accepted.check


def test_positions_of_another_plate_are_refused(plate: Plate, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    table = pd.DataFrame(
        {"well": "A01", "site": 1, "y_px": rng.uniform(0, 159, 60), "x_px": rng.uniform(0, 199, 60)}
    )
    path = tmp_path / "cells.csv"
    table.to_csv(path, index=False)
    with pytest.raises(HcsQcError, match=r"of 60 positions on a nucleus .*another plate"):
        import_cells(plate, path)
    table.iloc[:12].to_csv(path, index=False)  # too few to refuse
    assert "not clearly more than by chance" in import_cells(plate, path).check
