"""What a person adds to a benchmark: looked into before a run of hours depends on it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_hcs_qc.encoders.registry import load_architecture
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.run_in_thread import run_in_thread
from napari_hcs_qc.study.benchmark.labelled import (
    archive_arrays,
    crop_files,
    crop_labels,
    open_crops,
)
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_hcs_qc.study.benchmark.benchmark_spec import EncoderSpec, SourceSpec

_ARRAYS = (".npz", ".npy")


@dataclass(frozen=True)
class CropsInside:
    """What labelled crops there are, as their names and labels tell; no pixel was read."""

    classes: Mapping[str, int]  # number of crops of each class, by its name
    n_plates: int  # number of plates (or whatever else is held out as one) that they are of

    @property
    def n_crops(self) -> int:
        """Number of all crops."""
        return sum(self.classes.values())


def look_into(path: Path, group: str) -> CropsInside:
    """Say which classes there are in a folder ``<class>/*.png|tif``, an .npz or an .npy file."""
    if path.is_dir():
        names, plates = _of_folder(path, group)
    elif path.suffix.lower() in _ARRAYS and path.is_file():
        names, plates = _of_arrays(path)
    else:
        raise HcsQcError(
            f"{path} does not hold labelled crops; a folder <class>/*.png or .tif was expected, or "
            "an .npz or .npy file."
        )
    found = Counter(names)
    if len(found) < 2:
        raise HcsQcError(
            f"{path} has {len(names)} crops of {count_of(len(found), 'class', 'classes')}; two or "
            "more classes were expected, in folders named after the class (or in the array "
            "classes, or the column class)."
        )
    return CropsInside(dict(sorted(found.items())), len(set(plates)))


def check_crops(
    source: SourceSpec,
    *,
    job: Job = NO_JOB,
) -> SourceSpec:
    """Read labelled crops as a run will, and give their source back."""
    job.report(0, 0, f"Reading the crops of {source.name}")
    run_in_thread(lambda _job: open_crops(source), job.silent())
    return source


def check_encoder(
    encoder: EncoderSpec,
    *,
    job: Job = NO_JOB,
) -> EncoderSpec:
    """Load an encoder with its weights file as a run will, and give it back."""
    load_architecture(encoder.name, weights=encoder.weights, job=job)
    return encoder


def _of_folder(path: Path, group: str) -> tuple[list[str], list[str]]:
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise HcsQcError(f"{group!r} is not a valid regular expression ({error}).") from error
    if pattern.groups < 1:
        raise HcsQcError(f"{group!r} has no (parentheses) around the part that names the plate.")
    files = crop_files(path)
    found = [pattern.search(one.stem) for one in files]
    unnamed = [
        one.name for one, match in zip(files, found, strict=True) if not match or not match[1]
    ]
    if unnamed:
        raise HcsQcError(
            f"{count_of(len(unnamed), 'file name')} without a plate by {group!r}, the first is "
            f"{unnamed[0]}."
        )
    return [one.parent.name for one in files], [match[1] for match in found if match]


def _of_arrays(path: Path) -> tuple[list[str], list[str]]:
    if path.suffix.lower() == ".npy":
        return crop_labels(path)
    classes, groups = archive_arrays(path, ("classes", "groups"))
    return classes.astype(str).tolist(), groups.astype(str).tolist()
