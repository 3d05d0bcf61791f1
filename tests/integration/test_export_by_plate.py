"""The export scores and writes one plate after the other, without what it does not need."""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
import weakref
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest

from napari_hcs_qc.api.assay import Assay
from napari_hcs_qc.assay.models.model_in_use import chosen_model
from napari_hcs_qc.assay.scoring import plate_scores
from napari_hcs_qc.assay.scoring.prediction import predict
from napari_hcs_qc.assay.scoring.saved_prediction import discard_prediction
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_state import PlateState, load_plate
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Job
from napari_hcs_qc.workflow import steps
from napari_hcs_qc.workflow.export import export

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Ran

    from napari_hcs_qc.study.simulation.synthetic import SimulatedPlate

PLATES = ["SIM", "SECOND"]


@pytest.fixture(scope="module")
def kept(ran: Ran, made: SimulatedPlate, tmp_path_factory: pytest.TempPathFactory) -> AssayFolder:
    """An assay of two plates, with a cell on each that a person has added."""
    folder = tmp_path_factory.mktemp("two plates")
    shutil.copytree(made.plate_dir, folder / "SECOND")
    assay = AssayFolder.open(shutil.copytree(ran.result.assay.path, folder / "assay"))
    (name,) = steps.add_plate(assay, steps.PlateSource(folder / "SECOND", name="SECOND"))
    assay.reload()
    assert [plate.name for plate in assay.plates] == PLATES, name
    steps.cells(assay)
    for plate in PLATES:
        assay.journal().annotate(plate, "B02", 1, 30.0, 40.0, "abnormal", "debris", "ben")
    predict(assay, PLATES, chosen_model(assay))
    return assay


@pytest.fixture
def assay(kept: AssayFolder, tmp_path: Path) -> AssayFolder:
    """A copy that a test may change."""
    return AssayFolder.open(shutil.copytree(kept.path, tmp_path / "assay"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_one_plate_is_in_memory_at_a_time(
    kept: AssayFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[weakref.ref[Any]] = []

    def load_and_note(*args: Any) -> PlateState:
        gc.collect()
        assert [thing() for thing in alive] == [None] * len(alive)
        state = load_plate(*args)
        alive.extend(map(weakref.ref, (state, state.plate_cells)))
        return state

    monkeypatch.setattr(plate_scores, "load_plate", load_and_note)
    export(kept, tmp_path / "tables")
    assert len(alive) == 2 * len(PLATES)
    cells = pd.read_parquet(tmp_path / "tables" / "cells.parquet")
    profiles = cells[["Metadata_Plate", "Metadata_Well", "Metadata_Site", "y_px", "x_px"]]
    profiles.assign(area=1.5).to_csv(tmp_path / "theirs.csv", index=False)
    exported = Assay.open(kept.path).export(
        tmp_path / "all", geojson=True, labels=True, onto=tmp_path / "theirs.csv"
    )
    assert len(alive) == 2 * len(PLATES) * 4
    assert exported.onto is not None
    assert exported.onto.n_matched == len(cells)
    joined = pd.read_parquet(tmp_path / "all" / "theirs_qc.parquet")
    pd.testing.assert_series_equal(joined["p_abnormal"], cells["p_abnormal"])
    assert joined["Metadata_hcs_qc_is_matched"].all()


def test_plates_in_memory_give_the_same_files(kept: AssayFolder, tmp_path: Path) -> None:
    reports: list[tuple[int, int, str]] = []
    export(kept, tmp_path / "a", job=Job(lambda *report: reports.append(report)))
    export(kept, tmp_path / "b", scored=plate_scores.score(kept))
    a, b = contents(tmp_path / "a"), contents(tmp_path / "b")
    obs = [anndata.read_h5ad(tmp_path / name / "cells.h5ad").obs for name in ("a", "b")]
    pd.testing.assert_frame_equal(*obs)
    for files in (a, b):
        del files["cells.h5ad"]
    assert a == b
    done = [(done, total) for done, total, message in reports if message.startswith("Writ")]
    assert done == [(0, 3), (1, 3), (2, 3)]
    assert reports[-1][:2] == (3, 3)


def test_embeddings_that_are_there_need_no_network(kept: AssayFolder, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from napari_hcs_qc.cli import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, "export", str(kept.path), str(tmp_path / "a"), "--quiet"],
        check=True,
    )
    data = anndata.read_h5ad(tmp_path / "a" / "cells.h5ad")
    assert not np.isnan(data.X[data.obs["p_abnormal"].notna().to_numpy()]).any()


def test_embeddings_that_are_gone_are_made_again(assay: AssayFolder, tmp_path: Path) -> None:
    export(assay, tmp_path / "a")
    shutil.rmtree(assay.embeddings_folder)
    export(assay, tmp_path / "b")
    a, b = (anndata.read_h5ad(tmp_path / name / "cells.h5ad").X for name in ("a", "b"))
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * float(np.nanmax(np.abs(a))))


def test_a_last_plate_that_was_never_predicted_is_named_first(
    assay: AssayFolder, tmp_path: Path
) -> None:
    discard_prediction(assay, "SECOND", chosen_model(assay).id)
    reports: list[str] = []
    with pytest.raises(HcsQcError, match="Plate SECOND was not predicted with model"):
        export(assay, tmp_path / "out", job=Job(lambda *report: reports.append(report[2])))
    assert reports == []
    assert not (tmp_path / "out").exists()


def test_a_last_plate_that_has_changed_leaves_the_tables_as_they_were(
    assay: AssayFolder, tmp_path: Path
) -> None:
    export(assay, tmp_path / "out")
    before = contents(tmp_path / "out")
    assay.journal().annotate("SECOND", "B02", 1, 90.0, 95.0, "abnormal", None, "ben")
    for out in ("out", "new"):
        with pytest.raises(HcsQcError, match=r"SECOND was not predicted .* since its cells last"):
            export(assay, tmp_path / out)
    assert contents(tmp_path / "out") == before
    assert not (tmp_path / "new").exists()
