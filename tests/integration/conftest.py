"""A small simulated plate, and an assay on which the whole loop has run."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from napari_hcs_qc.study.simulation.synthetic import SimulatedPlate, SyntheticSpec, simulate_plate
from napari_hcs_qc.workflow import steps

WELLS = ("A01", "A02", "A03", "B01", "B02", "B03", "C01", "C02", "C03")


@dataclass(frozen=True)
class Ran:
    """The whole loop, run once."""

    made: SimulatedPlate
    result: steps.RunResult
    out: Path


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimulatedPlate:
    """Nine wells, one of them empty and one out of focus."""
    spec = SyntheticSpec(
        name="SIM",
        wells=WELLS,
        sites_per_well=1,
        shape_px=(220, 260),
        channels=("DNA",),
        seed=4,
        nucleus_diameter_um=14.0,
        cells_per_mm2=1500.0,
        artefact_share=0.0,
        schedule=(("B02", "empty"), ("C03", "blur")),
        abnormal_share=0.12,
        n_labels=80,
    )
    return simulate_plate(tmp_path_factory.mktemp("plate with spaces ü"), spec)


@pytest.fixture(scope="session")
def ran(made: SimulatedPlate, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("run")
    result = steps.run(
        folder / "assay",
        steps.PlateSource(made.plate_dir),
        made.labels,
        folder / "out",
        annotator="tester",
        platemap=made.platemap,
    )
    return Ran(made, result, folder / "out")


@pytest.fixture
def assay_copy(ran: Ran, tmp_path: Path) -> Path:
    """A copy of the assay that a test may change."""
    return Path(shutil.copytree(ran.result.assay.path, tmp_path / "assay"))
