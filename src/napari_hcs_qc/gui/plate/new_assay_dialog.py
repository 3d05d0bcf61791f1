"""The dialog that makes an assay of a plate."""

from __future__ import annotations

import os
from pathlib import Path

from qtpy.QtWidgets import QDialog, QFileDialog, QWidget

from napari_hcs_qc.cells.detectors.detector import detector_names
from napari_hcs_qc.gui.widgets.controls import combo_box, form, lay_out, line_edit, name_parts
from napari_hcs_qc.gui.widgets.option_form import Option, OptionForm
from napari_hcs_qc.gui.widgets.path_row import enable_ok, ok_or_cancel, path_row
from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel
from napari_hcs_qc.plugins import BUILT_IN_DETECTOR
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
        # Two lines by hand: a plate is a folder or a file, and magicgui looks for one of them.
        self._plate = line_edit(
            "Folder of images, LoadData table, or OME-Zarr plate.",
            text="" if plate is None else str(plate),
        )
        self._folder = line_edit(
            "New or empty folder for annotations and models.",
            text="" if folder is None else str(folder),
        )
        self._folder.setEnabled(folder is None)
        pattern = Option(
            tip=(
                "Regular expression with the named groups well (or row and column), site, "
                "channel, and optionally z and time, searched in each file's path below the "
                "folder."
            ),
            if_none="only if the file names are not those of a known microscope",
        )
        self._source = OptionForm(PlateSource, {"pattern": pattern}, self)
        self._detector = combo_box(
            {name: name for name in detector_names()},
            "What finds the nuclei. A learned detector needs its package: pip install "
            "'napari-hcs-qc[instanseg]'. Kept with the assay.",
        )
        self._buttons = ok_or_cancel(self)
        lay_out(
            self,
            WrappedLabel(
                "An assay is one or more plates that share a model. The images stay where they are."
            ),
            form(
                (
                    "Plate",
                    path_row(
                        self._plate,
                        ("Folder…", self._choose_plate_folder),
                        ("File…", self._choose_plate_file),
                    ),
                ),
                ("Assay folder", path_row(self._folder, ("Choose…", self._choose_folder))),
                ("Name pattern", self._source["pattern"]),
                *([("Detector", self._detector)] if folder is None else []),
            ),
            self._buttons,
            margins=(9, 9, 9, 9),
            spacing=None,
        )
        name_parts(self)
        self._plate.textChanged.connect(self._plate_changed)
        self._folder.textChanged.connect(self._check)
        self._plate_changed(self._plate.text())

    def value(self) -> tuple[PlateSource, Path]:
        """Give the plate and the folder of the assay."""
        plate = Path(self._plate.text().strip()).expanduser()
        folder = Path(self._folder.text().strip()).expanduser()
        return PlateSource(plate, **self._source.value()), folder

    def detector(self) -> str | None:
        """Give what finds the nuclei of a new assay; None for ours, or what the assay has."""
        name = str(self._detector.currentData())
        return None if name == BUILT_IN_DETECTOR else name

    def set_value(self, plate: Path) -> None:
        """Fill in the plate; the folder is proposed."""
        self._plate.setText(str(plate))

    def _plate_changed(self, text: str) -> None:
        if self._fixed is None and text.strip():
            self._folder.setText(str(proposed_folder(Path(text.strip()).expanduser())))
        self._check()

    def _check(self, *_: object) -> None:
        is_complete = bool(self._plate.text().strip() and self._folder.text().strip())
        enable_ok(self._buttons, is_complete)

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
