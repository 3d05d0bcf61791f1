"""The dialog in which the keys of the desk are changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QKeySequenceEdit, QScrollArea, QWidget

from napari_hcs_qc.gui.keys import own_keys
from napari_hcs_qc.gui.keys.key_names import name_of
from napari_hcs_qc.gui.widgets.controls import form, lay_out
from napari_hcs_qc.gui.widgets.path_row import enable_ok, ok_or_cancel
from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_hcs_qc.assay.annotations.kinds import Kind

_KEY_PX = 130


class KeyDialog(QDialog):
    """All actions with the keys they have; says what clashes until the keys can be used."""

    def __init__(self, kinds: Sequence[Kind], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._kinds = kinds
        self.setWindowTitle("Change keys")
        self._edits = {default: QKeySequenceEdit() for default in own_keys.TITLES}
        for default, edit in self._edits.items():
            edit.setObjectName(f"key {default}")
            edit.setMaximumSequenceLength(1)
            edit.setMinimumWidth(_KEY_PX)
            edit.setToolTip("Click here, then press the new key.")
            edit.keySequenceChanged.connect(self._check)
        lines = QWidget()
        lines.setLayout(
            form(*((own_keys.TITLES[default], edit) for default, edit in self._edits.items()))
        )
        scroll = QScrollArea()
        scroll.setWidget(lines)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        self._problem = WrappedLabel()
        self._problem.setObjectName("problem")
        self._buttons = ok_or_cancel(self)
        restore = self._buttons.addButton(QDialogButtonBox.StandardButton.RestoreDefaults)
        assert restore is not None
        restore.clicked.connect(self._restore)
        about = WrappedLabel(
            "Click a key, then press the new one. Keys of kinds belong to the assay: add a kind "
            "with the key you want by + in the Annotate panel."
        )
        parts = (about, (scroll, 1), self._problem, self._buttons)
        lay_out(self, *parts, margins=(9, 9, 9, 9), spacing=None)
        self.resize(460, 560)
        self.set_value({default: own_keys.shown(default) for default in own_keys.TITLES})

    def value(self) -> dict[str, str]:
        """Give the key of each action, by its default key."""
        return {default: name_of(edit.keySequence()) for default, edit in self._edits.items()}

    def set_value(self, chosen: Mapping[str, str]) -> None:
        """Show these keys."""
        for default, edit in self._edits.items():
            edit.setKeySequence(QKeySequence(chosen.get(default, default)))
        self._check()

    def _restore(self) -> None:
        self.set_value({})

    def _check(self, *_: object) -> None:
        problem = own_keys.clash(self.value(), self._kinds)
        self._problem.setText(problem)
        enable_ok(self._buttons, not problem)
