from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.heads.head_registry import HEADS, make_head
from napari_hcs_qc.heads.knn import KNNHead
from napari_hcs_qc.heads.linear.linear_head import LinearHead
from napari_hcs_qc.heads.linear.scoring import score_embeddings
from napari_hcs_qc.job import Cancelled, Job

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", HEADS)
def test_it_gives_what_the_head_gives_whatever_the_chunk(
    name: str, cells: Any, new_cells: Any, tmp_path: Path
) -> None:
    head = make_head(name).fit(cells.X, cells.y, cells.wells)
    np.save(tmp_path / "embeddings.npy", new_cells.X)
    mapped = np.load(tmp_path / "embeddings.npy", mmap_mode="r")
    expected = head.predict_proba(new_cells.X.astype(np.float64))[:, 0]
    for chunk in (7, 100, 65536):
        scores = score_embeddings(head, mapped, chunk=chunk)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, expected, atol=2e-4)


@pytest.mark.parametrize("name", HEADS)
def test_cells_that_could_not_be_embedded_have_no_score(name: str, cells: Any) -> None:
    head = make_head(name).fit(cells.X, cells.y, cells.wells)
    X = np.array(cells.X)
    X[3], X[5, 2], X[7, 0] = np.nan, np.nan, np.inf
    scores = score_embeddings(head, X, chunk=50)
    assert set(np.flatnonzero(np.isnan(scores))) == {3, 5, 7}
    clean = score_embeddings(head, cells.X, chunk=50)
    kept = np.isfinite(scores)
    np.testing.assert_allclose(scores[kept], clean[kept], atol=1e-6)
    assert np.isnan(score_embeddings(head, np.full((4, 60), np.nan, np.float32))).all()
    assert len(score_embeddings(head, np.empty((0, 60), np.float32))) == 0


def test_progress_is_told_and_it_can_be_stopped(cells: Any) -> None:
    head = KNNHead().fit(cells.X, cells.y)
    seen: list[tuple[int, int]] = []
    score_embeddings(
        head, cells.X, chunk=80, job=Job(lambda done, total, _: seen.append((done, total)))
    )
    assert seen == [(0, 200), (80, 200), (160, 200), (200, 200)]
    with pytest.raises(Cancelled):
        score_embeddings(head, cells.X, chunk=80, job=Job(should_stop=lambda: True))


def test_embeddings_of_another_encoder_are_refused(cells: Any) -> None:
    head = LinearHead().fit(cells.X, cells.y)
    with pytest.raises(HcsQcError, match=r"\(5, 61\).*60 features.*own encoder"):
        score_embeddings(head, np.zeros((5, 61), np.float32))


def test_a_head_without_the_class_abnormal_is_refused(cells: Any) -> None:
    head = KNNHead().fit(cells.X, np.where(cells.y == "normal", "good", "bad"))
    with pytest.raises(HcsQcError, match="bad, good; 'abnormal' is missing"):
        score_embeddings(head, cells.X)


def test_memory_stays_bounded(tmp_path: Path, cells: Any) -> None:
    import tracemalloc

    n_cells, n_features = 40_000, 2000  # 320 MB on disk
    path = tmp_path / "embeddings.npy"
    mapped = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.float32, shape=(n_cells, n_features)
    )
    rng = np.random.default_rng(0)
    y = np.where(np.arange(30) % 2 == 0, "normal", "abnormal")
    head = LinearHead().fit(rng.normal(size=(30, n_features)), y)
    tracemalloc.start()
    score_embeddings(head, mapped)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 2**20


def test_many_cells_shared_among_processors_keep_their_order(cells: Any) -> None:
    head = LinearHead().fit(cells.X, cells.y, cells.wells)
    rng = np.random.default_rng(0)
    many = cells.X[rng.integers(0, 200, 9000)]
    scores = score_embeddings(head, many, chunk=4000)
    expected = head.predict_proba(many.astype(np.float64))[:, 0]
    np.testing.assert_allclose(scores, expected, atol=2e-4)


def test_who_limits_pytorch_to_one_thread_keeps_it_to_one(
    cells: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_hcs_qc.heads.linear.scoring.n_processors", lambda: 4)
    head = LinearHead().fit(cells.X, cells.y, cells.wells)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        score_embeddings(head, cells.X, chunk=50)
        with ThreadPoolExecutor(1) as pool:
            in_a_new_thread = pool.submit(torch.get_num_threads).result()
        assert (torch.get_num_threads(), in_a_new_thread) == (1, 1)
    finally:
        torch.set_num_threads(before)


def test_it_stops_between_chunks(cells: Any) -> None:
    head = LinearHead().fit(cells.X, cells.y, cells.wells)
    done: list[int] = []
    with pytest.raises(Cancelled):
        score_embeddings(
            head,
            np.tile(cells.X, (10, 1)),
            chunk=100,
            job=Job(lambda n, _total, _text: done.append(n), lambda: len(done) == 3),
        )
    assert done == [0, 100, 200]
