"""The orders and filters that a gallery offers, and when an order can be had."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_hcs_qc.assay.views.gallery_order import Order
    from napari_hcs_qc.gui.session.session import Session

Filter = Literal["all", "open", "annotated"]
"""Which cells the gallery shows; open ones are those that nobody has annotated."""

ORDERS: dict[Order, tuple[str, str]] = {
    "random": ("Random", "Shuffled: fair, and without any help of the model."),
    "uncertain": ("Most uncertain", "P(abnormal) nearest to the threshold first."),
    "abnormal": ("Most likely abnormal", "Highest P(abnormal) first."),
    "normal": ("Most likely normal", "Lowest P(abnormal) first."),
    "novelty": (
        "Unlike annotated",
        "Farthest from every annotated cell first: there the model guesses; annotate some.",
    ),
    "similar": ("Similar to selected", "Likest to the cells selected now, by their embeddings."),
    "disagreement": (
        "Disagreement",
        "Annotated cells, where the model disagrees most first.",
    ),
    "diverse": ("Diverse", "Each as unlike as can be to all before it and to annotated ones."),
}
"""Title of each order, and what it is good for."""

FILTERS: dict[Filter, tuple[str, str]] = {
    "all": ("All cells", "Every cell of the plate."),
    "open": ("Not annotated", "Cells that nobody has annotated."),
    "annotated": ("Annotated", "Cells that somebody has annotated, unsure ones too."),
}
"""Title of each filter, and which cells it shows."""

BY_MODEL: frozenset[Order] = frozenset({"uncertain", "abnormal", "normal", "disagreement"})
BY_EMBEDDING: frozenset[Order] = frozenset({"similar", "diverse"})


@dataclass(frozen=True)
class GalleryOptions:
    """What a gallery shows: the order, and which cells."""

    order: Order = "random"
    shown: Filter = "all"


def why_not(session: Session, order: Order) -> str:
    """Say why cells cannot be put in an order now; empty when they can."""
    if session.state is None:
        return ""
    if order in BY_MODEL:
        if session.is_blind:
            return "Blind mode hides what the model says, so nothing is sorted by it either."
        if session.scored is None:
            return "There are no predictions yet; annotate cells and press Retrain."
    if order == "novelty":
        if session.scored is None:
            return "There is no model yet; annotate cells and press Retrain."
        prediction = session.scored.prediction
        if not prediction.is_novelty_measured:
            return "How unlike the annotated cells each cell is, is still being measured."
        novelty = prediction.novelty
        if novelty is None or not novelty.n_measured:
            return (novelty.sentence if novelty else "") or "No cell of the plate was judged."
    if order in BY_EMBEDDING and session.embeddings is None:
        return "There are no embeddings yet; press Retrain, or compute them in the Encoder panel."
    return ""


def choice_box(choices: Mapping[Any, tuple[str, str]], tip: str) -> QComboBox:
    """Make a box to choose from titles with tooltips; the data of each item is its key."""
    box = QComboBox()
    for index, (key, (title, why)) in enumerate(choices.items()):
        box.addItem(title, key)
        box.setItemData(index, why, Qt.ItemDataRole.ToolTipRole)
    box.setToolTip(tip)
    # A long title is cut off rather than that the panel becomes wider.
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(8)
    return box


def offer(box: QComboBox, session: Session) -> None:
    """Let only those orders be chosen in a box of `ORDERS` that can be had now."""
    model: Any = box.model()
    for index, (order, (_, tip)) in enumerate(ORDERS.items()):
        why = why_not(session, order)
        model.item(index).setEnabled(not why)
        box.setItemData(index, why or tip, Qt.ItemDataRole.ToolTipRole)
