"""The dialog that asks where the tables and the report go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QDialog, QFileDialog

from napari_hcs_qc.gui.widgets.controls import form, lay_out, line_edit, name_parts
from napari_hcs_qc.gui.widgets.path_row import enable_ok, ok_or_cancel, path_row
from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget


class ExportDialog(QDialog):
    """Asks for a folder, which need not be there yet: Qt's own dialog takes none that is not."""

    def __init__(self, assay: Path, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        assay = assay.resolve()
        self.setWindowTitle("Export tables and report")
        self.setMinimumWidth(480)
        self._folder = line_edit(
            "Folder for tables and report; it is made where it is not there yet.",
            text=str(assay.parent / f"{assay.name}-results"),
        )
        self._buttons = ok_or_cancel(self)
        lay_out(
            self,
            WrappedLabel(
                "A new folder, or one of an earlier export, whose tables and report are replaced."
            ),
            form(("Folder", path_row(self._folder, ("Choose…", self._choose)))),
            self._buttons,
            margins=(9, 9, 9, 9),
            spacing=None,
        )
        name_parts(self)
        self._folder.textChanged.connect(self._check)

    def value(self) -> Path:
        """Give the folder."""
        return Path(self._folder.text().strip()).expanduser()

    def _check(self, text: str) -> None:
        enable_ok(self._buttons, bool(text.strip()))

    def _choose(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, self.windowTitle(), str(self.value()))
        if chosen:
            self._folder.setText(chosen)
