"""Long work in the background: progress, cancel, and results that are dropped when stale."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.utils import cancelable_progress
from qtpy.QtCore import QCoreApplication, QEventLoop, QObject, QTimer, Signal

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Cancelled, Job

if TYPE_CHECKING:
    from collections.abc import Callable

_LOG = logging.getLogger(__name__)
_POLL_MS = 500  # between looks at progress: each that is shown repaints the window
_CLOSE_S = 20.0
_BAR_AFTER_S = 1.0
_EVENT_WITHIN_S, _LOOK_S = 10.0, 0.02
"""What is quicker shows no bar: its animation repaints the whole window, canvas and all, which
without a graphics card takes more of the processor than the work."""


@dataclass(frozen=True)
class _Outcome:
    """How a job ended."""

    result: Any = None
    error: BaseException | None = None
    is_cancelled: bool = False


class _Return(QObject):
    """The way from a job's thread to the main thread.

    It has no parent, so that no viewer that is closed takes it away from the thread.
    """

    ended = Signal(object)


class BackgroundJob(QObject):
    """One piece of work; made by `BackgroundJobs.start`.

    Signals come in the main thread; exactly one of `finished`, `failed` and `cancelled` ends a
    job. A job that was replaced by a newer one of its slot ends with `cancelled`, whatever its
    function did. Once it has ended Qt deletes it: its signals must not be touched any more, not
    even disconnected.
    """

    progress = Signal(int, int, str)
    finished = Signal(object)
    failed = Signal(str)
    cancelled = Signal()

    def __init__(self, title: str, slot: str, parent: QObject, *, is_quiet: bool = False) -> None:
        super().__init__(parent)
        self.title = title
        self.slot = slot
        self.is_quiet = is_quiet
        self.is_running = True
        self.began_s = time.monotonic()
        self.last_progress: tuple[int, int, str] = (0, 0, title)
        self._stop = threading.Event()
        self._seen: tuple[int, int, str] | None = None

    def cancel(self) -> None:
        """Ask the work to stop; it does so at its next step, and `cancelled` follows.

        Work that was done before it saw the question ends with `finished`: a model that is
        written is in use, and what is shown has to be what is on the disk.
        """
        self._stop.set()

    @property
    def is_cancelling(self) -> bool:
        """Whether it was asked to stop."""
        return self._stop.is_set()

    # In the worker's thread. Progress may come thousands of times a second: it is left lying
    # here and looked at by a timer of the main thread.

    def report(self, done: int, total: int, message: str) -> None:
        """Take note of progress."""
        self.last_progress = (done, total, message)

    def wait(self, seconds: float) -> bool:
        """Wait before the work begins; tells whether it was cancelled meanwhile."""
        return self._stop.wait(seconds)

    def waits_for(self, event: threading.Event | None) -> bool:
        """Wait for an event, for some seconds at most; tells whether the work goes on."""
        until = time.monotonic() + _EVENT_WITHIN_S
        while event is not None and not event.is_set() and time.monotonic() < until:
            if self.wait(_LOOK_S):
                return False
        return not self.should_stop()

    def should_stop(self) -> bool:
        """Whether the work should stop."""
        return self._stop.is_set()

    # In the main thread.

    def look(self) -> bool:
        """Emit progress if there is any since the last look."""
        if self.last_progress == self._seen:
            return False
        self._seen = self.last_progress
        self.progress.emit(*self._seen)
        return True

    def end(self, outcome: _Outcome) -> None:
        """Emit the one signal that ends the job."""
        self.is_running = False
        if outcome.is_cancelled:
            self.cancelled.emit()
        elif outcome.error is not None:
            self.failed.emit(error_text(outcome.error))
        else:
            self.finished.emit(outcome.result)


_ON_THE_WAY: dict[BackgroundJob, _Return] = {}
"""The ways of the jobs whose outcome has not arrived. Their threads alone must not hold them: when
one has ended with an exception that somebody kept, its way is garbage, and what the signal would
call is gone."""


def error_text(error: BaseException) -> str:
    """Give the text of an error: our own as they are, others with their type."""
    if isinstance(error, HcsQcError):
        return str(error)
    text = str(error).strip() or "no further details"
    return f"{type(error).__name__}: {text}"


class BackgroundJobs(QObject):
    """Runs functions of the core in background threads.

    Each job has a thread of its own. napari's `thread_worker` is not used: while it works it
    changes Python's warning filters, and of two workers that overlap the filters of the first
    stay for good, so that napari shows every warning of every plugin; and work that outlives the
    program's window makes it abort the process.
    """

    changed = Signal()
    started = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._running: list[BackgroundJob] = []
        self._newest: dict[str, BackgroundJob] = {}
        self._bars: dict[BackgroundJob, cancelable_progress] = {}
        self._timer = QTimer(self)
        self._timer.setInterval(_POLL_MS)
        self._timer.timeout.connect(self._look)
        self._is_closed = False
        self._is_looking = False

    @property
    def running(self) -> tuple[BackgroundJob, ...]:
        """Jobs whose function has not returned yet, oldest first."""
        return tuple(self._running)

    def newest(self, slot: str) -> BackgroundJob | None:
        """Give the running job of a slot that counts; None when there is none."""
        job = self._newest.get(slot)
        return job if job is not None and job.is_running else None

    def start(
        self,
        title: str,
        function: Callable[..., Any],
        *args: Any,
        slot: str,
        quiet: bool = False,
        after_s: float = 0.0,
        after: threading.Event | None = None,
        **kwargs: Any,
    ) -> BackgroundJob:
        """Run ``function(*args, job=…, **kwargs)`` in a thread; soon, where `after` never comes."""
        job = BackgroundJob(title, slot, self, is_quiet=quiet)
        if self._is_closed:  # the viewer is closing: what would begin now ends at once
            job.cancel()
            job.is_running = False
            QTimer.singleShot(0, job.cancelled)
            return job

        def run() -> _Outcome:
            if job.wait(after_s) or not job.waits_for(after):
                return _Outcome(is_cancelled=True)
            try:
                return _Outcome(function(*args, job=Job(job.report, job.should_stop), **kwargs))
            except Cancelled:
                return _Outcome(is_cancelled=True)
            except BaseException as error:  # noqa: BLE001 - whatever it is ends in a message
                if not isinstance(error, HcsQcError):
                    _LOG.warning("%s failed", title, exc_info=error)
                return _Outcome(error=error)

        way = _Return()

        def work() -> None:
            outcome = run()
            try:
                way.ended.emit(outcome)
            except RuntimeError:  # Qt has gone, and taken its objects along
                _LOG.warning("%s ended after the program's window was gone", title)

        def arrive(outcome: _Outcome) -> None:
            _ON_THE_WAY.pop(job, None)
            self._end(job, outcome)

        way.ended.connect(arrive)
        # Not a daemon: one that is in the middle of C++ when Python ends takes the process down.
        threading.Thread(target=work, name=f"hcs-qc job: {title}").start()
        _ON_THE_WAY[job] = way
        older = self.newest(slot)
        if older is not None:
            older.cancel()
        self._newest[slot] = job
        self._running.append(job)
        self._timer.start()
        self.started.emit(job)
        self.changed.emit()
        return job

    def cancel_all(self) -> None:
        """Ask all running jobs to stop, and drop what they still give."""
        self._newest.clear()
        for job in self._running:
            job.cancel()

    def close(self) -> None:
        """Cancel everything and wait until the threads have ended; nothing is started after.

        Jobs answer to a cancel within a second; while waiting, events are handled, so that their
        signals come and the window stays alive.
        """
        self._is_closed = True
        self.cancel_all()
        until = time.monotonic() + _CLOSE_S
        while self._running and time.monotonic() < until:
            QCoreApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 20)
            time.sleep(0.005)
        for job in self._running:
            _LOG.warning(
                "%s is still running after the viewer was closed; it did not stop", job.title
            )
        self._running.clear()
        self._timer.stop()
        for bar in self._bars.values():
            bar.close()
        self._bars.clear()

    def _look(self) -> None:
        # napari handles events while it makes a bar, so a job may end in the middle of this.
        if self._is_looking:
            return
        self._is_looking = True
        try:
            for job in self.running:
                if job in self._running:
                    self._look_at(job)
        finally:
            self._is_looking = False

    def _look_at(self, job: BackgroundJob) -> None:
        bar = self._bars.get(job)
        is_due = not job.is_quiet and time.monotonic() - job.began_s > _BAR_AFTER_S
        if bar is None and is_due:
            # napari shows it in its activity dock, with a cancel button.
            bar = cancelable_progress(total=0, desc=job.title, file=_Nowhere())
            if job not in self._running:
                bar.close()
                return
            self._bars[job] = bar
        if bar is not None and bar.is_canceled:
            job.cancel()
        if job.look() and bar is not None and job in self._running:
            _show(bar, *job.last_progress)

    def _end(self, job: BackgroundJob, outcome: _Outcome) -> None:
        if job not in self._running:
            return  # it was waited for in vain, and Qt has deleted it with its viewer
        self._running.remove(job)
        bar = self._bars.pop(job, None)
        if bar is not None:
            bar.close()
        if not self._running:
            self._timer.stop()
        is_stale = self._newest.get(job.slot) is not job or self._is_closed
        if self._newest.get(job.slot) is job:
            del self._newest[job.slot]
        job.end(_Outcome(is_cancelled=True) if is_stale else outcome)
        self.changed.emit()
        job.deleteLater()


class _Nowhere:
    """Where the terminal's half of a bar goes: napari's dock shows the other half."""

    def write(self, _text: str) -> None:
        """Write nothing."""

    def flush(self) -> None:
        """Flush nothing."""


def _show(bar: cancelable_progress, done: int, total: int, message: str) -> None:
    if total != bar.total:
        bar.total = total
    if message and message != bar.desc.removesuffix(": "):
        bar.set_description(message)
    if total:
        bar.update(done - bar.n)
