"""The dialog that makes an assay of a plate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QDialog, QFileDialog, QMessageBox, QWidget

from napari_hcs_qc.cells.detectors.detector import detector_names
from napari_hcs_qc.gui.plate.plate_preview import PlatePreview
from napari_hcs_qc.gui.widgets.controls import (
    check_box,
    combo_box,
    form,
    lay_out,
    line_edit,
    name_parts,
    row,
)
from napari_hcs_qc.gui.widgets.growing_area import GrowingArea
from napari_hcs_qc.gui.widgets.option_form import Option, OptionForm
from napari_hcs_qc.gui.widgets.path_row import enable_ok, ok_or_cancel, path_row
from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel
from napari_hcs_qc.plates.remote import RemoteImagesError
from napari_hcs_qc.plugins import BUILT_IN_DETECTOR
from napari_hcs_qc.workflow import desk_steps
from napari_hcs_qc.workflow.cell_options import stained_channel
from napari_hcs_qc.workflow.steps import PlateSource

if TYPE_CHECKING:
    from napari_hcs_qc.assay.views.plate_look import PlateLook
    from napari_hcs_qc.gui.session.background_jobs import BackgroundJob
    from napari_hcs_qc.gui.session.session import Session

_TABLES = "Plates (*.csv *.parquet *.HTD *.xml);;All files (*)"
MAPS = "Plate maps (*.csv *.tsv *.txt *.xlsx *.parquet);;All files (*)"
_LOOK_MS = 400  # after the last letter that was typed
DETECTOR_TIP = (
    "What finds the nuclei. A learned detector needs its package: pip install "
    "'napari-hcs-qc[instanseg]'. Kept with the assay."
)


def proposed_folder(plate: Path) -> Path:
    """Propose a folder for the assay of a plate: at home, never among the raw data."""
    name = plate.stem if plate.is_file() else plate.name
    return Path.home() / "hcs-qc" / f"{name}-qc"


class NewAssayDialog(QDialog):
    """Asks for a plate and for the folder of its assay, and shows what it finds there.

    It stays open, with what was typed, until the assay is made.
    """

    made = Signal(object, str)  # the folder, and the name of the plate

    def __init__(
        self,
        session: Session,
        plate: Path | None = None,
        folder: Path | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._session, self._fixed = session, folder
        self._slot = f"look {id(self)}"
        self._look: PlateLook | None = None
        self._allow_remote = False
        self._making: BackgroundJob | None = None
        self._made_in = folder
        session.closing.connect(self.reject)  # nothing is read for a viewer that is gone
        self.setWindowTitle("New assay" if folder is None else "Add a plate")
        self.setMinimumWidth(560)
        self._make_widgets(plate, folder)
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
                ("Time point", row(self._source["time"], self._each_time)),
                *(
                    [
                        ("Plate map", path_row(self._platemap, ("File…", self._choose_map))),
                        ("Detector", self._detector),
                    ]
                    if folder is None
                    else []
                ),
            ),
            (GrowingArea(self._preview), 1),
            self._buttons,
            margins=(9, 9, 9, 9),
            spacing=None,
        )
        name_parts(self)
        self._waiting = QTimer(self)
        self._waiting.setSingleShot(True)
        self._waiting.setInterval(_LOOK_MS)
        self._waiting.timeout.connect(self.look)
        self._plate.textChanged.connect(self._plate_changed)
        self._folder.textChanged.connect(self._check)
        self._source.value_changed.connect(self._source_changed)
        self._each_time.toggled.connect(self._source_changed)
        self._each_time.toggled.connect(self._source["time"].setDisabled)
        self._preview.value_changed.connect(self._check)
        self._plate_changed(self._plate.text())

    def _make_widgets(self, plate: Path | None, folder: Path | None) -> None:
        # Lines by hand: a plate is a folder or a file, and magicgui looks for one of them.
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
        time = Option(
            tip="Time point of the images to use, as the files count it.", low=-1, if_none="first"
        )
        self._source = OptionForm(PlateSource, {"pattern": pattern, "time": time}, self)
        self._each_time = check_box(
            "each, as a plate of its own",
            "Every time point becomes a plate of the assay, named after its time: cells, shares "
            "and flags are its own. In training the cells of a well at all times are one well.",
        )
        self._platemap = line_edit(
            "Table of treatments and controls, a row for each well or a grid.", "optional"
        )
        self._detector = combo_box({name: name for name in detector_names()}, DETECTOR_TIP)
        self._preview = PlatePreview()
        self._buttons = ok_or_cancel(self)

    # ---- value ---------------------------------------------------------------------------

    def value(self) -> desk_steps.NewAssay:
        """Give the plate and the folder of the assay, and what is said of them."""
        detector, platemap = str(self._detector.currentData()), self._platemap.text().strip()
        is_new = self._fixed is None
        return desk_steps.NewAssay(
            source=self._plate_source(),
            folder=Path(self._folder.text().strip()).expanduser(),
            platemap=Path(platemap).expanduser() if platemap and is_new else None,
            detector=None if detector == BUILT_IN_DETECTOR or not is_new else detector,
            nuclear_channel=self._preview.value() if is_new else None,
        )

    def set_value(self, plate: Path) -> None:
        """Fill in the plate; the folder is proposed."""
        self._plate.setText(str(plate))

    def preview(self) -> PlatePreview:
        """Give what is shown of the plate."""
        return self._preview

    def _plate_source(self) -> PlateSource:
        path = Path(self._plate.text().strip()).expanduser()
        source = PlateSource(path, allow_remote=self._allow_remote, **self._source.value())
        return replace(source, time="all") if self._each_time.isChecked() else source

    # ---- looking -------------------------------------------------------------------------

    def look(self) -> None:
        """Read the plate in the background and show what was found, or what is wrong."""
        self._waiting.stop()
        self._preview.set_text(f"Reading {self._plate.text().strip()} …")
        job = self._session.jobs.start(
            "Looking at a plate",
            desk_steps.look_at_plate,
            self._plate_source(),
            slot=self._slot,
            quiet=True,
        )
        job.finished.connect(self._show)
        job.failed.connect(self._show_problem)

    def _show(self, look: PlateLook | RemoteImagesError) -> None:
        if isinstance(look, RemoteImagesError):
            self._preview.set_text(f"✖ {look}")
            if _may_contact(look, self):
                self._allow_remote = True
                self.look()
            return
        self._look = look
        known = stained_channel(look.plate)
        self._preview.set_look(look, None if known is None else look.plate.channels[known].name)
        self._check()

    def _show_problem(self, text: str) -> None:
        self._preview.set_text(f"✖ {text}")
        self._check()

    def _plate_changed(self, text: str) -> None:
        self._allow_remote = False
        if self._fixed is None and text.strip():
            self._folder.setText(str(proposed_folder(Path(text.strip()).expanduser())))
        self._source_changed()

    def _source_changed(self, *_: object) -> None:
        self._look = None
        self._preview.set_text("")
        if self._plate.text().strip():
            self._waiting.start()
        else:
            self._waiting.stop()
        self._check()

    def _check(self, *_: object) -> None:
        is_complete = self._look is not None and bool(self._folder.text().strip())
        is_chosen = self._fixed is not None or self._preview.value() is not None
        enable_ok(self._buttons, is_complete and is_chosen)

    # ---- making --------------------------------------------------------------------------

    def accept(self) -> None:
        """Make the assay in the background; where that is refused the dialog says why."""
        value = self.value()
        job = self._session.start(
            f"Opening plate {value.source.path.name}", desk_steps.new_assay, value, slot="open"
        )
        self._making, self._made_in = job, value.folder
        enable_ok(self._buttons, False)
        # Methods, not lambdas: Qt lets go of them when the dialog is closed and deleted.
        job.finished.connect(self._made)
        job.failed.connect(self._refused)
        job.cancelled.connect(self._cancelled)

    def done(self, result: int) -> None:
        """End, and the work that was begun for it."""
        self._waiting.stop()
        for job in (self._session.jobs.newest(self._slot), self._making):
            if job is not None:
                job.cancel()
        super().done(result)

    def _made(self, plate: str) -> None:
        self._making = None
        self.made.emit(self._made_in, plate)
        super().accept()

    def _cancelled(self) -> None:
        self._making = None
        self._check()

    def _refused(self, text: str) -> None:
        self._making = None
        if self._look is not None:
            self._show(self._look)
            self._preview.add_problem(text)

    # ---- choosing ------------------------------------------------------------------------

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

    def _choose_map(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, "Plate map", self._platemap.text(), MAPS)
        if chosen:
            self._platemap.setText(chosen)


def _may_contact(error: RemoteImagesError, parent: QWidget) -> bool:
    text = f"{error.named}. Contact them? Say yes only if you trust the file."
    answer = QMessageBox.question(parent, "Images on servers", text)
    return bool(answer == QMessageBox.StandardButton.Yes)
