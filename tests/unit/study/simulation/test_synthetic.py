"""The simulated plate: repeatable, true to its truth tables, and spoiled as it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy import ndimage, spatial
from skimage.filters import threshold_otsu

from napari_hcs_qc.errors import HcsQcError, ProblemsError, WriteError
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.plates.open import open_plate
from napari_hcs_qc.study.simulation.synthetic import (
    SITE_ARTEFACTS,
    SyntheticSpec,
    sample_spec,
    simulate_plate,
)
from napari_hcs_qc.study.simulation.synthetic_artefacts import site_artefact
from napari_hcs_qc.study.simulation.synthetic_scene import SimulatedSite, simulate_site
from napari_hcs_qc.study.simulation.synthetic_spec import SimulationRecord

SAMPLE = Path(__file__).resolve().parents[4] / "sample_data"
TINY = SyntheticSpec(
    wells=("B02", "C03"), shape_px=(96, 128), seed=3, n_labels=20, abnormal_share=0.3
)
FIELD = SyntheticSpec(shape_px=(256, 320), channels=("DNA",), seed=4, abnormal_share=0.0)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def site_with(artefact: str, spec: SyntheticSpec = FIELD) -> SimulatedSite:
    """The same cells, textures and noise as with any other artefact."""
    return simulate_site(spec.with_changes(schedule=(("B02", artefact),)), "B02", 1)


def signal(site: SimulatedSite, channel: int = 0) -> np.ndarray:
    return site.pixels[channel].astype(float)


# ---------------------------------------------------------------- repeatable


def test_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    simulate_plate(tmp_path / "a", TINY)
    simulate_plate(tmp_path / "b", TINY)
    first, second = files(tmp_path / "a"), files(tmp_path / "b")
    assert len(first) == 2 * 2 * 3 + 1 + 5
    assert first == second


def test_another_seed_gives_another_plate() -> None:
    first, second = (simulate_site(TINY.with_changes(seed=seed), "B02", 1) for seed in (3, 4))
    assert not np.array_equal(first.pixels, second.pixels)


def test_larger_plate_contains_the_smaller_one(tmp_path: Path) -> None:
    small = TINY.with_changes(artefact_share=0.5)
    large = small.with_changes(wells=("A01", "B02", "C03", "D04"), sites_per_well=3)
    simulate_plate(tmp_path / "small", small)
    simulate_plate(tmp_path / "large", large)
    in_small, in_large = files(tmp_path / "small" / "SIM"), files(tmp_path / "large" / "SIM")
    images = [name for name in in_small if name.endswith(".tif")]
    assert images
    assert all(in_small[name] == in_large[name] for name in images)


def test_a_channel_is_the_same_without_the_others() -> None:
    full = simulate_site(TINY, "B02", 1)
    only = simulate_site(TINY.with_changes(channels=("Mito",)), "B02", 1)
    np.testing.assert_array_equal(full.pixels[2], only.pixels[0])


def test_sample_data_is_what_the_generator_makes() -> None:
    spec = sample_spec()
    truth = pd.read_parquet(SAMPLE / "truth_cells.parquet")
    for site in (1, 2):
        made = simulate_site(spec, "C06", site)
        for number in range(len(spec.channels)):
            path = SAMPLE / spec.name / f"{spec.name}_C06_s{site}_w{number + 1}.tif"
            committed = tifffile.imread(path).astype(int)
            difference = np.abs(committed - made.pixels[number])
            # Another processor may round a pixel the other way; more would be another plate.
            assert difference.max() <= 1
            assert (difference > 0).mean() < 1e-3
        rows = truth[(truth["well"] == "C06") & (truth["site"] == site)]
        assert len(rows) == len(made.cells)
        np.testing.assert_allclose(rows["y_px"], [cell["y_px"] for cell in made.cells], rtol=1e-5)
        assert rows["class"].tolist() == [cell["class"] for cell in made.cells]
    assert SimulationRecord.load(SAMPLE / "simulation.json").spec == spec


# ---------------------------------------------------------------- sample_data


def test_sample_data_is_small_and_holds_every_artefact() -> None:
    assert sum(len(content) for content in files(SAMPLE).values()) < 8_000_000
    sites = pd.read_parquet(SAMPLE / "truth_sites.parquet")
    assert set(sites["artefacts"].explode().dropna()) == set(SITE_ARTEFACTS)
    whole = sites[sites["artefacts"].map(len) == 0]
    assert whole["n_cells"].mean() > 30


def test_sample_labels_are_cells_of_both_classes_from_many_wells() -> None:
    labels = pd.read_csv(SAMPLE / "labels.csv", keep_default_na=False)
    truth = pd.read_parquet(SAMPLE / "truth_cells.parquet")
    assert list(labels.columns) == ["well", "site", "y_px", "x_px", "label", "kind"]
    assert 120 <= len(labels) <= 200
    abnormal = labels[labels["label"] == "abnormal"]
    assert 0.35 < len(abnormal) / len(labels) < 0.45
    assert set(abnormal["kind"]) == {"blur", "saturation", "debris", "haze", "dead", "noise"}
    assert abnormal["well"].nunique() >= 15
    assert set(labels.loc[labels["label"] == "normal", "kind"]) == {""}
    for (well, site), clicked in labels.groupby(["well", "site"]):
        cells = truth[(truth["well"] == well) & (truth["site"] == site)]
        tree = spatial.cKDTree(cells[["y_px", "x_px"]])
        distance, index = tree.query(clicked[["y_px", "x_px"]])
        assert distance.max() < 6
        assert (cells["class"].to_numpy()[index] == clicked["label"]).mean() > 0.9


# ---------------------------------------------------------------- true to its tables


def test_files_open_as_a_plate(tmp_path: Path) -> None:
    made = simulate_plate(tmp_path, TINY.with_changes(name="MY-01"))
    plate = open_plate(made.plate_dir)
    assert plate.format == "imagexpress"
    assert plate.wells == ("B02", "C03")
    assert [channel.name for channel in plate.channels] == ["DNA", "Actin", "Mito"]
    assert plate.shape == (8, 12)
    assert plate.problems == ()
    assert len(plate.sites) == 4
    pixels = plate.read_site(plate.sites[1])
    np.testing.assert_array_equal(pixels, simulate_site(TINY, "B02", 2).pixels)


def test_tiff_says_its_pixel_size(tmp_path: Path) -> None:
    made = simulate_plate(tmp_path, TINY)
    with tifffile.TiffFile(made.plate_dir / "SIM_B02_s1_w1.tif") as tiff:
        page = tiff.pages[0]
        assert page.dtype == np.uint16
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        over, under = page.tags["XResolution"].value
        assert page.tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER
        assert 1e4 * under / over == pytest.approx(0.656, rel=1e-4)


def test_tables_agree_with_each_other(tmp_path: Path) -> None:
    made = simulate_plate(tmp_path, TINY.with_changes(schedule=(("B02", "blur"), ("C03", "none"))))
    cells, sites = pd.read_parquet(made.truth_cells), pd.read_parquet(made.truth_sites)
    counts = cells.groupby(["well", "site"])["class"].agg(["size", lambda c: (c != "normal").sum()])
    np.testing.assert_array_equal(sites[["n_cells", "n_abnormal"]], counts)
    assert cells["kind"].isna().equals(cells["class"] == "normal")
    blurred = cells[(cells["well"] == "B02") & (cells["site"] == 1)]
    assert set(blurred["kind"]) == {"blur"}
    assert blurred["defocus_um"].min() > 10
    assert sites.loc[0, "artefacts"].tolist() == ["blur"]
    assert sites.loc[2, "artefacts"].tolist() == []
    platemap = pd.read_csv(made.platemap)
    assert platemap["well"].tolist() == ["B02", "C03"]
    assert set(platemap["role"]) == {"sample", "control"}


def test_clean_plate_is_clean() -> None:
    spec = SyntheticSpec(clean=True, shape_px=(256, 320), seed=8)
    for well in ("A01", "A02", "A03"):
        site = simulate_site(spec, well, 1)
        assert site.artefact.name is None
        assert {cell["class"] for cell in site.cells} == {"normal"}
        assert site.pixels.max() < spec.camera.top_grey


def test_nuclei_are_found_where_the_truth_has_them() -> None:
    spec = FIELD.with_changes(clean=True)
    found, true, diameters = 0, 0, []
    for site in (1, 2, 3):
        made = simulate_site(spec, "A01", site)
        image = ndimage.gaussian_filter(signal(made), 1)
        mask = image > threshold_otsu(image)
        truth = np.array([(cell["y_px"], cell["x_px"]) for cell in made.cells])
        rows, columns = np.rint(truth).astype(int).T
        true += len(truth)
        found += ndimage.maximum_filter(mask, 3)[rows, columns].sum()
        diameters += [cell["diameter_px"] for cell in made.cells]
        assert 0.08 < mask.mean() < 0.4
    assert found / true > 0.95
    assert np.mean(diameters) == pytest.approx(spec.nucleus_diameter_px, rel=0.06)


@pytest.mark.realdata
def test_clean_field_resembles_a_real_one(shared_data: Path) -> None:
    """Levels, noise and contrast within the range over the real plate's fields."""

    def statistics(image: np.ndarray) -> list[float]:
        mask = image > threshold_otsu(image)
        nuclei, medium = np.median(image[mask]), np.median(image[~mask])
        rough = image - ndimage.uniform_filter(image, 3)
        return [medium, nuclei, mask.mean(), rough[~mask].std(), rough[mask].std()]

    real = [
        statistics(tifffile.imread(path).astype(float))
        for path in sorted((shared_data / "bbbc039" / "20585").glob("*.tif"))[::4]
    ]
    low, high = np.percentile(real, (2, 98), axis=0)
    spec = SyntheticSpec(clean=True, channels=("DNA",))
    for well in ("A01", "B05"):
        ours = statistics(signal(simulate_site(spec, well, 1)))
        assert np.all(np.array(ours) > 0.9 * low), (ours, low)
        assert np.all(np.array(ours) < 1.1 * high), (ours, high)


# ---------------------------------------------------------------- spoiled as it says


def test_blur_takes_the_detail_and_keeps_the_light() -> None:
    sharp, blurred = signal(site_with("none")), signal(site_with("blur"))
    detail = [
        (ndimage.gaussian_filter(image, 1) - ndimage.gaussian_filter(image, 3)).std()
        for image in (sharp, blurred)
    ]
    assert detail[1] < 0.2 * detail[0]
    assert blurred.mean() == pytest.approx(sharp.mean(), rel=0.1)


def test_over_exposure_saturates_the_nuclei() -> None:
    good, spoiled = site_with("none"), site_with("saturation")
    assert (good.pixels == 4095).mean() < 0.001
    assert (spoiled.pixels == 4095).mean() > 0.05
    kinds = [cell["kind"] for cell in spoiled.cells]
    assert kinds.count("saturation") > 0.8 * len(kinds)


def test_haze_lifts_the_background() -> None:
    good, hazy = signal(site_with("none")), signal(site_with("haze"))
    assert np.percentile(hazy, 5) > np.percentile(good, 5) + 100
    assert {cell["kind"] for cell in site_with("haze").cells} == {"haze"}


def test_noise_lowers_the_signal_to_noise_ratio() -> None:
    def ratio(site: SimulatedSite) -> float:
        image = signal(site)
        truth = np.array([(cell["y_px"], cell["x_px"]) for cell in site.cells]).round().astype(int)
        inside = ndimage.gaussian_filter(image, 2)[truth[:, 0], truth[:, 1]]
        medium = image[image < np.percentile(image, 50)]
        return float((np.median(inside) - medium.mean()) / medium.std())

    assert ratio(site_with("noise")) < 0.25 * ratio(site_with("none"))


def test_empty_site_has_no_cells_and_no_nuclei() -> None:
    empty = site_with("empty")
    assert empty.cells == []
    smooth = ndimage.gaussian_filter(signal(empty), 3)
    assert smooth.max() - smooth.min() < 60


def test_dead_cells_are_fewer_smaller_and_brighter() -> None:
    good, dead = site_with("none"), site_with("dead")
    assert len(dead.cells) < len(good.cells)
    share = np.mean([cell["kind"] == "dead" for cell in dead.cells])
    assert share > 0.5
    bright, level = (np.percentile(signal(site), 99.5) for site in (dead, good))
    assert bright > 1.3 * level
    nuclear_area = [(signal(site) > 300).mean() for site in (dead, good)]
    assert nuclear_area[0] < 0.6 * nuclear_area[1]


@pytest.mark.parametrize("artefact", ["debris", "fibre"])
def test_debris_adds_light_where_there_was_none(artefact: str) -> None:
    good, spoiled = site_with("none"), site_with(artefact)
    added = signal(spoiled) - signal(good)
    assert np.percentile(added, 1) > -60  # noise only
    assert added.max() > 1000
    assert 0.002 < (added > 150).mean() < 0.5
    assert any(cell["kind"] == "debris" for cell in spoiled.cells)
    normal = [cell for cell in spoiled.cells if cell["class"] == "normal"]
    assert len(normal) > 10


@pytest.mark.parametrize("artefact", SITE_ARTEFACTS)
def test_every_artefact_is_in_the_truth(artefact: str) -> None:
    site = site_with(artefact, TINY.with_changes(abnormal_share=0.0))
    assert site.artefact.name == artefact
    assert 0.4 <= site.artefact.severity <= 1


def test_single_cells_are_abnormal_at_the_given_rate() -> None:
    spec = FIELD.with_changes(abnormal_share=0.25, artefact_share=0.0, shape_px=(520, 696))
    cells = pd.DataFrame(simulate_site(spec, "A01", 1).cells)
    assert (cells["class"] == "abnormal").mean() == pytest.approx(0.25, abs=0.12)
    assert set(cells["kind"].dropna()) <= {"dead", "debris", "blur", "saturation"}
    assert cells.loc[cells["kind"] == "blur", "defocus_um"].min() >= 9
    assert (cells.loc[cells["form"] == "mitosis", "class"] == "normal").all()


def test_wells_are_spoiled_at_the_given_rate() -> None:
    spec = SyntheticSpec(plate_format=384, artefact_share=0.2, seed=6)
    names = [site_artefact(spec, well, 1).name for well in spec.well_names]
    assert len(names) == 384
    assert np.mean([name is not None for name in names]) == pytest.approx(0.2, abs=0.06)
    assert set(names) - {None} == set(SITE_ARTEFACTS)


# ---------------------------------------------------------------- the job and its errors


def test_progress_is_told_and_stopping_works(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    simulate_plate(tmp_path, TINY, job=Job(lambda done, total, _: told.append((done, total))))
    assert told == [(n, 4) for n in range(5)]
    with pytest.raises(Cancelled):
        simulate_plate(tmp_path / "b", TINY, job=Job(should_stop=lambda: True))
    assert not (tmp_path / "b" / "labels.csv").exists()


def test_unwritable_folder_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HcsQcError, match="is a file"):
        simulate_plate(tmp_path / "file", TINY)
    with pytest.raises(WriteError, match="Cannot write"):
        simulate_plate(tmp_path / "file" / "below", TINY)


def test_wells_are_given_by_name_or_number() -> None:
    assert SyntheticSpec(wells=("b2", "A-12")).well_names == ("A12", "B02")
    assert SyntheticSpec(n_wells=14).well_names[-2:] == ("B01", "B02")
    assert len(SyntheticSpec(plate_format=1536).well_names) == 1536


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "my plate/1"}, "letters, digits"),
        ({"plate_format": 100}, "96, 384"),
        ({"wells": ("I01",)}, "outside a plate of 96"),
        ({"wells": ("nowhere",)}, "nowhere"),
        ({"n_wells": 97}, "1 to 96"),
        ({"sites_per_well": 0}, "sites_per_well"),
        ({"shape_px": (20, 696)}, "shape_px 1: is 20"),
        ({"channels": ("DNA", "RNA")}, "unknown: 'RNA'; choose from DNA, Actin, Mito"),
        ({"channels": ()}, "at least one"),
        ({"abnormal_share": 1.5}, "less than or equal to 1"),
        ({"artefacts": ("smudge",)}, "unknown: 'smudge'"),
        ({"schedule": (("A01", "smudge"),)}, "unknown: 'smudge'"),
        ({"artefacts": ()}, "set artefact_share to 0"),
        ({"clean": True, "schedule": (("A01", "blur"),)}, "clean plate"),
        ({"nucleus_diameter_um": float("nan")}, "nucleus_diameter_um"),
    ],
)
def test_what_cannot_be_made_is_explained(change: dict[str, object], words: str) -> None:
    with pytest.raises(ProblemsError, match=words):
        SyntheticSpec(**change)  # type: ignore[arg-type]


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ProblemsError) as caught:
        SyntheticSpec(name="", n_wells=0, seed=-1, abnormal_share=2.0)
    assert [problem.where for problem in caught.value.problems] == [
        "name",
        "n_wells",
        "seed",
        "abnormal_share",
    ]


def test_a_folder_with_anything_else_is_left_alone(tmp_path: Path) -> None:
    spec = SyntheticSpec(n_wells=1, sites_per_well=1, shape_px=(120, 140), channels=("DNA",))
    made = simulate_plate(tmp_path / "plate", spec)
    before = made.labels.read_bytes()
    simulate_plate(tmp_path / "plate", spec)  # the same again, as after a stop
    with pytest.raises(HcsQcError, match="another simulation"):
        simulate_plate(tmp_path / "plate", spec.with_changes(seed=9))
    assert made.labels.read_bytes() == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(HcsQcError, match="does not hold a simulation"):
        simulate_plate(tmp_path / "mine", spec)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
