"""How good the nuclei are that the product finds, against masks and readers; and the time it takes.

Objects are pooled over all images and matched one to one at an IoU above 0.5. The diameter is
estimated as the product does: from nine fields of the plate, or from the image where each image is
a plate of its own. One set of constants for all.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.pool import ThreadPool
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import tifffile
from benchmarks.labelled_plate import BBBC039, REAL_PLATE, SHARED
from benchmarks.results import table
from scipy import ndimage as ndi
from skimage.io import imread
from tests.unit.cells.confluent_field import confluent_field

from napari_hcs_qc.cells.detect import plate_diameter
from napari_hcs_qc.cells.imported.masks import read_mask
from napari_hcs_qc.cells.nuclei import estimate_diameter, find_nuclei
from napari_hcs_qc.plates.open import open_plate

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

DSB2018 = SHARED / "data" / "bbbc038_dsb2018"
PITCHES = (1.35, 1.25, 1.18, 1.12, 1.06)
_LEAST_PX = 30  # Smaller objects of BBBC039's masks are fragments of the annotation.
_NEAR_PX = 3  # From a reader's click to the mask that it means.


@dataclass
class Counts:
    """Objects found and not, of one image or many."""

    hits: int = 0
    extra: int = 0
    missed: int = 0
    n_uncovered: int = 0  # reference objects that no found mask covers by half
    n_reference: int = 0
    free_px: list[int] = field(default_factory=list)  # areas of extra ones that touch no mask
    seconds: float = 0.0

    @property
    def f1(self) -> float:
        """F1 at the IoU of 0.5."""
        return 2 * self.hits / max(2 * self.hits + self.extra + self.missed, 1)

    def __add__(self, other: Counts) -> Counts:
        """Pool the objects of two."""
        return Counts(*(getattr(self, k) + getattr(other, k) for k in self.__dataclass_fields__))


def compare(truth: NDArray[np.int32], found: NDArray[np.int32], least_px: int = 1) -> Counts:
    """Match found objects to true ones; those below `least_px` count neither way."""
    true_px, found_px = np.bincount(truth.ravel()), np.bincount(found.ravel())
    both = (truth > 0) & (found > 0)
    pairs, overlap = np.unique(
        np.stack([truth[both], found[both]], axis=1), axis=0, return_counts=True
    )
    union = true_px[pairs[:, 0]] + found_px[pairs[:, 1]] - overlap
    is_match = overlap / union > 0.5
    reference = np.flatnonzero(true_px >= least_px)
    reference = reference[reference > 0]
    hits = np.isin(pairs[is_match, 0], reference).sum()
    covered = np.unique(pairs[overlap >= 0.5 * true_px[pairs[:, 0]], 0])
    extra = np.setdiff1d(np.unique(found[found > 0]), pairs[is_match, 1])
    free = np.setdiff1d(extra, pairs[:, 1])
    return Counts(
        hits=int(hits),
        extra=len(extra),
        missed=len(reference) - int(hits),
        n_uncovered=len(np.setdiff1d(reference, covered)),
        n_reference=len(reference),
        free_px=found_px[free].tolist(),
    )


def field_of_bbbc039(diameter_px: float, readers: pd.DataFrame, path: Path) -> tuple[Counts, int]:
    """Compare one field; and count the abnormal objects of the readers that no mask holds."""
    image = tifffile.imread(path)
    began = time.thread_time()
    found = find_nuclei(image, diameter_px=diameter_px)
    seconds = time.thread_time() - began
    truth = read_mask(BBBC039 / "masks" / f"{path.stem}.png", image.shape).labels
    counts = compare(truth, found, _LEAST_PX)
    counts.seconds = seconds
    here = readers[readers["image"] == path.name]
    distance = ndi.distance_transform_edt(found == 0) if found.any() else np.full(found.shape, 1e9)
    at = (here[["y_px", "x_px"]].to_numpy().round().astype(int)).clip(0, np.array(found.shape) - 1)
    return counts, int((distance[at[:, 0], at[:, 1]] > _NEAR_PX).sum())


def bbbc039() -> list[tuple[str, str]]:
    """Measure the real plate."""
    diameter_px = plate_diameter(open_plate(REAL_PLATE))
    readers = pd.read_csv(BBBC039 / "labels.csv")
    readers = readers[readers["label"] == "abnormal"]
    with ThreadPool(2) as pool:
        work = partial(field_of_bbbc039, diameter_px, readers)
        fields = pool.map(work, sorted(REAL_PLATE.glob("*.tif")))
    counts = sum((counts for counts, _ in fields), Counts())
    without = Counts(counts.hits, counts.extra - len(counts.free_px), counts.missed)
    return [
        ("BBBC039: diameter", f"{diameter_px:.1f} px"),
        ("F1", f"{counts.f1:.4f} ({counts.hits} right, {counts.extra} extra)"),
        (
            "F1 without the extra ones that touch no mask, mostly debris",
            f"{without.f1:.4f} ({len(counts.free_px)})",
        ),
        (
            "reference objects that no found mask covers by half",
            f"{counts.n_uncovered} of {counts.n_reference} "
            f"({counts.n_uncovered / counts.n_reference:.2%})",
        ),
        (
            "abnormal objects of the readers that are not found",
            f"{sum(n for _, n in fields)} of {len(readers)}",
        ),
        ("processor time of a field", f"{1000 * counts.seconds / len(fields):.0f} ms"),
    ]


def image_of_dsb2018(path: Path) -> Counts:
    """Compare one image, which is a plate of its own."""
    image = imread(path)
    diameter_px = estimate_diameter([image])
    found = find_nuclei(image, diameter_px=None if np.isnan(diameter_px) else diameter_px)
    return compare(imread(DSB2018 / "masks" / path.name).astype(np.int32), found)


def dsb2018() -> list[tuple[str, str]]:
    """Measure the fields of many assays."""
    paths = sorted((DSB2018 / "images").glob("*.png"))
    with ThreadPool(2) as pool:
        images = pool.map(image_of_dsb2018, paths)
    counts = sum(images, Counts())
    rows = [
        (
            f"DSB2018: F1 of {len(paths)} images",
            f"{counts.f1:.4f} ({counts.hits} right, {counts.extra} extra, {counts.missed} missed)",
        )
    ]
    for size in sorted({path.name.partition("_")[0] for path in paths}):
        own = [c for p, c in zip(paths, images, strict=True) if p.name.startswith(f"{size}_")]
        rows.append((f"  the {len(own)} of {size} px", f"{sum(own, Counts()).f1:.3f}"))
    return rows


def confluent(diameter_px: float, n_seeds: int = 3) -> list[tuple[str, str]]:
    """Measure drawn confluent fields; nuclei at the border count neither way."""
    rows = []
    for pitch in PITCHES:
        for jitter in (0, 2):
            counts = Counts()
            for seed in range(n_seeds):
                image, truth = confluent_field(diameter_px, pitch, jitter, seed)
                counts += inner(truth, find_nuclei(image, diameter_px=diameter_px))
            n = counts.hits + counts.missed
            name = f"confluent, {diameter_px:g} px, pitch {pitch}, jitter {jitter}: found, extra"
            rows.append((name, f"{counts.hits / n:.1%}, {counts.extra / n:.1%}"))
    return rows


def inner(truth: NDArray[np.int32], found: NDArray[np.int32]) -> Counts:
    """Compare what does not touch the border of the image; what does may be matched to it."""
    counts = compare(without_cut(truth), found)
    return Counts(counts.hits, compare(truth, without_cut(found)).extra, counts.missed)


def without_cut(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Leave out what touches the border of the image."""
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return np.where(np.isin(labels, border), 0, labels)


def main(arguments: list[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args(arguments)
    if BBBC039.is_dir():
        print(table([*bbbc039(), *dsb2018()]), flush=True)
    else:
        print(f"The real images are not at {BBBC039}; only drawn fields were measured.")
    for diameter_px in (8.0, 15.0, 28.8, 60.0):
        print(table(confluent(diameter_px)), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
