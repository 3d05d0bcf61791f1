"""Predictions follow each annotation, begin at those of the model, and go back to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_hcs_qc.gui.gallery.gallery_panel import GalleryPanel
from napari_hcs_qc.gui.refit.light_head import LightHead, Scale
from napari_hcs_qc.gui.session.target import cell_id

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

N_CELLS, N_FEATURES = 300, 40


@pytest.fixture
def plate() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Embeddings of cells of two classes, and which are abnormal."""
    rng = np.random.default_rng(3)
    is_abnormal = rng.random(N_CELLS) < 0.4
    embeddings = rng.normal(size=(N_CELLS, N_FEATURES)).astype(np.float32)
    embeddings[:, :10] += 2 * is_abnormal[:, np.newaxis]  # many features tell, none alone
    return 7 + 2 * embeddings, is_abnormal


def test_it_learns_a_class_from_few_cells(plate: Any) -> None:
    embeddings, is_abnormal = plate
    head = LightHead(Scale.of(embeddings))
    rows = np.arange(20)
    head.fit(embeddings, rows, is_abnormal[rows], np.full(20, np.nan))
    others = np.arange(20, N_CELLS)
    p = head.p_abnormal(embeddings[others], np.full(len(others), np.nan))
    assert ((p > 0.5) == is_abnormal[others]).mean() > 0.9


def test_what_the_model_knows_is_kept_and_what_it_got_wrong_is_corrected(plate: Any) -> None:
    embeddings, is_abnormal = plate
    rows = np.arange(40)
    right = np.where(is_abnormal, 0.97, 0.03)
    head = LightHead(Scale.of(embeddings))
    head.fit(embeddings, rows, is_abnormal[rows], right[rows])
    p = head.p_abnormal(embeddings, right)
    assert ((p > 0.5) == is_abnormal).all() and np.abs(p - right).max() < 0.2
    wrong = np.full(N_CELLS, 0.1)  # a model that calls nothing abnormal
    head.fit(embeddings, rows, is_abnormal[rows], wrong[rows])
    p = head.p_abnormal(embeddings, wrong)
    assert ((p > 0.5) == is_abnormal)[40:].mean() > 0.9


def test_one_cell_more_or_less_gives_what_a_new_head_gives(plate: Any) -> None:
    embeddings, is_abnormal = plate
    scale, p_model = Scale.of(embeddings), np.full(N_CELLS, 0.3)
    head = LightHead(scale)
    for rows in (np.arange(10), np.arange(12), np.array([0, 1, 3, 4, 5, 6, 7, 30, 2])):
        head.fit(embeddings, rows, is_abnormal[rows], p_model[rows])
        new = LightHead(scale)
        new.fit(embeddings, np.sort(rows), is_abnormal[np.sort(rows)], p_model[rows])
        np.testing.assert_allclose(
            head.p_abnormal(embeddings, p_model), new.p_abnormal(embeddings, p_model), atol=2e-3
        )


def test_the_image_and_the_tiles_follow_each_annotation_and_its_undo(
    qtbot: QtBot, desk: Any, assay_path: Path
) -> None:
    desk.open(assay_path)
    gallery = GalleryPanel(desk.workspace)
    qtbot.addWidget(gallery)
    gallery.resize(500, 500)
    gallery.show()
    desk.idle()
    live, session = desk.session.live, desk.session
    model = session.models.scored.prediction.table["p_abnormal"].to_numpy()
    cells = desk.view.cells
    found = cells.rows >= 0
    np.testing.assert_array_equal(cells.p_abnormal[found], model[cells.rows[found]])
    open_normal = [
        index
        for index in range(len(cells))
        if found[index] and cells.p_abnormal[index] < 0.3 and cells.annotated_class[index] is None
    ]
    for index in open_normal[:3]:
        assert session.annotations.annotate_cells([cell_id(cells, index)], "abnormal")
    assert live.is_active
    now = desk.view.cells.p_abnormal
    assert (now[open_normal[:3]] > cells.p_abnormal[open_normal[:3]]).all()
    assert np.abs(now - cells.p_abnormal)[open_normal[3:]].max() > 0, "and others"
    seen = gallery.view.in_sight()
    np.testing.assert_allclose(
        gallery.marks().p_abnormal[seen], live.p_abnormal(seen), equal_nan=True
    )
    is_kept = session.models.scored.prediction.table["p_abnormal"].to_numpy()
    np.testing.assert_array_equal(is_kept, model)  # tables, wells and flags are the model's
    live.is_on = False
    np.testing.assert_array_equal(desk.view.cells.p_abnormal[found], model[cells.rows[found]])
    np.testing.assert_array_equal(gallery.marks().p_abnormal[seen], model[seen])
    live.is_on = True
    assert live.is_active
    for _ in range(3):
        assert session.annotations.undo()
    assert not live.is_active
    np.testing.assert_array_equal(desk.view.cells.p_abnormal[found], model[cells.rows[found]])
    desk.close()
