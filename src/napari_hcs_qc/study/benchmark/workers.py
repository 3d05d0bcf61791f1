"""Draws of frozen heads side by side: in a thread at first, in processes where it pays."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch

from napari_hcs_qc.encoders.embed.crop_workers import limit_this_thread
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.heads.threads import n_processors
from napari_hcs_qc.study.benchmark.frozen import FrozenDraw, begin_process, timed_score

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from napari_hcs_qc.job import Job

Key = TypeVar("Key")

_WORKER_BYTES = 10**9
"""What a process with scikit-learn, PyTorch and a fit of a few hundred cells may need."""

_POLL_S = 0.1


def worker_count() -> int:
    """Count the processes that cores and free memory allow, 1 to 8."""
    free = _free_bytes()
    by_memory = n_processors() if free is None else free // _WORKER_BYTES
    return max(1, min(n_processors(), by_memory))


class Workers:
    """Scores draws: one at a time in a thread, or several in processes of their own.

    A head's fit holds Python's lock for most of its time, so threads would only take turns; a
    process takes seconds to begin, so there is one only where there is work for longer. Both give
    the same digits. Neither writes anything.
    """

    def __init__(self, n_processes: int = 1) -> None:
        self.n_processes = n_processes
        self._pool: Executor
        if n_processes > 1:
            # Not by a fork: PyTorch, BLAS and Qt have threads, which a fork does not copy.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(n_processes, context, begin_process)
        else:
            self._pool = _thread()

    def score(
        self, draws: Iterable[tuple[Key, FrozenDraw]], job: Job
    ) -> Iterator[tuple[Key, NDArray[np.float64] | HcsQcError, float]]:
        """Score draws; few are made ahead, so that their rows do not gather."""
        source = iter(draws)
        running: dict[Future[tuple[NDArray[np.float64], float]], tuple[Key, FrozenDraw]] = {}
        is_over = False
        while True:
            while not is_over and len(running) < 2 * self.n_processes:
                job.check()
                following = next(source, None)
                if following is None:
                    is_over = True
                    break
                running[self._pool.submit(timed_score, following[1])] = following
            if not running:
                return
            done, _ = wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            if not done:
                job.check()
            for future in done:
                job.check()
                key, draw = running.pop(future)
                try:
                    p, seconds = future.result()
                except BrokenProcessPool:
                    # Killed for its memory, or a script without a main guard began it: go on with
                    # one thread, which needs neither.
                    self._give_up_processes()
                    running.pop(future, None)
                    again = [(key, draw), *running.values()]
                    running = {self._pool.submit(timed_score, pair[1]): pair for pair in again}
                    break
                except HcsQcError as error:
                    yield key, error, 0.0
                else:
                    yield key, p, seconds

    def _give_up_processes(self) -> None:
        self.close()
        self.n_processes, self._pool = 1, _thread()

    def close(self) -> None:
        """End without waiting: a fit cannot be stopped, and ends by itself in seconds."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _thread() -> ThreadPoolExecutor:
    """Start a thread in which PyTorch uses one: its many threads only wait in such small steps."""
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(1, "hcs-qc benchmark", limit_this_thread, (1,))
    pool.submit(torch.get_num_threads).result()
    torch.set_num_threads(before)  # for the threads to come, see `limit_this_thread`
    return pool


def _free_bytes() -> int | None:
    """Give the memory that can be had without swapping; None where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:  # macOS tells only how much there is; half of it is likely to be free
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return None
