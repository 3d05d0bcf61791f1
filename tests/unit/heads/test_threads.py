from __future__ import annotations

import threading

import numpy as np
from threadpoolctl import ThreadpoolController

from napari_hcs_qc.heads.threads import n_processors, one_blas_thread


def blas_threads() -> list[int]:
    found = ThreadpoolController().select(user_api="blas").info()
    return [library["num_threads"] for library in found]


def test_the_limit_holds_in_every_thread_and_ends_with_the_last_holder() -> None:
    """Holders overlap and end in another order and thread than they began."""
    np.ones((4, 4)) @ np.ones((4, 4))
    before = blas_threads()
    first_left, may_leave, seen = threading.Event(), threading.Event(), []

    def other() -> None:
        with one_blas_thread():
            seen.append(blas_threads())
            entered.set()
            first_left.wait(5)
            seen.append(blas_threads())
            may_leave.wait(5)

    entered = threading.Event()
    thread = threading.Thread(target=other)
    with one_blas_thread():
        thread.start()
        assert entered.wait(5)
        assert set(blas_threads()) == {1}
    first_left.set()
    assert set(blas_threads()) == {1}  # the other still holds it
    may_leave.set()
    thread.join(5)
    assert [set(counts) for counts in seen] == [{1}, {1}]
    assert blas_threads() == before


def test_a_thread_that_is_not_the_first_can_limit_as_well() -> None:
    before = blas_threads()
    with one_blas_thread():
        pass
    seen: list[list[int]] = []

    def work() -> None:
        with one_blas_thread():
            seen.append(blas_threads())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(5)
    assert set(seen[0]) == {1}
    assert blas_threads() == before


def test_there_is_a_processor() -> None:
    assert 1 <= n_processors() <= 8
