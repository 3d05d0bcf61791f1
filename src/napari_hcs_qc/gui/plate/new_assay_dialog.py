"""The dialog that makes an assay of a plate."""

from __future__ import annotations

import os
from pathlib import Path

from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_hcs_qc.gui.widgets.path_row import path_row
from napari_hcs_qc.workflow.steps import PlateSource

_TABLES = "Plates (*.csv *.parquet *.HTD *.xml);;All files (*)"


def proposed_folder(plate: Path) -> Path:
    """Propose a folder for the assay of a plate: beside it, or at home where that is read-only."""
    beside = plate.parent
    root = beside if os.access(beside, os.W_OK) else Path.home()
    return root / f"{plate.stem if plate.is_file() else plate.name}-qc"


class NewAssayDialog(QDialog):
    """Asks for a plate and for the folder of its assay."""

    def __init__(
        self, plate: Path | None = None, folder: Path | None = None, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._fixed = folder
        self.setWindowTitle("New assay" if folder is None else "Add a plate")
        self.setMinimumWidth(520)
        self._plate = QLineEdit("" if plate is None else str(plate))
        self._plate.setToolTip("Folder of images, LoadData table, or OME-Zarr plate.")
        self._folder = QLineEdit("" if folder is None else str(folder))
        self._folder.setToolTip("New or empty folder for annotations and models.")
        self._folder.setEnabled(folder is None)
        self._pattern = QLineEdit()
        self._pattern.setPlaceholderText(
            "only if the file names are not those of a known microscope"
        )
        self._pattern.setToolTip(
            "Regular expression with the named groups well (or row and column), site, channel, and "
            "optionally z and time, searched in each file's path below the folder."
        )
        explained = QLabel(
            "An assay is one or more plates that share a model. The images stay where they are."
        )
        explained.setWordWrap(True)
        form = QFormLayout()
        form.addRow(
            "Plate",
            path_row(
                self._plate,
                ("Folder…", self._choose_plate_folder),
                ("File…", self._choose_plate_file),
            ),
        )
        form.addRow("Assay folder", path_row(self._folder, ("Choose…", self._choose_folder)))
        form.addRow("Name pattern", self._pattern)
        self._buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel
        )
        self._buttons.accepted.connect(self.accept)
        self._buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(explained)
        layout.addLayout(form)
        layout.addWidget(self._buttons)
        self._plate.textChanged.connect(self._plate_changed)
        self._folder.textChanged.connect(self._check)
        self._plate_changed(self._plate.text())

    def value(self) -> tuple[PlateSource, Path]:
        """Give the plate and the folder of the assay."""
        plate = Path(self._plate.text().strip()).expanduser()
        pattern = self._pattern.text().strip() or None
        return PlateSource(plate, pattern), Path(self._folder.text().strip()).expanduser()

    def set_value(self, plate: Path) -> None:
        """Fill in the plate; the folder is proposed."""
        self._plate.setText(str(plate))

    def _plate_changed(self, text: str) -> None:
        if self._fixed is None and text.strip():
            self._folder.setText(str(proposed_folder(Path(text.strip()).expanduser())))
        self._check()

    def _check(self, *_: object) -> None:
        ok = self._buttons.button(QDialogButtonBox.StandardButton.Ok)
        if ok is not None:
            ok.setEnabled(bool(self._plate.text().strip() and self._folder.text().strip()))

    def _choose_plate_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Folder of a plate", self._plate.text())
        if chosen:
            self.set_value(Path(chosen))

    def _choose_plate_file(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(
            self, "Table of a plate", self._plate.text(), _TABLES
        )
        if chosen:
            self.set_value(Path(chosen))

    def _choose_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Folder of the assay", self._folder.text())
        if chosen:
            self._folder.setText(chosen)
