"""A real window that is closed in the middle of work: nothing stays behind, nothing is lost."""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
import threading
import weakref
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication
from tests.gui.conftest import trained_folder

from napari_hcs_qc.assay.models.model_in_use import chosen_model
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.gui.canvas.workspace import has_workspace, workspace_of
from napari_hcs_qc.gui.window.desk import open_desk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari import Viewer
    from pytestqt.qtbot import QtBot

pytestmark = pytest.mark.window


@pytest.fixture
def assay_path(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A trained assay that a test may change."""
    shutil.copytree(trained_folder(tmp_path_factory) / "assay", tmp_path / "assay")
    return tmp_path / "assay"


def work_threads() -> set[threading.Thread]:
    """Threads but the encoder's, which stay with it for the process."""
    return {
        thread
        for thread in threading.enumerate()
        if not thread.name.startswith(("hcs-qc encoder", "Dummy-"))
        and type(thread).__name__ != "TMonitor"
    }


def opened(
    make_napari_viewer: Callable[..., Viewer], qtbot: QtBot, path: Path
) -> tuple[Viewer, Any]:
    viewer = make_napari_viewer(show=True)
    workspace = open_desk(viewer, path)
    session, view = workspace.session, workspace.view
    qtbot.waitUntil(
        lambda: session.selection.site is not None and view.on_screen == session.selection.site,
        timeout=120_000,
    )
    qtbot.waitUntil(lambda: not session.jobs.running, timeout=240_000)
    return viewer, workspace


@pytest.mark.parametrize("after_ms", [0, pytest.param(150, marks=pytest.mark.slow), 700])
@pytest.mark.parametrize("what", ["retrain", "embed", "open"])
def test_a_window_closed_in_mid_job(
    make_napari_viewer: Callable[..., Viewer],
    qtbot: QtBot,
    assay_path: Path,
    what: str,
    after_ms: int,
) -> None:
    threads = work_threads()
    widgets = {id(widget) for widget in QApplication.topLevelWidgets()}
    before = chosen_model(AssayFolder.open(assay_path)).id
    n_annotations = len(AssayFolder.open(assay_path).journal().annotations())
    viewer, workspace = opened(make_napari_viewer, qtbot, assay_path)
    session, messages = workspace.session, []
    session.message.connect(lambda *message: messages.append(message))
    y_px, x_px = workspace.view.cells.yx_px[1]
    session.annotations.annotator = "anna"
    assert session.annotations.annotate(session.selection.site, [(y_px, x_px)], "abnormal")
    if what == "retrain":
        workspace.training.retrain()
    elif what == "embed":
        shutil.rmtree(assay_path / "embeddings")
        workspace.tasks.embed()
    else:
        session.open(assay_path)
    qtbot.wait(after_ms)
    viewer.close()

    assert not has_workspace(viewer)
    assert not [text for level, text in messages if level == "error"]
    qtbot.waitUntil(lambda: work_threads() <= threads, timeout=60_000)
    kept = weakref.ref(workspace)
    del workspace, session, viewer
    qtbot.wait(100)
    gc.collect()
    left = [one for one in QApplication.topLevelWidgets() if id(one) not in widgets]
    assert [type(one).__name__ for one in left if one.isVisible()] == []
    if what != "open":

        def is_gone() -> bool:
            gc.collect()
            return kept() is None

        qtbot.waitUntil(is_gone, timeout=20_000)
    # No annotation is lost, no model is half made, nobody is thought to be there still.
    assay = AssayFolder.open(assay_path)
    assert len(assay.journal().annotations()) == n_annotations + 1
    in_use = chosen_model(assay).id
    assert in_use == before or (what == "retrain" and in_use > before)
    assert {one.name for one in assay.models_folder.iterdir()} == {
        one.name for one in assay.models_folder.iterdir() if (one / "model.json").is_file()
    }
    assert list((assay_path / "presence").glob("*.json")) == []


def test_what_was_imported_is_passed_over_in_the_search_for_garbage_until_the_window_closes(
    make_napari_viewer: Callable[..., Viewer], monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = make_napari_viewer()
    workspace = workspace_of(viewer)
    at_first = gc.get_freeze_count()
    assert at_first > 100_000  # napari alone
    workspace.training.model_changed.emit()
    assert gc.get_freeze_count() <= at_first  # what people do is searched
    for number in range(30):
        monkeypatch.setitem(sys.modules, f"imported_{number}", ModuleType(f"imported_{number}"))
    workspace.training.model_changed.emit()
    with_models = gc.get_freeze_count()
    assert with_models > at_first
    workspace.training.model_changed.emit()
    assert gc.get_freeze_count() <= with_models
    viewer.close()
    assert gc.get_freeze_count() == 0


def test_two_windows_on_one_assay_and_the_first_is_closed(
    make_napari_viewer: Callable[..., Viewer], qtbot: QtBot, assay_path: Path
) -> None:
    first, one = opened(make_napari_viewer, qtbot, assay_path)
    one.session.annotations.annotator = "anna"
    messages: list[str] = []
    # Without a window: of two canvases in one process, napari 0.9 with Mesa raises GLError in the
    # one that stays when the other is closed, with no code of ours.
    second = ViewerModel()
    two = workspace_of(second)
    two.session.message.connect(lambda _level, text: messages.append(text))
    two.session.open(assay_path)
    qtbot.waitUntil(lambda: two.view.cells is not None, timeout=120_000)
    assert any("also open in another window" in text for text in messages)
    two.session.annotations.watch.setInterval(30)
    y_px, x_px = one.view.cells.yx_px[0]
    assert one.session.annotations.annotate(one.session.selection.site, [(y_px, x_px)], "unsure")
    qtbot.waitUntil(
        lambda: "anna" in set(two.session.annotations.cache.table["annotator"]), timeout=60_000
    )
    one.training.retrain()
    first.close()
    assert has_workspace(second)
    assert two.session.annotations.annotate(
        two.session.selection.site, [tuple(two.view.cells.yx_px[1])], "normal"
    )
    qtbot.waitUntil(lambda: not two.session.jobs.running, timeout=240_000)
    two.close()
    assert not has_workspace(second)


# What a person does who has had enough: the whole program, closed by its window in mid-job.
PROGRAM = """
import sys
from pathlib import Path
import napari
from qtpy.QtCore import QTimer
from napari_hcs_qc.gui.window.desk import open_desk

viewer = napari.Viewer()
space = open_desk(viewer, Path(sys.argv[1]))
space.session.message.connect(lambda *message: print("message", *message, flush=True))
after_ms = int(sys.argv[2])

def close():
    print("running", len(space.session.jobs.running), flush=True)
    viewer.window._qt_window.close()

def go_on():
    if space.view.cells is None or space.session.jobs.running:
        QTimer.singleShot(50, go_on)
        return
    place = tuple(space.view.cells.yx_px[0])
    assert space.session.annotations.annotate(space.session.selection.site, [place], "unsure")
    space.training.retrain()
    QTimer.singleShot(after_ms, close)

go_on()
napari.run()
print("ended", flush=True)
"""


@pytest.mark.parametrize("after_ms", [pytest.param(0, marks=pytest.mark.slow), 200])
def test_the_program_ends_when_its_window_is_closed_in_mid_job(
    assay_path: Path, after_ms: int
) -> None:
    n_annotations = len(AssayFolder.open(assay_path).journal().annotations())
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(assay_path), str(after_ms)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ended" in done.stdout
    assert "Traceback" not in done.stderr
    assert "message error" not in done.stdout
    assert len(AssayFolder.open(assay_path).journal().annotations()) == n_annotations + 1
