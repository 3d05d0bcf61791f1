"""What the figures of a model are of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_hcs_qc.assay.embeddings.training_set import AnnotatedCells, MoreCells
from napari_hcs_qc.assay.models.train_options import TrainOptions
from napari_hcs_qc.assay.models.validation import validate


def annotated(n_others: int, n_suggested: int) -> AnnotatedCells:
    """Give cells of ten wells, half of them abnormal, some of them picked, the others suggested."""
    rng = np.random.default_rng(0)
    n = n_others + n_suggested
    is_abnormal = np.arange(n) % 2 == 0
    chosen = np.full(n, "suggested", dtype=object)
    chosen[:n_others] = "hand"
    chosen[: n_others // 4] = "random"
    return AnnotatedCells(
        embeddings=(rng.normal(size=(n, 6)) + 3 * is_abnormal[:, None]).astype(np.float32),
        classes=np.where(is_abnormal, "abnormal", "normal"),
        kinds=np.full(n, None, dtype=object),
        groups=np.array([f"P/A{1 + index // 2 % 10:02d}" for index in range(n)]),
        chosen=chosen,
        n_unreadable=0,
        found=MoreCells(np.empty((0, 6), np.float32), np.empty(0, "U8"), np.empty(0, "U8")),
        rows=np.arange(n),
    )


OPTIONS = TrainOptions(head="knn", n_seeds=2)


def test_cells_that_a_model_was_unsure_of_do_not_count_where_others_say_enough() -> None:
    figures = validate(annotated(40, 20), OPTIONS)
    assert figures.sentence.startswith(
        "40 annotated cells in 10 wells (30 picked by hand, 10 suggested at random), each "
        "classified by a model that was trained without its well (5 folds, 2 seeds). 20 cells "
        "suggested because a model was unsure of them are not counted."
    )
    assert not figures.is_of_uncertain
    assert np.sum(figures.confusion) == pytest.approx(40)
    assert figures.held_out is not None
    assert len(figures.held_out.is_abnormal) == 60
    assert None not in figures.ci95["f1_weighted"]
    rates = figures.rates(0.5)
    assert rates is not None
    assert (rates.n_abnormal, rates.n_normal) == (20, 20)


def test_where_the_others_are_too_few_all_count_and_the_figures_are_said_to_be_too_low() -> None:
    figures = validate(annotated(16, 40), OPTIONS)
    assert figures.is_of_uncertain
    assert figures.sentence.startswith("56 annotated cells in 10 wells (12 picked by hand, 4 ")
    assert "40 suggested because a model was unsure of them" in figures.sentence
    assert "too low" in figures.sentence
    assert np.sum(figures.confusion) == pytest.approx(56)
    assert figures.ci95["f1_weighted"] == (None, None)
    assert figures.rates(0.5) is None


def test_what_the_prior_alone_would_give_stands_beside_the_figures() -> None:
    cells = annotated(40, 0)
    is_abnormal = cells.classes == "abnormal"
    wrong = np.arange(40) < 4  # two of each class
    linear = replace(cells, offset=np.where(is_abnormal ^ wrong, -2.0, 2.0))
    figures = validate(linear, TrainOptions(n_seeds=1))
    assert "weighted F1 would be 0.900 and their AUC 0.900, by the prior alone" in figures.sentence
    assert figures.held_out is not None
    assert sum(figures.held_out.random) == 10
