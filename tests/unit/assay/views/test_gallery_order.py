from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_hcs_qc.assay.embeddings.embed_plate import StackedRows
from napari_hcs_qc.assay.views.gallery_order import ORDERS, order_cells, suggest_next
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Cancelled, Job

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_NAN = float("nan")


def _order(order: Any, **given: Any) -> list[int]:
    given["p_abnormal"] = np.asarray(given["p_abnormal"], dtype=np.float32)
    n = len(given["p_abnormal"])
    given.setdefault("annotated_class", np.full(n, None, dtype=object))
    given["annotated_class"] = np.asarray(given["annotated_class"], dtype=object)
    found = order_cells(order, **given)
    assert found.dtype == np.int64
    return found.tolist()


_P = [0.9, _NAN, 0.1, 0.52, 0.3, 0.52]


def test_by_probability() -> None:
    assert _order("abnormal", p_abnormal=_P) == [0, 3, 5, 4, 2, 1]
    assert _order("normal", p_abnormal=_P) == [2, 4, 3, 5, 0, 1]
    assert _order("uncertain", p_abnormal=_P) == [3, 5, 4, 0, 2, 1]


def test_unlike_anything_annotated_first() -> None:
    far = np.array([0.4, 1.5, _NAN, 0.4, 3.0, 1.0], dtype=np.float32)
    assert _order("novelty", p_abnormal=_P, novelty=far) == [4, 1, 5, 0, 3, 2]
    assert _order("novelty", p_abnormal=_P, novelty=far, among=np.array([2, 0, 1])) == [1, 0, 2]
    for missing in (None, far[:4]):
        with pytest.raises(HcsQcError, match="not computed yet"):
            order_cells(
                "novelty",
                p_abnormal=np.array(_P),
                annotated_class=np.full(6, None, dtype=object),
                novelty=missing,
            )


def test_marked_ones_come_last_but_at_random() -> None:
    last = np.array([True, False, False, True, False, False])
    assert _order("abnormal", p_abnormal=_P, last=last) == [5, 4, 2, 1, 0, 3]
    assert _order("uncertain", p_abnormal=_P, last=last) == [5, 4, 2, 1, 3, 0]
    shuffled = _order("random", p_abnormal=_P, seed=3)
    assert _order("random", p_abnormal=_P, seed=3, last=last) == shuffled
    rows = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    assert set(_order("diverse", p_abnormal=_P, embeddings=rows, last=last)) == {1, 2, 4, 5}


def test_uncertain_means_near_the_threshold() -> None:
    assert _order("uncertain", p_abnormal=_P, threshold=0.85)[0] == 0
    assert _order("uncertain", p_abnormal=_P, threshold=0.2)[:2] == [2, 4]


def test_only_those_asked_for_and_at_most_so_many() -> None:
    assert _order("abnormal", p_abnormal=_P, among=np.array([4, 1, 0, 4])) == [0, 4, 1]
    assert _order("abnormal", p_abnormal=_P, limit=2) == [0, 3]
    assert _order("abnormal", p_abnormal=_P, among=np.array([], dtype=np.int64)) == []
    for order in ORDERS:
        found = _order(
            order,
            p_abnormal=_P,
            annotated_class=["abnormal"] * 6,
            novelty=np.arange(6, dtype=np.float32),
            embeddings=np.eye(6, dtype=np.float32),
            chosen=[0],
            among=np.array([2, 3, 5]),
            limit=2,
        )
        assert len(found) == 2
        assert set(found) < {2, 3, 5}


def test_a_plate_without_cells_has_an_empty_order() -> None:
    for order in set(ORDERS) - {"similar"}:
        nothing = {"novelty": np.empty(0), "embeddings": np.empty((0, 4), np.float32)}
        assert _order(order, p_abnormal=[], **nothing) == []


def test_random_is_a_shuffle_that_hangs_on_the_seed_only() -> None:
    p = np.linspace(0, 1, 500)
    one = _order("random", p_abnormal=p, seed=1)
    assert sorted(one) == list(range(500))
    assert one == _order("random", p_abnormal=p[::-1], seed=1)
    assert one != _order("random", p_abnormal=p, seed=2)
    assert abs(np.corrcoef(one, np.arange(500))[0, 1]) < 0.2


def test_disagreement_has_the_gravest_first_and_the_surest_agreement_last() -> None:
    said = ["normal", "abnormal", "normal", "abnormal", None, "unsure", "abnormal", "normal"]
    p = [0.95, 0.3, 0.4, 0.99, 0.0, 1.0, _NAN, 0.6]
    assert _order("disagreement", p_abnormal=p, annotated_class=said) == [0, 1, 7, 2, 3, 6]
    # With a threshold of 0.7 the last is a normal one for the model, too.
    found = _order("disagreement", p_abnormal=p, annotated_class=said, threshold=0.7)
    assert found == [1, 0, 7, 3, 2, 6]


def _standardised(embeddings: NDArray[Any]) -> NDArray[np.float64]:
    finite = embeddings[np.isfinite(embeddings).all(axis=1)].astype(np.float64)
    spread = finite.std(axis=0)
    return (embeddings.astype(np.float64) - finite.mean(axis=0)) / np.where(spread > 0, spread, 1)


def _cosines(embeddings: NDArray[Any], chosen: list[int]) -> NDArray[np.float64]:
    rows = _standardised(embeddings)
    goal = rows[chosen].mean(axis=0)
    return rows @ goal / (np.linalg.norm(rows, axis=1) * np.linalg.norm(goal))


@pytest.fixture
def embeddings() -> NDArray[np.float32]:
    """Features of very different size, one of them the same everywhere, two rows unreadable."""
    rng = np.random.default_rng(0)
    rows = rng.gamma(2.0, 1.0, (3000, 24)) * 10.0 ** rng.uniform(-3, 3, 24) + 5.0
    rows[:, 7] = 1.0
    rows = rows.astype(np.float32)
    rows[[5, 2999]] = np.nan
    return rows


@pytest.mark.parametrize("chosen", [[3], [3, 1700, 40]])
def test_similar_is_the_cosine_of_standardised_embeddings(
    embeddings: NDArray[np.float32], chosen: list[int]
) -> None:
    found = _order("similar", p_abnormal=np.zeros(3000), embeddings=embeddings, chosen=chosen)
    assert sorted(found) == list(range(3000))
    assert found[-2:] == [5, 2999]
    cosines = _cosines(embeddings, chosen)[found[:-2]]
    assert np.diff(cosines).max() < 1e-5
    if len(chosen) == 1:
        assert found[0] == chosen[0]


def test_similar_finds_the_group_of_the_chosen_cell() -> None:
    rng = np.random.default_rng(1)
    group = rng.integers(0, 4, 800)
    rows = (rng.normal(size=(4, 16))[group] * 3 + rng.normal(size=(800, 16))).astype(np.float32)
    one = int(np.flatnonzero(group == 2)[0])
    found = _order("similar", p_abnormal=np.zeros(800), embeddings=rows, chosen=[one])
    n = int((group == 2).sum())
    assert (group[found[:n]] == 2).mean() > 0.95


@pytest.mark.parametrize("order", ["similar", "diverse"])
def test_the_same_from_a_file_from_two_and_in_half_precision(
    embeddings: NDArray[np.float32], tmp_path: Path, order: str
) -> None:
    given = {"p_abnormal": np.zeros(3000), "chosen": [3], "limit": 40}
    expected = _order(order, embeddings=embeddings, **given)
    np.save(tmp_path / "rows.npy", embeddings)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert _order(order, embeddings=mapped, **given) == expected
    np.testing.assert_array_equal(mapped, embeddings)  # and the file is as it was
    stacked = StackedRows(embeddings[:2900], embeddings[2900:])
    assert _order(order, embeddings=stacked, **given) == expected
    half = _order(order, embeddings=embeddings.astype(np.float16), **given)
    assert len(set(half) & set(expected)) > 30


def test_rows_apart_are_taken_from_their_own_place(embeddings: NDArray[np.float32]) -> None:
    among = np.arange(0, 3000, 3)
    found = _order(
        "similar", p_abnormal=np.zeros(3000), embeddings=embeddings, chosen=[4], among=among
    )
    everything = _order("similar", p_abnormal=np.zeros(3000), embeddings=embeddings, chosen=[4])
    assert found == [row for row in everything if row % 3 == 0]


def test_similar_needs_a_cell_that_can_be_seen(embeddings: NDArray[np.float32]) -> None:
    given = {"p_abnormal": np.zeros(3000), "embeddings": embeddings}
    with pytest.raises(HcsQcError, match="none was selected"):
        _order("similar", **given)
    with pytest.raises(HcsQcError, match="the 1 selected have none"):
        _order("similar", chosen=[5], **given)
    assert _order("similar", chosen=[5, 8], **given)[0] == 8


def _k_centres(rows: NDArray[np.float64], known: list[int], n: int) -> list[int]:
    """Pick greedily, by the definition."""
    picked: list[int] = []
    for _ in range(n):
        centres = [*known, *picked]
        left = [row for row in range(len(rows)) if row not in picked]
        if centres:
            apart = np.linalg.norm(rows[left][:, None] - rows[centres], axis=2).min(axis=1)
            picked.append(left[int(np.argmax(apart))])
        else:
            picked.append(left[int(np.argmin(np.linalg.norm(rows[left], axis=1)))])
    return picked


@pytest.mark.parametrize("known", [[], [4, 9, 77]])
def test_diverse_is_the_greedy_k_centre(known: list[int]) -> None:
    rows = np.random.default_rng(3).normal(size=(150, 6)).astype(np.float32)
    said = np.full(150, None, dtype=object)
    said[known] = "normal"
    found = _order(
        "diverse", p_abnormal=np.zeros(150), embeddings=rows, annotated_class=said, limit=20
    )
    assert found == _k_centres(_standardised(rows), known, 20)


def test_diverse_reaches_every_group_before_it_comes_again() -> None:
    rng = np.random.default_rng(4)
    group = np.repeat(np.arange(8), [600, 200, 100, 50, 25, 12, 6, 3])
    rows = (rng.normal(size=(8, 32))[group] * 8 + rng.normal(size=(len(group), 32))).astype(
        np.float32
    )
    found = _order("diverse", p_abnormal=np.zeros(len(rows)), embeddings=rows, limit=8)
    assert sorted(group[found]) == list(range(8))


def test_diverse_leaves_out_what_has_no_embedding_and_repeats_nothing() -> None:
    rows = np.zeros((30, 3), np.float32)
    rows[:10] = np.nan
    rows[20:] = 1.0
    found = _order("diverse", p_abnormal=np.zeros(30), embeddings=rows)
    assert sorted(found) == list(range(10, 30))
    assert {found[0] < 20, found[1] < 20} == {True, False}
    assert _order("diverse", p_abnormal=np.zeros(30), embeddings=np.full_like(rows, np.nan)) == []


def test_diverse_takes_a_sample_of_a_large_plate() -> None:
    rows = np.random.default_rng(5).normal(size=(20_000, 4)).astype(np.float32)
    given = {"p_abnormal": np.zeros(20_000), "embeddings": rows}
    found = _order("diverse", **given)
    assert len(set(found)) == 500
    assert max(found) > 15_000
    assert found == _order("diverse", **given)
    assert found != _order("diverse", seed=1, **given)


@pytest.mark.parametrize("order", ["similar", "diverse"])
def test_it_stops_and_tells_how_far_it_is(embeddings: NDArray[np.float32], order: str) -> None:
    given: dict[str, Any] = {
        "p_abnormal": np.zeros(3000), "embeddings": embeddings, "chosen": [3],
    }  # fmt: skip
    calls: list[tuple[int, int]] = []
    _order(order, job=Job(lambda done, total, _text: calls.append((done, total))), **given)
    assert calls[0][0] == 0
    assert calls[-1][0] == calls[-1][1] > 0
    for after in (0, 1, 3):
        asked: list[int] = []

        def stop(asked: list[int] = asked, after: int = after) -> bool:
            asked.append(0)
            return len(asked) > after

        with pytest.raises(Cancelled):
            _order(order, job=Job(should_stop=stop), **given)


def test_what_cannot_be_ordered_is_told() -> None:
    with pytest.raises(HcsQcError, match="Unknown order 'age'"):
        _order("age", p_abnormal=_P)
    with pytest.raises(HcsQcError, match="6 probabilities but 2"):
        _order("random", p_abnormal=_P, annotated_class=[None, None])
    with pytest.raises(HcsQcError, match="no cell 6"):
        _order("random", p_abnormal=_P, among=np.array([0, 6]))
    with pytest.raises(HcsQcError, match="no cell -1"):
        _order("similar", p_abnormal=_P, chosen=[-1], embeddings=np.eye(6, dtype=np.float32))
    with pytest.raises(HcsQcError, match="none are available"):
        _order("diverse", p_abnormal=_P)
    with pytest.raises(HcsQcError, match="those of 5 cells"):
        _order("similar", p_abnormal=_P, chosen=[0], embeddings=np.eye(5, dtype=np.float32))


def test_similar_is_quick(tmp_path: Path) -> None:
    """A tenth of a large assay: 0.5 s are meant for the whole, far more is allowed here."""
    rows = np.random.default_rng(0).gamma(2.0, 1.0, (10_000, 944)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    start = time.perf_counter()
    _order("similar", p_abnormal=np.zeros(10_000), embeddings=mapped, chosen=[1])
    assert time.perf_counter() - start < 1.0


def _suggested(p: list[float], sites: list[int], n: int, **given: Any) -> list[int | None]:
    seen: list[int] = []
    annotated = given.pop("annotated", np.zeros(len(p), dtype=bool))
    found: list[int | None] = []
    for _ in range(n):
        suggestion = suggest_next(np.array(p), annotated, np.array(sites), seen=seen, **given)
        found.append(None if suggestion is None else suggestion.row)
        if suggestion is not None:
            seen.append(suggestion.row)
    return found


def test_the_most_uncertain_comes_next_one_a_site_then_again() -> None:
    p = [0.5, 0.51, 0.52, 0.9, 0.6, 0.1]
    sites = [0, 0, 0, 1, 1, 2]
    found = _suggested(p, sites, 7)
    assert found[:4] == [0, 4, 5, 1] and set(found[4:6]) == {3, 2} and found[6] is None
    assert _suggested(p, sites, 3, threshold=0.9) == [3, 2, 5]


def test_one_in_five_is_random_among_those_the_model_has_judged() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0, 1, 400)
    p[:100] = _NAN
    drawn = []
    for seed in range(60):
        found = _suggested(p.tolist(), list(range(400)), 10, seed=seed)
        issues = [row for place, row in enumerate(found) if place % 5 != 4]
        chosen = {row for row in (found[4], found[9]) if row is not None}
        nearest = [row for row in np.argsort(np.abs(p - 0.5)).tolist() if row not in chosen]
        assert issues == nearest[:8]
        drawn.extend(chosen)
    # As likely from anywhere: the mean distance from the threshold is that of all cells.
    assert min(drawn) >= 100 and len(set(drawn)) > 80
    distance = np.abs(p[drawn] - 0.5)
    assert abs(distance.mean() - 0.25) < 4 * 0.1443 / np.sqrt(len(drawn))


def test_annotated_cells_are_not_suggested() -> None:
    annotated = np.array([True, False, False, True])
    assert _suggested([0.5, 0.4, 0.9, 0.5], [0, 0, 1, 1], 3, annotated=annotated) == [1, 2, None]


def test_cells_without_a_word_of_the_model_come_last() -> None:
    assert _suggested([_NAN, 0.99, _NAN], [0, 0, 0], 2)[0] == 1
    assert _suggested([_NAN, 0.99], [0, 1], 3) == [1, 0, None]


def test_before_the_first_model_the_choice_is_random_over_sites() -> None:
    p, sites = [_NAN] * 60, [row // 10 for row in range(60)]
    found = _suggested(p, sites, 12, seed=3)
    assert {sites[row] for row in found[:6] if row is not None} == set(range(6))
    assert {sites[row] for row in found[6:] if row is not None} == set(range(6))
    assert len(set(found)) == 12
    assert found == _suggested(p, sites, 12, seed=3)
    assert found != _suggested(p, sites, 12, seed=4)


def test_starting_cells_come_before_the_doubts_of_the_model() -> None:
    p = np.array([0.5, 0.9, 0.1, 0.51, 0.2, 0.8])
    sites = np.arange(6)
    annotated = np.zeros(6, dtype=bool)
    starting = np.array([4, 1, 5])
    assert suggest_next(p, annotated, sites, starting=starting) == (4, "first")
    annotated[4] = True
    assert suggest_next(p, annotated, sites, starting=starting, seen=[1]) == (5, "first")
    # Three are known, so many as there are to begin with: now the doubts.
    annotated[2] = True
    assert suggest_next(p, annotated, sites, starting=starting, seen=[1]) == (0, "suggested")
    with pytest.raises(HcsQcError, match="no cell 6"):
        suggest_next(p, annotated, sites, starting=[6])


def test_used_up_starting_cells_are_passed_over() -> None:
    p = np.array([0.5, 0.9, 0.1])
    annotated = np.array([False, True, False])
    found = suggest_next(p, annotated, np.arange(3), starting=[1, 1])
    assert found == (0, "suggested")


def test_how_a_cell_was_chosen_is_told() -> None:
    p, annotated, sites = np.full(10, 0.5), np.zeros(10, dtype=bool), np.arange(10)
    found = suggest_next(p, annotated, sites, seen=[0, 1, 2, 3])
    assert found is not None and found.chosen == "random"  # every fifth
    found = suggest_next(np.full(10, _NAN), annotated, sites)
    assert found is not None and found.chosen == "random"  # nothing is known of any


def test_nothing_to_suggest() -> None:
    assert _suggested([], [], 1) == [None]
    assert _suggested([0.5], [0], 1, annotated=np.array([True])) == [None]
    with pytest.raises(HcsQcError, match="no cell 9"):
        suggest_next(np.array([0.5]), np.array([False]), np.array([0]), seen=[9])


def test_cells_that_are_left_out_do_not_count_as_annotated_and_are_never_suggested() -> None:
    p, sites = np.array([0.5, 0.5, 0.1, 0.9, 0.45, 0.2]), np.arange(6)
    none, cut = np.zeros(6, bool), np.array([True, True, False, True, False, False])
    # Three are left out, which are not the two starting cells that were dealt with.
    assert suggest_next(p, none, sites, starting=[1, 5, 2], left_out=cut) == (5, "first")
    assert suggest_next(p, none, sites, left_out=cut) == (4, "suggested")
    assert suggest_next(p, ~cut, sites, left_out=cut) is None
