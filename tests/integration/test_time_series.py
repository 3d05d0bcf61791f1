"""``--time all``: every time point is a plate of the assay, named after its time."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_hcs_qc.api.assay import Assay
from napari_hcs_qc.api.functions import convert, run
from napari_hcs_qc.assay.embeddings import plate_priors
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_state import load_plate, open_assay_plate
from napari_hcs_qc.cli import main, screen_job
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.heads.prior import plate_prior
from napari_hcs_qc.plates import open_plate
from napari_hcs_qc.screen.screen_plan import plan_screen, write_plan
from napari_hcs_qc.screen.screen_spec import read_screen
from napari_hcs_qc.study.simulation.synthetic import SyntheticSpec, simulate_plate
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from pathlib import Path

TIMES = (1, 2, 10)
NAMES = ["P_t01", "P_t02", "P_t10"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the plate ``P`` of three times, its labels and a plate map."""
    folder = tmp_path_factory.mktemp("series")
    (folder / "P").mkdir()
    labels = []
    for number in TIMES:
        spec = SyntheticSpec(
            name=f"T{number}",
            wells=("A01", "A02", "B01"),
            sites_per_well=1,
            shape_px=(220, 260),
            channels=("DNA",),
            seed=number,
            nucleus_diameter_um=14.0,
            cells_per_mm2=1500.0,
            artefact_share=0.0,
            schedule=(),
            abnormal_share=0.2,
            n_labels=40,
        )
        plate = simulate_plate(folder / f"made {number}", spec)
        for image in plate.plate_dir.glob("*.tif"):
            _, well, site, channel = image.stem.split("_")
            shutil.copy(image, folder / "P" / f"P_{well}_{site}_t{number}_{channel}.tif")
        labels.append(pd.read_csv(plate.labels).assign(Metadata_Plate="P", Metadata_Time=number))
    pd.concat(labels).to_csv(folder / "labels.csv", index=False)
    wells = {"plate": "P", "well": ["A01", "A02"], "treatment": ["DMSO", "x"]}
    pd.DataFrame({**wells, "role": ["control", "sample"]}).to_csv(folder / "map.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def result(made: Path) -> Any:
    return run(
        made / "assay",
        made / "P",
        out=made / "out",
        labels=made / "labels.csv",
        platemap=made / "map.csv",
        time="all",
        head="knn",
        seeds=1,
    )


def test_every_table_has_a_row_for_each_time(made: Path, result: Any) -> None:
    for name in ("cells", "sites", "wells", "image_quality"):
        table = pd.read_parquet(made / "out" / f"{name}.parquet")
        assert set(table["Metadata_TimeSeries"]) == {"P"}
        of = table.groupby("Metadata_Plate")["Metadata_Time"].unique()
        assert {plate: list(times) for plate, times in of.items()} == dict(
            zip(NAMES, [[1], [2], [10]], strict=True)
        )
        as_text = pd.read_csv(made / "out" / f"{name}.csv")
        assert list(as_text.columns) == list(table.columns)
    cells = pd.read_parquet(made / "out" / "cells.parquet")
    for number, name in zip(TIMES, NAMES, strict=True):  # each has the images of its own time
        pixels = tifffile.imread(made / "P" / f"P_A01_s1_t{number}_w1.tif")
        plate = open_assay_plate(result.assay, name)
        np.testing.assert_array_equal(plate.read_site(plate.sites[0])[0], pixels)
        assert (cells["Metadata_Plate"] == name).sum() == len(load_plate(result.assay, name).cells)


def test_annotations_lie_at_their_time_and_a_well_in_one_fold(made: Path, result: Any) -> None:
    labels = pd.read_csv(made / "labels.csv")
    annotations = result.assay.journal().annotations()
    counts = annotations.groupby("plate").size().to_dict()
    assert counts == dict(
        zip(NAMES, labels.groupby("Metadata_Time").size().loc[list(TIMES)], strict=True)
    )
    assert result.model.manifest.n_wells == 3  # not nine: a well is the same at all times
    for scored in result.scored:  # the plate map calls the plate P
        assert scored.roles.platemap is not None
        assert list(scored.roles.platemap["well"]) == ["A01", "A02"]


def test_a_series_opened_again_is_the_same_and_goes_by_one_name(made: Path, result: Any) -> None:
    again = Assay.new(made / "assay", [made / "P"], time="all")
    assert [entry.name for entry in again.plates] == NAMES
    folder = AssayFolder.open(made / "assay")
    for entry in folder.plates:
        assert open_assay_plate(folder, entry.name).fingerprint == entry.fingerprint
    assert [each.plate for each in again.predict(plate="P")] == NAMES
    with pytest.raises(HcsQcError, match="P_t01, P_t02, P_t10"):
        again.cells(plate="P_t03")
    copy = shutil.copytree(made / "P", made / "moved" / "P")
    entry, is_same = again.relocate("P_t02", copy)
    assert (entry.name, entry.source, is_same) == ("P", copy, True)
    assert {each.source for each in AssayFolder.open(made / "assay").plates} == {copy}
    with pytest.raises(HcsQcError, match="does not exist"):
        again.relocate("P", made / "nowhere")


def test_tables_of_others_are_joined_by_their_time(made: Path, result: Any) -> None:
    cells = pd.read_parquet(made / "out" / "cells.parquet")
    theirs = pd.DataFrame(
        {
            "Metadata_Plate": "P",
            "Metadata_Timepoint": cells["Metadata_Time"],
            "Metadata_Well": cells["Metadata_Well"],
            "Metadata_Site": cells["Metadata_Site"],
            "Nuclei_Location_Center_X": cells["x_px"],
            "Nuclei_Location_Center_Y": cells["y_px"],
            "Metadata_Time": "kept as it is",
        }
    ).drop(columns="Metadata_Time")
    theirs.sample(frac=1, random_state=0).to_csv(made / "theirs.csv", index=False)
    exported = Assay.open(made / "assay").export(made / "joined", onto=made / "theirs.csv")
    assert exported.onto is not None
    assert exported.onto.n_matched == len(cells)
    joined = pd.read_parquet(exported.onto.out)
    mine = cells.set_index(["Metadata_Time", "Metadata_Well", "y_px", "x_px"])["p_abnormal"]
    keys = ["Metadata_Timepoint", "Metadata_Well"]
    position = ["Nuclei_Location_Center_Y", "Nuclei_Location_Center_X"]
    rows = joined[[*keys, *position]].astype(dict.fromkeys(position, "float32"))
    want = mine.loc[list(rows.itertuples(index=False, name=None))]
    np.testing.assert_array_equal(joined["p_abnormal"], want)

    for changed, message in (
        (theirs.drop(columns="Metadata_Timepoint"), "names no time point"),
        (theirs.assign(Metadata_Timepoint=7), "time points 7 .* 1, 2, 10 were expected"),
    ):
        changed.to_csv(made / "theirs.csv", index=False)
        with pytest.raises(HcsQcError, match=message):
            Assay.open(made / "assay").export(made / "refused", onto=made / "theirs.csv")


def test_masks_are_taken_from_their_own_time(made: Path, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    for number in TIMES:
        for well in ("A01", "A02", "B01"):
            mask = np.zeros((220, 260), np.uint16)
            for label in range(1, number + 3):  # as many objects as tell the times apart
                mask[16 * label : 16 * label + 10, 40:50] = label
            tifffile.imwrite(tmp_path / "masks" / f"{well}_s1_t{number}_mask.tif", mask)
    assay = Assay.new(tmp_path / "assay", [made / "P"], time="all")
    found = assay.cells(cells_from=tmp_path / "masks", accept_positions=True)
    assert {name: len(each.cells) for name, each in found.items()} == dict(
        zip(NAMES, [3 * (number + 2) for number in TIMES], strict=True)
    )


def test_new_describes_a_series_once_and_one_leaves_as_a_whole(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", str(tmp_path / "assay"), str(made / "P"), "--time", "all"]) == 0
    text = capsys.readouterr().out
    assert text.count("Plate: ") == 1
    assert "P_t01, the first of 3 time points" in text
    assert main(["remove", str(tmp_path / "assay"), "P_t02"]) == 0
    assert [entry.name for entry in Assay.open(tmp_path / "assay").plates] == ["P_t01", "P_t10"]
    assert main(["remove", str(tmp_path / "assay"), "P"]) == 0
    assert Assay.open(tmp_path / "assay").plates == ()
    with pytest.raises(SystemExit, match="2"):
        main(["new", str(tmp_path / "assay"), str(made / "P"), "--time", "some"])
    assert "its number, or all, was expected" in capsys.readouterr().err
    assert main(["new", str(tmp_path / "one"), str(made / "P"), "--time", "2"]) == 0
    assert [entry.name for entry in Assay.open(tmp_path / "one").plates] == ["P"]
    Assay.new(tmp_path / "all", [made / "P"], time="all")
    with pytest.raises(HcsQcError, match=r"cannot be in one assay.*remove ASSAY P"):
        Assay.new(tmp_path / "one", [made / "P"], time="all")
    with pytest.raises(HcsQcError, match=r"cannot be in one assay.*remove ASSAY P"):
        Assay.new(tmp_path / "all", [made / "P"])


def test_the_times_of_an_ome_zarr_are_told_apart(made: Path, tmp_path: Path) -> None:
    convert(made / "P", tmp_path / "P.zarr", time="all")
    [source] = [steps.PlateSource(tmp_path / "P.zarr", time="all")]
    plates = source.open()
    assert [plate.name for plate in plates] == ["P_t00", "P_t01", "P_t02"]
    for number, plate in zip(TIMES, plates, strict=True):
        pixels = tifffile.imread(made / "P" / f"P_B01_s1_t{number}_w1.tif")
        [site] = [site for site in plate.sites if site.well == "B01"]
        np.testing.assert_array_equal(plate.read_site(site)[0], pixels)
    # By its number alone: a series that goes on, beyond 9 too, gives no time another name.
    some = [plate.name for plate in steps.PlateSource(made / "P", time="all").open()]
    for image in (made / "P").glob("*_t10_*"):
        (tmp_path / "fewer").mkdir(exist_ok=True)
        for number in TIMES[:2]:
            name = image.name.replace("_t10_", f"_t{number}_")
            shutil.copy(made / "P" / name, tmp_path / "fewer" / name)
    fewer = steps.PlateSource(tmp_path / "fewer", name="P", time="all").open()
    assert [plate.name for plate in fewer] == some[:2]
    # All in the same files: neither a plate nor its cells are taken for those of another time.
    alone = [open_plate(tmp_path / "P.zarr", time=time) for time in (0, 1)]
    assert alone[0].fingerprint != alone[1].fingerprint


def test_a_screen_judges_every_time(made: Path, result: Any, tmp_path: Path) -> None:
    shutil.copytree(result.assay.path, tmp_path / "assay")
    spec = tmp_path / "screen.toml"
    spec.write_text(
        f'assay = "assay"\n[[plate]]\npath = "{(made / "P").as_posix()}"\ntime = "all"\n'
    )
    plan = plan_screen(read_screen(spec), tmp_path / "out")
    assert [each.plate.name for each in plan.plates] == NAMES
    write_plan(plan, threads=1, device="cpu")
    assert screen_job.main(["model", str(tmp_path / "out")]) == 0
    assert screen_job.main(["plate", str(tmp_path / "out"), "P_t02"]) == 0
    wells = pd.read_parquet(tmp_path / "out" / "plates" / "P_t02" / "results" / "wells.parquet")
    assert set(wells["Metadata_Time"]) == {2}
    done = {each.plate.name for each in plan_screen(read_screen(spec), tmp_path / "out").plates
            if not each.is_to_do}  # fmt: skip
    assert done == {"P_t02"}


def test_what_is_known_before_annotations_is_known_of_each_time(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (plate_prior, plate_priors):
        monkeypatch.setattr(module, "MIN_CELLS", 40)  # these plates have few
    labels = made / "labels.csv"
    trained = run(
        tmp_path / "assay", made / "P", out=tmp_path / "out", labels=labels, time="all", seeds=1
    )
    assert trained.model.manifest.prior is not None
    for scored in trained.scored:
        assert scored.prediction.table["p_abnormal"].notna().all()
        assert not any("annotations alone" in text for text in scored.warnings)
