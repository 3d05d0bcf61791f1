"""One piece of long work: how it reports progress, and how it is asked to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Cancelled(Exception):
    """Raised by long work after its `Job` was cancelled; what was finished stays valid."""


class Job:
    """Reports progress, and knows whether the work should go on.

    Every long function takes one as ``job``; the default, `NO_JOB`, reports to nobody and is
    never cancelled.

    Parameters
    ----------
    on_progress
        Called as ``on_progress(done, total, message)``; `total` is 0 while it is unknown.
    should_stop
        Asked between units of work; the work raises `Cancelled` when it answers true.

    Examples
    --------
    >>> from napari_hcs_qc import Job
    >>> job = Job(lambda done, total, message: print(f"{message}: {done} of {total}"))
    >>> job.report(1, 2, "Reading sites")
    Reading sites: 1 of 2
    >>> job.is_cancelled
    False
    """

    def __init__(
        self,
        on_progress: Callable[[int, int, str], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> None:
        self._on_progress = on_progress
        self._should_stop = should_stop

    def report(self, done: int, total: int, message: str) -> None:
        """Report that `done` of `total` units are finished, and what is being done."""
        if self._on_progress is not None:
            self._on_progress(done, total, message)

    @property
    def is_cancelled(self) -> bool:
        """Whether the work should stop."""
        return self._should_stop is not None and self._should_stop()

    def check(self) -> None:
        """Stop here if the job was cancelled.

        Raises
        ------
        Cancelled
            When it was.
        """
        if self.is_cancelled:
            raise Cancelled

    def silent(self) -> Job:
        """Give a job that reports nothing and is cancelled with this one."""
        return Job(None, self._should_stop)

    def with_progress(self, on_progress: Callable[[int, int, str], None]) -> Job:
        """Give a job that reports to `on_progress` and is cancelled with this one."""
        return Job(on_progress, self._should_stop)


NO_JOB = Job()
"""Reports to nobody and is never cancelled."""


def duration(seconds: float) -> str:
    """Say a time as a person would: ``40 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
