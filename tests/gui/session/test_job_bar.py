"""What a panel shows of its work."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.gui.session.background_jobs import BackgroundJobs
from napari_hcs_qc.gui.session.job_bar import JobBar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytestqt.qtbot import QtBot

    from napari_hcs_qc.job import Job


@pytest.fixture
def jobs(qtbot: QtBot) -> Iterator[BackgroundJobs]:
    made = BackgroundJobs()
    yield made
    made.close()


@pytest.fixture
def bar(qtbot: QtBot, jobs: BackgroundJobs) -> JobBar:
    made = JobBar(jobs, ["embed"])
    qtbot.addWidget(made)
    made.show()
    return made


def steps(gate: threading.Event) -> Any:
    """Work that tells how far it is until it may end."""

    def work(job: Job) -> None:
        while not gate.wait(0.01):
            job.check()
            job.report(250, 1000, "Site A01 s1")

    return work


def test_work_shows_how_far_it_is_and_can_be_cancelled(
    qtbot: QtBot, jobs: BackgroundJobs, bar: JobBar
) -> None:
    assert not bar.findChild(QWidget, "bar").isVisible()
    job = jobs.start("Embedding", steps(threading.Event()), slot="embed")
    assert not bar.findChild(QWidget, "bar").isVisible()  # a blink of work shows nothing
    qtbot.waitUntil(bar.findChild(QWidget, "bar").isVisible)
    qtbot.waitUntil(lambda: bar.value() == "Embedding: Site A01 s1 (250 of 1,000)")
    assert bar.findChild(QWidget, "bar").value() == bar.findChild(QWidget, "bar").maximum() // 4
    with qtbot.waitSignal(job.cancelled, timeout=1000):
        qtbot.mouseClick(bar.findChild(QWidget, "cancel"), Qt.MouseButton.LeftButton)
        assert "stopping" in bar.value()
        assert not bar.findChild(QWidget, "cancel").isEnabled()
    assert bar.value() == "Embedding: cancelled."
    assert not bar.findChild(QWidget, "bar").isVisible()
    assert not bar.findChild(QWidget, "cancel").isVisible()


def test_a_failure_shows_its_own_words(qtbot: QtBot, jobs: BackgroundJobs, bar: JobBar) -> None:
    def fail(**_job: Any) -> None:
        raise HcsQcError("The disk is full.")

    with qtbot.waitSignal(jobs.start("Embedding", fail, slot="embed").failed):
        pass
    assert bar.value() == "Embedding failed: The disk is full."


def test_only_its_own_work_is_shown(qtbot: QtBot, jobs: BackgroundJobs, bar: JobBar) -> None:
    everything = JobBar(jobs)
    qtbot.addWidget(everything)
    everything.show()
    gate = threading.Event()
    jobs.start("Other", steps(gate), slot="other")
    jobs.start("Hidden", steps(gate), slot="hidden", quiet=True)
    qtbot.waitUntil(lambda: everything.value().startswith("Other"))
    assert bar.value() == ""
    gate.set()
    qtbot.waitUntil(lambda: not jobs.running)
    assert everything.value() == ""


def test_a_long_failure_takes_little_room_and_is_whole_in_its_tooltip(
    qtbot: QtBot, jobs: BackgroundJobs, bar: JobBar
) -> None:
    reason = "No image of a plate is recognised. " * 20

    def fail(**_job: Any) -> None:
        raise HcsQcError(reason)

    with qtbot.waitSignal(jobs.start("Opening", fail, slot="embed").failed):
        pass
    label = bar.findChild(QWidget, "text")
    assert reason.strip() in bar.value() and reason.strip() in label.toolTip()
    assert len(label.text()) < 250
