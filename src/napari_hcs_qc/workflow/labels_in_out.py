"""Annotations from files of other programs, and out into one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.assay.annotations.journal_csv import EXPORTED, MITOSIS
from napari_hcs_qc.assay.annotations.labels_csv import LabelOptions, read_labels
from napari_hcs_qc.assay.store.plate_cells import has_cells, load_cells
from napari_hcs_qc.assay.store.plate_state import open_assay_plate
from napari_hcs_qc.cells.imported.plausibility import (
    Nuclei,
    PositionCheck,
    check_positions,
    sample_nuclei,
)
from napari_hcs_qc.files import atomic_path
from napari_hcs_qc.tables.plate_sites import PlateSites
from napari_hcs_qc.text_columns import without_formulas

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pandas as pd

    from napari_hcs_qc.assay.annotations.kinds import Kind
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.plates.plate import Plate
    from napari_hcs_qc.tables.positions_are import PositionsAre


@dataclass(frozen=True)
class LabelsImported:
    """What importing a file of annotated cells did."""

    n_new: int  # annotations new to the journal
    n_known: int  # annotations known before
    check: str = ""  # how many positions lie on a nucleus
    understood: str = ""  # which column of the file is what


def import_labels(
    assay: AssayFolder,
    path: Path,
    annotator: str,
    names: Sequence[str],
    *,
    kinds: Sequence[Kind] | None,
    options: LabelOptions,
    accept_positions: bool,
    channel_of: Callable[[Plate], int],
) -> LabelsImported:
    """Import annotated cells of some plates; the same file again adds nothing."""
    plates = {name: open_assay_plate(assay, name) for name in names}
    sites = {name: PlateSites.of(plate) for name, plate in plates.items()}
    sentences: list[str] = []

    def check(places: pd.DataFrame, are: PositionsAre, other_plate: str) -> None:
        for name, plate in plates.items():
            on_plate = places[places["plate"] == name]
            if on_plate.dropna().empty:
                continue
            result: PositionCheck = check_positions(
                on_plate,
                _nuclei(assay, plate, on_plate, channel_of(plate)),
                are,
                {name: sites[name]},
            ).checked(path, accept=accept_positions, other_plate=other_plate)
            sentences.append(result.sentence)

    labels = read_labels(
        path, sites, annotator=annotator, kinds=kinds, options=options, check=check
    )
    added = assay.journal().add_labels(labels.table, source=path.name)
    return LabelsImported(added.n_new, added.n_known, "; ".join(sentences), labels.understood)


def _nuclei(assay: AssayFolder, plate: Plate, places: pd.DataFrame, channel: int) -> Nuclei:
    """Take the nuclei that the assay knows, or find those of some sites."""
    folder = assay.plate_folder(plate.name)
    if not has_cells(folder, plate):
        return sample_nuclei(plate, places, channel=channel)
    known = load_cells(folder)
    sites = [(plate.name, *site) for site in plate.sites if site not in known.unreadable]
    radius_px = known.diameter_px / 2
    return Nuclei.of({plate.name: known.cells}, sites, radius_px, plate.layout.shape)


def annotations_csv(assay: AssayFolder) -> str:
    """Give what every person annotated as a CSV that `annotate` reads back."""
    table = assay.journal().annotations().rename(columns={"class": "label"})
    is_mitosis = (table["note"] == MITOSIS) & (table["label"] != "abnormal")
    kind = np.where(is_mitosis, MITOSIS, table["kind"].astype(object))
    exported = without_formulas(table.assign(kind=kind)[[*EXPORTED]])
    text: str = exported.to_csv(index=False, lineterminator="\n")
    return text


def write_annotations(assay: AssayFolder, path: Path) -> None:
    """Write what every person annotated as a CSV."""
    with atomic_path(path) as temporary:
        temporary.write_text(annotations_csv(assay), encoding="utf-8-sig", newline="\n")
