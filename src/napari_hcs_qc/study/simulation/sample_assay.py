"""The sample plate as an assay to practise on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hcs_qc.files import explained_writes
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.study.simulation.synthetic import sample_spec, simulate_plate
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from pathlib import Path


def make_sample_assay(
    folder: Path,
    *,
    job: Job = NO_JOB,
) -> Path:
    """Simulate the sample plate and make an assay of it, its cells found and none annotated.

    Called again it goes on with what is there, so that nothing a person has clicked is lost.
    """
    spec = sample_spec()
    images = folder / "sample"
    with explained_writes(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if not (images / "labels.csv").is_file():
        simulate_plate(images, spec, job=job)
    assay, _ = steps.new(
        folder / "assay",
        [steps.PlateSource(images / spec.name)],
        platemap=images / "platemap.csv",
    )
    steps.cells(assay, job=job)
    return assay.path
