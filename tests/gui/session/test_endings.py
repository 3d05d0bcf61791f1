"""However it ends, it ends in a message: nothing said is lost, and the old model stays in use."""

from __future__ import annotations

import gc
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from qtpy.QtWidgets import QApplication, QWidget

from napari_hcs_qc.assay.annotations import journal_schema
from napari_hcs_qc.assay.annotations.journal import Journal
from napari_hcs_qc.assay.models.model_in_use import chosen_model
from napari_hcs_qc.assay.models.train_options import TrainOptions, requested_recipe
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.encoders import registry
from napari_hcs_qc.gui.canvas import workspace as workspaces
from napari_hcs_qc.gui.canvas.our_layers import CELLS
from napari_hcs_qc.gui.session.background_jobs import BackgroundJobs
from napari_hcs_qc.gui.session.job_bar import JobBar
from napari_hcs_qc.gui.window.message_line import MessageLine
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.workflow import training

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot

A01, B01 = SiteKey("A01", 1), SiteKey("B01", 1)
# Seeds of random moments; more of them in the slow tests.
AT_RANDOM = [0, 1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 10))]


# ---- what must be as before ----------------------------------------------------------------


class Before:
    """What an assay and its session were, to be compared with what they are."""

    def __init__(self, desk: Any) -> None:
        self.desk, self.path = desk, desk.session.assay.folder.path
        self.model, self.scored = desk.session.models.model, desk.session.models.scored
        self.annotated = desk.session.annotations.cache.table
        self.p_abnormal = desk.view.cells.p_abnormal.copy()
        self.colours = desk.viewer.layers[CELLS].border_color.copy()
        self.files = self._files()

    def _files(self) -> set[str]:
        made = [self.path / name for name in ("models", "predictions")]
        found = (path for folder in made for path in folder.rglob("*"))
        return {str(path.relative_to(self.path)) for path in found if path.is_file()}

    def check(self) -> None:
        """The old model is in use, in the window and on the disk, and judges as it did."""
        session = self.desk.session
        assert session.models.model.id == self.model.id
        assert session.models.scored.prediction.model == self.model.id
        assert session.models.scored.prediction.table.equals(self.scored.prediction.table)
        assert session.models.scored.scores.wells.equals(self.scored.scores.wells)
        np.testing.assert_array_equal(self.desk.view.cells.p_abnormal, self.p_abnormal)
        np.testing.assert_array_equal(self.desk.viewer.layers[CELLS].border_color, self.colours)
        assert chosen_model(AssayFolder.open(self.path)).id == self.model.id
        assert self._files() == self.files  # no rubbish
        self.nothing_lost()

    def nothing_lost(self) -> None:
        """Everything said before is in the journal, and shown."""
        kept = AssayFolder.open(self.path).journal().annotations()
        assert len(kept) == len(self.annotated)
        assert set(kept["action"]) == set(self.annotated["action"])
        assert len(self.desk.session.annotations.cache.table) == len(self.annotated)


def our_threads() -> list[threading.Thread]:
    """Threads that belong to a window's work; the encoder's stay with it for the process."""
    return [
        thread
        for thread in threading.enumerate()
        if thread is not threading.main_thread()
        and not thread.name.startswith(("hcs-qc encoder", "Dummy-", "tqdm", "pytest_timeout"))
        and type(thread).__name__ != "TMonitor"
    ]


@pytest.fixture
def no_leak(qtbot: QtBot) -> Iterator[Callable[[], None]]:
    """Compare threads, widgets and workspaces with those at the beginning of the test."""
    threads = set(our_threads())
    widgets = {id(widget) for widget in QApplication.topLevelWidgets()}
    spaces = set(workspaces._WORKSPACES)

    def check() -> None:
        def left() -> list[threading.Thread]:
            return [thread for thread in our_threads() if thread not in threads]

        qtbot.waitUntil(lambda: not left(), timeout=60_000)
        qtbot.wait(20)  # deleteLater
        assert set(workspaces._WORKSPACES) == spaces
        found = [one for one in QApplication.topLevelWidgets() if id(one) not in widgets]
        assert found == []

    yield check


@pytest.fixture
def assay(desk: Any, assay_path: Path) -> Any:
    """Give a workspace with a trained assay."""
    return desk.open(assay_path)


@pytest.fixture
def bar(qtbot: QtBot, assay: Any) -> JobBar:
    made = JobBar(assay.session.jobs, ["retrain", "embed"])
    qtbot.addWidget(made)
    return made


# ---- heads and encoders that fail ----------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "error", "words"),
    [
        ("fit_heads", np.linalg.LinAlgError("Singular matrix"), "LinAlgError: Singular matrix"),
        ("predict_plate", MemoryError(), "MemoryError"),
        ("score_state", RuntimeError("no luck"), "RuntimeError: no luck"),
        ("save_heads", MemoryError(), "MemoryError"),
    ],
)
def test_a_head_that_raises_leaves_the_old_model_in_use(
    assay: Any,
    bar: JobBar,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    error: Exception,
    words: str,
) -> None:
    before = Before(assay)

    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(training, step, fail)
        assay.training.retrain()
        assay.idle()
    before.check()
    assert any(words in text for text in assay.errors())
    assert bar.value().startswith("Retraining failed: ")
    assert words in bar.value()
    assay.training.retrain()  # and with what works it works
    assay.idle()
    assert assay.session.models.model.id != before.model.id


@pytest.mark.parametrize("step", ["save_prediction", "publish_model", "use_latest"])
def test_a_disk_that_fails_at_the_end_leaves_no_half_a_model(
    assay: Any, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before = Before(assay)
    real = getattr(training, step)

    def written_and_failed(*args: Any, **kwargs: Any) -> None:
        real(*args, **kwargs)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training, step, written_and_failed)
    assay.training.retrain()
    assay.idle()
    before.check()
    assert any("No space left" in text for text in assay.errors())


@contextmanager
def memory_for(n_crops: int) -> Iterator[list[int]]:
    """Let the kept encoder's network raise as CUDA does on more crops; gives the sizes tried."""
    recipe = requested_recipe(TrainOptions())
    encoder = registry.cached_encoder(
        name=registry.DEFAULT_ENCODER, stages=recipe.stages, pooling=recipe.pooling
    )
    sizes: list[int] = []

    def small_memory(_module: Any, args: Any) -> None:
        sizes.append(len(args[0]))
        if len(args[0]) > n_crops:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    hook = encoder._network.module.register_forward_pre_hook(small_memory)
    most, compiled = encoder._max_batch, encoder._compiled
    encoder._compiled = None  # on PyTorch, whose network can be hooked
    try:
        yield sizes
    finally:
        hook.remove()
        encoder._max_batch, encoder._compiled = most, compiled


def test_too_large_a_batch_is_halved_and_the_embeddings_are_the_same(
    assay: Any, assay_path: Path
) -> None:
    expected = np.asarray(assay.session.models.embeddings).copy()
    before = Before(assay)
    with memory_for(3) as sizes:
        forget_embeddings(assay)
        assay.tasks.embed()
        assay.idle()
    assert assay.errors() == []
    assert max(sizes) > 3, "nothing was too large"
    assert sum(size for size in sizes if size <= 3) >= len(expected)
    np.testing.assert_allclose(np.asarray(assay.session.models.embeddings), expected, atol=1e-4)
    before.check()


def test_an_encoder_without_memory_for_one_crop_ends_in_a_message(
    assay: Any, bar: JobBar, assay_path: Path
) -> None:
    before = Before(assay)
    shown = assay.session.models.embeddings
    with memory_for(0):
        for task in (assay.tasks.embed, assay.training.retrain):
            forget_embeddings(assay)
            task()
            assay.idle()
            assert "not enough memory" in assay.errors()[-1]
            assert "failed: " in bar.value()
            before.check()
    assert assay.session.models.embeddings is shown
    assay.training.retrain()  # the same encoder, with memory again
    assay.idle()
    assert assay.session.models.model.id != before.model.id
    before.nothing_lost()


def forget_embeddings(desk: Any) -> None:
    """Take the stores away, so that the encoder has to work."""
    shutil.rmtree(desk.session.assay.folder.embeddings_folder)


# ---- cancelled -----------------------------------------------------------------------------


def took(desk: Any, start: Callable[[], Any]) -> float:
    """Seconds that a job takes here and now."""
    began = time.monotonic()
    start()
    desk.idle()
    return time.monotonic() - began


@pytest.mark.parametrize("number", AT_RANDOM)
def test_retraining_cancelled_at_any_moment_is_as_if_it_was_never_begun(
    assay: Any, bar: JobBar, number: int
) -> None:
    # Where it ends before the cancel is seen, the new model is in use, wholly.
    random.seed(number)
    assay.training.measure = lambda *_, **_also: None  # figures are not the matter here
    assay.training.measure_novelty = lambda **_also: None
    usual = took(assay, assay.training.retrain)
    assay.annotate("abnormal", number % len(assay.view.cells))
    # What was said counts for the wells once the hand rests: that is not the training's doing.
    assay.qtbot.waitUntil(lambda: not assay.training.will_score)
    assay.idle()
    before = Before(assay)
    job = assay.training.retrain()
    ended: list[str] = []
    job.finished.connect(lambda _: ended.append("finished"))
    job.cancelled.connect(lambda: ended.append("cancelled"))
    job.failed.connect(ended.append)
    assay.qtbot.wait(round(1000 * random.random() * 0.8 * usual))
    job.cancel()
    assay.idle()
    assert ended in (["cancelled"], ["finished"])
    if ended == ["cancelled"]:
        before.check()
        assert "cancelled" in bar.value()
    else:
        model = chosen_model(AssayFolder.open(before.path)).id
        assert (
            model == assay.session.models.model.id == assay.session.models.scored.prediction.model
        )
        before.nothing_lost()
    assert assay.errors() == []
    assay.training.retrain()  # nothing is in its way
    assay.idle()
    assert assay.errors() == []


@pytest.mark.parametrize("number", AT_RANDOM)
def test_embedding_cancelled_at_any_moment_goes_on_where_it_stopped(
    assay: Any, number: int
) -> None:
    random.seed(100 + number)
    expected = np.asarray(assay.session.models.embeddings).copy()
    before = Before(assay)
    forget_embeddings(assay)
    job = assay.tasks.embed()
    assay.qtbot.wait(random.randrange(400))
    job.cancel()
    assay.idle()
    before.check()
    assay.tasks.embed()
    assay.idle()
    assert assay.errors() == []
    np.testing.assert_allclose(np.asarray(assay.session.models.embeddings), expected, atol=1e-4)


def test_a_cancel_that_comes_too_late_shows_what_is_on_the_disk(
    assay: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Before(assay)
    job: list[Any] = []
    real = training.use_latest

    def cancelled_now(*args: Any) -> None:
        real(*args)
        job[0].cancel()

    monkeypatch.setattr(training, "use_latest", cancelled_now)
    job.append(assay.training.retrain())
    assay.idle()
    in_use = chosen_model(AssayFolder.open(before.path)).id
    assert in_use != before.model.id
    assert assay.session.models.model.id == in_use == assay.session.models.scored.prediction.model


def test_a_threshold_moved_while_the_head_is_trained_holds(
    assay: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    real = training.fit_heads

    def slowly(*args: Any) -> Any:
        go_on.wait(60)
        return real(*args)

    monkeypatch.setattr(training, "fit_heads", slowly)
    assay.training.retrain()
    assay.qtbot.wait(50)
    assay.session.models.set_threshold(0.93)
    free = [i for i, word in enumerate(assay.view.cells.annotated_class) if word is None]
    assert assay.annotate("abnormal", free[0])
    go_on.set()
    assay.qtbot.wait(50)
    assay.idle()
    assay.qtbot.wait(600)  # clicks settle before the wells follow
    assay.idle()
    assert assay.session.models.scored.threshold == 0.93
    assert assay.session.models.scored.prediction.model == assay.session.models.model.id
    said = assay.session.models.scored.state.annotations
    assert len(said) == len(assay.session.annotations.cache.table)


def test_quick_work_and_cancels_need_not_wait_for_long_work(qtbot: QtBot) -> None:
    jobs = BackgroundJobs()
    gate = threading.Event()

    def long(**_job: Any) -> None:
        gate.wait(60)

    n_long = 2 * (os.cpu_count() or 1) + 2
    try:
        for number in range(n_long):
            jobs.start(f"Long {number}", long, slot=str(number))
        quick = jobs.start("Quick", lambda **_job: "done", slot="quick")
        with qtbot.waitSignal(quick.finished, timeout=30_000):
            pass
    finally:
        gate.set()
        jobs.close()


# ---- a plate that vanishes -----------------------------------------------------------------


@pytest.fixture
def vanished(desk: Any, assay_path: Path, plate_path: Path, tmp_path: Path) -> Any:
    """Give an open assay whose plate is taken away under it."""
    AssayFolder.open(assay_path).relocate_plate("SIM", plate_path)
    desk.open(assay_path)
    assert desk.messages == []
    plate_path.rename(tmp_path / "elsewhere")
    return desk


def test_a_site_of_a_plate_that_vanished_says_so_and_the_rest_is_there(vanished: Any) -> None:
    desk, before = vanished, Before(vanished)
    sites = desk.session.selection.plate.sites
    far = sites[-2]  # not read ahead
    desk.session.selection.go_to(far)
    desk.idle()
    assert desk.view.on_screen == far
    assert any(level == "warning" and str(far) in text for level, text in desk.messages)
    assert not np.asarray(desk.viewer.layers["DNA"].data).any()
    assert len(desk.view.cells) > 0
    assert desk.annotate("normal", 0)
    assert desk.annotation_of(0) == "normal"
    assert desk.session.annotations.undo()
    desk.session.selection.go_to(sites[0])
    desk.idle()
    before.nothing_lost()


def test_retraining_and_exporting_without_the_plate_end_in_a_message_or_in_a_result(
    vanished: Any, tmp_path: Path
) -> None:
    desk, before = vanished, Before(vanished)
    desk.training.retrain()  # embeddings are on disk, images are not needed
    desk.idle()
    assert desk.errors() == []
    assert desk.session.models.model.id != before.model.id
    out: list[Any] = []
    desk.tasks.exported.connect(out.append)
    desk.tasks.export(tmp_path / "out")
    desk.idle()
    assert len(out) + len(desk.errors()) == 1
    for text in desk.errors():
        assert str(tmp_path) in text
    before.nothing_lost()


def test_embedding_without_the_plate_changes_nothing(vanished: Any) -> None:
    desk, before = vanished, Before(vanished)
    forget_embeddings(desk)
    for task in (desk.training.retrain, desk.tasks.embed, desk.tasks.find_cells):
        n_messages = len(desk.messages)
        task()
        desk.idle()
        assert len(desk.messages) > n_messages, "nothing was reported"
        assert not any("Error:" in text for _, text in desk.messages)  # in our own words
    assert desk.session.models.model.id == before.model.id
    before.nothing_lost()


def test_a_plate_that_is_back_is_shown_again(
    vanished: Any, plate_path: Path, tmp_path: Path
) -> None:
    desk, before = vanished, Before(vanished)
    far = desk.session.selection.plate.sites[-2]
    desk.session.selection.go_to(far)
    desk.idle()
    (tmp_path / "elsewhere").rename(plate_path)
    desk.session.selection.go_to(A01)
    desk.session.selection.go_to(far)
    desk.idle()
    assert np.asarray(desk.viewer.layers["DNA"].data).any()
    desk.session.selection.go_to(A01)
    desk.idle()
    before.check()


def test_reopening_without_the_plate_loses_nothing(vanished: Any) -> None:
    desk, before = vanished, Before(vanished)
    desk.session.open(before.path)
    desk.idle()
    assert desk.session.selection.plate is None
    assert any(level == "warning" for level, _ in desk.messages)
    before.nothing_lost()


def test_an_assay_folder_that_vanishes_ends_in_messages(
    assay: Any, assay_path: Path, tmp_path: Path
) -> None:
    before = Before(assay)
    assay_path.rename(tmp_path / "moved")
    assert not assay.annotate("normal", 0)
    assert "does not exist" in assay.errors()[-1]
    assay.session.annotations.read_journal()
    assert not assay.session.annotations.undo()
    assert not assay.session.annotations.decide("SIM", "A01", "keep")
    for task in (assay.training.retrain, assay.tasks.embed, assay.training.score_again):
        task()
        assay.idle()
    assay.session.models.set_threshold(0.8)
    assay.session.options.set_value(TrainOptions(head="knn"))
    assay.qtbot.wait(600)
    assay.idle()
    assert assay.session.models.model.id == before.model.id
    assert not assay_path.exists()  # no ghost of it is made
    (tmp_path / "moved").rename(assay_path)
    before.nothing_lost()
    assert assay.annotate("normal", 0)


# ---- a journal that cannot be written ------------------------------------------------------


@contextmanager
def refusing_journal(statement: str) -> Iterator[None]:
    """Let SQLite refuse as a disk would, by one more statement on each connection."""
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def refusing(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        database = connect(*args, **kwargs)
        database.execute(statement)
        return database

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal_schema.sqlite3, "connect", refusing)
        yield


@pytest.mark.parametrize(
    ("statement", "words"),
    [("PRAGMA max_page_count = 1", "disk is full"), ("PRAGMA query_only = 1", "read-only")],
)
def test_a_journal_that_refuses_leaves_colour_and_memory_as_they_were(
    assay: Any, qtbot: QtBot, statement: str, words: str
) -> None:
    line = MessageLine(assay.session)
    qtbot.addWidget(line)
    note = "x" * 40_000  # more than the pages that the file has
    assert assay.session.annotations.annotate(A01, [assay.cell(1)], "normal", note=note)
    assay.idle()
    before = Before(assay)
    changed: list[object] = []
    assay.session.annotations.changed.connect(changed.append)
    with refusing_journal(statement):
        assert not assay.session.annotations.annotate(A01, [assay.cell(0)], "abnormal", note=note)
        assert not assay.session.annotations.decide("SIM", "A01", "exclude", note=note)
        if "query_only" in statement:
            assert not assay.session.annotations.undo()
        assay.session.annotations.read_journal()
    assert changed == []
    assert all(words in text for text in assay.errors())
    assert words in line.value()[0]
    before.check()
    assert assay.session.annotations.annotate(A01, [assay.cell(0)], "abnormal", note=note)
    assert assay.annotation_of(0) == "abnormal"


def test_a_journal_that_cannot_be_read_for_a_while_is_told_once_and_followed_again(
    assay: Any, make_desk: Callable[[], Any], assay_path: Path
) -> None:
    other = Journal.open(assay_path / "journal.sqlite")
    kept = assay_path / "journal.sqlite"
    kept.rename(assay_path / "away.sqlite")
    for _ in range(3):
        assay.session.annotations.read_journal()
    assert len(assay.errors()) == 1
    (assay_path / "away.sqlite").rename(kept)
    y_px, x_px = assay.cell(0)
    other.annotate("SIM", "A01", 1, y_px, x_px, "unsure", None, "another")
    assay.session.annotations.watch.setInterval(20)
    assay.qtbot.waitUntil(
        lambda: "another" in set(assay.session.annotations.cache.table["annotator"]), timeout=30_000
    )


# ---- closed in mid-job ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "after_ms", [0, 300, *(pytest.param(ms, marks=pytest.mark.slow) for ms in (60, 900))]
)
@pytest.mark.parametrize("what", ["open", "embed", "retrain", "find_cells", "export"])
def test_a_workspace_closed_in_mid_job_leaves_nothing_behind(
    no_leak: Callable[[], None],
    make_desk: Callable[[], Any],
    assay_path: Path,
    tmp_path: Path,
    what: str,
    after_ms: int,
) -> None:
    desk = make_desk()
    if what != "open":
        desk.open(assay_path)
        assert desk.annotate("abnormal", 2)
        if what == "embed":
            forget_embeddings(desk)
    start: dict[str, Callable[[], Any]] = {
        "open": lambda: desk.session.open(assay_path),
        "embed": desk.tasks.embed,
        "retrain": desk.training.retrain,
        "find_cells": desk.tasks.find_cells,
        "export": lambda: desk.tasks.export(tmp_path / "out"),
    }
    start[what]()
    desk.qtbot.wait(after_ms)
    desk.close()
    assert desk.errors() == []
    no_leak()
    again = make_desk().open(assay_path)
    assert again.session.models.model is not None
    assert again.session.models.scored is not None or what == "find_cells"
    if what != "open":
        assert again.annotation_of(2) in ("abnormal", "conflict")
    again.close()
    no_leak()


def test_an_assay_closed_or_changed_in_mid_job_gets_no_result_of_the_other(
    assay: Any, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = shutil.copytree(trained / "assay", tmp_path / "other")
    gate = threading.Event()
    real = training.fit_heads

    def slowly(*args: Any) -> Any:
        gate.wait(60)
        return real(*args)

    monkeypatch.setattr(training, "fit_heads", slowly)
    assay.training.retrain()
    assay.qtbot.wait(50)
    assay.session.open(other)
    assay.qtbot.waitUntil(
        lambda: assay.session.assay.folder is not None and assay.session.assay.folder.path == other,
        timeout=120_000,
    )
    shown = assay.session.models.model
    gate.set()
    assay.idle()
    assert assay.session.models.model is shown
    assert chosen_model(AssayFolder.open(other)).id == shown.id
    assay.session.close_assay()
    assert assay.errors() == []
    assert assay.session.models.model is assay.session.models.scored is None


def test_work_that_does_not_stop_is_left_to_itself(
    make_desk: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, qtbot: QtBot
) -> None:
    monkeypatch.setattr("napari_hcs_qc.gui.session.background_jobs._CLOSE_S", 0.2)
    gate = threading.Event()
    desk = make_desk()
    desk.session.jobs.start("Stubborn", lambda **_job: gate.wait(60), slot="stubborn")
    qtbot.wait(30)
    desk.close()
    qtbot.wait(30)  # its objects are deleted
    gate.set()
    qtbot.wait(100)  # its answer comes to nobody, and raises nothing


def test_nothing_is_begun_when_the_viewer_has_closed(desk: Any, qtbot: QtBot) -> None:
    desk.session.jobs.close()
    begun: list[int] = []
    job = desk.session.jobs.start("Late", lambda **_job: begun.append(1), slot="late")
    with qtbot.waitSignal(job.cancelled, timeout=10_000):
        pass
    assert begun == []
    assert not job.is_running


def test_a_closed_workspace_is_forgotten_by_all(
    make_desk: Callable[[], Any], assay_path: Path, qtbot: QtBot, no_leak: Callable[[], None]
) -> None:
    from napari_hcs_qc.gui.canvas.clicking import Clicking

    def used() -> list[weakref.ref[Any]]:
        from napari.components import ViewerModel

        viewer = ViewerModel()
        space = workspaces.workspace_of(viewer)
        Clicking.of(viewer)
        widget = QWidget()
        qtbot.addWidget(widget)
        space.session.open(assay_path)
        qtbot.waitUntil(lambda: space.session.selection.site is not None, timeout=120_000)
        qtbot.waitUntil(lambda: not space.session.jobs.running, timeout=120_000)
        space.close()
        return [
            weakref.ref(one)
            for one in (space, space.session, space.tasks, space.training, space.view)
        ]

    refs = used()
    qtbot.wait(50)
    for _ in range(3):
        gc.collect()
    assert [ref() for ref in refs] == [None] * len(refs)
    no_leak()


# ---- SIGKILL -------------------------------------------------------------------------------

# Annotates cell after cell through a session, and says so only when the colour has changed.
PERSON = """
import sys
from pathlib import Path
import numpy as np
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication
from napari_hcs_qc.gui.canvas.cell_colours import CLASS_COLOURS
from napari_hcs_qc.gui.widgets.palette import rgba
from napari_hcs_qc.gui.canvas.our_layers import ANNOTATED, CELLS
from napari_hcs_qc.gui.canvas.workspace import workspace_of

app = QApplication([])
space = workspace_of(ViewerModel())
session, view = space.session, space.view
session.annotations.annotator = "script"
session.message.connect(lambda *message: print("message", *message, file=sys.stderr, flush=True))
session.open(Path(sys.argv[1]))
while session.selection.site is None or view.on_screen != session.selection.site:
    app.processEvents()

changed = []
session.annotations.changed.connect(changed.append)
first, last = int(sys.argv[2]), int(sys.argv[3])
words = ("normal", "abnormal", "unsure")
print("ready", flush=True)
for number in range(first, last):
    sites = session.selection.plate.sites
    if number % 25 == 0:
        session.selection.go_to(sites[number // 25 % len(sites)])
        while view.on_screen != session.selection.site:
            app.processEvents()
    site, table = session.selection.site, session.annotations.cache.table
    here = (table["well"] == site.well) & (table["site"] == site.site)
    others = table[here & (table["annotator"] != "script")]
    away = view.cells.yx_px[:, None] - others[["y_px", "x_px"]].to_numpy()[None]
    near = np.hypot(away[..., 0], away[..., 1]) < 2 * view.cells.diameter_px[:, None]
    free = np.flatnonzero(~near.any(axis=1))
    index = free[number % len(free)]
    y_px, x_px = (float(one) for one in view.cells.yx_px[index])
    word = words[(number // len(free) + number) % 3]
    changed.clear()
    assert session.annotations.annotate(site, [(y_px, x_px)], word, note=f"n{number}")
    assert changed, "not announced"
    layer, halos = view.viewer.layers[CELLS], view.viewer.layers[ANNOTATED]
    at = np.flatnonzero(np.all(halos.data == layer.data[index], axis=1))
    assert layer.features["annotation"].iloc[index] == word, "not shown"
    assert np.allclose(halos.border_color[at[0]], rgba(CLASS_COLOURS[word])), "no colour"
    print(number, site.well, site.site, repr(y_px), repr(x_px), word, flush=True)
    app.processEvents()
print("done", flush=True)
"""


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_sigkill_during_a_thousand_annotations_loses_none_that_was_shown(
    assay_path: Path,
) -> None:
    rng = random.Random(5)
    n_all, n_done, n_kills = 1000, 0, 0
    shown: dict[tuple[str, int, float, float], tuple[str, str]] = {}
    journal = Journal.open(assay_path / "journal.sqlite", create=False)
    while n_done < n_all:
        command = [sys.executable, "-c", PERSON, str(assay_path), str(n_done), str(n_all)]
        environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert child.stdout is not None and child.stderr is not None
        n_lines = rng.randint(150, 300)
        lines: list[str] = []
        while len(lines) < n_lines and (line := child.stdout.readline()):
            lines.append(line)
        time.sleep(rng.random() * 0.05)
        child.send_signal(signal.SIGKILL)
        rest, complaints = child.communicate(timeout=120)
        lines += rest.splitlines(keepends=True)
        assert lines and lines[0] == "ready\n", complaints
        is_done = "done\n" in lines
        assert is_done or len(lines) >= n_lines, complaints  # it did not die by itself
        n_kills += not is_done
        # The last line may be cut off by the kill; then it was not shown in full.
        said = [line.split() for line in lines[1:] if line.endswith("\n") and line != "done\n"]
        for number, well, site, y_px, x_px, word in said:
            place = (well, int(site), float(y_px), float(x_px))
            shown[place] = (word, f"n{number}")
            n_done = int(number) + 1
        kept = journal.annotations().query("annotator == 'script'")
        found = {
            (row.well, row.site, row.y_px, row.x_px): (row.cls, row.note)
            for row in kept.rename(columns={"class": "cls"}).itertuples()
        }
        lost = {place: words for place, words in shown.items() if found.get(place) != words}
        # What was recorded and not shown any more when it died is at most one.
        assert len(lost) <= 1, f"lost: {lost}"
        for place, words in lost.items():
            assert found[place][1] == f"n{n_done}", f"lost: {place} {words}"
            shown[place] = found[place]
        extra = [one for one in found.items() if one[0] not in shown]
        assert all(words[1] == f"n{n_done}" for _, words in extra)
        assert len(extra) <= 1
    assert n_kills >= 3
    assert n_done == n_all
    # Not even one that was overwritten later is gone: every number is in the journal.
    database = sqlite3.connect(journal.path)
    rows = database.execute("SELECT note FROM annotations WHERE note LIKE 'n%'").fetchall()
    database.close()
    numbers = Counter(int(note[1:]) for (note,) in rows)
    assert set(numbers) == set(range(n_all))


# ---- two windows ---------------------------------------------------------------------------


@pytest.fixture
def two(make_desk: Callable[[], Any], assay_path: Path) -> tuple[Any, Any]:
    """Anna's and Ben's workspaces on one assay; they look at the journal often."""
    desks = []
    for name in ("anna", "ben"):
        desk = make_desk().open(assay_path)
        desk.session.annotations.annotator = name
        desk.session.annotations.watch.setInterval(30)
        desks.append(desk)
    return desks[0], desks[1]


def test_the_second_window_is_told_and_annotations_appear_in_either(two: tuple[Any, Any]) -> None:
    anna, ben = two
    assert anna.messages == []
    assert [level for level, _ in ben.messages] == ["warning"]
    assert "also open in another window" in ben.messages[0][1]
    free = [i for i, word in enumerate(anna.view.cells.annotated_class) if word is None]
    first, second = free[:2]
    assert anna.annotate("abnormal", first)
    assert ben.annotate("normal", second)
    for desk in two:
        desk.qtbot.waitUntil(
            lambda d=desk: (
                (d.annotation_of(first), d.annotation_of(second)) == ("abnormal", "normal")
            ),
            timeout=30_000,
        )
        assert list(desk.viewer.layers[CELLS].features["annotation"].iloc[[first, second]]) == [
            "abnormal",
            "normal",
        ]
    # Each takes back only what they said themselves.
    assert anna.session.annotations.undo()
    ben.qtbot.waitUntil(lambda: ben.annotation_of(first) is None, timeout=30_000)
    assert ben.annotation_of(second) == "normal" == anna.annotation_of(second)
    assert not anna.session.annotations.undo()
    assert ben.session.annotations.undo()
    anna.qtbot.waitUntil(lambda: anna.annotation_of(second) is None, timeout=30_000)
    # A verdict appears as well.
    assert anna.session.annotations.decide("SIM", "B02", "exclude")
    ben.qtbot.waitUntil(lambda: len(ben.session.models.scored.verdicts) == 1, timeout=30_000)
    anna.close()
    assert ben.annotate("abnormal", first)


def test_who_writes_between_a_look_and_a_click_is_seen(
    two: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, ben = two
    for desk in two:
        desk.session.annotations.watch.setInterval(3_600_000)
    journal = anna.session.annotations.cache.journal
    real = journal.annotate_many
    place = ben.cell(1)

    def late(annotations: Any, annotator: str) -> str:
        assert ben.session.annotations.annotate(A01, [place], "unsure")  # at the worst moment
        action: str = real(annotations, annotator)
        return action

    monkeypatch.setattr(journal, "annotate_many", late)
    assert anna.annotate("abnormal", 0)
    anna.session.annotations.read_journal()
    assert len(anna.session.annotations.cache.table) == len(journal.annotations())
    assert set(anna.session.annotations.cache.table["annotator"]) >= {"anna", "ben"}


def test_both_train_at_once_and_nothing_is_corrupted(two: tuple[Any, Any]) -> None:
    path = two[0].session.assay.folder.path
    n_before = len(AssayFolder.open(path).journal().annotations())
    for turn in range(3):
        for number, desk in enumerate(two):
            assert desk.annotate("abnormal" if turn % 2 else "normal", 3 * turn + number)
            desk.training.retrain()
        for desk in two:
            desk.idle()
    for desk in two:
        assert all("is in use by" in text for text in desk.errors()), desk.errors()
        assert desk.session.models.scored.prediction.model == desk.session.models.model.id
    assay = AssayFolder.open(path)
    in_use = chosen_model(assay)
    assert in_use.id in {desk.session.models.model.id for desk in two}
    for folder in assay.models_folder.iterdir():
        assert chosen_model(assay, folder.name).id == folder.name
    assert len(assay.journal().annotations()) == n_before + 6
    # Each goes on with the model it shows, whatever the other has trained since.
    for desk in two:
        shown = desk.session.models.model.id
        desk.session.models.set_threshold(0.4 if desk.session.models.threshold != 0.4 else 0.6)
        desk.idle()
        desk.qtbot.wait(300)
        desk.idle()
        assert desk.session.models.scored.threshold == desk.session.models.threshold
        assert desk.session.models.scored.prediction.model == shown


def test_two_windows_retrain_and_one_closes_in_the_middle(
    two: tuple[Any, Any], no_leak: Callable[[], None]
) -> None:
    anna, ben = two
    anna.training.retrain()
    ben.training.retrain()
    anna.qtbot.wait(100)
    anna.close()
    ben.idle()
    assert ben.errors() == []
    path = ben.session.assay.folder.path
    assert ben.session.models.model.id in {one.name for one in (path / "models").iterdir()}
    assert B01 in ben.session.selection.plate.sites
