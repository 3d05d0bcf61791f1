"""The sheet with all keys and what the mouse does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QDialog, QLabel, QWidget

from napari_hcs_qc.gui.keys import key_names as keys
from napari_hcs_qc.gui.keys.key_dialog import KeyDialog
from napari_hcs_qc.gui.keys.own_keys import meaning, shown
from napari_hcs_qc.gui.widgets.controls import column, heading, lay_out, push_button, row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hcs_qc.assay.annotations.kinds import Kind

Section = tuple[str, tuple[tuple[str, str], ...]]


def sections(kinds: Sequence[Kind]) -> tuple[Section, ...]:
    """Give all keys by what they are for: title, and pairs of key and meaning."""
    return (
        (
            "Annotate: the framed cell, or the selected cells",
            (
                (_these("N", "A", "U"), "normal, abnormal, unsure"),
                *((kind.key, f"abnormal: {kind.name}") for kind in kinds if kind.key),
                (shown("Backspace"), "remove your annotation"),
                (shown(keys.NEXT), "next cell that teaches most; in the gallery the next open one"),
                (_these(keys.UNDO, keys.REDO), "undo, redo"),
                (shown(keys.RETRAIN), "retrain"),
            ),
        ),
        (
            "Image",
            (
                (_these(keys.BEFORE, keys.AFTER), "previous, next site"),
                (shown(keys.RAW), "raw image: without cells and marks; again: with them"),
                (_channels(), "one channel alone; again: all"),
                ("Click", "select a cell, or annotate it in the modes normal and abnormal"),
                ("Right click", "menu of the cell; in the gallery, too"),
                ("Shift+drag, Ctrl+drag", "add the cells in a box, in a lasso"),
                (
                    shown(keys.DESELECT),
                    "select nothing; from your own layer back to the cells",
                ),
            ),
        ),
        (
            "Gallery",
            (
                (shown(keys.GALLERY), "gallery in the whole window, and back"),
                ("Arrows, Shift+arrows", "go to a cell, select up to it"),
                ("Ctrl+A", "select all cells shown"),
                ("Enter", "show the cell in its site"),
                ("Ctrl+wheel", "size of the tiles"),
            ),
        ),
        (
            "Review panel",
            (
                (_these("K", "X", "L"), "keep, exclude, look again: the well on screen"),
                (shown("S"), "exclude the site on screen"),
                (shown("Backspace"), "remove the verdict"),
                ("Right click", "on the plate map: verdicts on wells, flagged or not"),
            ),
        ),
    )


class CheatSheet(QDialog):
    """All keys, in two columns, and the way to change them."""

    keys_chosen = Signal(object)

    def __init__(self, kinds: Sequence[Kind], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys of HCS quality control")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._kinds = kinds
        first, *others = sections(kinds)
        change = push_button(
            "Change keys…", "Choose other keys; they are kept for all assays.", self._change
        )
        change.setAutoDefault(False)
        lay_out(
            self,
            row(
                column(*_parts(first), None, spacing=2),
                column(*(part for item in others for part in _parts(item)), None, spacing=2),
                spacing=24,
            ),
            QLabel(
                "Keys act while the image or a panel of HCS quality control has the focus; on the "
                "image, a layer of your own that is active keeps its keys."
            ),
            row(change, None),
            margins=(16, 12, 16, 12),
            spacing=12,
        )

    def _change(self) -> None:
        dialog = KeyDialog(self._kinds, self)
        if dialog.exec():
            self.keys_chosen.emit(dialog.value())
            self.close()

    def keyPressEvent(self, event: object) -> None:
        """Close on the key that opens it, too."""
        if meaning(keys.key_name(event)) == keys.HELP:
            self.close()
            return
        super().keyPressEvent(event)  # type: ignore[arg-type]


def _these(*defaults: str) -> str:
    return ", ".join(shown(default) for default in defaults)


def _channels() -> str:
    names = [shown(default) for default in keys.CHANNELS]
    if names == list(keys.CHANNELS):
        return f"{names[0]} to {names[-1]}"
    return ", ".join(names)


def _parts(section: Section) -> tuple[QWidget, QWidget]:
    title, lines = section
    rows = "".join(
        f"<tr><td><b>{key}</b>&nbsp;&nbsp;&nbsp;</td><td>{about}</td></tr>" for key, about in lines
    )
    table = QLabel(f"<table>{rows}</table>")
    table.setTextFormat(Qt.TextFormat.RichText)
    return heading(title), table
