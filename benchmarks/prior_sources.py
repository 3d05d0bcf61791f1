"""Normal and simulated abnormal nuclei of public images, embedded: what a prior is made of.

Each group of images of one assay is opened as a plate, and its nuclei are found and embedded as the
product does it. Artefacts are applied to them on the pixels of the camera. BBBC022 and BBBC039 have
no part in it: priors are measured on them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
import tifffile
import torch
from benchmarks.labelled_plate import SHARED
from skimage.io import imread
from skimage.measure import regionprops_table

from napari_hcs_qc.assay.embeddings.embed_plate import fill_store
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.cells.crops import cut_crops
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.study.artefacts.artefact_cells import imaging_of
from napari_hcs_qc.study.artefacts.artefact_kinds import apply_artefact, get_kinds
from napari_hcs_qc.study.artefacts.scene import cut_scenes, scene_side_px
from napari_hcs_qc.study.benchmark.benchmark_spec import SourceSpec
from napari_hcs_qc.study.benchmark.labelled import open_crops
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.encoder import Encoder

DATA = SHARED / "data"
SEVERITIES = (0.3, 1.0)
_APERTURE = 0.5
_MOST_NUCLEI = 400  # of a plate that are spoiled
_BATCH = 64
_DARK = 8  # grey values: BBBC038's assays differ in their background
_DIAMETERS_PX = (11.5, 19.0)  # and in the size of their nuclei


@dataclass(frozen=True, eq=False, kw_only=True)
class Nuclei:
    """The nuclei of one plate, and some of them with an artefact."""

    cells: NDArray[np.float32]  # all that were found and are not cut by the border
    spoiled: NDArray[np.float32]
    kinds: NDArray[np.str_]  # artefact of each spoiled one


@dataclass(frozen=True, eq=False, kw_only=True)
class ExpertNuclei:
    """MitoCheck's nuclei with the class that experts gave them."""

    cells: NDArray[np.float32]
    classes: NDArray[np.str_]
    plates: NDArray[np.str_]


def plate_images() -> dict[str, list[Path]]:
    """List the images in focus of each group that counts as one plate."""
    groups = {
        "bbbc006": sorted((DATA / "bbbc006_focus" / "in_focus").glob("*.png")),
        "cell-painting": [DATA / "cell_painting_5ch" / "Hoechst.tif"],
    }
    assays: dict[str, list[Path]] = defaultdict(list)
    for path in sorted((DATA / "bbbc038_dsb2018" / "images").glob("*.png")):
        mask = imread(DATA / "bbbc038_dsb2018" / "masks" / path.name)
        areas = regionprops_table(mask, properties=("area",))["area"]
        diameter_px = 2 * np.sqrt(np.median(areas) / np.pi)
        size = path.name.partition("_")[0]
        is_dark = np.percentile(imread(path), 5) < _DARK
        band = int(np.searchsorted(_DIAMETERS_PX, diameter_px)) if size == "256x256" else 0
        assays[f"bbbc038-{size}-{'dark' if is_dark else 'light'}-{band}"].append(path)
    return groups | dict(assays)


def open_images(paths: Iterable[Path], folder: Path) -> PlateState:
    """Bring images into a plate, one well each, and find their nuclei."""
    plate = folder / folder.name
    plate.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(paths):
        target = plate / f"{folder.name}_{'ABCDEFGH'[number // 12]}{number % 12 + 1:02}_s1_w1.tif"
        if not target.exists():
            tifffile.imwrite(target, imread(path))
    assay, (entry, *_) = steps.new(folder / "assay", [steps.PlateSource(plate)])
    steps.cells(assay)
    return load_plate(assay, entry.name)


def nuclei_of(
    name: str,
    state: PlateState,
    recipe: CropRecipe,
    encoder: Encoder,
    folder: Path,
    kinds: Sequence[str],
    per_nucleus: int,
    seed: int,
) -> Nuclei:
    """Embed the nuclei of a plate, without artefacts and with."""
    sized = recipe.with_diameter(state.plate_cells.diameter_px)
    rows = np.asarray(fill_store(state, sized, encoder, folder).embeddings, dtype=np.float32)
    table = state.plate_cells.cells
    is_whole = ~table["is_cut"].to_numpy(bool) & np.isfinite(rows).all(axis=1)
    rng = np.random.default_rng([seed, crc32(name.encode())])
    chosen = np.sort(rng.permutation(np.flatnonzero(is_whole))[:_MOST_NUCLEI])
    imaging = imaging_of(state, None, _APERTURE)
    groups = sized.channel_groups([channel.name for channel in state.plate.channels])
    side_px = scene_side_px(sized.sides_px, imaging.diameter_px)
    choices = get_kinds(kinds)
    crops, made, parts = [], [], []
    for key, here in table.iloc[chosen].groupby(["well", "site"], sort=True):
        raw = state.plate.read_site(SiteKey(str(key[0]), int(key[1])))
        for number, scene in zip(
            here.index, cut_scenes(raw, here["y_px"], here["x_px"], imaging, side_px), strict=True
        ):
            for turn in range(per_nucleus):
                kind = choices[int(rng.integers(len(choices)))]
                severity = float(rng.uniform(*SEVERITIES))
                spoiled = apply_artefact(
                    scene, kind, severity, seed=seed, cell=f"{name}/{number}/{turn}"
                )
                middle = [scene.centre_px]
                crops.append(cut_crops(spoiled.scaled(), middle, middle, sized, groups))
                made.append(kind.name)
    for start in range(0, len(crops), _BATCH):
        batch = torch.cat(crops[start : start + _BATCH])
        parts.append(encoder.encode(batch.flatten(0, 1)).reshape(len(batch), -1).numpy())
    return Nuclei(cells=rows[is_whole], spoiled=np.concatenate(parts), kinds=np.array(made))


def expert_nuclei(recipe: CropRecipe, encoder: Encoder) -> ExpertNuclei:
    """Embed MitoCheck's labelled crops, of which the largest view is the whole."""
    source = SourceSpec(
        name="mitocheck",
        kind="folder",
        path=DATA / "mitocheck",
        abnormal=("OutOfFocus", "Apoptosis"),
    )
    crops = open_crops(source)
    parts = []
    for start in range(0, len(crops.classes), _BATCH):
        rows = np.arange(start, min(start + _BATCH, len(crops.classes)))
        batch = crops.crops(recipe, rows)
        parts.append(encoder.encode(batch.flatten(0, 1)).reshape(len(batch), -1).numpy())
    classes = np.array([name.partition("/")[0] for name in crops.ids])
    return ExpertNuclei(cells=np.concatenate(parts), classes=classes, plates=crops.groups)


def all_nuclei(
    recipe: CropRecipe,
    encoder: Encoder,
    folder: Path,
    kinds: Sequence[str],
    per_nucleus: int = 2,
    seed: int = 0,
) -> tuple[dict[str, Nuclei], ExpertNuclei]:
    """Embed everything, or find what was embedded."""
    plates = {}
    for name, paths in plate_images().items():
        path = folder / f"{name}.npz"
        if not path.is_file():
            state = open_images(paths, folder / name)
            nuclei = nuclei_of(
                name, state, recipe, encoder, folder / name, kinds, per_nucleus, seed
            )
            np.savez(path, cells=nuclei.cells, spoiled=nuclei.spoiled, kinds=nuclei.kinds)
        with np.load(path) as arrays:
            plates[name] = Nuclei(**arrays)
        print(name, len(paths), plates[name].cells.shape, plates[name].spoiled.shape, flush=True)
    path = folder / "mitocheck.npz"
    if not path.is_file():
        expert = expert_nuclei(recipe, encoder)
        np.savez(path, cells=expert.cells, classes=expert.classes, plates=expert.plates)
    with np.load(path) as arrays:
        return plates, ExpertNuclei(**arrays)
