"""Background work: every way in which a job can end."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.gui.session import background_jobs as module
from napari_hcs_qc.gui.session.background_jobs import BackgroundJobs
from napari_hcs_qc.job import Cancelled, Job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytestqt.qtbot import QtBot


@pytest.fixture
def jobs(qtbot: QtBot) -> Iterator[BackgroundJobs]:
    made = BackgroundJobs()
    yield made
    made.close()


def count(n: int, job: Job) -> int:
    for done in range(n):
        job.check()
        job.report(done, n, "counting")
        time.sleep(0.005)
    return n


def test_a_job_gives_its_result_and_told_how_far_it_was(jobs: BackgroundJobs, qtbot: QtBot) -> None:
    seen: list[tuple[int, int, str]] = []
    job = jobs.start("Counting", count, 150, slot="count")
    job.progress.connect(lambda *step: seen.append(step))
    with qtbot.waitSignal(job.finished) as finished:
        pass
    assert finished.args == [150]
    assert seen
    assert all(total == 150 and message == "counting" for _, total, message in seen)
    assert jobs.running == ()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (HcsQcError("The plate is gone; bring it back."), "The plate is gone; bring it back."),
        (torch.OutOfMemoryError("CUDA out of memory"), "OutOfMemoryError: CUDA out of memory"),
        (RuntimeError("no"), "RuntimeError: no"),
        (KeyError("x"), "KeyError: 'x'"),
        (SystemExit(3), "SystemExit: 3"),
    ],
)
def test_any_error_ends_in_its_own_words_and_no_traceback_window(
    jobs: BackgroundJobs, qtbot: QtBot, error: BaseException, words: str
) -> None:
    def fail(**_job: Any) -> None:
        raise error

    job = jobs.start("Failing", fail, slot="fail")
    with qtbot.waitSignal(job.failed) as failed:
        pass
    assert failed.args == [words]
    assert jobs.running == ()


@settings(max_examples=10, derandomize=True)
@given(after_ms=st.integers(0, 120))
def test_a_job_cancelled_at_any_moment_ends_within_a_second(
    jobs: BackgroundJobs, qtbot: QtBot, after_ms: int
) -> None:
    job = jobs.start("Counting", count, 10_000, slot="count")
    results: list[object] = []
    job.finished.connect(results.append)
    qtbot.wait(after_ms)
    with qtbot.waitSignal(job.cancelled, timeout=1000):
        job.cancel()
    assert results == []
    assert jobs.running == ()


def test_a_newer_job_of_its_slot_replaces_one_and_the_stale_result_is_dropped(
    jobs: BackgroundJobs, qtbot: QtBot
) -> None:
    begun, gate = threading.Event(), threading.Event()

    def stubborn(**_job: Any) -> str:  # does not ask whether to stop
        begun.set()
        gate.wait(10)
        return "stale"

    old = jobs.start("Old", stubborn, slot="same")
    results: list[object] = []
    old.finished.connect(results.append)
    assert begun.wait(10)
    new = jobs.start("New", count, 2, slot="same")
    with qtbot.waitSignal(new.finished):
        pass
    assert jobs.newest("same") is None
    with qtbot.waitSignal(old.cancelled):
        gate.set()
    assert results == []


def test_what_was_cancelled_before_it_began_is_never_begun(
    jobs: BackgroundJobs, qtbot: QtBot
) -> None:
    called: list[str] = []
    job = jobs.start("Late", lambda **_job: called.append("begun"), slot="late", after_s=30)
    with qtbot.waitSignal(job.cancelled, timeout=5000):
        job.cancel()
    assert called == []


def test_what_waits_for_an_event_begins_with_it_and_can_be_cancelled(
    jobs: BackgroundJobs, qtbot: QtBot
) -> None:
    event, begun = threading.Event(), threading.Event()
    job = jobs.start("Then", lambda **_job: begun.set(), slot="then", after=event)
    never = jobs.start("Never", lambda **_job: begun.set(), slot="never", after=threading.Event())
    with qtbot.waitSignal(never.cancelled, timeout=5000):
        never.cancel()
    assert job.is_running and not begun.is_set()
    with qtbot.waitSignal(job.finished, timeout=5000):
        event.set()
    assert begun.is_set()


def test_jobs_of_other_slots_go_on_side_by_side(jobs: BackgroundJobs, qtbot: QtBot) -> None:
    first = jobs.start("First", count, 20, slot="first")
    second = jobs.start("Second", count, 2, slot="second")
    ended: list[str] = []
    for job in (first, second):
        # Not waitSignals: Qt deletes a job that has ended, and with it what would be disconnected.
        job.finished.connect(lambda _, title=job.title: ended.append(title))
    qtbot.waitUntil(lambda: sorted(ended) == ["First", "Second"])


def test_closing_ends_all_jobs_and_leaves_no_thread(qtbot: QtBot) -> None:
    jobs = BackgroundJobs()
    ended: list[str] = []
    for number in range(3):
        job = jobs.start(f"Job {number}", count, 100_000, slot=str(number))
        job.cancelled.connect(lambda: ended.append("cancelled"))
    qtbot.wait(30)
    started = time.monotonic()
    jobs.close()
    assert time.monotonic() - started < 2
    assert ended == ["cancelled"] * 3
    assert jobs.running == ()


_QUITS_EARLY = """
import time
from qtpy.QtCore import QCoreApplication, QTimer
from napari_hcs_qc.gui.session import background_jobs as module

module._CLOSE_S = 0.1
application = QCoreApplication([])
jobs = module.BackgroundJobs()

def work(**_job):
    time.sleep(1.0)
    print("work done", flush=True)

jobs.start("Working", work, slot="work", quiet=True)
QTimer.singleShot(50, application.quit)
application.aboutToQuit.connect(jobs.close)  # as a workspace does
application.exec()
print("quit", flush=True)
"""

_KEEPS_ITS_EXCEPTION = """
import gc
import threading
from qtpy.QtCore import QCoreApplication
from napari_hcs_qc.gui.session.background_jobs import BackgroundJobs

application = QCoreApplication([])
jobs = BackgroundJobs()

def work(**_job):
    try:
        raise ValueError("kept")
    except ValueError as error:
        kept = error  # a cycle: the exception holds this frame, and those that called it
    return "done"

job = jobs.start("Working", work, slot="work", quiet=True)
job.finished.connect(lambda result: print(result, flush=True))
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join()
gc.collect()  # before the main thread has handled any event
while jobs.running:
    application.processEvents()
"""


def test_work_that_heeds_no_cancel_ends_with_the_program_and_does_not_abort_it() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _QUITS_EARLY], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split("\n")[:2] == ["quit", "work done"]
    assert "Working is still running after the viewer was closed" in ended.stderr


def test_an_outcome_arrives_whatever_its_thread_has_left_behind() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _KEEPS_ITS_EXCEPTION], capture_output=True, text=True, timeout=120
    )
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr


def test_jobs_that_overlap_leave_the_warning_filters_as_they_were(
    jobs: BackgroundJobs, qtbot: QtBot
) -> None:
    before = list(warnings.filters), warnings.showwarning
    second_began = threading.Event()
    first = jobs.start("First", lambda **_job: second_began.wait(10), slot="first")
    qtbot.wait(30)

    def begin_and_go_on(**_job: Any) -> None:
        second_began.set()
        time.sleep(0.1)

    with qtbot.waitSignal(first.finished):
        second = jobs.start("Second", begin_and_go_on, slot="second")
    with qtbot.waitSignal(second.finished):
        pass
    assert (list(warnings.filters), warnings.showwarning) == before


def test_a_job_may_end_while_napari_makes_its_bar(
    jobs: BackgroundJobs, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    made: list[Any] = []
    real = module.cancelable_progress

    def slow_bar(**options: Any) -> Any:
        gate.set()
        qtbot.waitUntil(lambda: not jobs.running)  # events are handled, as napari does
        qtbot.wait(20)
        made.append(real(**options))
        return made[-1]

    monkeypatch.setattr(module, "cancelable_progress", slow_bar)
    monkeypatch.setattr(module, "_BAR_AFTER_S", 0.0)
    job = jobs.start("Working", lambda **_job: gate.wait(10), slot="work")
    with qtbot.waitSignal(job.finished):
        pass
    qtbot.waitUntil(lambda: bool(made))
    assert jobs._bars == {}


def test_a_function_may_stop_by_itself(jobs: BackgroundJobs, qtbot: QtBot) -> None:
    def stop(**_job: Any) -> None:
        raise Cancelled

    job = jobs.start("Stopping", stop, slot="stop")
    with qtbot.waitSignal(job.cancelled):
        pass
