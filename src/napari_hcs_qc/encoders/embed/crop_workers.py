"""Share a batch among threads: each takes a part through the whole network by itself.

Left alone, PyTorch splits every single layer among its threads, and they meet at the end of each.
Where another program, or our own reading thread, has one core for a moment, the others wait for
it there, spinning. With a part of the batch for each thread they meet once in a batch; on a busy
computer that is two to three times as fast.
"""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

import torch

from napari_hcs_qc.job import Cancelled, Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

# With more, Python's own lock, under which each layer is called, would hold them up.
MAX_WORKERS = 4
"""Most threads that share a batch."""
_LEAST_CROPS = 8
_POLL_S = 0.05


class CropWorkers:
    """As many threads as PyTorch would use (four at most, which then share the rest)."""

    def __init__(self, max_workers: int | None = MAX_WORKERS) -> None:
        self._max_workers = max_workers
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._n_threads = 0
        self._n_workers = 1

    def run(self, encode: Callable[[Tensor, Job], Tensor], crops: Tensor, job: Job) -> Tensor:
        """Encode a batch, in parts where it is large enough."""
        pool = self._pool_for(torch.get_num_threads())
        n_parts = min(self._n_workers, len(crops) // _LEAST_CROPS)
        if pool is None or n_parts < 2:
            return encode(crops, job)
        stopped = threading.Event()
        parts = [
            pool.submit(encode, part, Job(should_stop=stopped.is_set))
            for part in crops.chunk(n_parts)
        ]
        try:
            while True:
                done, running = wait(parts, timeout=_POLL_S, return_when=FIRST_EXCEPTION)
                if not running or any(part.exception() for part in done) or job.is_cancelled:
                    break
        finally:
            # Whatever happened, no part is still at work when the caller goes on.
            stopped.set()
            wait(parts)
        errors = [error for part in parts if (error := part.exception()) is not None]
        if errors:
            # A part that was stopped because another failed is not the reason.
            raise next((error for error in errors if not isinstance(error, Cancelled)), errors[0])
        return torch.cat([part.result() for part in parts])

    def _pool_for(self, n_threads: int) -> ThreadPoolExecutor | None:
        """Make the threads anew when PyTorch's number has changed; None for a single one."""
        with self._lock:
            if n_threads != self._n_threads:
                if self._pool is not None:
                    self._pool.shutdown()
                self._n_threads = n_threads
                self._n_workers = min(n_threads, self._max_workers or n_threads)
                self._pool = start_pool(self._n_workers, n_threads) if n_threads > 1 else None
            return self._pool


def start_pool(n_workers: int, n_threads: int) -> ThreadPoolExecutor:
    """Start threads that share `n_threads` of PyTorch; the caller and later threads keep theirs."""
    everyone = threading.Barrier(n_workers)
    before = torch.get_num_threads()

    def start() -> None:
        limit_this_thread(max(1, n_threads // n_workers))
        everyone.wait()

    pool = ThreadPoolExecutor(n_workers, thread_name_prefix="hcs-qc encoder")
    wait([pool.submit(start) for _ in range(n_workers)])
    torch.set_num_threads(before)
    return pool


def limit_this_thread(n_threads: int) -> None:
    """Let PyTorch use `n_threads` in a thread just begun.

    PyTorch keeps the number by thread, but a thread takes the one set last, anywhere, when it
    first needs it. So whoever starts the thread sets the number once more when this has returned,
    for the threads to come; and the number is asked for here, or it would be taken later.
    """
    torch.get_num_threads()
    torch.set_num_threads(n_threads)
