"""A small assay for the widgets: made once, copied for each test."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from napari.components import ViewerModel

from napari_hcs_qc.assay.models.train_options import TrainOptions
from napari_hcs_qc.gui.canvas.workspace import workspace_of
from napari_hcs_qc.gui.keys import own_keys
from napari_hcs_qc.gui.plate import recent
from napari_hcs_qc.gui.session.target import cell_id
from napari_hcs_qc.study.simulation.synthetic import SyntheticSpec, simulate_plate
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot
    from qtpy.QtGui import QImage

SPEC = SyntheticSpec(
    name="SIM",
    wells=("A01", "A02", "B01", "B02"),
    sites_per_well=2,
    shape_px=(220, 260),
    channels=("DNA", "Actin"),
    seed=4,
    nucleus_diameter_um=14.0,
    cells_per_mm2=1500.0,
    artefact_share=0.0,
    schedule=(("B02", "saturation"),),
    abnormal_share=0.2,
    n_labels=60,
)


@pytest.fixture(autouse=True)
def _own_recent_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the assays and keys of tests away from those of whoever runs them."""
    monkeypatch.setattr(recent, "recent_file", lambda: tmp_path / "state" / "recent.json")
    monkeypatch.setattr(own_keys, "keys_file", lambda: tmp_path / "config" / "keys.json")
    own_keys.read_keys()


def image_bytes(image: QImage) -> bytes:
    """Give the pixels of an image, with PyQt6 and with PySide6."""
    bits: Any = image.constBits()
    return bytes(bits if isinstance(bits, memoryview) else bits.asarray(image.sizeInBytes()))


def trained_folder(factory: pytest.TempPathFactory) -> Path:
    """Folder with a plate (``made``) and its trained assay (``assay``); once in a run of pytest.

    Kept by its place, so that the tests of the window have the same one.
    """
    folder = factory.getbasetemp() / "trained"
    if not (folder / "complete").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        made = simulate_plate(folder / "made", SPEC)
        steps.run(
            folder / "assay",
            steps.PlateSource(made.plate_dir),
            made.labels,
            folder / "out",
            annotator="simulation",
            train_options=TrainOptions(n_seeds=1),
        )
        (folder / "complete").touch()
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a plate (``made``) and its assay (``assay``), trained and scored."""
    return trained_folder(tmp_path_factory)


@pytest.fixture
def assay_path(trained: Path, tmp_path: Path) -> Path:
    """A trained assay that a test may change."""
    shutil.copytree(trained / "assay", tmp_path / "assay")
    return tmp_path / "assay"


@pytest.fixture
def plate_path(trained: Path, tmp_path: Path) -> Path:
    """A copy of the plate's images, which a test may take away."""
    shutil.copytree(trained / "made" / "SIM", tmp_path / "SIM")
    return tmp_path / "SIM"


class Desk:
    """A workspace without a window, and its messages."""

    def __init__(self, qtbot: QtBot) -> None:
        self.qtbot = qtbot
        self.workspace = workspace_of(ViewerModel())
        self.session, self.tasks = self.workspace.session, self.workspace.tasks
        self.training = self.workspace.training
        self.view, self.viewer = self.workspace.view, self.workspace.viewer
        self.messages: list[tuple[str, str]] = []
        self.session.message.connect(lambda *message: self.messages.append(message))

    def open(self, path: Path) -> Desk:
        """Open an assay, and wait until all that follows by itself is done."""
        self.session.open(path)
        self.idle()
        return self

    def idle(self) -> None:
        """Wait until no job runs and the site of the session is on screen."""

        def is_idle() -> bool:
            session = self.session
            is_shown = self.view.on_screen == session.selection.site and session.is_settled
            return is_shown and not session.jobs.running

        self.qtbot.waitUntil(is_idle, timeout=240_000)

    def errors(self) -> list[str]:
        """Give the messages of errors."""
        return [text for level, text in self.messages if level == "error"]

    def cell(self, index: int = 0) -> tuple[float, float]:
        """Place of a cell of the site on screen."""
        assert self.view.cells is not None
        y_px, x_px = self.view.cells.yx_px[index]
        return float(y_px), float(x_px)

    def point_at(self, index: int) -> None:
        """Move the pointer onto a cell of the site on screen."""
        self.session.target.point(self.cell(index), has_moved=True)

    def leave_canvas(self) -> None:
        """Take the pointer off the image."""
        self.session.target.point(None)

    def select(self, *indices: int) -> None:
        """Select cells of the site on screen, as with the mouse."""
        assert self.view.cells is not None
        cells = [cell_id(self.view.cells, index) for index in indices]
        self.session.target.select(cells, self.view.on_screen)

    def annotate(self, cls: str | None, index: int = 0) -> bool:
        """Annotate a cell of the site on screen."""
        assert self.session.selection.site is not None
        return self.session.annotations.annotate(
            self.session.selection.site, [self.cell(index)], cls
        )

    def annotation_of(self, index: int = 0) -> str | None:
        """What is shown as the class of a cell of the site on screen, as people annotated it."""
        assert self.view.cells is not None
        cls: str | None = self.view.cells.annotated_class[index]
        return cls

    def close(self) -> None:
        """Close the workspace; may be called again."""
        self.workspace.close()


@pytest.fixture
def make_desk(qtbot: QtBot) -> Iterator[Callable[[], Desk]]:
    """Make workspaces without a window, closed at the end of the test."""
    made: list[Desk] = []

    def make() -> Desk:
        made.append(Desk(qtbot))
        return made[-1]

    yield make
    for desk in made:
        desk.close()


@pytest.fixture
def desk(make_desk: Callable[[], Desk]) -> Desk:
    """Give one workspace without a window."""
    return make_desk()
