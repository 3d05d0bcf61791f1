"""A tiny plate, and an assay of it on which every step has run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import napari_hcs_qc
from napari_hcs_qc.study.simulation.synthetic import SimulatedPlate, SyntheticSpec, simulate_plate

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimulatedPlate:
    spec = SyntheticSpec(
        n_wells=8, sites_per_well=1, shape_px=(128, 128), cells_per_mm2=2000.0, n_labels=60, seed=1
    )
    return simulate_plate(tmp_path_factory.mktemp("made"), spec)


@pytest.fixture(scope="session")
def assay(made: SimulatedPlate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    napari_hcs_qc.run(
        folder / "assay",
        made.plate_dir,
        labels=made.labels,
        out=folder / "out",
        annotator="Ada",
        seeds=1,
    )
    return folder / "assay"
