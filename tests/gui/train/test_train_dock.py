from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import (
    QAbstractButton,
    QCheckBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QSpinBox,
    QTabBar,
    QWidget,
)

from napari_hcs_qc.assay.annotations.annotation_cache import PlateSite
from napari_hcs_qc.assay.models.model_in_use import chosen_model
from napari_hcs_qc.assay.models.train_options import chosen_options
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.saved_model import model_folders
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import write_json
from napari_hcs_qc.gui.canvas.workspace import workspace_of
from napari_hcs_qc.gui.train.train_dock import TrainDock
from napari_hcs_qc.gui.widgets.charts import ConfusionChart, LearningCurveChart
from napari_hcs_qc.heads.head_registry import HEADS
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.workflow import desk_steps, measuring, model_history

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot

    from napari_hcs_qc.gui.canvas.workspace import Workspace
    from napari_hcs_qc.gui.train.model_figures import ModelFigures


@pytest.fixture
def workspace(qtbot: QtBot) -> Iterator[Workspace]:
    made = workspace_of(ViewerModel())
    yield made
    made.close()


@pytest.fixture
def dock(qtbot: QtBot, workspace: Workspace) -> TrainDock:
    made = TrainDock(workspace.viewer)
    qtbot.addWidget(made)
    return made


@pytest.fixture
def messages(workspace: Workspace) -> list[str]:
    texts: list[str] = []
    workspace.session.message.connect(lambda _level, text: texts.append(text))
    return texts


def opened(qtbot: QtBot, workspace: Workspace, path: Path) -> None:
    workspace.session.open(path)
    qtbot.waitUntil(lambda: workspace.session.selection.state is not None, timeout=30_000)
    idle(qtbot, workspace)


def idle(qtbot: QtBot, workspace: Workspace) -> None:
    qtbot.waitUntil(lambda: not workspace.session.jobs.running, timeout=120_000)


def click(workspace: Workspace, cls: str, n: int = 1) -> None:
    """Say of `n` found cells of the site shown that they are of a class, click by click."""
    session = workspace.session
    cells = session.selection.state.plate_cells.cells
    here = cells[
        (cells["well"] == session.selection.site.well)
        & (cells["site"] == session.selection.site.site)
    ]
    for y_px, x_px in here[["y_px", "x_px"]].to_numpy()[:n].tolist():
        assert session.annotations.annotate(session.selection.site, [(y_px, x_px)], cls)


def ids(dock: TrainDock) -> list[str]:
    return [line.id for line in dock.history.lines()]


def in_use(dock: TrainDock) -> list[str]:
    return [line.id for line in dock.history.lines() if line.is_in_use]


def numbers(figures: ModelFigures) -> list[str]:
    return [label.text() for label in figures.findChild(QWidget, "numbers").findChildren(QLabel)]


def test_without_an_assay_it_says_what_to_do(dock: TrainDock) -> None:
    assert not dock.findChild(QWidget, "retrain").isEnabled()
    assert "Open" in dock.findChild(QWidget, "clicks").text()
    assert "No model" in dock.figures.findChild(QWidget, "title").text()
    assert ids(dock) == []
    assert "Ctrl+Shift+R" in dock.findChild(QWidget, "retrain").text()


def test_the_model_of_an_assay_is_shown_with_its_figures(
    qtbot: QtBot, workspace: Workspace, dock: TrainDock, assay_path: Path
) -> None:
    opened(qtbot, workspace, assay_path)
    assert dock.findChild(QWidget, "retrain").isEnabled()
    assert "Model 0001 is in use" in dock.findChild(QWidget, "clicks").text()
    manifest = workspace.session.models.model.manifest
    f1 = manifest.cross_validation.figures[0]
    assert f1.name == "weighted F1"
    found = numbers(dock.figures)
    assert f1.sd is None  # one seed
    assert f"{f1.mean:.3f}" in found
    assert f1.interval_text().removesuffix(" to say") in found
    shown = dock.figures.findChild(QWidget, "sentence").text()
    assert manifest.cross_validation.sentence in shown
    matrix = dock.figures.findChild(ConfusionChart).value()
    assert matrix.sum() == pytest.approx(manifest.cross_validation.n_cells)
    assert ids(dock) == ["0001"]
    assert in_use(dock) == ["0001"]


def test_figures_are_those_at_the_threshold_in_use(
    qtbot: QtBot, workspace: Workspace, dock: TrainDock, assay_path: Path
) -> None:
    opened(qtbot, workspace, assay_path)
    sentence = dock.figures.findChild(QWidget, "sentence")
    assert "At the threshold 0.50" in sentence.text()
    figures = workspace.session.models.model.manifest.cross_validation
    workspace.session.models.set_threshold(0.97)
    qtbot.waitUntil(lambda: "At the threshold 0.97" in sentence.text(), timeout=60_000)
    matrix = dock.figures.findChild(ConfusionChart).value()
    assert matrix == pytest.approx(np.array(figures.at(0.97).confusion))
    assert matrix[:, 1].sum() < np.array(figures.confusion)[:, 1].sum()


def test_retraining_makes_a_model_and_its_figures_follow(
    qtbot: QtBot, workspace: Workspace, dock: TrainDock, assay_path: Path, messages: list[str]
) -> None:
    opened(qtbot, workspace, assay_path)
    click(workspace, "abnormal", 2)
    qtbot.waitUntil(lambda: "2 new annotations" in dock.findChild(QWidget, "clicks").text())
    qtbot.keyClicks(dock.findChild(QWidget, "note"), "two more")
    with qtbot.waitSignal(workspace.training.model_changed, timeout=60_000):
        dock.findChild(QWidget, "retrain").click()
    # The model is in use before its figures are there.
    assert workspace.session.models.model.id == "0002"
    qtbot.waitUntil(lambda: "no new annotations" in dock.findChild(QWidget, "clicks").text())
    assert "Model 0002 is in use" in dock.figures.findChild(QWidget, "sentence").text()
    # Those of the model before stay in sight meanwhile, and it says whose they are.
    assert dock.figures.shown() == "0001"
    assert "model 0001" in dock.figures.findChild(QWidget, "title").text()
    assert dock.findChild(QWidget, "note").text() == ""
    idle(qtbot, workspace)
    idle(qtbot, workspace)  # the list is read after the figures
    assert dock.figures.shown() == "0002"
    assert "model 0002" in dock.figures.findChild(QWidget, "title").text()
    assert "folds" in dock.figures.findChild(QWidget, "sentence").text()
    assert dock.figures.findChild(LearningCurveChart).value() is not None
    assert dock.figures.findChild(QWidget, "verdict").text()
    assert not dock.figures.findChild(QWidget, "measure").isVisibleTo(dock.figures)
    newest, before = dock.history.lines()
    assert (newest.id, newest.note, newest.is_in_use) == ("0002", "two more", True)
    assert newest.f1 is not None
    assert not before.is_in_use
    assert messages == []


def test_restoring_uses_the_older_model_until_the_next_retraining(
    qtbot: QtBot, workspace: Workspace, dock: TrainDock, assay_path: Path
) -> None:
    opened(qtbot, workspace, assay_path)
    before = workspace.session.models.scored.predictions["p_abnormal"].to_numpy().copy()
    click(workspace, "abnormal", 6)
    workspace.training.retrain()
    idle(qtbot, workspace)
    after = workspace.session.models.scored.predictions["p_abnormal"].to_numpy()
    assert abs(after - before).max() > 1e-3
    # A cell is added on empty ground: the older model has not seen it yet.
    session = workspace.session
    session.annotations.annotate(session.selection.site, [(3.0, 3.0)], "abnormal")
    idle(qtbot, workspace)
    where = PlateSite(session.selection.plate.name, session.selection.site)
    n_added = len(session.annotations.cache.at_site(where))
    assert n_added >= 7
    dock.history.set_value(["0001"])
    with qtbot.waitSignal(workspace.session.models.scored_changed, timeout=60_000):
        dock.history.findChild(QWidget, "restore").click()
    idle(qtbot, workspace)
    restored = session.models.scored.predictions["p_abnormal"].to_numpy()
    assert session.models.model.id == "0001"
    assert len(restored) == len(before) + 1
    assert restored[: len(before)] == pytest.approx(before, abs=1e-6)
    assert in_use(dock) == ["0001"]
    assert "model 0001" in dock.figures.findChild(QWidget, "title").text()
    assert chosen_model(AssayFolder.open(assay_path)).id == "0001"
    workspace.training.retrain()
    idle(qtbot, workspace)
    assert session.models.model.id == "0003"
    assert chosen_model(AssayFolder.open(assay_path)).id == "0003"


def test_a_restore_that_fails_changes_nothing(
    qtbot: QtBot,
    workspace: Workspace,
    dock: TrainDock,
    assay_path: Path,
    messages: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened(qtbot, workspace, assay_path)
    workspace.training.retrain()
    idle(qtbot, workspace)
    scored = workspace.session.models.scored

    def raises(*_: object, **__: object) -> None:
        raise HcsQcError("The disk is full of cats.")

    monkeypatch.setattr(desk_steps, "score", raises)
    dock.history.restore_requested.emit("0001")
    idle(qtbot, workspace)
    assert messages[-1] == "The disk is full of cats."
    assert "The disk is full of cats." in dock.findChild(QWidget, "jobs").value()
    assert workspace.session.models.model.id == "0002"
    assert workspace.session.models.scored is scored
    assert chosen_model(AssayFolder.open(assay_path)).id == "0002"
    assert in_use(dock) == ["0002"]


def test_two_models_are_compared(
    qtbot: QtBot, workspace: Workspace, dock: TrainDock, assay_path: Path
) -> None:
    opened(qtbot, workspace, assay_path)
    click(workspace, "abnormal", 4)
    workspace.training.retrain()
    idle(qtbot, workspace)
    dock.history.set_value(["0002", "0001"])
    dock.history.findChild(QWidget, "compare").click()
    idle(qtbot, workspace)
    words = dock.history.comparison()
    assert words.startswith("Model 0001 → 0002")
    n_cells = int((~workspace.session.models.scored.state.is_left_out).sum())
    assert f"of {n_cells:,} cells" in words
    workspace.session.close_assay()
    assert dock.history.comparison() == ""


def test_a_note_is_kept_with_the_model(
    qtbot: QtBot, workspace: Workspace, dock: TrainDock, assay_path: Path
) -> None:
    opened(qtbot, workspace, assay_path)
    dock.history.noted.emit("0001", "good on blur")
    idle(qtbot, workspace)
    idle(qtbot, workspace)
    assert dock.history.lines()[0].note == "good on blur"
    assert model_history.list_models(AssayFolder.open(assay_path))[0].note == "good on blur"


def test_the_head_is_chosen_and_kept(
    qtbot: QtBot, workspace: Workspace, dock: TrainDock, assay_path: Path
) -> None:
    opened(qtbot, workspace, assay_path)
    assert [
        dock.findChild(QWidget, "head").itemData(index)
        for index in range(dock.findChild(QWidget, "head").count())
    ] == list(HEADS)
    with qtbot.waitSignal(dock.value_changed):
        dock.findChild(QWidget, "head").setCurrentIndex(
            dock.findChild(QWidget, "head").findData("knn")
        )
        dock.findChild(QWidget, "head").activated.emit(
            dock.findChild(QWidget, "head").currentIndex()
        )
    assert workspace.session.options.value().head == "knn"
    assert chosen_options(AssayFolder.open(assay_path)).head == "knn"
    assert "nearest" in dock.findChild(QWidget, "head").toolTip()
    workspace.training.retrain()
    idle(qtbot, workspace)
    assert workspace.session.models.model.manifest.head == "knn"
    assert dock.value() == workspace.session.options.value()


def test_cut_cells_are_counted_and_trained_on_where_the_person_ticks_it(
    qtbot: QtBot, workspace: Workspace, dock: TrainDock, assay_path: Path
) -> None:
    box = dock.findChild(QCheckBox, "include_cut")
    assert not box.isEnabled()
    opened(qtbot, workspace, assay_path)
    assert box.isEnabled()
    assert not box.isChecked()
    session = workspace.session

    def n_cut() -> int:
        return int(session.models.scored.scores.wells["n_cut"].sum())

    session.annotations.annotate(session.selection.site, [(2.0, 2.0)], "abnormal")
    idle(qtbot, workspace)
    n_left_out = n_cut()
    assert n_left_out > 0
    with (
        qtbot.waitSignal(session.assay.include_cut_changed) as told,
        qtbot.waitSignal(session.models.scored_changed, timeout=60_000),
    ):
        box.click()
    assert told.args == [True]
    assert n_cut() == 0
    wells = session.models.scored.scores.wells
    assert wells["n_scored"].sum() >= len(session.selection.state.plate_cells.cells)
    assert AssayFolder.open(assay_path).include_cut
    workspace.training.retrain()
    idle(qtbot, workspace)
    assert session.models.model.manifest.n_cut == 0
    assert n_cut() == 0
    said = dock.findChild(QLabel, "clicks")
    assert "Left out" not in said.text()
    session.close_assay()
    assert not box.isChecked()
    opened(qtbot, workspace, assay_path)  # kept with the assay
    assert box.isChecked()
    box.click()
    idle(qtbot, workspace)
    assert n_cut() == n_left_out
    workspace.training.retrain()
    idle(qtbot, workspace)
    n = session.models.model.manifest.n_cut
    assert n >= 1
    assert f"Left out of training: {n} annotated cell" in said.text()
    assert said.text().endswith("cut by the image border.")
    assert not AssayFolder.open(assay_path).include_cut


def test_a_retraining_that_is_overtaken_by_the_tick_is_counted_as_ticked(
    qtbot: QtBot, workspace: Workspace, dock: TrainDock, assay_path: Path
) -> None:
    opened(qtbot, workspace, assay_path)
    workspace.training.retrain()
    dock.findChild(QCheckBox, "include_cut").click()
    idle(qtbot, workspace)
    assert workspace.session.models.model.id == "0002"
    assert workspace.session.models.scored.scores.wells["n_cut"].sum() == 0


def test_the_tick_goes_back_where_it_cannot_be_kept(
    qtbot: QtBot, workspace: Workspace, dock: TrainDock, assay_path: Path, messages: list[str]
) -> None:
    opened(qtbot, workspace, assay_path)
    box = dock.findChild(QCheckBox, "include_cut")
    (assay_path / "assay.json").rename(assay_path / "gone.json")
    box.click()
    assert not box.isChecked()
    assert "assay.json" in messages[-1]
    assert not workspace.session.selection.state.include_cut


def test_it_retrains_by_itself_after_so_many_clicks(
    qtbot: QtBot, workspace: Workspace, dock: TrainDock, assay_path: Path
) -> None:
    opened(qtbot, workspace, assay_path)
    click(workspace, "abnormal", 3)
    idle(qtbot, workspace)
    assert workspace.session.models.model.id == "0001"  # not asked for
    dock.findChild(QWidget, "auto").setChecked(True)
    dock.findChild(QWidget, "every").setValue(5)
    assert workspace.training.auto_retrain_every == 5
    click(workspace, "normal", 2)
    idle(qtbot, workspace)
    assert workspace.session.models.model.id == "0002"
    dock.findChild(QWidget, "auto").setChecked(False)
    assert workspace.training.auto_retrain_every == 0
    assert not dock.findChild(QWidget, "every").isEnabled()


def test_a_failure_says_its_words_and_the_old_model_stays(
    qtbot: QtBot,
    workspace: Workspace,
    dock: TrainDock,
    assay_path: Path,
    messages: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened(qtbot, workspace, assay_path)

    def raises(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA out of memory, or so")

    monkeypatch.setattr(HEADS["linear"], "fit", raises)
    qtbot.keyClicks(dock.findChild(QWidget, "note"), "kept for the next try")
    dock.findChild(QWidget, "retrain").click()
    idle(qtbot, workspace)
    assert "RuntimeError: CUDA out of memory, or so" in messages[-1]
    assert "CUDA out of memory" in dock.findChild(QWidget, "jobs").value()
    assert workspace.session.models.model.id == "0001"
    assert ids(dock) == ["0001"]
    assert len(model_folders(assay_path / "models")) == 1
    assert dock.findChild(QWidget, "note").text() == "kept for the next try"


def test_figures_that_were_cancelled_can_be_measured_later(
    qtbot: QtBot, workspace: Workspace, dock: TrainDock, assay_path: Path
) -> None:
    manifest = assay_path / "models" / "0001" / "model.json"
    data = json.loads(manifest.read_text())
    write_json(manifest, {**data, "cross_validation": None})
    opened(qtbot, workspace, assay_path)
    assert dock.figures.findChild(QWidget, "sentence").text() == "Not yet cross-validated."
    assert numbers(dock.figures) == []
    assert not dock.figures.findChild(QWidget, "charts").isVisibleTo(dock.figures)
    button = dock.figures.findChild(QWidget, "measure")
    assert button.isVisibleTo(dock.figures)
    button.click()
    assert not button.isVisibleTo(dock.figures)  # it is at it
    assert "being measured" in dock.figures.findChild(QWidget, "sentence").text()
    idle(qtbot, workspace)
    idle(qtbot, workspace)
    assert "folds" in dock.figures.findChild(QWidget, "sentence").text()
    assert not button.isVisibleTo(dock.figures)
    assert dock.history.lines()[0].f1 is not None


def test_figures_are_shown_before_the_curve_and_stay_when_that_is_cancelled(
    qtbot: QtBot,
    workspace: Workspace,
    dock: TrainDock,
    assay_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened(qtbot, workspace, assay_path)
    began: list[bool] = []

    def waits(_annotated: object, _options: object, job: Job) -> None:
        began.append(True)
        while not job.is_cancelled:
            time.sleep(0.01)
        raise Cancelled

    monkeypatch.setattr(measuring, "curve", waits)
    workspace.training.retrain()
    qtbot.waitUntil(lambda: bool(began), timeout=60_000)
    assert dock.figures.shown() == "0002"  # they do not wait for the curve
    assert "folds" in dock.figures.findChild(QWidget, "sentence").text()
    cancel = next(
        b
        for b in dock.findChild(QWidget, "jobs").findChildren(QAbstractButton)
        if b.text() == "Cancel"
    )
    cancel.click()
    idle(qtbot, workspace)
    idle(qtbot, workspace)
    assert dock.figures.shown() == "0002"
    assert "folds" in dock.figures.findChild(QWidget, "sentence").text()
    assert dock.figures.findChild(LearningCurveChart).value() is None
    assert dock.figures.findChild(QWidget, "measure").text() == "Measure the rest"
    assert dock.history.lines()[0].f1 is not None


def test_damaged_figures_are_told(
    qtbot: QtBot, workspace: Workspace, dock: TrainDock, assay_path: Path
) -> None:
    manifest = assay_path / "models" / "0001" / "model.json"
    data = json.loads(manifest.read_text())
    data["cross_validation"]["reliability"] = {"bins": "none"}
    write_json(manifest, data)
    opened(qtbot, workspace, assay_path)
    assert "damaged" in dock.figures.findChild(QWidget, "sentence").text()
    assert dock.findChild(QWidget, "retrain").isEnabled()


def test_every_control_has_a_tooltip_and_it_fits_400_px(
    qtbot: QtBot, workspace: Workspace, dock: TrainDock, assay_path: Path
) -> None:
    opened(qtbot, workspace, assay_path)
    for kind in (QAbstractButton, QComboBox, QSpinBox):
        for control in dock.findChildren(kind):
            if not isinstance(control.parent(), QTabBar):  # Qt's own, to scroll the tabs
                assert control.toolTip() or control.parent().toolTip(), control
    for edit in dock.findChildren(QLineEdit):
        assert edit.toolTip() or edit.parent().toolTip(), edit
    assert dock.minimumSizeHint().width() <= 400
