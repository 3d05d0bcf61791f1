"""Opening what a person chose or dropped: an assay, or a plate to make one of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QApplication, QFileDialog, QMessageBox

from napari_hcs_qc.gui.plate.new_assay_dialog import NewAssayDialog
from napari_hcs_qc.gui.plate.recent import remember
from napari_hcs_qc.workflow import desk_steps

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_hcs_qc.gui.session.background_jobs import BackgroundJob
    from napari_hcs_qc.gui.session.session import Session
    from napari_hcs_qc.plates.remote import RemoteImagesError
    from napari_hcs_qc.workflow.steps import PlateSource


def is_assay(path: Path) -> bool:
    """Whether a path is the folder of an assay."""
    return (path / "assay.json").is_file()


def open_path(session: Session, path: Path, parent: QWidget | None = None) -> None:
    """Open an assay, or ask where the assay of a plate should be and make it."""
    if is_assay(path):
        open_assay_folder(session, path)
    else:
        ask_for_plate(session, path, parent)


def open_assay_folder(session: Session, path: Path) -> BackgroundJob:
    """Open an assay and remember it."""
    job = session.open(path)
    job.finished.connect(lambda _: remember(path))
    return job


def ask_for_assay(session: Session, parent: QWidget | None) -> None:
    """Let the person choose the folder of an assay, and open it."""
    chosen = QFileDialog.getExistingDirectory(parent, "Folder of an assay")
    if not chosen:
        return
    path = Path(chosen)
    if is_assay(path):
        open_assay_folder(session, path)
    else:
        session.message.emit(
            "warning",
            f"{path} is not an assay: it has no assay.json. To start from a plate, choose New "
            "assay.",
        )


def ask_for_plate(
    session: Session, plate: Path | None, parent: QWidget | None, *, add: bool = False
) -> None:
    """Let the person choose a plate, make an assay of it (or add it to theirs), and open it."""
    folder = session.assay.folder.path if add and session.assay.folder is not None else None
    dialog = NewAssayDialog(plate, folder, parent)
    if dialog.exec():
        make_assay(session, *dialog.value(), dialog.detector())


def make_assay(
    session: Session, source: PlateSource, folder: Path, detector: str | None = None
) -> BackgroundJob:
    """Make an assay of a plate in the background, or add it to one that exists, and open it."""
    job = session.start(
        f"Opening plate {source.path.name}",
        desk_steps.new_assay,
        source,
        folder,
        detector,
        slot="open",
    )

    def go_on(made: str | RemoteImagesError) -> None:
        if isinstance(made, str):
            _open_made(session, folder, made)
        elif _may_contact(made):
            make_assay(session, replace(source, allow_remote=True), folder, detector)

    job.finished.connect(go_on)
    return job


def _may_contact(error: RemoteImagesError) -> bool:
    text = f"{error.named}. Contact them? Say yes only if you trust the file."
    window = QApplication.activeWindow()
    answer = QMessageBox.question(window, "Images on servers", text)
    return bool(answer == QMessageBox.StandardButton.Yes)


def _open_made(session: Session, folder: Path, plate: str) -> None:
    session.open(folder, plate)
    remember(folder)
