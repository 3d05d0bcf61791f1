"""The orders and filters that a gallery offers, and when an order can be had."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from qtpy.QtCore import Qt

from napari_hcs_qc.gui.gallery.gallery_filters import EVERY_CELL, CellFilter, Measurement

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QComboBox

    from napari_hcs_qc.assay.views.gallery_order import Order
    from napari_hcs_qc.gui.session.session import Session

Filter = Literal["all", "open", "annotated"]
"""Which cells the gallery shows; open ones are those that nobody has annotated."""

ORDERS: dict[Order, tuple[str, str]] = {
    "random": ("Random", "Shuffled: unbiased, independent of the model."),
    "uncertain": ("Most uncertain", "Abnormal score nearest to the threshold first."),
    "abnormal": ("Most likely abnormal", "Highest abnormal score first."),
    "normal": ("Most likely normal", "Lowest abnormal score first."),
    "novelty": (
        "Novel",
        "Farthest from all annotated cells first: there predictions are least reliable; annotate "
        "some.",
    ),
    "similar": ("Similar to selected", "Most similar to the selected cells, by their embeddings."),
    "disagreement": (
        "Disagreement",
        "Annotated cells; strongest disagreement with the model first.",
    ),
    "diverse": (
        "Diverse",
        "Each as different as possible from all before it and from annotated cells.",
    ),
}
"""Title of each order, and what it is good for."""

FILTERS: dict[Filter, tuple[str, str]] = {
    "all": ("All cells", "Every cell of the plate."),
    "open": ("Not annotated", "Cells without an annotation."),
    "annotated": ("Annotated", "Cells with an annotation, including unsure."),
}
"""Title of each filter, and which cells it shows."""

BY_MODEL: frozenset[Order] = frozenset({"uncertain", "abnormal", "normal", "disagreement"})
BY_EMBEDDING: frozenset[Order] = frozenset({"similar", "diverse"})


@dataclass(frozen=True)
class GalleryOptions:
    """What a gallery shows: the order, and which cells."""

    order: Order = "random"
    shown: Filter = "all"
    only: CellFilter = EVERY_CELL  # what else a cell has to be
    by: Measurement | None = None  # sorts the cells in place of the order


def rank_first(
    session: Session, options: GalleryOptions, show: Callable[[GalleryOptions], None]
) -> bool:
    """Sort by score where a plate was scored before any annotation, unless a person chose."""
    model = session.models.model
    is_first = model is not None and model.manifest.is_before_annotations
    if not is_first or options != GalleryOptions() or why_not(session, "abnormal"):
        return False
    show(replace(options, order="abnormal"))
    return True


def differ(now: Any, before: Any, column: str, n_cells: int) -> bool:
    """Whether two predictions of a plate's cells differ in a column; one may be missing."""
    if now is before or now is None or before is None:
        return now is not before
    values, then = (item.table.reindex(columns=[column])[:n_cells] for item in (now, before))
    return bool(now.model != before.model or not values.equals(then))


def why_not(session: Session, order: Order) -> str:
    """Give the reason why cells cannot be put in an order now; empty when they can."""
    if session.selection.state is None:
        return ""
    if order in BY_MODEL:
        if session.annotations.is_blind:
            return "Blind mode hides predictions, so cells are not sorted by them either."
        if session.models.scored is None:
            return "There are no predictions yet; annotate cells and press Retrain."
    if order == "novelty":
        if session.models.scored is None:
            return "There is no model yet; annotate cells and press Retrain."
        prediction = session.models.scored.prediction
        if not prediction.is_novelty_measured:
            return "The novelty of the cells is still being computed."
        novelty = prediction.novelty
        if novelty is None or not novelty.n_measured:
            return (novelty.sentence if novelty else "") or "No cell of the plate was classified."
    if order in BY_EMBEDDING and session.models.embeddings is None:
        return "There are no embeddings yet; press Retrain, or compute them in the Encoder panel."
    return ""


def offer(box: QComboBox, session: Session) -> None:
    """Let only those orders be chosen in a box of `ORDERS` that can be had now."""
    model: Any = box.model()
    for index, (order, (_, tip)) in enumerate(ORDERS.items()):
        why = why_not(session, order)
        model.item(index).setEnabled(not why)
        box.setItemData(index, why or tip, Qt.ItemDataRole.ToolTipRole)
