"""The dialog that asks how the cells of a plate are found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QDialog, QFileDialog, QWidget

from napari_hcs_qc.assay.views.plate_look import look_at
from napari_hcs_qc.cells.detectors.detector import detector_names
from napari_hcs_qc.gui.plate.new_assay_dialog import DETECTOR_TIP
from napari_hcs_qc.gui.plate.plate_preview import PlatePreview
from napari_hcs_qc.gui.widgets.controls import (
    combo_box,
    form,
    lay_out,
    line_edit,
    name_parts,
    select,
)
from napari_hcs_qc.gui.widgets.growing_area import GrowingArea
from napari_hcs_qc.gui.widgets.path_row import enable_ok, ok_or_cancel, path_row
from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel
from napari_hcs_qc.plates.summary import z_planes
from napari_hcs_qc.workflow.cell_options import CellOptions, known_nuclear_channel

if TYPE_CHECKING:
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.views.plate_look import PlateLook
    from napari_hcs_qc.gui.session.session import Session
    from napari_hcs_qc.plates.plate import Plate, Projection

_SOURCES = "Masks, positions and objects (*);;Tables (*.csv *.tsv *.parquet *.sqlite *.xlsx)"


class FindCellsDialog(QDialog):
    """Nuclei channel, z, and what finds the cells: ours, another detector, or files of others."""

    def __init__(
        self, session: Session, folder: AssayFolder, plate: Plate, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        session.closing.connect(self.reject)
        session.assay.changed.connect(self.reject)  # another assay may not have this plate
        self.setWindowTitle(f"Find the cells of {plate.name}")
        self.setMinimumWidth(560)
        settings = folder.settings
        known = known_nuclear_channel(plate, settings)
        self._nuclei = None if known is None else plate.channels[known].name
        self._preview = PlatePreview()
        choices: dict[Projection, str] = {"max": "maximum over z"}
        numbers = sorted({int(z) for z in plate.planes["z"]})
        choices |= {z: f"plane {z}" for z in numbers}
        self._z = combo_box(choices, "Plane of a z stack on which cells are found.")
        select(self._z, settings.projection or "max")
        self._detector = combo_box({name: name for name in detector_names()}, DETECTOR_TIP)
        select(self._detector, folder.detector, adds=True)
        self._files = line_edit(
            "Masks or positions of another program, instead of finding cells: a folder of label "
            "images, a table of positions, or the objects of CellProfiler, QuPath and others.",
            "find them here",
        )
        self._buttons = ok_or_cancel(self)
        lay_out(
            self,
            (GrowingArea(self._preview), 1),
            form(
                *([("Planes", self._z)] if len(z_planes(plate)) > 1 else []),
                ("Detector", self._detector),
                (
                    "Import from",
                    path_row(
                        self._files,
                        ("Folder…", self._choose_folder),
                        ("File…", self._choose_file),
                    ),
                ),
            ),
            WrappedLabel(
                "Channel, planes and detector are kept with the assay, for all of its plates. "
                "Annotations stay; embeddings and predictions are made anew where cells differ."
            ),
            self._buttons,
            margins=(9, 9, 9, 9),
            spacing=None,
        )
        name_parts(self)
        self._files.textChanged.connect(self._check)
        self._preview.value_changed.connect(self._check)
        self._preview.set_text(f"Reading {plate.name} …")
        job = session.jobs.start(
            "Looking at a plate", look_at, plate, slot=f"look {id(self)}", quiet=True
        )
        job.finished.connect(self._show)
        job.failed.connect(self._show_problem)
        self._check()

    def value(self) -> CellOptions:
        """Give how the cells are to be found."""
        source = self._files.text().strip()
        return CellOptions(
            source=Path(source).expanduser() if source else None,
            channel=self._preview.value(),
            projection=self._z.currentData(),
            detector=None if source else str(self._detector.currentData()),
        )

    def preview(self) -> PlatePreview:
        """Give what is shown of the plate."""
        return self._preview

    def _show(self, look: PlateLook) -> None:
        self._preview.set_look(look, self._nuclei, lines=False)

    def _show_problem(self, text: str) -> None:
        self._preview.set_text(f"✖ {text}")

    def _check(self, *_: object) -> None:
        self._detector.setEnabled(not self._files.text().strip())
        enable_ok(self._buttons, self._preview.value() is not None)

    def _choose_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Folder of masks", self._files.text())
        if chosen:
            self._files.setText(chosen)

    def _choose_file(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, "File of cells", self._files.text(), _SOURCES)
        if chosen:
            self._files.setText(chosen)
