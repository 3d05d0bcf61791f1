"""From what a person chooses or drops to an open assay, and what it knows of its plates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QMessageBox

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.gui.plate.find_cells_dialog import FindCellsDialog
from napari_hcs_qc.gui.plate.new_assay_dialog import MAPS, NewAssayDialog
from napari_hcs_qc.gui.plate.recent import remember
from napari_hcs_qc.workflow import desk_steps

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_hcs_qc.gui.session.background_jobs import BackgroundJob
    from napari_hcs_qc.gui.session.session import Session
    from napari_hcs_qc.gui.session.tasks import Tasks


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
) -> NewAssayDialog:
    """Show the dialog that makes an assay of a plate, or adds it to theirs; then open that."""
    folder = session.assay.folder.path if add and session.assay.folder is not None else None
    dialog = NewAssayDialog(session, plate, folder, parent)
    dialog.made.connect(lambda path, name: _open_again(session, path, name))
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.open()
    return dialog


def _open_again(session: Session, folder: Path, plate: str | None) -> None:
    session.open(folder, plate)
    remember(folder)


# ---- what an assay knows of a plate --------------------------------------------------------


def ask_for_cells(tasks: Tasks, session: Session, parent: QWidget | None) -> FindCellsDialog | None:
    """Ask how the cells of the plate shown are found, and find them."""
    folder, plate = session.assay.folder, session.selection.plate
    if folder is None or plate is None:
        session.message.emit("info", "Open a plate first.")
        return None
    dialog = FindCellsDialog(session, folder, plate, parent)
    dialog.accepted.connect(lambda: tasks.find_cells(dialog.value()))
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.open()
    return dialog


def ask_for_platemap(session: Session, parent: QWidget | None) -> None:
    """Let the person choose a plate map for the assay."""
    folder = session.assay.folder
    chosen, _ = QFileDialog.getOpenFileName(parent, "Plate map", "", MAPS)
    if folder is None or not chosen:
        return
    job = session.start(
        "Reading the plate map", desk_steps.set_platemap, folder, Path(chosen), slot="open"
    )
    job.finished.connect(lambda _: _open_again(session, folder.path, session.selection.plate_name))


def ask_where(session: Session, plate: str, parent: QWidget | None, *, file: bool = False) -> None:
    """Let the person say where a plate lies now."""
    folder = session.assay.folder
    if folder is None:
        return
    title = f"Where plate {plate} lies now"
    start = str(folder.plate(plate).source.parent)
    chosen = (
        QFileDialog.getOpenFileName(parent, title, start)[0]
        if file
        else QFileDialog.getExistingDirectory(parent, title, start)
    )
    if not chosen:
        return
    job = session.start(
        f"Locating plate {plate}", desk_steps.relocate, folder, plate, Path(chosen), slot="open"
    )
    job.finished.connect(lambda is_same: _located(session, folder.path, plate, is_same))


def _located(session: Session, folder: Path, plate: str, is_same: bool) -> None:
    _open_again(session, folder, plate)
    if not is_same:
        session.message.emit(
            "warning",
            f"The files of {plate} are not those on which its cells were found; find them again.",
        )


def ask_to_remove(session: Session, plate: str, parent: QWidget | None) -> None:
    """Take a plate out of the assay, once the person has said yes."""
    folder = session.assay.folder
    if folder is None:
        return
    answer = QMessageBox.question(
        parent,
        "Remove a plate",
        f"Remove {plate} from this assay? Its images stay where they are, and its annotations "
        "stay in the journal: they are there again if the plate is added again.",
    )
    if answer != QMessageBox.StandardButton.Yes:
        return
    try:
        folder.remove_plate(plate)
    except HcsQcError as error:
        session.message.emit("error", str(error))
        return
    session.open(folder.path)
