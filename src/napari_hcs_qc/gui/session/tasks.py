"""The long work on plates: finding cells, computing embeddings, exporting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal

from napari_hcs_qc.assay.models.encoder_speed import measure_encoder
from napari_hcs_qc.encoders.registry import DEFAULT_ENCODER
from napari_hcs_qc.gui.session.task_group import TaskGroup
from napari_hcs_qc.gui.session.threshold_keeper import ThresholdKeeper
from napari_hcs_qc.text import count_of
from napari_hcs_qc.workflow import desk_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from threading import Event

    import numpy as np
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.models.train_options import TrainOptions
    from napari_hcs_qc.assay.views.open_assay import OpenPlate
    from napari_hcs_qc.gui.session.background_jobs import BackgroundJob
    from napari_hcs_qc.gui.session.session import Session
    from napari_hcs_qc.workflow.cell_options import CellOptions


class Tasks(TaskGroup):
    """Starts the work on plates of one session."""

    exported = Signal(object)

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.threshold = ThresholdKeeper(session)
        self._embedded_with: TrainOptions | None = None
        session.options.changed.connect(self._options_changed)
        self._folder = session.assay.folder

    @property
    def embedded_with(self) -> TrainOptions | None:
        """What the session's embeddings were computed with; None before there are any."""
        return self._embedded_with

    def find_cells(self, options: CellOptions | None = None) -> BackgroundJob | None:
        """Find the cells of the plate shown, or import them."""
        session = self._session
        shown, folder = session.selection.open_plate, session.assay.folder
        cache = session.annotations.cache
        if shown is None or folder is None or cache is None:
            self.refuse("Open a plate first.")
            return None
        name = shown.name
        title = f"Finding the cells of {name}"
        is_first = shown.state is None
        job = self._session.start(
            title, desk_steps.find_cells, folder, name, cache, options, slot="cells"
        )
        job.finished.connect(lambda plate: self._show_cells(plate, is_first=is_first))
        return job

    def embed(self) -> BackgroundJob | None:
        """Compute the embeddings of all plates with the chosen encoder and recipe."""
        frozen = self.freeze()
        if frozen is None:
            return None
        chosen = self._session.options.value()
        name = chosen.encoder or DEFAULT_ENCODER
        job = self._session.start(
            f"Embedding cells with {name}", desk_steps.embed, frozen, slot="embed"
        )
        job.finished.connect(lambda rows: self._embedded(chosen, rows))
        return job

    def find_embeddings(self, *, after: Event | None = None) -> BackgroundJob | None:
        """Load the encoder, and the embeddings that are on disk, so that Retrain need not wait."""
        frozen = self.freeze()
        if frozen is None:
            return None
        job = self._session.start(
            "Loading embeddings",
            desk_steps.find_embeddings,
            frozen,
            slot="embed",
            quiet=True,
            after=after,
        )
        chosen = self._session.options.value()
        job.finished.connect(lambda rows: self._embedded(chosen, rows) if rows else None)
        return job

    def measure_speed(self, options: TrainOptions) -> BackgroundJob:
        """Measure the encoder of some options on this machine; gives an `EncoderSpeed`."""
        name = options.encoder or DEFAULT_ENCODER
        options = self._session.options.with_weights(options) or options
        return self._session.start(f"Speed of {name}", measure_encoder, options, slot="speed")

    def run_on_assay(
        self, title: str, function: Callable[..., Any], *args: Any, slot: str, **kwargs: Any
    ) -> BackgroundJob | None:
        """Run ``function(assay, *args, job=…, **kwargs)`` on the assay as it is now."""
        frozen = self.freeze()
        if frozen is None:
            return None
        return self._session.start(title, function, frozen.folder, *args, slot=slot, **kwargs)

    def export(self, out: Path, *, exclude_unreviewed: bool = False) -> BackgroundJob | None:
        """Write tables and report of all plates to a folder."""
        frozen = self.freeze()
        if frozen is None:
            return None
        if self._session.models.model is None:
            self.refuse(
                "Nothing was classified yet; compute embeddings (Encoder panel), or annotate cells "
                "and press Retrain."
            )
            return None
        self.threshold.save()
        job = self._session.start(
            "Exporting",
            desk_steps.write_results,
            frozen,
            self._session.models.by_plate,
            out,
            slot="export",
            exclude_unreviewed=exclude_unreviewed,
        )
        job.finished.connect(self._exported)
        return job

    def _show_cells(self, plate: OpenPlate, *, is_first: bool) -> None:
        folder = self._session.assay.folder
        if is_first or folder is None:
            self._session.set_plate(plate)
        else:  # what was embedded and scored was of other cells
            self._session.open(folder.path, plate.name)
        self._session.message.emit("info", _cells_text(plate))

    def _embedded(
        self, options: TrainOptions, rows: Mapping[str, NDArray[np.floating[Any]]]
    ) -> None:
        self._embedded_with = options
        self._session.models.set_embeddings(rows)

    def _exported(self, paths: tuple[Path, ...]) -> None:
        self.exported.emit(paths)
        page = paths[-1]
        self._session.message.emit(
            "info",
            f"{count_of(len(paths), 'file')} written to {page.parent}; see {page.name} there.",
        )

    def _options_changed(self) -> None:
        if self._session.assay.folder is not self._folder:  # those of another assay
            self._folder, self._embedded_with = self._session.assay.folder, None


def _cells_text(plate: OpenPlate) -> str:
    if plate.state is None:
        return plate.problem or f"No cells were found on {plate.name}."
    n_unread = len(plate.state.plate_cells.unreadable)
    unread = f"; {count_of(n_unread, 'site')} could not be read" if n_unread else ""
    return f"{count_of(len(plate.state.plate_cells.cells), 'cell')} found on {plate.name}{unread}."
