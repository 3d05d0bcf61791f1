"""The sample plate, and an assay of it, simulated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hcs_qc.files import explained_writes
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.study.simulation.synthetic import SimulatedPlate, sample_spec, simulate_plate
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from pathlib import Path


def make_sample_plate(folder: Path, *, job: Job = NO_JOB) -> SimulatedPlate:
    """Simulate the sample plate in a folder, unless it is there."""
    sample = SimulatedPlate.in_folder(folder / "sample", sample_spec())
    with explained_writes(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return (
        sample
        if sample.labels.is_file()
        else simulate_plate(sample.spec.parent, sample_spec(), job=job)
    )


def make_sample_assay(folder: Path, *, job: Job = NO_JOB) -> Path:
    """Simulate the sample plate and make an assay of it, its cells found and none annotated.

    Called again it goes on with what is there, so that nothing a person has clicked is lost.
    """
    sample = make_sample_plate(folder, job=job)
    source = steps.PlateSource(sample.plate_dir)
    assay, _ = steps.new(folder / "assay", [source], platemap=sample.platemap)
    steps.cells(assay, job=job)
    return assay.path
