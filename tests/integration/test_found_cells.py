"""Annotated positions teach about the found cells that they lie on, too."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from napari_hcs_qc.assay.embeddings import found_cells
from napari_hcs_qc.assay.embeddings.embed_plate import embed_plate
from napari_hcs_qc.assay.embeddings.found_cells import found_cells_at
from napari_hcs_qc.assay.embeddings.training_set import collect
from napari_hcs_qc.assay.models.model_in_use import chosen_model
from napari_hcs_qc.assay.models.train_options import TrainOptions, model_encoder
from napari_hcs_qc.assay.models.training import inputs_of
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_state import PlateState, load_plate
from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def state(assay_copy: Path) -> PlateState:
    return load_plate(AssayFolder.open(assay_copy), "SIM")


def clicks(state: PlateState, *offsets: tuple[int, float, float, str]) -> pd.DataFrame:
    """Positions that far from the centres of found cells."""
    cells = state.plate_cells.cells
    rows = [row for row, *_ in offsets]
    positions = cells.iloc[rows][["well", "site", "y_px", "x_px", "cell_id"]].reset_index(drop=True)
    return positions.assign(
        y_px=positions["y_px"] + [dy for _, dy, _, _ in offsets],
        x_px=positions["x_px"] + [dx for _, _, dx, _ in offsets],
        **{"class": [name for *_, name in offsets]},
    )


def test_each_found_cell_once_at_its_centre(state: PlateState, tmp_path: Path) -> None:
    cells = state.plate_cells.cells
    positions = clicks(
        state,
        (0, 2.0, 1.0, "normal"),
        (1, 0.0, 0.0, "normal"),  # its centre: trained on as it is
        (2, 3.0, 0.0, "abnormal"),
        (2, -3.0, 1.0, "abnormal"),
        (3, 2.0, 0.0, "abnormal"),
        (3, -2.0, 0.0, "normal"),  # two meanings of one mask say nothing of it
        (4, 2.0, 2.0, "normal"),
        (4, 0.0, 0.0, "normal"),
    )
    found = found_cells_at(state, positions, tmp_path)
    assert found["cell_id"].tolist() == [0, 2]
    assert found["class"].tolist() == ["normal", "abnormal"]
    pd.testing.assert_frame_equal(
        found[["y_px", "x_px"]], cells.loc[[0, 2], ["y_px", "x_px"]].reset_index(drop=True)
    )


def test_beside_all_masks_and_outside_there_is_none(state: PlateState, tmp_path: Path) -> None:
    cells = state.plate_cells.cells
    here = cells[(cells["well"] == cells["well"][0]) & (cells["site"] == cells["site"][0])]
    y, x = np.mgrid[5:215:10, 5:255:10].reshape(2, -1)
    far = np.hypot(y[:, None] - here["y_px"].to_numpy(), x[:, None] - here["x_px"].to_numpy())
    best = far.min(axis=1).argmax()
    positions = clicks(state, (0, 0.0, 0.0, "normal"), (0, 0.0, 0.0, "normal"))
    positions["y_px"], positions["x_px"] = [float(y[best]), 219.4], [float(x[best]), 259.4]
    assert not len(found_cells_at(state, positions.iloc[:1], tmp_path))
    found_cells_at(state, positions, tmp_path)  # at the very border is no trouble


def test_masks_are_looked_up_once_and_may_be_gone(
    state: PlateState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    positions = clicks(state, (0, 2.0, 1.0, "normal"), (5, 1.0, 1.0, "abnormal"))
    first = found_cells_at(state, positions.iloc[:1], tmp_path)

    def gone(*_: object, **__: object) -> None:
        raise HcsQcError("The masks no longer exist.")

    monkeypatch.setattr(found_cells, "site_masks", gone)
    pd.testing.assert_frame_equal(found_cells_at(state, positions, tmp_path), first)
    monkeypatch.undo()
    assert len(found_cells_at(state, positions, tmp_path)) == 2


def test_a_model_is_trained_on_their_embeddings(assay_copy: Path) -> None:
    assay = AssayFolder.open(assay_copy)
    model = chosen_model(assay)
    encoder, stores = model_encoder(model.manifest), assay.embeddings_folder
    state = load_plate(assay, "SIM")
    cells = found_cells_at(state, state.training, stores)
    assert len(cells) > 10  # the labels of the simulation are true centres, not those of masks
    annotated = collect([state], model.recipe, encoder, stores)
    rows = embed_plate(state, model.recipe, encoder, stores).rows
    np.testing.assert_array_equal(
        annotated.found.embeddings, np.asarray(rows[cells["cell_id"].to_numpy()], np.float32)
    )
    assert annotated.found.classes.tolist() == cells["class"].tolist()
    assert annotated.found.groups.tolist() == [f"SIM/{well}" for well in cells["well"]]
    assert model.manifest.n_annotated["normal"] == (annotated.classes == "normal").sum()


def test_other_cells_are_another_training(assay_copy: Path) -> None:
    assay = AssayFolder.open(assay_copy)
    model = chosen_model(assay)
    encoder, stores = model_encoder(model.manifest), assay.embeddings_folder
    state = load_plate(assay, "SIM")
    other_cells = state.plate_cells.cells.assign(x_px=lambda cells: cells["x_px"] + 0.5)
    other = replace(state, plate_cells=replace(state.plate_cells, cells=other_cells))
    same, inputs, others = (
        inputs_of(TrainOptions(), model.recipe, encoder, [chosen], stores)
        for chosen in (load_plate(assay, "SIM"), state, other)
    )
    assert same == inputs != others
