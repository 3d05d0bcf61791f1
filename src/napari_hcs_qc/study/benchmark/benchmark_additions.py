"""What a person adds to a benchmark: checked before a run of hours depends on it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_hcs_qc.encoders.registry import load_architecture
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.run_in_thread import run_in_thread
from napari_hcs_qc.study.benchmark.labelled import crop_classes, open_crops
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_hcs_qc.study.benchmark.benchmark_spec import EncoderSpec, SourceSpec


@dataclass(frozen=True)
class CropsInside:
    """What labelled crops there are, by their names and labels; no pixel was read."""

    classes: Mapping[str, int]  # number of crops of each class, by its name
    n_plates: int  # number of plates (or whatever else is held out as one) that they are of

    @property
    def n_crops(self) -> int:
        """Number of all crops."""
        return sum(self.classes.values())


def look_into(path: Path, group: str) -> CropsInside:
    """List the classes in a folder ``<class>/*.png|tif``, an .npz or an .npy file."""
    names, plates = crop_classes(path, group)
    classes = Counter(names)
    if len(classes) < 2:
        raise HcsQcError(
            f"{path} has {len(names)} crops of {count_of(len(classes), 'class', 'classes')}; two "
            "or more classes were expected, in folders named after the class (or in the array "
            "classes, or the column class)."
        )
    return CropsInside(dict(sorted(classes.items())), len(set(plates)))


def check_crops(source: SourceSpec, *, job: Job = NO_JOB) -> SourceSpec:
    """Read labelled crops as a run will, and give their source back."""
    job.report(0, 0, f"Reading the crops of {source.name}")
    run_in_thread(lambda _job: open_crops(source), job.silent())
    return source


def check_encoder(encoder: EncoderSpec, *, job: Job = NO_JOB) -> EncoderSpec:
    """Load an encoder with its weights file as a run will, and give it back."""
    load_architecture(encoder.name, weights=encoder.weights, job=job)
    return encoder
