"""Annotations from files and into files, and crops by class, as a person asks for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog

from napari_hcs_qc.text import count_of
from napari_hcs_qc.workflow import desk_steps

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_hcs_qc.gui.session.session import Session
    from napari_hcs_qc.workflow.crop_export import CropsWritten, Source
    from napari_hcs_qc.workflow.labels_in_out import LabelsImported

_TABLES = "Annotations (*.csv *.tsv *.txt *.xlsx *.parquet *.json *.geojson);;All files (*)"


def ask_for_annotations(session: Session, parent: QWidget | None) -> None:
    """Let the person choose a file of annotated cells, and add them to the journal."""
    folder = session.assay.folder
    chosen, _ = QFileDialog.getOpenFileName(parent, "Annotated cells", "", _TABLES)
    if folder is None or not chosen:
        return
    path = Path(chosen)
    job = session.start(
        f"Reading {path.name}",
        desk_steps.import_annotations,
        folder,
        path,
        session.annotations.annotator,
        slot="annotations in",
    )
    job.finished.connect(lambda added: _imported(session, path, added))


def _imported(session: Session, path: Path, added: LabelsImported) -> None:
    session.annotations.read_journal()
    parts = [f"{path.name}: {count_of(added.n_new, 'annotation')} added, {added.n_known} known"]
    session.message.emit(
        "info", "; ".join(part for part in (*parts, added.understood, added.check) if part) + "."
    )


def ask_where_annotations_go(session: Session, parent: QWidget | None) -> None:
    """Write what everybody annotated as a CSV where the person says."""
    folder = session.assay.folder
    chosen, _ = QFileDialog.getSaveFileName(
        parent, "Annotations of everybody", "annotations.csv", "CSV (*.csv)"
    )
    if folder is None or not chosen:
        return
    path = Path(chosen)
    job = session.start(
        f"Writing {path.name}",
        desk_steps.export_annotations,
        folder,
        path,
        slot="annotations out",
    )
    job.finished.connect(
        lambda n: session.message.emit("info", f"{count_of(n, 'annotation')} written to {path}.")
    )


def ask_where_crops_go(session: Session, source: Source, parent: QWidget | None) -> None:
    """Write crops of cells in folders by class, and pictures of their sites."""
    scored = session.models.all_scored
    if not scored:
        session.message.emit(
            "info", "Nothing was classified yet; compute embeddings in the Encoder panel first."
        )
        return
    chosen = QFileDialog.getExistingDirectory(parent, "A folder “crops” is made in this one")
    if not chosen:
        return
    job = session.start(
        "Writing crops",
        desk_steps.export_crops,
        scored,
        Path(chosen) / "crops",
        source,
        slot="crops",
    )
    job.finished.connect(lambda written: _show_written(session, written))


def _show_written(session: Session, written: CropsWritten) -> None:
    from napari_hcs_qc.workflow.crop_export import crops_text

    level = "warning" if written.unreadable else "info"
    session.message.emit(level, crops_text(written))
