"""How many processors the heads use, and one thread a matrix product while they do."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST = 8  # scoring is bound by memory from there on

_lock = threading.Lock()
_n_holders = 0
_keeper: _Keeper | None = None


def n_processors() -> int:
    """Count the processors that this process may use, at most 8."""
    try:
        n_allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        n_allowed = os.cpu_count() or 1
    return min(_MOST, n_allowed)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep every matrix product of the process to one thread until the last holder has left.

    The limit is the process's, not the thread's: were each holder to put back what it had found,
    two that overlap would leave it at one for good.
    """
    global _n_holders, _keeper
    with _lock:
        _n_holders += 1
        if _n_holders == 1:
            _keeper = _Keeper()
    try:
        yield
    finally:
        with _lock:
            _n_holders -= 1
            if _n_holders == 0 and _keeper is not None:
                _keeper.release()
                _keeper = None


class _Keeper:
    """A thread that sets the limit and takes it back.

    threadpoolctl lets only the thread that has set a limit change it, and passes over the others
    in silence; the last holder need not be the first.
    """

    def __init__(self) -> None:
        self._is_set, self._is_over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep, name="hcs-qc blas", daemon=True)
        self._thread.start()
        self._is_set.wait()

    def release(self) -> None:
        """Take the limit back."""
        self._is_over.set()
        self._thread.join()

    def _keep(self) -> None:
        try:
            with _controller().limit(limits=1, user_api="blas"):
                self._is_set.set()
                self._is_over.wait()
        finally:
            self._is_set.set()


@cache
def _controller() -> Any:
    """Find the libraries once: looking for them takes longer than judging a site."""
    import scipy.linalg  # noqa: F401 - which has a library of its own

    return ThreadpoolController()
