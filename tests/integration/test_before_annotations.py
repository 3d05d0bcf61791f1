"""A plate before its first annotation, and what annotations then add."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy.spatial import cKDTree
from sklearn.metrics import roc_auc_score

from napari_hcs_qc import Assay, run
from napari_hcs_qc.assay.embeddings.embed_plate import stored_plate
from napari_hcs_qc.assay.embeddings.plate_priors import find_plate_priors
from napari_hcs_qc.assay.embeddings.training_set import collect
from napari_hcs_qc.assay.models.train_options import TrainOptions, requested_encoder
from napari_hcs_qc.assay.models.training import sized_recipe
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.assay.store.saved_model import load_model
from napari_hcs_qc.cli.outcome_text import counts
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.heads.linear.linear_head import LinearHead
from napari_hcs_qc.heads.prior.linear_prior import find_prior
from napari_hcs_qc.heads.prior.plate_prior import MIN_CELLS
from napari_hcs_qc.study.simulation.synthetic import (
    SimulatedPlate,
    SyntheticSpec,
    simulate_plate,
)
from napari_hcs_qc.text_columns import none_if_missing
from napari_hcs_qc.workflow import desk_steps

if TYPE_CHECKING:
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.workflow.steps import RunResult

SPEC = SyntheticSpec(
    name="SIM",
    wells=("B02", "B03", "B04", "C02", "C03", "C04"),
    sites_per_well=2,
    shape_px=(400, 440),
    channels=("DNA",),
    seed=5,
    nucleus_diameter_um=14.0,
    cells_per_mm2=1500.0,
    artefact_share=0.0,
    schedule=(("C03", "debris"),),
    abnormal_share=0.06,
    n_labels=60,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimulatedPlate:
    return simulate_plate(tmp_path_factory.mktemp("made"), SPEC)


@pytest.fixture(scope="module")
def ran(made: SimulatedPlate, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    folder = tmp_path_factory.mktemp("ran")
    return run(folder / "assay", made.plate_dir, out=folder / "out")


@pytest.fixture
def assay_copy(ran: RunResult, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ran.assay.path, tmp_path / "assay"))


def is_abnormal(made: SimulatedPlate, state: PlateState) -> tuple[list[int], list[bool]]:
    """Rows of the found cells that lie on a simulated one, and whether that is abnormal."""
    truth = pd.read_parquet(made.plate_dir.parent / "truth_cells.parquet")
    rows, classes = [], []
    for (well, site), there in truth.groupby(["well", "site"]):
        cells = state.cells[(state.cells["well"] == well) & (state.cells["site"] == site)]
        cells = cells[~cells["is_cut"]]
        distance, nearest = cKDTree(there[["y_px", "x_px"]]).query(cells[["y_px", "x_px"]])
        near = distance < 5
        rows += cells.index[near].tolist()
        classes += (there["class"].to_numpy()[nearest[near]] == "abnormal").tolist()
    return rows, classes


class TestARunWithoutLabels:
    def test_all_cells_sites_and_wells_are_scored(self, ran: RunResult) -> None:
        [plate] = ran.scored
        p_abnormal = plate.prediction.table["p_abnormal"]
        assert len(p_abnormal) > MIN_CELLS
        assert p_abnormal.between(0, 1).all()
        assert set(plate.scores.wells["well"]) == set(SPEC.wells)
        exported = pd.read_parquet(ran.report.parent / "cells.parquet")
        np.testing.assert_array_equal(exported["p_abnormal"], p_abnormal)

    def test_abnormal_cells_have_high_scores(self, ran: RunResult, made: SimulatedPlate) -> None:
        [plate] = ran.scored
        rows, classes = is_abnormal(made, plate.state)
        p_abnormal = plate.prediction.table["p_abnormal"].to_numpy()[rows]
        assert sum(classes) > 20
        assert roc_auc_score(classes, p_abnormal) > 0.9
        assert np.mean(p_abnormal[~np.array(classes)] >= 0.5) < 0.02

    def test_abnormal_cells_have_the_kind_that_was_simulated_or_none(
        self, ran: RunResult, made: SimulatedPlate
    ) -> None:
        [plate] = ran.scored
        exported = pd.read_parquet(ran.report.parent / "cells.parquet")
        kinds = none_if_missing(exported["predicted_kind"])
        is_called = (exported["p_abnormal"] >= 0.5).to_numpy()
        assert not any(kinds[~is_called])
        truth = pd.read_parquet(made.plate_dir.parent / "truth_cells.parquet")
        cells = plate.state.cells
        given, simulated = [], []
        for (well, site), there in truth[truth["class"] == "abnormal"].groupby(["well", "site"]):
            here = (cells["well"] == well) & (cells["site"] == site) & ~cells["is_cut"]
            rows = np.flatnonzero(here & is_called)
            distance, nearest = cKDTree(there[["y_px", "x_px"]]).query(
                cells.iloc[rows][["y_px", "x_px"]]
            )
            given += kinds[rows[distance < 5]].tolist()
            simulated += there["kind"].to_numpy()[nearest[distance < 5]].tolist()
        pairs = [pair for pair in zip(given, simulated, strict=True) if pair[0] is not None]
        assert len(pairs) > len(given) / 3
        assert np.mean([kind == true for kind, true in pairs]) > 0.7
        assert len(set(kinds[is_called])) >= 3

    def test_report_and_json_count_the_predicted_kinds(self, ran: RunResult) -> None:
        [plate] = ran.scored
        exported = pd.read_parquet(ran.report.parent / "cells.parquet")
        called = exported[exported["Metadata_cqc_cell_is_outlier"]]
        expected = called["predicted_kind"].value_counts().to_dict()
        n_unknown = int(called["predicted_kind"].isna().sum())
        kinds = dict(plate.n_of_kind)
        assert kinds.pop("unknown", 0) == n_unknown
        assert kinds == expected
        assert counts(plate)["n_of_kind"] == plate.n_of_kind
        first = next(iter(expected))
        text = ran.report.read_text(encoding="utf-8")
        assert f"Abnormal cells by kind: {first} {expected[first]:,}" in text

    def test_report_and_provenance_say_on_what_the_scores_rest(self, ran: RunResult) -> None:
        text = ran.report.read_text(encoding="utf-8")
        assert "Before any annotation" in text
        assert "not yet cross-validated" not in text
        provenance = json.loads((ran.report.parent / "provenance.json").read_text("utf-8"))
        prior = provenance["model_manifest"]["prior"]
        assert prior["name"] == "efficientnet-lite0-nucleus"
        assert any("Before any annotation" in text for text in provenance["plates"][0]["warnings"])

    def test_run_again_it_has_the_same_model(
        self, assay_copy: Path, made: SimulatedPlate, tmp_path: Path
    ) -> None:
        again = run(assay_copy, made.plate_dir, out=tmp_path / "out")
        assert again.model.id == "0001"

    def test_the_model_on_disk_gives_the_same_scores(
        self, assay_copy: Path, ran: RunResult
    ) -> None:
        shutil.rmtree(AssayFolder.open(assay_copy).predictions_folder("SIM"))
        [prediction] = Assay.open(assay_copy).predict()
        expected = ran.scored[0].prediction.table["p_abnormal"]
        np.testing.assert_array_equal(prediction.table["p_abnormal"], expected)

    def test_another_prior_than_that_of_the_model_is_refused(self, assay_copy: Path) -> None:
        folder = AssayFolder.open(assay_copy).models_folder / "0001"
        [path] = (folder / "prior").glob("*.safetensors")
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(bytes(data))
        with pytest.raises(HcsQcError, match="SHA-256 differs"):
            load_model(folder)

    def test_annotations_take_over(
        self, assay_copy: Path, made: SimulatedPlate, tmp_path: Path
    ) -> None:
        result = run(assay_copy, made.plate_dir, labels=made.labels, out=tmp_path / "out", seeds=1)
        assert result.model.id == "0002"
        assert result.model.manifest.prior is not None
        assert sum(result.model.manifest.n_annotated.values()) > 40
        figures = result.model.manifest.cross_validation
        assert figures is not None
        text = result.report.read_text(encoding="utf-8")
        assert "Before any annotation: cells are classified" not in text
        assert "Before any annotation their weighted F1 would be" in text


class TestPredictWithoutAModel:
    def test_it_makes_one(self, made: SimulatedPlate, tmp_path: Path, ran: RunResult) -> None:
        assay = Assay.new(tmp_path / "assay", [made.plate_dir])
        [prediction] = assay.predict()
        assert "Before any annotation" in prediction.warnings[0]
        expected = ran.scored[0].prediction.table["p_abnormal"]
        np.testing.assert_allclose(prediction.table["p_abnormal"], expected, atol=1e-5)
        assert [model.id for model in assay.status().models] == ["0001"]
        # And it is used from then on.
        assert assay.predict()[0].model == "0001"

    def test_an_encoder_without_a_prior_has_the_distance_from_usual_cells(
        self, made: SimulatedPlate, tmp_path: Path
    ) -> None:
        result = run(
            tmp_path / "assay", made.plate_dir, out=tmp_path / "out", recipe="nucleus-mean"
        )
        record = result.model.manifest.prior
        assert record is not None
        assert record.name == "distance from the plate's usual cells"
        assert record.weights_sha256 == ""
        assert "their distance from the usual cells" in result.scored[0].warnings[0]
        assert "No kinds are predicted" in result.scored[0].warnings[0]
        assert result.scored[0].prediction.table["predicted_kind"].isna().all()
        assert result.scored[0].prediction.table["p_abnormal"].between(0, 1).all()

    def test_a_plate_with_few_cells_is_not_classified(self, tmp_path: Path) -> None:
        few = simulate_plate(
            tmp_path / "made", SPEC.model_copy(update={"wells": ("B02",), "schedule": ()})
        )
        assay = Assay.new(tmp_path / "assay", [few.plate_dir])
        [prediction] = assay.predict()
        assert prediction.table["p_abnormal"].isna().all()
        assert f"{MIN_CELLS} are needed to know" in " ".join(prediction.warnings)

    def test_brightfield_is_out_of_its_range(self, made: SimulatedPlate, tmp_path: Path) -> None:
        plate = Path(shutil.copytree(made.plate_dir, tmp_path / "SIM"))
        rng = np.random.default_rng(0)
        for path in plate.glob("*.tif"):
            grey = tifffile.imread(path).astype(float)
            light = np.clip((grey - grey.min()) / np.percentile(grey - grey.min(), 99.9), 0, 1)
            lamp = 1 + 0.2 * np.linspace(-0.5, 0.5, grey.shape[1])
            shown = 2000 * (lamp - 0.5 * light) + rng.normal(0, 15, grey.shape)
            tifffile.imwrite(path, shown.astype(np.uint16))
        assay = Assay.new(tmp_path / "assay", [plate])
        [prediction] = assay.predict()
        assert prediction.table["p_abnormal"].isna().all()
        warning = " ".join(prediction.warnings)
        assert "bright where it is empty" in warning
        assert "no cell is classified before there are annotations" in warning
        page = assay.report(tmp_path / "report.html").read_text(encoding="utf-8")
        assert "bright where it is empty" in page


class TestTheHeadOnAnAnnotatedPlate:
    def test_it_is_fitted_beside_the_prior(self, assay_copy: Path, made: SimulatedPlate) -> None:
        assay = Assay.open(assay_copy)
        assay.annotate(made.labels)
        model = assay.train(seeds=1)
        [prediction] = assay.predict()
        folder = AssayFolder.open(assay_copy)
        state = load_plate(folder, "SIM", folder.journal().annotations())
        options = TrainOptions()
        encoder = requested_encoder(options)
        recipe = sized_recipe(folder, options, [state])
        stores = folder.embeddings_folder
        linear = find_prior(encoder, recipe)
        priors = find_plate_priors([state], recipe, encoder, stores, linear)
        assert priors is not None
        cells = collect([state], recipe, encoder, stores, priors)
        store = stored_plate(state, recipe, encoder, stores)
        assert store is not None
        rows = np.asarray(store.embeddings, np.float32)
        of_plate = priors.by_plate["SIM"]
        more = cells.found
        X = np.concatenate([cells.embeddings, more.embeddings])
        head = LinearHead(plate=cells.plate).fit(
            X,
            np.concatenate([cells.classes, more.classes]),
            groups=np.concatenate([cells.groups, more.groups]),
            # The second class in the order of the alphabet is normal.
            offset=-of_plate.score(X),
        )
        assert head.offset_weight_ > 0
        expected = head.predict_proba(rows, -of_plate.score(rows))[:, 0]
        table = prediction.table["p_abnormal"].to_numpy()[: len(rows)]
        np.testing.assert_allclose(table, expected, atol=1e-4)
        assert model.manifest.prior is not None

    def test_embeddings_are_loaded_at_the_desk_with_cells_that_people_added(
        self, assay_copy: Path
    ) -> None:
        assay = AssayFolder.open(assay_copy)
        cells = load_plate(assay, "SIM").plate_cells.cells
        here = cells[(cells["well"] == "C03") & (cells["site"] == 1)]
        height, width = SPEC.shape_px
        ground = np.argwhere(np.ones((height - 100, width - 100))) + 50.5
        far = cKDTree(here[["y_px", "x_px"]]).query(ground)[0].argmax()
        y_px, x_px = map(float, ground[far])
        assay.journal().annotate("SIM", "C03", 1, y_px, x_px, "normal", None, "ben")
        state = load_plate(assay, "SIM")
        assert len(state.matched.added) == 1
        frozen = desk_steps.Frozen(
            folder=assay,
            states={"SIM": state},
            annotations=assay.journal().annotations(),
            options=TrainOptions(),
            threshold=0.5,
        )
        rows = desk_steps.find_embeddings(frozen)["SIM"]
        assert len(rows) == len(state.plate_cells.cells)

    def test_few_annotations_are_said_to_be_few(
        self, assay_copy: Path, made: SimulatedPlate, tmp_path: Path
    ) -> None:
        labels = pd.read_csv(made.labels)
        few = labels.groupby("label").head(6)
        few.to_csv(tmp_path / "few.csv", index=False)
        assay = Assay.open(assay_copy)
        assay.annotate(tmp_path / "few.csv")
        model = assay.train(seeds=1)
        assert model.manifest.origin.startswith("Few annotations (12)")
        assay.predict()
        page = assay.report(tmp_path / "report.html").read_text(encoding="utf-8")
        assert "Few annotations (12)" in page


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_of_clean_plates_few_cells_are_called_and_few_wells_flagged(tmp_path: Path) -> None:
    """20 simulated plates without any artefact, of different density and cell size.

    The goal is 2 %; of the plates of `benchmarks/bench_clean.py` 1.8 % are called.
    """
    called, flagged = [], []
    for seed in range(20):
        spec = SPEC.model_copy(
            update={
                "seed": seed,
                "schedule": (),
                "abnormal_share": 0.0,
                "cells_per_mm2": (600.0, 1200.0, 1800.0)[seed % 3],
                "nucleus_diameter_um": (12.0, 16.0)[seed % 2],
                "shape_px": (600, 640) if seed % 3 == 0 else SPEC.shape_px,
            }
        )
        folder = tmp_path / str(seed)
        clean = simulate_plate(folder / "made", spec)
        [plate] = run(folder / "assay", clean.plate_dir, out=folder / "out").scored
        p_abnormal = plate.counted_p[np.isfinite(plate.counted_p)]
        assert len(p_abnormal) >= MIN_CELLS
        called.append(float((p_abnormal >= plate.threshold).mean()))
        flagged.append(float(plate.scores.wells["is_flagged"].mean()))
        shutil.rmtree(folder)
    assert np.mean(called) <= 0.025, called
    assert np.mean(flagged) <= 0.02
