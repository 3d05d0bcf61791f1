"""Encoder, recipe and head that are chosen for the assay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_hcs_qc.assay.models.train_options import (
    TrainOptions,
    chosen_options,
    save_options,
    with_custom_weights,
)
from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.gui.session.session_assay import SessionAssay


class ChosenOptions(QObject):
    """The training options of the assay, saved with it."""

    changed = Signal()
    message = Signal(str, str)

    def __init__(self, assay: SessionAssay, parent: QObject) -> None:
        super().__init__(parent)
        self._assay = assay
        self._folder: AssayFolder | None = None
        self._value = TrainOptions()
        assay.changed.connect(self._assay_changed)

    def value(self) -> TrainOptions:
        """Give what is chosen."""
        return self._value

    def set_value(self, options: TrainOptions) -> None:
        """Choose encoder, recipe and head."""
        if options == self._value:
            return
        self._value = options
        if self._folder is not None:
            try:
                save_options(self._folder, options)
            except HcsQcError as error:
                self.message.emit("warning", f"The choice could not be saved: {error}")
        self.changed.emit()

    def with_weights(self, options: TrainOptions) -> TrainOptions | None:
        """Add the weights of an encoder of the assay; None, with a message, where it is damaged."""
        try:
            return options if self._folder is None else with_custom_weights(self._folder, options)
        except HcsQcError as error:
            self.message.emit("warning", str(error))
            return None

    def _assay_changed(self) -> None:
        if self._assay.folder is self._folder:
            return
        self._folder = self._assay.folder
        self._value = TrainOptions()
        if self._folder is not None:
            try:
                self._value = chosen_options(self._folder)
            except HcsQcError as error:
                self.message.emit("warning", str(error))
        self.changed.emit()
