"""The line that says how much of a plate is unlike anything annotated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_hcs_qc.gui.session.session import Session


class UnlikeLine(WrappedLabel):
    """Says it of the plate shown; not there when there is nothing to say."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__("", parent)
        self._session = session
        self.setToolTip(
            "Cells farther from the nearest annotated cells than 95 % of these are from those of "
            "other wells. The gallery (Annotate panel) shows them first in the order 'Unlike "
            "annotated', and the plate map colours wells by their share."
        )
        for signal in (session.settled, session.plate_changed, session.assay_changed):
            signal.connect(self.refresh)
        self.refresh()

    def refresh(self, *_: object) -> None:
        """Say it anew."""
        scored = self._session.scored
        novelty = None if scored is None else scored.prediction.novelty
        sentence = "" if novelty is None else novelty.sentence
        self.setText(f"⚠ {sentence}" if novelty is not None and novelty.is_much else sentence)
        self.setVisible(bool(sentence))
