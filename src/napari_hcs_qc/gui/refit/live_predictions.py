"""Predictions of the plate shown that follow each annotation, until a model is trained on them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_hcs_qc.gui.refit.light_head import FEWEST, LightHead, Scale

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_hcs_qc.assay.annotations.annotation_cache import PlateSite
    from napari_hcs_qc.assay.views.site_cells import SiteCells
    from napari_hcs_qc.gui.session.background_jobs import BackgroundJobs
    from napari_hcs_qc.gui.session.selection import Selection
    from napari_hcs_qc.gui.session.session_annotations import SessionAnnotations
    from napari_hcs_qc.gui.session.session_models import SessionModels

_NEITHER, _NORMAL, _ABNORMAL = (np.int8(code) for code in range(3))
_MOST = 400  # annotated cells that are fitted: those of since the model, and some from before


class LivePredictions(QObject):
    """Classifies cells by the model in use and what was annotated since it was trained.

    They are shown on the image and in the gallery only. Wells, flags and exported tables are those
    of the model until it is trained again.
    """

    changed = Signal()

    def __init__(
        self,
        jobs: BackgroundJobs,
        selection: Selection,
        models: SessionModels,
        annotations: SessionAnnotations,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._jobs, self._selection = jobs, selection
        self._models, self._annotations = models, annotations
        self._is_on = True
        self._head: LightHead | None = None
        self._is_fitted = False
        self._model: object = None
        self._codes: NDArray[np.int8] | None = None  # of the annotated class of each found cell
        self._before: NDArray[np.int8] | None = None  # at that model
        selection.plate_changed.connect(self._begin)
        models.embeddings_changed.connect(self._measure)
        models.scored_changed.connect(self._scored_changed)
        annotations.changed.connect(self._annotated)
        annotations.person_changed.connect(self._begin)
        annotations.adjust = self.adjusted

    @property
    def is_on(self) -> bool:
        """Whether predictions follow annotations."""
        return self._is_on

    @is_on.setter
    def is_on(self, is_on: bool) -> None:
        if is_on != self._is_on:
            self._is_on = is_on
            self._fit()
            self.changed.emit()

    @property
    def is_active(self) -> bool:
        """Whether predictions differ from those of the model by what was annotated since."""
        return self._is_fitted

    def p_abnormal(self, rows: ArrayLike) -> NDArray[np.float64] | None:
        """Give P(abnormal) of found cells of the plate shown; None where the model's is shown."""
        at = np.asarray(rows, dtype=np.int64)
        embeddings = self._models.embeddings
        if not self._is_fitted or self._head is None or embeddings is None:
            return None
        return self._head.p_abnormal(embeddings[at], self._p_model(at))

    def adjusted(self, cells: SiteCells) -> SiteCells:
        """Give the cells of a site with the predictions of now."""
        is_found = cells.rows >= 0
        p_found = self.p_abnormal(cells.rows[is_found])
        if p_found is None:
            return cells
        p_abnormal = cells.p_abnormal.copy()
        p_abnormal[is_found] = p_found
        return replace(cells, p_abnormal=p_abnormal)

    def _p_model(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        scored = self._models.scored
        if scored is None:
            return np.full(len(rows), np.nan)
        return scored.prediction.table["p_abnormal"].to_numpy()[rows].astype(np.float64)

    # ---- following the session -----------------------------------------------------------

    def _begin(self) -> None:
        """Begin with the model and the annotations of now, which it is taken to know."""
        annotated, model = self._annotations.rows, self._models.model
        self._model = None if model is None else model.id
        self._codes = None if annotated is None else _codes_of(annotated.classes)
        self._before = None if self._codes is None else self._codes.copy()
        if model is None and self._before is not None:
            self._before[:] = _NEITHER  # nothing has learned from them
        self._is_fitted = False
        self._measure()

    def _scored_changed(self) -> None:
        model = self._models.model
        if (None if model is None else model.id) != self._model:
            self._begin()

    def _measure(self) -> None:
        """Measure the features of the plate in the background, once."""
        self._head = None
        embeddings, name = self._models.embeddings, self._selection.plate_name
        model = self._models.model
        is_of_rule = model is not None and model.manifest.rule is not None
        if embeddings is None or is_of_rule:  # what a rule says of other cells stays as it is
            return
        job = self._jobs.start("Features", _measured, embeddings, slot="live features", quiet=True)
        job.finished.connect(lambda scale: self._take(scale, name))

    def _take(self, scale: Scale, plate: str | None) -> None:
        if plate == self._selection.plate_name:
            self._head = LightHead(scale)
            self._fit()

    def _annotated(self, changed: frozenset[PlateSite]) -> None:
        """Look at the cells of sites where annotations have changed, not at a whole plate."""
        annotated, state, codes = self._annotations.rows, self._selection.state, self._codes
        if annotated is not None and state is not None and codes is not None:
            for place in changed:
                if place.plate == state.plate.name:
                    rows = state.by_site.rows(place.site)
                    codes[rows] = _codes_of(annotated.classes[rows])
        self._fit()

    def _fit(self) -> None:
        was_fitted, self._is_fitted = self._is_fitted, False
        embeddings, codes = self._models.embeddings, self._codes
        before, head = self._before, self._head
        if not self._is_on or embeddings is None or head is None:
            return
        if codes is None or before is None:
            return
        is_new = codes != before
        rows = np.flatnonzero(codes[: len(embeddings)])
        if is_new.any() and len(rows):
            rows = self._chosen(rows, is_new)
            rows = rows[np.isfinite(np.asarray(embeddings[rows])).all(axis=1)]
            is_abnormal = codes[rows] == _ABNORMAL
            n_abnormal = int(is_abnormal.sum())
            if min(n_abnormal, len(rows) - n_abnormal) >= FEWEST:
                head.fit(embeddings, rows, is_abnormal, self._p_model(rows))
                self._is_fitted = True
        if self._is_fitted or was_fitted:
            self.changed.emit()

    def _chosen(self, rows: NDArray[np.int64], is_new: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Choose what is fitted: what is new, and of the rest as much as there is time for."""
        if len(rows) <= _MOST:
            return rows
        new, old = rows[is_new[rows]], rows[~is_new[rows]]
        n_old = max(0, _MOST - len(new))
        drawn = np.random.default_rng(0).permutation(old)[:n_old]
        return np.sort(np.concatenate([new[-_MOST:], drawn]))


def _codes_of(classes: NDArray[np.object_]) -> NDArray[np.int8]:
    codes = np.full(classes.shape, _NEITHER)
    codes[classes == "normal"] = _NORMAL
    codes[classes == "abnormal"] = _ABNORMAL
    return codes


def _measured(embeddings: NDArray[np.floating[Any]], **_job: Any) -> Scale:
    return Scale.of(embeddings)
