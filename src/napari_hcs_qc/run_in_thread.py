"""Work that cannot be asked to stop, run in a thread so that a person who cancels need not wait."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from typing import TYPE_CHECKING, TypeVar

from napari_hcs_qc.job import Job

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_POLL_S = 0.05


def run_in_thread(work: Callable[[Job], T], job: Job) -> T:
    """Run work in a thread of its own; when `job` is cancelled, leave it and stop with `Cancelled`.

    What is abandoned runs to the end of its current step and its result is dropped, so `work` must
    write nothing. It gets a job of its own; `job` is asked and reported to from this thread only.
    """
    is_abandoned = threading.Event()
    latest: list[tuple[int, int, str]] = []

    def note(done: int, total: int, message: str) -> None:
        latest[:] = [(done, total, message)]

    pool = ThreadPoolExecutor(1, "hcs-qc work")
    try:
        future = pool.submit(work, Job(note, is_abandoned.is_set))
        reported = None
        while True:
            try:
                return future.result(timeout=_POLL_S)
            except NotYet:
                if future.done():  # an error of its own, of the same class
                    return future.result()
            progress = latest[0] if latest else None
            if progress is not None and progress != reported:
                reported = progress
                job.report(*progress)
            job.check()
    finally:
        # However this ends, Ctrl+C too: a process cannot end before its threads.
        is_abandoned.set()
        pool.shutdown(wait=False)
