"""What the colours and marks on the images mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel

from napari_hcs_qc.assay.annotations.kinds import BUILT_IN_KINDS
from napari_hcs_qc.gui.canvas.cell_colours import CLASS_COLOURS
from napari_hcs_qc.gui.widgets.palette import sequential_rgba

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtWidgets import QWidget

    from napari_hcs_qc.assay.annotations.kinds import Kind
    from napari_hcs_qc.gui.canvas.overlay_options import ColourBy

_MARKS = "Annotations: ○ normal   □ abnormal   ◇ unsure   ✚ annotators disagree"
_SWATCHES = 11


class OverlayLegend(QLabel):
    """Legend of the overlay."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._colour_by: ColourBy = "class"
        self._kinds: Sequence[Kind] = BUILT_IN_KINDS
        self.setTextFormat(Qt.TextFormat.RichText)
        self.setWordWrap(True)
        self.setToolTip("Meaning of the cell outlines.")
        self.set_value("class")

    def value(self) -> ColourBy:
        """Give what the colours mean."""
        return self._colour_by

    def set_kinds(self, kinds: Sequence[Kind]) -> None:
        """Explain the colours of other kinds."""
        self._kinds = kinds
        self.set_value(self._colour_by)

    def set_value(self, colour_by: ColourBy) -> None:
        """Show the legend for one way of colouring."""
        self._colour_by = colour_by
        if colour_by == "score":
            values = [step / (_SWATCHES - 1) for step in range(_SWATCHES)]
            blocks = "".join(_swatch(_hex(colour)) for colour in sequential_rgba(values))
            text = f"0&nbsp;{blocks}&nbsp;1"
        else:
            colours = {
                name: CLASS_COLOURS[name] for name in ("normal", "abnormal", "not classified")
            }
            if colour_by == "kind":
                colours = {"normal": CLASS_COLOURS["normal"]}
                colours |= {kind.name: kind.colour for kind in self._kinds}
                colours["abnormal, kind unknown"] = CLASS_COLOURS["abnormal"]
            text = " &nbsp; ".join(
                f"{_swatch(colour)}&nbsp;{name.replace(' ', '&nbsp;')}"
                for name, colour in colours.items()
            )
        self.setText(f"{text}<br>{_MARKS}")


def _swatch(colour: str) -> str:
    return f'<span style="color:{colour}">■</span>'


def _hex(colour: object) -> str:
    red, green, blue, *_ = (round(255 * float(part)) for part in colour)  # type: ignore[attr-defined]
    return f"#{red:02x}{green:02x}{blue:02x}"
