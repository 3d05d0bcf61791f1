from __future__ import annotations

import numpy as np
import pytest

from napari_hcs_qc.heads.kind_head import KindHead


def draw(counts: dict[str | None, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = {"debris": 0, "dead": 1, "blur": 2, "haze": 3, None: 4}
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    X = rng.normal(0, 0.3, (len(kinds), 12))
    for row, kind in enumerate(kinds):
        X[row, centres[kind]] += 3
    return X.astype(np.float32), np.array(kinds, dtype=object)


def test_it_tells_kinds_apart_that_have_five_examples() -> None:
    X, kinds = draw({"debris": 20, "dead": 12, "blur": 5, "haze": 4})
    head = KindHead().fit(X, kinds)
    assert head.kinds_ == ("blur", "dead", "debris")
    new, truth = draw({"debris": 10, "dead": 10, "blur": 10}, seed=1)
    predicted = head.predict(new)
    assert predicted.dtype == object
    is_known = np.array([kind is not None for kind in predicted])
    assert is_known.mean() > 0.6
    assert (predicted == truth)[is_known].mean() > 0.95
    assert {type(kind) for kind in predicted[is_known]} == {str}


def test_rarer_kinds_together_are_none_of_the_known() -> None:
    X, kinds = draw({"debris": 20, "dead": 12, "blur": 4, "haze": 4})
    head = KindHead().fit(X, kinds)
    assert head.kinds_ == ("dead", "debris")
    new, _ = draw({"haze": 10}, seed=1)
    assert (head.predict(new) == None).mean() > 0.7  # noqa: E711 - elementwise


@pytest.mark.parametrize("counts", [{}, {"debris": 4, "dead": 4}, {None: 30}])
def test_too_few_examples_predict_nothing(counts: dict[str | None, int]) -> None:
    X, kinds = draw(counts)
    head = KindHead().fit(X.reshape(-1, 12), kinds)
    assert head.kinds_ == ()
    assert list(head.predict(np.ones((3, 12)))) == [None] * 3


def test_a_single_known_kind_is_only_that_of_cells_like_it() -> None:
    X, kinds = draw({"debris": 9, None: 5})
    head = KindHead().fit(X, kinds)
    assert list(head.predict(X[:2])) == ["debris", "debris"]
    alike, _ = draw({"debris": 200}, seed=1)
    others, _ = draw({"dead": 100, "blur": 100}, seed=2)
    assert (head.predict(alike) == "debris").mean() > 0.4
    assert list(head.predict(others)) == [None] * 200


@pytest.mark.parametrize("n_debris", [1, 2, 3, 4])
def test_a_few_examples_of_a_rarer_kind_keep_it_apart_from_the_known(n_debris: int) -> None:
    X, kinds = draw({"dead": 6, "debris": n_debris})
    head = KindHead().fit(X, kinds)
    assert head.kinds_ == ("dead",)
    dead, _ = draw({"dead": 100}, seed=1)
    debris, _ = draw({"debris": 100}, seed=2)
    assert (head.predict(dead) == "dead").mean() > 0.5
    assert (head.predict(debris) == "dead").mean() < (0.4 if n_debris == 1 else 0.1)


def test_a_kind_that_nobody_annotated_is_unknown() -> None:
    X, kinds = draw({"dead": 12, "debris": 12})
    head = KindHead().fit(X, kinds)
    blur, _ = draw({"blur": 100}, seed=3)
    assert (head.predict(blur) == None).mean() > 0.9  # noqa: E711 - elementwise


def test_cells_that_could_not_be_embedded_have_no_kind() -> None:
    X, kinds = draw({"debris": 20, "dead": 12})
    for head in (KindHead().fit(X, kinds), KindHead().fit(X[:20], kinds[:20])):
        new = np.array(X[:3])
        new[1, 4] = np.nan
        assert list(head.predict(new)) == ["debris", None, "debris"]


def test_missing_kinds_may_be_nan_or_empty() -> None:
    X, kinds = draw({"debris": 8, "dead": 8})
    kinds[0], kinds[1] = float("nan"), ""
    assert KindHead().fit(X, kinds).kinds_ == ("dead", "debris")


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="2 kinds were given for 3 cells"):
        KindHead().fit(np.ones((3, 2)), ["debris", "dead"])


def test_one_example_twice_is_no_measure_of_distance() -> None:
    X, kinds = draw({"dead": 1})
    head = KindHead().fit(np.repeat(X, 6, axis=0), np.repeat(kinds, 6))
    assert list(head.predict(X)) == ["dead"]
