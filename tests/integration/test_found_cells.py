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
from napari_hcs_qc.assay.store.masks import site_masks
from napari_hcs_qc.assay.store.plate_state import PlateState, load_plate
from napari_hcs_qc.errors import HcsQcError, UnreadableSiteError
from napari_hcs_qc.plates.plate import SiteKey

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def state(assay_copy: Path) -> PlateState:
    return load_plate(AssayFolder.open(assay_copy), "SIM")


def at(state: PlateState, *places: tuple[int, str, str]) -> pd.DataFrame:
    """Positions on found cells: in their middle, or at one or the other end of the mask."""
    rows = []
    for row, place, name in places:
        cell = state.plate_cells.cells.loc[row]
        yx = cell[["y_px", "x_px"]].to_numpy(float)
        masks = site_masks(state.plate, state.plate_cells, SiteKey(cell["well"], cell["site"]))
        assert masks is not None
        pixels = np.argwhere(masks == cell["label"])
        end = pixels[np.hypot(*(pixels - yx).T).argmax()]
        other = pixels[np.hypot(*(pixels - end).T).argmax()]
        y_px, x_px = {"middle": yx + 0.5, "end": end, "other end": other}[place]
        rows.append((cell["well"], cell["site"], y_px, x_px, row, name))
    return pd.DataFrame(rows, columns=["well", "site", "y_px", "x_px", "cell_id", "class"])


def whole(state: PlateState) -> list[int]:
    """Rows of found cells that the image border does not cut."""
    rows: list[int] = np.flatnonzero(~state.plate_cells.cells["is_cut"]).tolist()
    return rows


def test_each_found_cell_once_at_its_centre(state: PlateState, tmp_path: Path) -> None:
    cells = state.plate_cells.cells
    a, b, c, d, e = whole(state)[:5]
    cut = int(np.flatnonzero(state.is_cut)[0])
    positions = at(
        state,
        (a, "end", "normal"),
        (b, "middle", "normal"),  # the crop there is that of the cell already
        (c, "end", "abnormal"),
        (c, "other end", "abnormal"),
        (d, "end", "abnormal"),
        (d, "other end", "normal"),  # two meanings of one mask say nothing of it
        (e, "end", "normal"),
        (e, "middle", "abnormal"),
        (cut, "end", "normal"),
    )
    found = found_cells_at(state, positions, tmp_path)
    assert found["cell_id"].tolist() == [a, c]
    assert found["class"].tolist() == ["normal", "abnormal"]
    centres = cells.loc[[a, c], ["y_px", "x_px"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(found[["y_px", "x_px"]], centres)


def test_beside_all_masks_and_outside_there_is_none(state: PlateState, tmp_path: Path) -> None:
    cells = state.plate_cells.cells
    here = cells[(cells["well"] == cells["well"][0]) & (cells["site"] == cells["site"][0])]
    y, x = np.mgrid[5:215:10, 5:255:10].reshape(2, -1)
    far = np.hypot(y[:, None] - here["y_px"].to_numpy(), x[:, None] - here["x_px"].to_numpy())
    best = far.min(axis=1).argmax()
    positions = at(state, (0, "middle", "normal"), (0, "middle", "normal"))
    positions["y_px"], positions["x_px"] = [float(y[best]), 219.4], [float(x[best]), 259.4]
    assert not len(found_cells_at(state, positions.iloc[:1], tmp_path))
    found_cells_at(state, positions, tmp_path)  # at the very border is no trouble


def test_masks_are_looked_up_once_and_may_be_gone(
    state: PlateState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, c = whole(state)[:3]
    positions = at(state, (a, "end", "normal"), (b, "end", "abnormal"))
    first = found_cells_at(state, positions.iloc[:1], tmp_path)

    def refuse(error: HcsQcError) -> None:
        def refused(*_: object) -> None:
            raise error

        monkeypatch.setattr(found_cells, "site_masks", refused)

    refuse(UnreadableSiteError("The disk is away."))
    pd.testing.assert_frame_equal(found_cells_at(state, positions, tmp_path), first)
    monkeypatch.undo()
    assert len(found_cells_at(state, positions, tmp_path)) == 2
    more = at(state, (a, "end", "normal"), (c, "end", "abnormal"))
    refuse(HcsQcError("The masks no longer exist."))
    pd.testing.assert_frame_equal(found_cells_at(state, more, tmp_path), first)
    monkeypatch.undo()
    pd.testing.assert_frame_equal(found_cells_at(state, more, tmp_path), first)  # not asked again


def test_a_model_is_trained_on_their_embeddings(
    assay_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(found_cells, "_MIDDLE", -1.0)  # whatever is in a mask is far enough
    assay = AssayFolder.open(assay_copy)
    model = chosen_model(assay)
    encoder, stores = model_encoder(model.manifest), assay.embeddings_folder
    state = load_plate(assay, "SIM")
    cells = found_cells_at(state, state.training, stores)
    assert len(cells) > 10
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
        inputs_of(TrainOptions(), model.recipe, encoder, [chosen], stores, prior=None)
        for chosen in (load_plate(assay, "SIM"), state, other)
    )
    assert same == inputs != others
