"""What napari knows of us by the manifest: widgets, the menu's command, readers, the sample."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import npe2
import numpy as np
import pytest
from napari._app_model import get_app_model
from qtpy.QtWidgets import QPushButton, QScrollArea

from napari_hcs_qc.gui.annotate.annotate_dock import AnnotateDock
from napari_hcs_qc.gui.canvas.overlay_dock import OverlayDock
from napari_hcs_qc.gui.canvas.workspace import has_workspace, workspace_of
from napari_hcs_qc.gui.plate.plate_dock import PlateDock
from napari_hcs_qc.gui.review.review_dock import ReviewDock
from napari_hcs_qc.gui.train.encoder_dock import EncoderDock
from napari_hcs_qc.gui.train.train_dock import TrainDock
from napari_hcs_qc.gui.window import desk
from napari_hcs_qc.gui.window.furniture import dock_with
from napari_hcs_qc.gui.window.guide_dock import GuideDock
from napari_hcs_qc.study.gui.benchmark_dock import BenchmarkDock

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari import Viewer
    from pytestqt.qtbot import QtBot

pytestmark = pytest.mark.window

_NAME = "napari-hcs-qc"
_SAMPLE = Path(__file__).resolve().parents[2] / "sample_data" / "SAMPLE"
_PANELS: dict[str, Any] = {
    desk.GUIDE: GuideDock,
    desk.PLATE: PlateDock,
    desk.ANNOTATE: AnnotateDock,
    desk.TRAIN: TrainDock,
    desk.OVERLAY: OverlayDock,
    desk.REVIEW: ReviewDock,
    desk.ENCODER: EncoderDock,
    "HCS benchmark": BenchmarkDock,
}


@pytest.fixture
def viewer(
    make_napari_viewer: Callable[..., Viewer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Viewer:
    """Give a viewer that knows us, as napari knows an installed plugin."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    viewer = make_napari_viewer(show=True)
    manager = npe2.PluginManager.instance()
    if _NAME not in manager:
        manager.register(npe2.PluginManifest.from_distribution(_NAME))
    return viewer


@pytest.fixture
def assay(tmp_path: Path) -> Path:
    """Give an assay of a plate without cells."""
    from napari_hcs_qc.workflow import steps

    folder, _ = steps.new(tmp_path / "assay", [steps.PlateSource(_SAMPLE)])
    return folder.path


def test_every_widget_opens_by_its_name_and_works_on_the_viewer(
    viewer: Viewer, qtbot: QtBot, assay: Path
) -> None:
    manifest = npe2.PluginManager.instance().get_manifest(_NAME)
    assert {one.display_name for one in manifest.contributions.widgets} == set(_PANELS)
    for name, kind in _PANELS.items():
        _, widget = viewer.window.add_plugin_dock_widget(_NAME, name)
        assert isinstance(widget, kind)
        assert desk.panel(viewer, name) is widget
    # All of them are about one and the same workspace.
    session = workspace_of(viewer).session
    session.open(assay)
    qtbot.waitUntil(lambda: session.selection.site is not None, timeout=60_000)
    qtbot.waitUntil(lambda: not session.jobs.running, timeout=60_000)
    assert len(viewer.layers) == 3
    # The desk takes those that are open.
    n_docks = len(viewer.window.dock_widgets)
    desk.open_desk(viewer)
    assert len(viewer.window.dock_widgets) == n_docks
    # In its places, and with its room: what napari's menu has made does not scroll by itself.
    docks = {name: dock_with(viewer, kind) for name, kind in _PANELS.items()}
    for name in set(_PANELS) - {desk.PLATE}:
        area = docks[name].widget()
        assert isinstance(area, QScrollArea) and not area.widget().isHidden(), name
    qtbot.waitUntil(lambda: docks[desk.PLATE].y() < docks[desk.GUIDE].y())


def test_the_command_of_the_menu_opens_the_desk(viewer: Viewer) -> None:
    menus = npe2.PluginManager.instance().get_manifest(_NAME).contributions.menus
    commands = {item.command for items in menus.values() for item in items}
    assert commands == {f"{_NAME}.open_all"}
    get_app_model().commands.execute_command(f"{_NAME}.open_all").result()
    assert has_workspace(viewer)
    for name, kind in _PANELS.items():
        assert isinstance(desk.panel(viewer, name), kind)


def test_an_assay_opens_in_the_desk(viewer: Viewer, qtbot: QtBot, assay: Path) -> None:
    viewer.open(str(assay), plugin=_NAME)
    session = workspace_of(viewer).session
    qtbot.waitUntil(lambda: session.selection.site is not None, timeout=60_000)
    qtbot.waitUntil(lambda: not session.jobs.running, timeout=60_000)
    assert session.assay.folder is not None and session.assay.folder.path == assay
    assert isinstance(desk.panel(viewer, desk.PLATE), PlateDock)


def test_a_plate_opens_as_layers(viewer: Viewer) -> None:
    viewer.open(str(_SAMPLE), plugin=_NAME)
    assert [layer.name for layer in viewer.layers] == ["DNA", "Actin", "Mito"]
    assert not has_workspace(viewer)
    limits = [tuple(layer.contrast_limits) for layer in viewer.layers]
    assert all(low < high < 65535 for low, high in limits), "the plate's contrast"


def test_the_sample_opens_the_desk_on_the_sample_plate(
    viewer: Viewer, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, assay: Path
) -> None:
    def make(folder: Path, **_job: Any) -> Path:
        assert folder.name == "sample-assay"
        return assay

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr("napari_hcs_qc.study.simulation.sample_assay.make_sample_assay", make)
    viewer.open_sample(_NAME, "sample_plate")
    session = workspace_of(viewer).session
    qtbot.waitUntil(lambda: session.selection.site is not None, timeout=60_000)
    qtbot.waitUntil(lambda: not session.jobs.running, timeout=60_000)
    assert [layer.name for layer in viewer.layers] == ["DNA", "Actin", "Mito", "cells"]
    for name, kind in _PANELS.items():
        assert isinstance(desk.panel(viewer, name), kind)


def test_a_panel_that_is_opened_alone_offers_the_others(viewer: Viewer, qtbot: QtBot) -> None:
    _, plate = viewer.window.add_plugin_dock_widget(_NAME, desk.PLATE)
    offer = plate.findChild(QPushButton, "open_rest")
    qtbot.waitUntil(offer.isVisible)
    offer.click()
    qtbot.wait(50)
    assert not offer.isVisible() and desk.panel(viewer, desk.PLATE) is plate
    assert desk.panel(viewer, desk.REVIEW) is not None


def test_other_folders_are_left_to_others(viewer: Viewer, tmp_path: Path) -> None:
    import tifffile

    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "notes.txt").write_text("no plate")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    tifffile.imwrite(pictures / "holiday.tif", np.zeros((8, 8), np.uint8))
    table = tmp_path / "table.csv"
    table.write_text("a,b\n1,2\n")
    empty = tmp_path / "empty.zarr"
    empty.mkdir()
    one = shutil.copy(next(_SAMPLE.glob("*.tif")), tmp_path)
    for path in (notes, pictures, table, empty, Path(one)):
        found = [
            reader
            for reader in npe2.PluginManager.instance().iter_compatible_readers([str(path)])
            if reader.command.startswith(_NAME)
            and reader.exec(kwargs={"path": [str(path)], "stack": False})
        ]
        assert not found, path
