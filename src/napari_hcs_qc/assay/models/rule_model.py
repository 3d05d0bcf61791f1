"""A model whose predictions are what a rule of another program says of the cells in a table."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.assay.models.training import use_latest
from napari_hcs_qc.assay.store.model_manifest import RuleRecord
from napari_hcs_qc.assay.store.saved_model import (
    NOVELTY,
    load_model,
    new_model_folder,
    publish_model,
)
from napari_hcs_qc.cells.by_site import CellsBySite
from napari_hcs_qc.cells.imported.plausibility import Nuclei, check_positions
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import atomic_path, sha256_of
from napari_hcs_qc.qc.export.join_profiles import match_points
from napari_hcs_qc.read_table import read_parquet
from napari_hcs_qc.tables.places import read_placed, with_unit
from napari_hcs_qc.tables.plate_sites import PlateSites
from napari_hcs_qc.tables.profiles import open_profiles
from napari_hcs_qc.tables.rules import read_rules

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.assay.store.saved_model import Model
    from napari_hcs_qc.cells.imported.options import ImportOptions

RULE = "rule.parquet"
_UNLEARNED: dict[str, Any] = {
    "inputs": "",
    "n_annotated": {},
    "n_kinds": {},
    "n_wells": 0,
    "training_cells": (),
    "cross_validation": None,
    "novelty_sha256": "",
    "no_novelty": "Cells are classified by a rule, so none is said to be unlike those annotated.",
}
"""What a rule does not have from annotations, whatever the model has that it is shown with."""


def save_rule_model(
    assay: AssayFolder,
    base: Model,
    path: Path,
    states: Mapping[str, PlateState],
    importing: ImportOptions,
) -> Model:
    """Make a model of the rules in a table of cells; all but its predictions is that of `base`."""
    plates = {name: PlateSites.of(state.plate) for name, state in states.items()}
    source = open_profiles(path, image_table=importing.image_table)
    columns, rules = read_rules(path, source)
    placed = read_placed(path, plates, source=source)
    are = with_unit(placed.columns, importing.positions_are, placed.places)
    sentences = []
    for name, state in states.items():
        on_plate = placed.places[placed.places["plate"] == name]
        if on_plate.dropna().empty:
            continue
        known = state.plate_cells
        sites = [(name, *site) for site in state.plate.sites if site not in known.unreadable]
        nuclei = Nuclei.of(
            {name: known.cells}, sites, known.diameter_px / 2, state.plate.layout.shape
        )
        check = check_positions(on_plate, nuclei, are, {name: plates[name]})
        check = check.checked(
            path, accept=importing.accept_positions, other_plate=placed.other_plate
        )
        sentences.append(check.sentence)
    table = are.moved(placed.places, plates).assign(rule=rules).dropna()
    if table.empty:
        raise HcsQcError(
            f"{path} has no cell on the plates of the assay ({', '.join(plates)}) of which a rule "
            "says whether it is an outlier; look at its plate, wells and sites."
        )
    with assay.lock():
        folder = new_model_folder(assay.models_folder)
        try:
            shutil.copytree(
                assay.models_folder / base.id,
                folder,
                ignore=shutil.ignore_patterns("model.json", NOVELTY, RULE),
                dirs_exist_ok=True,
            )
            with atomic_path(folder / RULE) as temporary:
                table.to_parquet(temporary, index=False)
            record = RuleRecord(
                source=str(path.resolve()),
                source_sha256=sha256_of(path),
                columns=tuple(columns),
                understood=placed.understood,
                check="; ".join(sentences),
                table_sha256=sha256_of(folder / RULE),
            )
            created = datetime.now(UTC).isoformat(timespec="seconds")
            changes = {"rule": record, "created": created, **_UNLEARNED}
            publish_model(folder, base.manifest.model_copy(update=changes))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    use_latest(assay)
    return load_model(folder)


def rule_scores(
    assay: AssayFolder, model: Model, rule: RuleRecord, state: PlateState
) -> tuple[NDArray[np.float32], NDArray[np.object_]]:
    """Give 1 for each cell that is an outlier by a rule, 0 for another, NaN for one not in it.

    With it come the names of the rules by which it is one.
    """
    remedy = "Predict with the rule again: hcs-qc predict --rule."
    path = assay.models_folder / model.id / RULE
    table = read_parquet(path, sha256=rule.table_sha256, remedy=remedy)
    table = table[table["plate"] == state.plate.name].reset_index(drop=True)
    p_abnormal = np.full(len(state.cells), np.nan, np.float32)
    kinds = np.full(len(state.cells), None, dtype=object)
    theirs, ours = CellsBySite.of(table.astype({"site": "int64"})), CellsBySite.of(state.cells)
    known = {*ours.sites}
    for site in [site for site in theirs.sites if site in known]:
        rows, cells = theirs.rows(site), ours.rows(site)
        pairs = match_points(
            _positions(table.iloc[rows]),
            _positions(state.cells.iloc[cells]),
            state.plate_cells.diameter_px / 2,
        )
        named = table["rule"].to_numpy(dtype=object)[rows[pairs[:, 0]]]
        p_abnormal[cells[pairs[:, 1]]] = named != ""
        named[named == ""] = None
        kinds[cells[pairs[:, 1]]] = named
    return p_abnormal, kinds


def _positions(table: pd.DataFrame) -> NDArray[np.float64]:
    return table[["y_px", "x_px"]].to_numpy(np.float64)
