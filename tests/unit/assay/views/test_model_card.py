"""What a report shows of a model: calls by class and kind, errors, and a map."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from napari_hcs_qc.assay.store.figures import Figures, HeldOut, LabelIssueRecord
from napari_hcs_qc.assay.store.model_manifest import TrainingCell
from napari_hcs_qc.assay.views import held_out_errors as views
from napari_hcs_qc.assay.views import model_card as cards
from napari_hcs_qc.assay.views.model_card import model_card
from napari_hcs_qc.cells.recipe import get_recipe
from napari_hcs_qc.evaluation.novelty import Novelty
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.qc.reports.plate_report import Picture

if TYPE_CHECKING:
    from collections.abc import Sequence

# Annotated class and kind, and the held-out score in two repeats.
CELLS: tuple[tuple[str, str | None, float, float], ...] = (
    ("normal", None, 0.1, 0.1),
    ("normal", None, 0.7, 0.9),
    ("normal", None, 0.6, 0.2),  # called abnormal in one of two repeats
    ("abnormal", "blur", 0.9, 0.9),
    ("abnormal", "blur", 0.2, 0.2),
    ("abnormal", "dead", 0.3, 0.9),
    ("abnormal", None, 0.8, 0.8),
)


def model(
    cells: Sequence[tuple[str, str | None, float, float]] = CELLS, *, n_scored: int | None = None
) -> Any:
    """Stand in for a model: what the card reads of it, with figures of its held-out cells."""
    n = len(cells)
    scored = cells[:n_scored]
    training = tuple(
        TrainingCell("P", f"A{row:02d}", 1, 5.0, 5.0, cls, kind)
        for row, (cls, kind, *_) in enumerate(cells, 1)
    )
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(n, 6)).astype(np.float32)
    embeddings[:, 2] *= 20  # the direction in which they differ most
    novelty = None
    if n >= 20:
        flat = SimpleNamespace(centre=np.zeros(6), scale=np.ones(6) * 10)
        novelty = Novelty().fit(embeddings, np.arange(n) % 5, flat)  # type: ignore[arg-type]
    figures = Figures(
        sentence="",
        by="well",
        held_out=HeldOut(
            p_abnormal=tuple(tuple(cell[repeat] for cell in scored) for repeat in (2, 3)),
            is_abnormal=tuple(cell[0] == "abnormal" for cell in scored),
            fold=tuple(tuple(row % 2 for row in range(len(scored))) for _ in range(2)),
        ),
    )
    encoder = SimpleNamespace(name="e", architecture="a", pooled=("x",), weights_sha256="")
    manifest = SimpleNamespace(
        cross_validation=figures, training_cells=training, n_kinds={"blur": 2, "dead": 1},
        n_annotated={"normal": 3, "abnormal": 4}, plate_names=("P",), n_wells=7, created="",
        origin="", is_before_annotations=False, note="", n_conflicts=0, n_cut=0, n_unreadable=0,
        head="linear", seed=0, versions={}, encoder=encoder,
    )  # fmt: skip
    recipe = get_recipe("nucleus").with_diameter(20.0)
    return SimpleNamespace(
        id="0001", manifest=manifest, recipe=recipe, encoder=encoder, novelty=novelty
    )


def test_calls_are_counted_by_class_and_kind_as_means_of_the_repeats() -> None:
    calls = {row.name: (row.n, row.n_called) for row in model_card(model(), 0.5).calls}
    assert calls == {
        "normal": (3, 1.5),
        "abnormal": (4, 2.5),
        "of these blur": (2, 1.0),
        "of these dead": (1, 0.5),
    }
    stricter = {row.name: row.n_called for row in model_card(model(), 0.85).calls}
    assert stricter["normal"] == 0.5


def test_errors_are_told_apart_and_counted_at_the_threshold() -> None:
    alarms, misses = model_card(model(), 0.5).errors
    assert alarms.title == "Annotated normal, called abnormal: 1 cell"
    assert misses.title == "Annotated abnormal, called normal: 1 cell"
    assert [error.title[-7:] for error in model_card(model(), 0.7).errors] == [" 1 cell", "2 cells"]


def test_annotations_that_others_contradict_are_listed_while_they_stand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    doubtful = model()
    issue = LabelIssueRecord(cell=2, p_abnormal=0.9)
    figures = doubtful.manifest.cross_validation.model_copy(update={"label_issues": (issue,)})
    doubtful.manifest.cross_validation = figures
    (listed,) = model_card(doubtful, 0.5).label_issues
    assert listed == ("P A03 s1, x 5, y 5 px", CELLS[2][0], 0.9)
    columns = ["plate", "well", "site", "y_px", "x_px", "class"]
    nothing = SimpleNamespace(examples=(), map=None)  # no site is read
    monkeypatch.setattr(cards, "held_out_errors", lambda *_: nothing)
    for cls, n in ((CELLS[2][0], 1), ("unsure", 0)):
        said = pd.DataFrame([("P", "A03", 1, 5.0, 5.0, cls)], columns=columns)
        state: Any = SimpleNamespace(annotations=said)
        assert len(model_card(doubtful, 0.5, {"P": state}).label_issues) == n


def test_pictures_are_of_the_surest_errors_that_can_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cell whose site cannot be read is counted, and no other picture takes its place."""

    def cut(_states: Any, cell: TrainingCell, caption: str) -> Picture | None:
        if cell.well == "A07":
            return None
        return Picture(np.zeros((2, 2), np.uint8), caption)

    monkeypatch.setattr(views, "annotated_picture", cut)
    _, misses = views.held_out_errors(model(), 0.85, {}).examples
    assert misses.title.endswith("called normal: 3 cells")
    assert [picture.caption for picture in misses.pictures] == ["A05 0.20 blur", "A06 0.60 dead"]
    assert list(misses.rows) == [4, 5]
    with pytest.raises(Cancelled):
        views.held_out_errors(model(), 0.85, {}, job=Job(should_stop=lambda: True))


def test_the_map_shows_every_annotated_cell_and_which_were_wrong() -> None:
    many = CELLS * 4
    found = model_card(model(many), 0.5).annotated_map
    assert found is not None
    assert found.places.shape == (len(many), 2) and found.n_annotated == len(many)
    assert found.is_abnormal.tolist() == [cell[0] == "abnormal" for cell in many]
    assert found.is_wrong.sum() == 2 * 4
    assert found.rows.tolist() == list(range(len(many)))
    assert found.texts[4] == "P A05: annotated blur, held-out score 0.20"
    first, second = found.explained
    assert 0.5 < first <= 1 - second
    # Principal components: uncorrelated, the first the widest.
    cov = np.cov(found.places.T)
    assert cov[0, 0] > cov[1, 1]
    assert cov[0, 1] == pytest.approx(0, abs=1e-6 * cov[0, 0])


def test_what_is_not_known_of_each_cell_is_not_shown() -> None:
    """Some cells could not be read, so scores are not of these cells in this order."""
    card = model_card(model(CELLS * 4, n_scored=20), 0.5)
    assert (card.calls, card.errors, card.annotated_map) == ([], (), None)
    assert model_card(model(), 0.5).annotated_map is None  # too few for novelty
