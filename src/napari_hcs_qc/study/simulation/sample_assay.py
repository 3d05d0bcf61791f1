"""The sample plate as an assay to practise on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hcs_qc.files import explained_writes
from napari_hcs_qc.job import OnProgress, ShouldStop, never_stop, no_progress
from napari_hcs_qc.study.simulation.synthetic import sample_spec, simulate_plate
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from pathlib import Path


def make_sample_assay(
    folder: Path,
    *,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> Path:
    """Simulate the sample plate and make an assay of it, its cells found and none annotated.

    Called again it goes on with what is there, so that nothing a person has clicked is lost.
    """
    spec = sample_spec()
    images = folder / "sample"
    with explained_writes(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if not (images / "labels.csv").is_file():
        simulate_plate(images, spec, on_progress=on_progress, should_stop=should_stop)
    assay, _ = steps.new(
        folder / "assay",
        [steps.PlateSource(images / spec.name)],
        platemap=images / "platemap.csv",
    )
    steps.cells(assay, on_progress=on_progress, should_stop=should_stop)
    return assay.path
