"""How well cells are told that are unlike anything annotated, and honest probabilities.

On BBBC022's labelled nuclei with the default encoder and recipe: one kind is taken out of the
annotations, and its cells are told from cells drawn at random from the plate; and how many cells
count as unlike on plates that are like the annotated one, spoilt, or of another screen. Beside it
the expected calibration error of the default head, cross-validated by well.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from benchmarks.labelled_plate import REAL_PLATE, SHARED, embedded_plate
from scipy.ndimage import gaussian_filter
from skimage.io import imread
from sklearn.metrics import roc_auc_score

from napari_hcs_qc.assay.embeddings.embed_plate import fill_store
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.evaluation.crossval import cross_validate
from napari_hcs_qc.evaluation.novelty import Novelty
from napari_hcs_qc.evaluation.reliability import Reliability, reliability
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.embeddings.training_set import AnnotatedCells
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.encoder import Encoder

SAME = "the same plate"
_BLUR_PX = 3.0
_N_BLURRED = 20  # fields


@dataclass(frozen=True, eq=False)
class Measured:
    """Annotated cells of one plate, and the embeddings of the cells of several."""

    annotated: AnnotatedCells
    plates: dict[str, NDArray[np.float32]]


def load(folder: Path) -> Measured:
    """Embed all plates, or find what was embedded."""
    made = embedded_plate(folder / "assay")
    plates = {SAME: np.asarray(made.store.embeddings, dtype=np.float32)}
    for name, source in (
        (f"the same, blurred by {_BLUR_PX:g} px", blurred(folder / "blurred")),
        ("BBBC006, in focus", bbbc006(folder / "focus", "in_focus")),
        ("BBBC006, 32 µm out of focus", bbbc006(folder / "defocused", "defocused")),
    ):
        plates[name] = embedded(source, made.recipe, made.encoder)
    return Measured(made.annotated, plates)


def embedded(source: Path, recipe: CropRecipe, encoder: Encoder) -> NDArray[np.float32]:
    """Embed the cells of another plate as a model of the first plate would."""
    assay, (plate, *_) = steps.new(source.parent / "assay", [steps.PlateSource(source)])
    steps.cells(assay)
    state = load_plate(assay, plate.name)
    store = fill_store(state, recipe, encoder, assay.embeddings_folder)
    return np.asarray(store.embeddings, dtype=np.float32)


def blurred(folder: Path) -> Path:
    """Blur some fields of the plate."""
    plate = folder / "20585b"
    plate.mkdir(parents=True, exist_ok=True)
    paths = sorted(REAL_PLATE.glob("*.tif"))
    for path in paths[:: len(paths) // _N_BLURRED]:
        if not (plate / path.name).exists():
            image = gaussian_filter(imread(path).astype(np.float32), _BLUR_PX)
            tifffile.imwrite(plate / path.name, np.rint(image).astype(np.uint16))
    return plate


def bbbc006(folder: Path, focus: str) -> Path:
    """Bring fields of another screen into a plate."""
    plate = folder / "BBBC006"
    plate.mkdir(parents=True, exist_ok=True)
    for path in sorted((SHARED / "data" / "bbbc006_focus" / focus).glob("*.*")):
        match = re.search(r"_([a-p]\d\d)_+s(\d)", path.name)
        assert match is not None, path
        target = plate / f"BBBC006_{match[1].upper()}_s{match[2]}_w1.tif"
        if not target.exists():
            tifffile.imwrite(target, imread(path))
    return plate


def left_out(
    measured: Measured, kinds: tuple[str, ...], n_random: int, seed: int = 0
) -> tuple[float, float, float, float]:
    """Take kinds out of the annotations and look for them.

    Returns
    -------
    AUC of the ratio (their cells against random ones of the plate), shares of both above 1, and
    share of their cells beyond 95 % of the random ones.
    """
    annotated = measured.annotated
    is_out = np.isin(annotated.kinds.astype(str), kinds)
    novelty = Novelty().fit(
        annotated.embeddings[~is_out], annotated.groups[~is_out], annotated.plate
    )
    rng = np.random.default_rng(seed)
    cells = measured.plates[SAME]
    odd = novelty.ratio(annotated.embeddings[is_out])
    usual = novelty.ratio(cells[np.sort(rng.choice(len(cells), n_random, replace=False))])
    usual = usual[np.isfinite(usual)]
    auc = roc_auc_score(np.repeat([1, 0], [len(odd), len(usual)]), np.concatenate([odd, usual]))
    beyond = float((odd > np.quantile(usual, 0.95)).mean())
    return float(auc), float((odd > 1).mean()), float((usual > 1).mean()), beyond


def shares(measured: Measured, n_annotated: int, n_draws: int) -> dict[str, float]:
    """Share of the cells of each plate that are unlike so many annotated ones; 0 for all."""
    annotated = measured.annotated
    found: dict[str, list[float]] = {name: [] for name in measured.plates}
    for seed in range(n_draws if n_annotated else 1):
        rows = np.random.default_rng(seed).permutation(len(annotated.classes))
        rows = rows[: n_annotated or None]
        novelty = Novelty().fit(annotated.embeddings[rows], annotated.groups[rows], annotated.plate)
        for name, cells in measured.plates.items():
            ratio = novelty.ratio(cells)
            found[name].append(float((ratio[np.isfinite(ratio)] > 1).mean()))
    return {name: float(np.mean(values)) for name, values in found.items()}


def calibration(annotated: AnnotatedCells) -> tuple[Reliability, list[float]]:
    """Reliability of the default head's held-out mean over seeds, and ECE of each single seed."""
    found = cross_validate(
        annotated.embeddings, annotated.classes, annotated.groups, plate=annotated.plate
    )
    single = [reliability(p, found.is_abnormal).ece for p in found.p_abnormal]
    mean = found.p_abnormal.mean(axis=0)
    return reliability(mean, found.is_abnormal, units=annotated.groups), single


def main(arguments: list[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="keep the assays here")
    options = parser.parse_args(arguments)
    if not SHARED.is_dir():
        print(f"The real images are not at {SHARED}; nothing was measured.")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        measured = load(options.folder or Path(temporary))
    print("| left out | AUC | above 1: they | above 1: random | they beyond 95 % of random |")
    print("|---|---|---|---|---|")
    for kinds in (("dead",), ("debris",), ("dead", "debris")):
        auc, odd, usual, beyond = left_out(measured, kinds, 5000)
        print(f"| {' and '.join(kinds)} | {auc:.3f} | {odd:.2f} | {usual:.3f} | {beyond:.2f} |")
    print(f"\n| annotated | {' | '.join(measured.plates)} |\n|---|---|---|---|---|")
    for n in (40, 100, 0):
        found = shares(measured, n, 10)
        told = " | ".join(f"{share:.1%}" for share in found.values())
        print(f"| {n or 'all'} | {told} |")
    bins, single = calibration(measured.annotated)
    print(
        f"\nExpected calibration error: {bins.ece:.3f} (95 % interval {bins.ece_low:.3f}–"
        f"{bins.ece_high:.3f}); right probabilities would give {bins.ece_perfect:.3f}. Of single "
        f"seeds: {np.mean(single):.3f} ± {np.std(single, ddof=1):.3f}"
    )
    for mean_p, share, n in zip(bins.mean_p, bins.share, bins.n, strict=True):
        print(f"  P {mean_p:.2f}: {share:.2f} of {n}")
    rng = np.random.default_rng(0)
    for n_annotated in (200, 1000):
        bank = rng.normal(size=(n_annotated, 944)).astype(np.float32)
        began = time.perf_counter()
        novelty = Novelty().fit(bank, np.arange(n_annotated) % 50)
        fitted = time.perf_counter()
        novelty.ratio(rng.normal(size=(20_000, 944)).astype(np.float16))
        scored = time.perf_counter() - fitted
        print(
            f"{n_annotated} annotated: fit {1000 * (fitted - began):.0f} ms, "
            f"100,000 cells {5 * scored:.2f} s"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
