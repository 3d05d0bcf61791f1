"""Tables, masks and labels of other programs (`../shared/cases/tables`) give their right values."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from napari_hcs_qc import Assay, HcsQcError
from napari_hcs_qc.assay.store.platemap import read_platemap
from napari_hcs_qc.cells.imported.import_cells import import_cells
from napari_hcs_qc.cells.imported.options import ImportOptions
from napari_hcs_qc.plates.open import open_plate
from napari_hcs_qc.qc.export.join_profiles import OntoResult, join_onto
from napari_hcs_qc.tables.plate_sites import PlateSites
from napari_hcs_qc.tables.positions_are import positions_are

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.plates.plate import Plate

pytestmark = pytest.mark.realdata
DIAMETER_PX = 16.0


@pytest.fixture(scope="module")
def cases(shared: Path) -> Path:
    folder = shared / "cases" / "tables"
    if not folder.is_dir():
        pytest.skip(f"the cases are not at {folder}")
    return folder


@pytest.fixture(scope="module")
def plate(cases: Path) -> Plate:
    return open_plate(cases / "plate")


@pytest.mark.parametrize(
    ("source", "numbers"),
    [
        ("02_nuclei_and_cells_masks", [1, 2, 3, 4, 1, 2, 3]),
        ("03_colour_labels", None),
        ("04_cellprofiler_csv", [1, 2, 3, 4, 1, 2, 3]),
        ("04_cellprofiler_csv/Nuclei.csv", [1, 2, 3, 4, 1, 2, 3]),
        ("05_cellprofiler_sqlite/cp.sqlite", [1, 2, 3, 4, 1, 2, 3]),
        ("06_cytotable_without_site/profiles.parquet", [1, 2, 3, 4, 1, 2, 3]),
        ("10_cellpose_seg_npy", [1, 2, 3, 4, 1, 2, 3]),
    ],
)
def test_cells_of_other_programs(
    cases: Path, plate: Plate, source: str, numbers: list[int] | None
) -> None:
    result = import_cells(plate, cases / source)
    assert result.cells.groupby("site").size().to_dict() == {1: 4, 2: 3}
    assert result.diameter_px == pytest.approx(16, abs=0.5)
    assert result.check.startswith("7 of 7 positions on a nucleus (by chance")
    if numbers is not None:
        assert result.cells["object_number"].tolist() == numbers


def test_masks_beside_the_images_and_not_the_images(cases: Path, plate: Plate) -> None:
    folder = cases / "01_masks_beside_images"
    for each in (open_plate(folder), plate):  # the plate's own images, and copies of them
        result = import_cells(each, folder)
        assert len(result.cells) == 7
        assert result.diameter_px == pytest.approx(16, abs=0.5)


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        ("09_positions_sites_from_0/cells.csv", "sites-from:0"),
        ("07_onto_wrong_site_or_unit/profiles_sites_from_0.csv", "sites-from:0"),
        ("07_onto_wrong_site_or_unit/profiles_um.csv", "um:0.65"),
    ],
)
def test_positions_that_are_something_else_are_refused_with_the_remedy(
    cases: Path, plate: Plate, tmp_path: Path, source: str, remedy: str
) -> None:
    cells = pd.read_parquet(cases / "cells.parquet")
    out = tmp_path / "out.parquet"

    def onto(importing: ImportOptions | None) -> OntoResult:
        return join_onto(
            cells,
            cases / source,
            out,
            diameter_px=DIAMETER_PX,
            plates={plate.name: PlateSites.of(plate)},
            importing=importing,
        )

    with pytest.raises(HcsQcError, match=rf"0 of 7 .*--positions-are {remedy}\."):
        import_cells(plate, cases / source)
    options = ImportOptions(positions_are=positions_are([remedy]))
    assert len(import_cells(plate, cases / source, options=options).cells) == 7
    if source.startswith("07"):
        with pytest.raises(HcsQcError, match=rf"of 7 .*--positions-are {remedy}\."):
            onto(None)
        assert not out.exists()
        assert onto(options).n_matched == 7


def test_profiles_without_a_site_are_joined_by_the_name_of_their_image(
    cases: Path, plate: Plate, tmp_path: Path
) -> None:
    result = join_onto(
        pd.read_parquet(cases / "cells.parquet"),
        cases / "06_cytotable_without_site" / "profiles.parquet",
        tmp_path / "out.parquet",
        diameter_px=DIAMETER_PX,
        plates={plate.name: PlateSites.of(plate)},
    )
    assert (result.n_matched, result.n_profiles) == (7, 7)
    joined = pd.read_parquet(result.out)
    assert joined["Metadata_cqc_cell_is_outlier"].tolist() == [
        False, True, False, False, True, False, False
    ]  # fmt: skip


@pytest.fixture
def assay(cases: Path, tmp_path: Path) -> Assay:
    return Assay.new(tmp_path / "assay", [cases / "plate"])


def classes(assay: Assay) -> dict[str, int]:
    counts: dict[str, int] = assay.annotations()["class"].value_counts().to_dict()
    return counts


def test_labels_in_um_are_refused_and_read_with_the_unit(cases: Path, assay: Assay) -> None:
    labels = cases / "08_labels_in_um" / "labels.csv"
    with pytest.raises(HcsQcError, match=r"0 of 7 positions .* µm, .*--positions-are um:0\.65\."):
        assay.annotate(labels, annotator="anna")
    assert assay.annotations().empty
    assert assay.annotate(labels, annotator="anna", positions_are=["um:0.65"]).n_new == 7
    annotations = assay.annotations()
    assert annotations["y_px"].tolist() == pytest.approx([20, 20, 70, 70, 30, 30, 76])


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("labels_cp_names.csv", {"normal": 5, "abnormal": 2}),
        ("cpa_training_set.csv", {"normal": 5, "abnormal": 2}),
        ("excel_semicolon_decimal_comma.csv", {"normal": 1, "abnormal": 1}),
    ],
)
def test_labels_of_other_programs(
    cases: Path, assay: Assay, tmp_path: Path, name: str, counts: dict[str, int]
) -> None:
    labels = shutil.copy(cases / "14_foreign_labels" / name, tmp_path)
    options: dict[str, Any] = {}
    if name.startswith("cpa"):
        options["image_table"] = cases / "04_cellprofiler_csv" / "Image.csv"
    imported = assay.annotate(labels, annotator="anna", **options)
    assert imported.n_new == sum(counts.values())
    assert f"{imported.n_new} of {imported.n_new} positions on a nucleus" in imported.check
    assert classes(assay) == counts


def test_annotations_go_out_and_come_back(cases: Path, assay: Assay, tmp_path: Path) -> None:
    labels = cases / "14_foreign_labels" / "labels_cp_names.csv"
    assay.annotate(labels, annotator="anna")
    out = tmp_path / "annotations.csv"
    annotations = assay.annotations(export=out)
    assert assay.annotate(out, annotator="ben").n_known == 7  # anna's, in her name
    other = Assay.new(tmp_path / "other", [cases / "plate"])
    assert other.annotate(out, annotator="ben").n_new == 7
    pd.testing.assert_frame_equal(other.annotations(), annotations)


def test_our_own_cells_come_back_as_positions_and_as_annotations(
    cases: Path, plate: Plate, assay: Assay, tmp_path: Path
) -> None:
    cells = pd.read_parquet(cases / "cells.parquet")
    cells["annotated_class"] = ["normal", "abnormal", None, None, "abnormal", None, None]
    cells["annotated_kind"] = [None, "dead", None, None, None, None, None]
    for name in ("cells.csv", "cells.parquet"):
        path = tmp_path / name
        if name.endswith("csv"):
            cells.to_csv(path, index=False, encoding="utf-8-sig")
        else:
            cells.to_parquet(path, index=False)
        assert len(import_cells(plate, path).cells) == 7
        assert assay.annotate(path, annotator="anna").n_new == (3 if name == "cells.csv" else 0)
    annotations = assay.annotations()
    assert annotations["kind"].dropna().tolist() == ["dead"]


@pytest.mark.parametrize("name", ["jump.txt", "grid.csv", "control_type.csv"])
def test_plate_maps(cases: Path, assay: Assay, name: str) -> None:
    path = cases / "13_platemaps" / name
    first = read_platemap(path, shape=(8, 12)).iloc[0]
    assert first.tolist() == ["A01", "DMSO", "control"]
    Assay.new(assay.path, [cases / "plate"], platemap=path)


def test_pycytominer_is_not_given_a_key_that_is_empty(cases: Path, tmp_path: Path) -> None:
    """What cells have no number of another program, cannot be joined by it without a word."""
    pycytominer = pytest.importorskip("pycytominer")
    profiles = pd.read_csv(cases / "12_pycytominer_key" / "profiles.csv")
    cells = pd.read_parquet(cases / "cells.parquet").drop(columns="Metadata_ObjectNumber")
    cells.to_parquet(tmp_path / "cells.parquet")  # as we export it
    platemap = pd.DataFrame({"well_position": ["A01"], "treatment": ["DMSO"]})
    keys = ["Metadata_Plate", "Metadata_Well", "Metadata_Site", "Metadata_ObjectNumber"]
    with pytest.raises((KeyError, AssertionError)):
        pycytominer.annotate(
            profiles,
            platemap,
            join_on=["Metadata_well_position", "Metadata_Well"],
            external_metadata=str(tmp_path / "cells.parquet"),
            external_join_on=keys,
        )
