"""Work that cannot be asked to stop, done aside so that a person who cancels need not wait."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from typing import TYPE_CHECKING, TypeVar

from napari_hcs_qc.job import Cancelled, OnProgress, ShouldStop, no_progress

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_POLL_S = 0.05


def abandonable(
    work: Callable[[OnProgress, ShouldStop], T],
    should_stop: ShouldStop,
    on_progress: OnProgress = no_progress,
) -> T:
    """Do work in a thread of its own, and leave it to itself when it is to stop.

    What is abandoned runs to the end of its current step; its result is dropped. So `work` must
    write nothing.
    """
    is_abandoned = threading.Event()
    last: list[tuple[int, int, str]] = []

    def note(done: int, total: int, message: str) -> None:
        last[:] = [(done, total, message)]

    pool = ThreadPoolExecutor(1, "hcs-qc aside")
    try:
        job = pool.submit(work, note, is_abandoned.is_set)
        told = None
        while True:
            try:
                return job.result(timeout=_POLL_S)
            except NotYet:
                if job.done():  # an error of its own, of the same class
                    return job.result()
            latest = last[0] if last else None
            if latest is not None and latest != told:
                told = latest
                on_progress(*latest)
            if should_stop():
                raise Cancelled
    finally:
        # However this ends, Ctrl+C too: a process cannot end before its threads.
        is_abandoned.set()
        pool.shutdown(wait=False)
