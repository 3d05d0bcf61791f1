"""Annotated cells of an assay as a source of the benchmark."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.study.benchmark.benchmark_spec import BenchmarkSpec, SourceSpec
from napari_hcs_qc.study.benchmark.sources import (
    AssayCells,
    annotated_cells,
    cells_of,
    open_sources,
)
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from pathlib import Path


def test_plates_nobody_annotated_and_sites_nobody_can_read_have_no_part(
    made, tmp_path: Path
) -> None:
    other = shutil.copytree(made.plate_dir, tmp_path / "OTHER")
    assay, _ = steps.new(tmp_path / "assay", [steps.PlateSource(made.plate_dir)])
    steps.annotate(assay, made.labels, "tester")
    steps.cells(assay)
    alone = annotated_cells(assay, "mine")
    n_whole = len(load_plate(assay, assay.plates[0].name).training)
    assert n_whole in (79, 80)  # of 80 annotated ones one may be cut by the border
    assert len(alone.classes) == n_whole and alone.note.endswith("range")

    steps.add_plate(assay, steps.PlateSource(other))  # its cells are not found yet
    beside = annotated_cells(assay, "mine")
    assert (beside.fingerprint, beside.ids.tolist()) == (alone.fingerprint, alone.ids.tolist())
    assert beside.origins == alone.origins
    assert len(alone.origins) == len(set(alone.groups.tolist()))

    state = load_plate(assay, "SIM")
    first = state.training.iloc[0]
    gone = SiteKey(str(first["well"]), int(first["site"]))
    broken = replace(
        state, plate_cells=replace(state.plate_cells, unreadable={gone: "the file is cut"})
    )
    n_gone = int((alone.groups == f"SIM/{gone.well}").sum())
    part = cells_of((broken,), "mine")
    assert len(part.classes) == n_whole - n_gone and n_gone
    assert f"{n_gone} annotated cells of unreadable sites are left out" in part.note
    kept = alone.groups != f"SIM/{gone.well}"
    np.testing.assert_array_equal(part.ids, alone.ids[kept])
    np.testing.assert_array_equal(part.kinds, alone.kinds[kept])
    # Numbered as the annotations are, where that is asked for.
    np.testing.assert_array_equal(cells_of((broken,), "mine", with_unreadable=True).ids, alone.ids)


def test_labels_of_a_benchmark_may_have_any_kind(made, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    table = pd.read_csv(made.labels)
    table.replace({"kind": {"dead": "crystal"}}).to_csv(labels, index=False)
    source = SourceSpec(name="mine", kind="plate", path=made.plate_dir, labels=labels)
    cells = open_sources(BenchmarkSpec(sources=(source,)), tmp_path)["mine"]
    assert isinstance(cells, AssayCells)
    assert (cells.kinds == "crystal").sum() == (table["kind"] == "dead").sum() > 0
