"""The cells of the plate as pictures: in an order that helps, to be annotated by keys."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from qtpy.QtCore import QEvent, QSignalBlocker, Signal
from qtpy.QtWidgets import QPushButton, QWidget

from napari_hcs_qc.assay.scoring.saved_prediction import COLUMN
from napari_hcs_qc.assay.views.gallery_order import order_cells
from napari_hcs_qc.gui.gallery.accepting import accept_predictions
from napari_hcs_qc.gui.gallery.filter_bar import FilterBar
from napari_hcs_qc.gui.gallery.gallery_filters import CellFilter, by_measurement
from napari_hcs_qc.gui.gallery.gallery_marks import PlateMarks, found_rows
from napari_hcs_qc.gui.gallery.gallery_orders import (
    BY_EMBEDDING,
    BY_MODEL,
    FILTERS,
    ORDERS,
    GalleryOptions,
    differ,
    offer,
    rank_first,
    why_not,
)
from napari_hcs_qc.gui.gallery.gallery_source import GallerySource
from napari_hcs_qc.gui.gallery.gallery_texts import describe_cell, empty_text
from napari_hcs_qc.gui.gallery.gallery_tiles import NOT_ANNOTATED, Marks
from napari_hcs_qc.gui.gallery.gallery_view import GalleryView
from napari_hcs_qc.gui.keys.key_actions import KeyActions
from napari_hcs_qc.gui.keys.key_names import GALLERY, NEXT, key_name
from napari_hcs_qc.gui.keys.own_keys import meaning, shown
from napari_hcs_qc.gui.session.selection import CellId
from napari_hcs_qc.gui.widgets.controls import combo_box, lay_out, name_parts, row, tool_button
from napari_hcs_qc.gui.widgets.events import as_key
from napari_hcs_qc.gui.widgets.following import follow
from napari_hcs_qc.gui.widgets.whole_window import WholeWindow
from napari_hcs_qc.plates.plate import SiteKey

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.annotations.annotation_cache import PlateSite
    from napari_hcs_qc.assay.views.gallery_order import Order
    from napari_hcs_qc.gui.canvas.workspace import Workspace
    from napari_hcs_qc.gui.gallery.gallery_filters import ClassFilter, Measurement


N_FETCHED = 20
"""Cells that are fetched at once."""


class _Request(NamedTuple):
    """What an order was asked for: choices, plate and prediction of that moment."""

    options: GalleryOptions
    marks: PlateMarks
    prediction: object


class GalleryPanel(QWidget):
    """The gallery of the plate shown, with its order and filter.

    Tiles stay where they are while a person annotates them; they are sorted again when another
    order is chosen, when a new model has scored the cells, or on `sort`.

    The cells selected here are those that the session's target has as selected, and the other way
    round. Keys are those of `KeyActions`, but for the key of the next cell: it selects the next one
    here that nobody has annotated.
    """

    value_changed = Signal(object)
    cells_changed = Signal()
    filled_changed = Signal(bool)

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._keys = KeyActions.of(workspace)
        self._value = GalleryOptions()
        self._marks = PlateMarks(0)
        self._like: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._seed = 0
        self._on_screen = self._value
        self._sorted_for: Any = None  # the prediction that the order on screen goes by
        self._is_following = False  # what was selected elsewhere
        self._order = combo_box(ORDERS, "Order of the cells.", least=5)
        self._filter = combo_box(FILTERS, "Cells to show.", least=5)
        self._again = QPushButton()
        self._fill = tool_button("Large", "", lambda: self.set_filled(not self.is_filled))
        self._whole_window = WholeWindow(self)
        self.filters = FilterBar()
        self.filters.setVisible(False)
        self.view = GalleryView(self, describe=self.describe)
        self.view.setMinimumHeight(100)
        self._source = GallerySource(self)
        lay_out(
            self,
            row((self._order, 3), (self._filter, 2), self._again, self._fill, spacing=4),
            self.filters,
            (self.view, 1),
        )
        name_parts(self)
        self._follow()
        self._show_stale(False)
        self._person_changed()
        self._threshold_changed(workspace.session.models.threshold)
        self._show_plate()

    def _follow(self) -> None:
        session, view, source = self._workspace.session, self.view, self._source
        self._order.activated.connect(self._chosen)
        self._filter.activated.connect(self._chosen)
        self._again.clicked.connect(self.sort)
        self.filters.value_changed.connect(
            lambda only: self.set_value(replace(self._value, only=only))
        )
        self.filters.measurement_chosen.connect(self._sort_by)
        self.filters.tile_px_changed.connect(view.set_tile_px)
        self.filters.fetch_pressed.connect(self.fetch)
        self.filters.accept_pressed.connect(self.accept_in_sight)
        self._workspace.view.look_changed.connect(self._show_look)
        view.installEventFilter(self)
        view.pictures_requested.connect(source.request)
        view.activated.connect(self.go_to)
        view.value_changed.connect(self._select)
        target = session.target
        view.sight_changed.connect(target.refresh)
        target.selected.connect(self._show_selected)
        target.changed.connect(self._show_target)
        target.add_sight(self._in_sight)
        source.arrived.connect(view.add_pictures)
        source.failed.connect(view.set_failed)
        source.message.connect(lambda text: session.message.emit("warning", text))
        session.selection.plate_changed.connect(self._show_plate)
        session.settled.connect(self._scored_changed)
        session.live.changed.connect(self._show_live)
        view.sight_changed.connect(self._show_live)
        session.models.threshold_changed.connect(self._threshold_changed)
        session.annotations.changed.connect(self._annotations_changed)
        session.annotations.person_changed.connect(self._person_changed)
        session.models.embeddings_changed.connect(self._offer_orders)
        session.closing.connect(source.close)

    # ---- value ---------------------------------------------------------------------------

    def value(self) -> GalleryOptions:
        """Give order and filter."""
        return self._value

    def set_value(self, options: GalleryOptions) -> None:
        """Show cells in another order, or others; says why where that cannot be."""
        why = why_not(self._workspace.session, options.order)
        if options.order == "similar" and not len(self._meant()) and not len(self._like):
            why = why or "Select cells first; the gallery is then sorted by similarity to them."
        if why:
            self._workspace.session.message.emit("info", why)
            self._show_value()
            return
        was = self._value
        self._value = options
        self._show_value()
        self.sort()
        if options != was:
            self.value_changed.emit(options)

    @property
    def is_filled(self) -> bool:
        """Whether the gallery fills the window."""
        return self._whole_window.is_filled

    def set_filled(self, is_filled: bool) -> None:
        """Let the gallery fill the window, all else hidden; or show the rest again."""
        if is_filled == self.is_filled:
            return
        if is_filled:
            is_filled = self._whole_window.fill()
            self.filters.offer(self._workspace.session)
            self.filters.set_tile_px(self.view.tile_px())
            self.view.setFocus()
            self.filters.setVisible(is_filled)
        else:
            self.filters.setVisible(False)
            self._whole_window.leave()
            kept = GalleryOptions(self._value.order, self._value.shown)
            if kept != self._value:  # nothing that cannot be seen may hide cells
                self.set_value(kept)
        self.filled_changed.emit(is_filled)

    def marks(self) -> Marks:
        """Give class, kind and P(abnormal) of each cell, as the tiles show them."""
        return self._marks.value()

    def _chosen(self, *_: object) -> None:
        order, shown = self._order.currentData(), self._filter.currentData()
        self.set_value(GalleryOptions(order, shown, self._value.only))

    def _sort_by(self, by: Measurement | None) -> None:
        self.set_value(replace(self._value, by=by))

    def fetch(self, order: Order) -> None:
        """Show a few cells that nobody has annotated: the first of an order of the gallery."""
        cls: ClassFilter = "any"
        if order in ("normal", "abnormal"):
            cls = "predicted normal" if order == "normal" else "predicted abnormal"
        only = CellFilter(cls=cls, n_most=N_FETCHED)
        # Of a class any, and not those of which the model is surest: they teach nothing.
        order = "random" if cls != "any" else order
        self.set_value(GalleryOptions(order, "open", only))

    def accept_in_sight(self) -> bool:
        """Annotate the tiles in sight that nobody has annotated as they are predicted."""
        session = self._workspace.session
        return accept_predictions(session, self.view.in_sight(), self._marks.value(), self)

    def _show_value(self) -> None:
        with QSignalBlocker(self.filters):
            self.filters.set_value(self._value.only)
        if self._value.by is None:
            self.filters.forget_measurement()
        self._order.setCurrentIndex(self._order.findData(self._value.order))
        self._filter.setCurrentIndex(self._filter.findData(self._value.shown))

    # ---- order ---------------------------------------------------------------------------

    def sort(self) -> None:
        """Sort the cells by what is known now."""
        session = self._workspace.session
        state, annotated = session.selection.state, session.annotations.rows
        if state is None or annotated is None:
            return
        order = self._value.order
        if order == "novelty" and self._novelty() is None:
            return  # it is being measured, and they are sorted when it is
        if order == "random":
            self._seed += 1  # shuffled again
        elif order == "similar":
            chosen = self._meant()
            self._like = chosen if len(chosen) else self._like
        marks = self._marks.value()
        is_shown = self._value.only.matching(session, marks, self._novelty())
        if self._value.shown != "all":
            is_annotated = marks.annotated != NOT_ANNOTATED
            is_shown &= is_annotated if self._value.shown == "annotated" else ~is_annotated
        request = _Request(self._value, self._marks, self._prediction())
        if self._value.by is not None:
            rows = by_measurement(session, self._value.by, is_shown)
            self._show_order(rows[: self._value.only.n_most], request)
            return
        job = session.jobs.start(
            f"Sorting the gallery: {ORDERS[order][0]}",
            order_cells,
            order,
            slot="order",
            quiet=True,
            p_abnormal=marks.p_abnormal,  # never changed in place
            annotated_class=annotated.classes.copy(),
            novelty=self._novelty() if order == "novelty" else None,
            embeddings=self._embeddings() if order in BY_EMBEDDING else None,
            chosen=self._like,
            threshold=session.models.threshold,
            seed=self._seed,
            among=None if is_shown.all() else np.flatnonzero(is_shown),
            limit=self._value.only.n_most,
            last=state.is_left_out[: len(marks.annotated)],
        )
        follow(job.finished, self, lambda rows: self._show_order(rows, request))
        follow(job.failed, self, lambda text: self._show_failure(text, request))

    def _embeddings(self) -> NDArray[np.floating[Any]] | None:
        state, embeddings = (
            self._workspace.session.selection.state,
            self._workspace.session.models.embeddings,
        )
        if state is None or embeddings is None:
            return None
        # Cells that people added come after these.
        return embeddings[: len(state.plate_cells.cells)]

    def _novelty(self) -> NDArray[np.float32] | None:
        prediction = self._prediction()
        if prediction is None or not prediction.is_novelty_measured:
            return None
        ratio: NDArray[np.float32] = prediction.table[COLUMN].to_numpy(np.float32)
        return ratio[: len(self._marks.value().p_abnormal)]

    def _show_failure(self, text: str, request: _Request) -> None:
        self._workspace.session.message.emit("warning", text)
        if request.options == self._value:  # what is on screen is still in the order before
            self._value = self._on_screen
            self._show_value()
            self.value_changed.emit(self._value)

    def _show_order(self, rows: NDArray[np.int64], request: _Request) -> None:
        if request.marks is not self._marks:
            return  # of a plate that is no longer shown
        self._on_screen, self._sorted_for = request.options, request.prediction
        filtered = FILTERS[self._value.shown][0].lower()
        nothing = f"No cell to show ({filtered}; {ORDERS[self._value.order][0].lower()})."
        self.view.set_message(nothing)
        self._set_cells(rows)
        self._show_stale(False)
        self.cells_changed.emit()

    def _set_cells(self, rows: NDArray[np.int64]) -> None:
        self._is_following = True
        self.view.set_cells(rows)
        self._is_following = False
        if self._workspace.session.target.is_of_image:
            self._show_selected()
        else:
            self._select(self.view.value())  # what is not listed any more is not selected either

    def _meant(self) -> NDArray[np.int64]:
        """Rows of the cells that are selected, or else pointed at."""
        target = self._workspace.session.target
        return np.array(sorted(found_rows(target.selection or target.cells)), dtype=np.int64)

    def _offer_orders(self) -> None:
        session = self._workspace.session
        offer(self._order, session)
        waits = self._value.order == "novelty" and session.models.scored is not None
        if why_not(session, self._value.order) and not (waits and self._novelty() is None):
            self.set_value(replace(self._value, order="random"))

    def _show_stale(self, stale: bool) -> None:
        self._again.setText("● Sort again" if stale else "Sort again")
        why = (
            "Predictions or annotations have changed since the cells were sorted. " if stale else ""
        )
        self._again.setToolTip(
            f"{why}Sort by the current values; until then tiles keep their places."
        )

    # ---- the target ----------------------------------------------------------------------

    def _select(self, rows: NDArray[np.int64]) -> None:
        if not self._is_following:
            self._workspace.session.target.select(self._ids(rows))

    def _show_selected(self) -> None:
        self._is_following = True
        self.view.set_value(found_rows(self._workspace.session.target.selection))
        self._is_following = False

    def _show_target(self) -> None:
        self.view.set_targets(found_rows(self._workspace.session.target.cells))

    def _in_sight(self, cells: frozenset[CellId]) -> frozenset[CellId]:
        return cells & self._ids(self.view.in_sight())

    def _ids(self, rows: NDArray[np.int64]) -> frozenset[CellId]:
        state = self._workspace.session.selection.state
        if state is None:
            return frozenset()
        sites, codes = state.by_site.sites, state.by_site.code[rows].tolist()
        return frozenset(map(CellId, (sites[code] for code in codes), rows.tolist()))

    def select_next_open(self) -> bool:
        """Select the next cell that nobody has annotated, from the current one on and round."""
        ids = self.view.cells()
        is_open = self._marks.value().annotated[ids] == NOT_ANNOTATED
        current = self.view.current()
        place = np.flatnonzero(ids == current) if current is not None else np.empty(0, np.int64)
        after = int(place[0]) + 1 if len(place) else 0
        unannotated = np.flatnonzero(is_open)
        if not len(unannotated):
            self._workspace.session.message.emit("info", "All cells shown here are annotated.")
            return False
        later = unannotated[unannotated >= after]
        cell = int(ids[later[0] if len(later) else unannotated[0]])
        self.view.set_current(cell)
        self.view.set_value([cell])
        self._workspace.session.target.then(self.select_next_open)
        return True

    def go_to(self, row: int) -> None:
        """Show a cell in its site."""
        session = self._workspace.session
        state, shown = session.selection.state, session.selection.open_plate
        if state is None or shown is None:
            return
        self.set_filled(False)  # the image is where the cell is shown
        cell = state.plate_cells.cells.iloc[row]
        site = SiteKey(str(cell["well"]), int(cell["site"]))
        session.selection.go_to_cell(shown.name, site, float(cell["y_px"]), float(cell["x_px"]))

    def write_keys(self) -> None:
        """Write the keys as they are now on what names them."""
        self._fill.setToolTip(f"The gallery in the whole window, and back (key {shown(GALLERY)}).")

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Act on the keys of the gallery; those that nothing is bound to go on as they would."""
        key = as_key(event)
        name = "" if key is None else meaning(key_name(key))
        if key is None or self._keys.action(name) is None:
            return bool(super().eventFilter(watched, event))
        key.accept()  # as an override: no shortcut of the window takes this key
        is_press = key.type() == QEvent.Type.KeyPress
        if is_press and name != NEXT:
            self._keys.press(key)
        elif is_press and not key.isAutoRepeat():
            self.select_next_open()
        return True

    # ---- following the session -----------------------------------------------------------

    def _show_plate(self) -> None:
        session = self._workspace.session
        state, annotated = session.selection.state, session.annotations.rows
        n_cells = 0 if state is None else len(state.plate_cells.cells)
        self._marks = PlateMarks(n_cells)
        self._like = np.empty(0, dtype=np.int64)
        self._source.set_plate(
            session.selection.plate, None if state is None else state.plate_cells
        )
        self.view.set_message(empty_text(session))
        self.view.set_cells(np.empty(0, dtype=np.int64))
        self.view.clear_pictures()
        if annotated is not None:
            self._marks.set_annotated(annotated, np.arange(n_cells))
        self._marks.set_prediction(self._prediction())
        self.view.set_marks(self._marks.value())
        self._offer_orders()
        self.cells_changed.emit()
        if not rank_first(self._workspace.session, self._value, self.set_value):
            self.sort()

    def _prediction(self) -> Any:
        scored = self._workspace.session.models.scored
        return None if scored is None else scored.prediction

    def _scored_changed(self) -> None:
        prediction = self._prediction()
        if not self._marks.set_prediction(prediction):
            return
        self.view.set_marks(self._marks.value())
        self._show_live()
        self._offer_orders()
        if rank_first(self._workspace.session, self._value, self.set_value):
            return
        order, n_cells = self._value.order, len(self._marks.value().p_abnormal)
        column = COLUMN if order == "novelty" else "p_abnormal"
        if order in (*BY_MODEL, "novelty") and differ(
            prediction, self._sorted_for, column, n_cells
        ):
            self.sort()

    def _show_live(self) -> None:
        """Show the predictions of now on the tiles in sight."""
        rows = self.view.in_sight()
        followed = self._workspace.session.live.p_abnormal(rows)
        p_abnormal = self._marks.model_p(rows) if followed is None else followed
        if not np.array_equal(p_abnormal, self._marks.value().p_abnormal[rows], equal_nan=True):
            self._marks.set_live(rows, p_abnormal)
            self.view.set_marks(self._marks.value())

    def _threshold_changed(self, threshold: float) -> None:
        self.view.set_threshold(threshold)
        if self._value.order in ("uncertain", "disagreement"):
            self._show_stale(True)

    def _annotations_changed(self, changed: frozenset[PlateSite]) -> None:
        session = self._workspace.session
        state, annotated = session.selection.state, session.annotations.rows
        if state is None or annotated is None:
            return
        name = state.plate.name
        rows = [state.by_site.rows(item.site) for item in changed if item.plate == name]
        if not rows:
            return
        self._marks.set_annotated(annotated, np.concatenate(rows))
        self.view.set_marks(self._marks.value())
        if self._value.shown != "all" or self._value.order in ("disagreement", "diverse"):
            self._show_stale(True)

    def _show_look(self) -> None:
        """Draw the tiles in the channels and contrast in which the image is drawn."""
        look = self._workspace.view.look()
        if look is not None and self._source.set_look(*look):
            self.view.clear_pictures()

    def _person_changed(self) -> None:
        session = self._workspace.session
        self.view.set_blind(session.annotations.is_blind)
        self.filters.set_blind(session.annotations.is_blind)
        annotated, n_cells = session.annotations.rows, len(self._marks.value().annotated)
        if annotated is not None:  # others' are hidden now, or shown again
            self._marks.set_annotated(annotated, np.arange(n_cells))
            self.view.set_marks(self._marks.value())
        self._offer_orders()

    def describe(self, row: int) -> str:
        """Describe a cell."""
        p_abnormal = self._marks.value().p_abnormal
        return describe_cell(self._workspace.session, row, p_abnormal, self._novelty())
