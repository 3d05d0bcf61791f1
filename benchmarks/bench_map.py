"""Whether the artefact map finds the place of an artefact, and what it costs.

    python -m benchmarks.bench_map [--folder FOLDER] [--fields N]

Artefacts are simulated on fields of BBBC022's plate 20585 that had no part in what is usual on it;
haze and defocus on a part of the field with a soft edge. A pixel is spoiled where the light changed
by more than a tenth of that of a nucleus (haze: inside the part). Pixels within half a nucleus of
a spoiled one, and those at the soft edge, count as neither. The cost is that of the map of a field
over that of embedding its cells, the median of interleaved turns.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from benchmarks.labelled_plate import BBBC039, labelled_assay
from scipy import ndimage as ndi
from sklearn.metrics import roc_auc_score

from napari_hcs_qc.assay.embeddings.artefact_maps import ArtefactMaps, reference_sites
from napari_hcs_qc.cells.crops import cut_crops
from napari_hcs_qc.cells.nuclei import find_nuclei
from napari_hcs_qc.cells.recipe import DEFAULT_RECIPE, get_recipe
from napari_hcs_qc.encoders.registry import load_encoder
from napari_hcs_qc.study.artefacts.artefact_cells import imaging_of
from napari_hcs_qc.study.artefacts.artefact_kinds import KINDS, apply_artefact
from napari_hcs_qc.study.artefacts.scene import Scene

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.study.artefacts.scene import Imaging

    Floats = NDArray[np.float64]

_SIDE_PX = 512
_SEVERITIES = (0.4, 0.7, 1.0)
_OBJECTS = ("fibre", "fibre-unfocused", "debris", "debris-unfocused")
_PARTS = ("haze", "defocus")
_N_DEBRIS = 5
_CHANGED = 0.1  # of the light of a nucleus
_EVERY_PX = 3  # pixels are alike beside each other
_APERTURE = 0.5
_N_TURNS = 5


@dataclass(frozen=True, eq=False)
class Spoiled:
    """A field with an artefact, and which pixels it spoiled."""

    grey: Floats
    is_spoiled: NDArray[np.bool_]
    is_clean: NDArray[np.bool_]


def scene_of(grey: Floats, imaging: Imaging) -> Scene:
    """Make a scene of a whole square field."""
    labels = find_nuclei(grey, diameter_px=imaging.diameter_px)
    middle = labels[_SIDE_PX // 2, _SIDE_PX // 2]
    return Scene(grey[np.newaxis], (labels == middle) & (labels > 0), labels > 0, imaging)


def spoil(grey: Floats, name: str, severity: float, imaging: Imaging, seed: int) -> Spoiled:
    """Apply an artefact to a field."""
    rng = np.random.default_rng(seed)
    scene, kind = scene_of(grey, imaging), KINDS[name]
    part = np.ones(grey.shape)
    if name.startswith("debris"):
        after = grey.copy()
        for number in range(_N_DEBRIS):  # the artefact is made in the middle
            shift = rng.integers(-_SIDE_PX // 3, _SIDE_PX // 3, 2)
            moved = np.roll(grey, shift, axis=(0, 1))
            there = Scene(moved[np.newaxis], scene.nucleus, scene.nuclei, imaging)
            made = apply_artefact(there, kind, severity, seed=seed, cell=str(number)).grey[0]
            after += np.roll(made - moved, -shift, axis=(0, 1))
        after = np.clip(after, 0, imaging.channels[0].full)
    else:
        after = apply_artefact(scene, kind, severity, seed=seed).grey[0]
    if name in _PARTS:
        y, x = np.mgrid[:_SIDE_PX, :_SIDE_PX] / _SIDE_PX - 0.5
        angle, shift = rng.uniform(0, 2 * np.pi), rng.uniform(-0.15, 0.15)
        part = 1 / (1 + np.exp(-(y * np.sin(angle) + x * np.cos(angle) - shift) * 64))
        after = grey * (1 - part) + after * part
    change = ndi.gaussian_filter(np.abs(ndi.gaussian_filter(after - grey, 1.5)), 1.0)
    is_changed = change > _CHANGED * imaging.channels[0].signal
    if name == "haze":
        return Spoiled(after, part > 0.9, part < 0.1)
    if name in _PARTS:
        return Spoiled(after, is_changed & (part > 0.9), part < 0.1)
    far = ndi.distance_transform_edt(~is_changed) > imaging.diameter_px / 2
    return Spoiled(after, is_changed, far)


def main(arguments: list[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="keep the assay here")
    parser.add_argument("--fields", type=int, default=10)
    options = parser.parse_args(arguments)
    if not BBBC039.is_dir():
        print(f"The real images are not at {BBBC039}; nothing was measured.")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        _, state = labelled_assay((options.folder or Path(temporary)) / "assay")
    recipe = get_recipe(DEFAULT_RECIPE).with_diameter(state.plate_cells.diameter_px)
    encoder = load_encoder(stages=recipe.stages, pooling=recipe.pooling)
    maps, imaging = ArtefactMaps(state, recipe, encoder), imaging_of(state, None, _APERTURE)
    known = set(reference_sites(state.plate))
    others = [site for site in state.plate.sites if site not in known]
    chosen = np.random.default_rng(0).permutation(len(others))[: options.fields]
    fields = [state.plate.read_site(others[index]) for index in chosen]
    values = np.concatenate([maps.of_pixels(raw)[::8, ::8].ravel() for raw in fields])
    print(
        f"Plate 20585 of BBBC022, {len(fields)} fields. Of their pixels as they are "
        f"{(values > 1).mean():.1%} have values above 1.\n\n| artefact | pixel AUROC |\n|---|---|"
    )
    for name in (*_OBJECTS, *_PARTS):
        truth, scores = [], []
        for number, raw in enumerate(fields):
            top, left = ((side - _SIDE_PX) // 2 for side in raw.shape[1:])
            grey = raw[0, top : top + _SIDE_PX, left : left + _SIDE_PX].astype(np.float64)
            severity = _SEVERITIES[number % len(_SEVERITIES)]
            spoiled = spoil(grey, name, severity, imaging, number)
            values = maps.of_pixels(spoiled.grey[np.newaxis])
            known_pixels = spoiled.is_spoiled | spoiled.is_clean
            known_pixels[np.indices(grey.shape).sum(axis=0) % _EVERY_PX > 0] = False
            truth.append(spoiled.is_spoiled[known_pixels])
            scores.append(values[known_pixels])
        auc = roc_auc_score(np.concatenate(truth), np.concatenate(scores))
        print(f"| {name} | {auc:.3f} |", flush=True)
    ratios = []
    table = state.plate_cells.cells
    for index, raw in list(zip(chosen, fields, strict=True))[:_N_TURNS]:
        site = others[index]
        here = table[(table["well"] == site.well) & (table["site"] == site.site)]
        started = time.process_time()
        scaled = state.plate_cells.ranges.scale(raw, [0])
        crops = cut_crops(scaled, here["y_px"], here["x_px"], recipe, [(0,)])
        for batch in torch.split(crops.flatten(0, 1), 64):
            encoder.encode(batch)
        embedded = time.process_time()
        maps.of_pixels(raw)
        ratios.append((time.process_time() - embedded) / (embedded - started))
    print(
        f"\nThe map of a field takes {np.median(ratios):.2f} of the processor time of embedding "
        f"its cells ({np.min(ratios):.2f} to {np.max(ratios):.2f}; {encoder.backend})."
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
