"""The line that says how much of a plate is unlike anything annotated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_hcs_qc.gui.session.session import Session


class NoveltyLine(WrappedLabel):
    """Shows it for the plate shown; hidden when there is nothing to report."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__("", parent)
        self._session = session
        self.setToolTip(
            "Novel cells are farther from the nearest annotated cells than 95 % of the annotated "
            "cells are from those of other wells. The gallery (Annotate panel) shows them first "
            "in the order 'Novel', and the plate map can colour wells by their share."
        )
        for signal in (
            session.settled,
            session.selection.plate_changed,
            session.assay.changed,
            session.annotations.person_changed,
        ):
            signal.connect(self.refresh)
        self.refresh()

    def refresh(self, *_: object) -> None:
        """Show it for the plate of now."""
        scored = self._session.shown_scored
        novelty = None if scored is None else scored.prediction.novelty
        sentence = "" if novelty is None else novelty.sentence
        self.setText(f"⚠ {sentence}" if novelty is not None and novelty.is_much else sentence)
        self.setVisible(bool(sentence))
