"""Normal and simulated abnormal nuclei of public images, embedded: what a prior is made of.

Each group of images of one assay is opened as a plate, and its nuclei are found and embedded as the
product does it. Artefacts are applied to them on the pixels of the camera. BBBC022 and BBBC039 have
no part in it: priors are measured on them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
import pandas as pd
import tifffile
import torch
from benchmarks.labelled_plate import MITOCHECK, SHARED
from benchmarks.prior_scenes import (
    body_radius_px,
    place_beside,
    with_apoptosis,
    with_body,
    with_mitosis,
    with_vesicles,
)
from skimage.io import imread
from skimage.measure import regionprops_table

from napari_hcs_qc.assay.embeddings.embed_plate import fill_store
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.cells.crops import cut_crops
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.study.artefacts.artefact_cells import imaging_of
from napari_hcs_qc.study.artefacts.artefact_kinds import apply_artefact, get_kinds
from napari_hcs_qc.study.artefacts.scene import cut_scenes, scene_side_px
from napari_hcs_qc.study.benchmark.labelled import open_crops
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.encoder import Encoder
    from napari_hcs_qc.study.artefacts.scene import Imaging, Scene

DATA = SHARED / "data"
ARTEFACTS = ("dead", "debris", "fibre", "saturation", "defocus")
# Further ones, that only tell kinds apart. Where a cell was found no place is empty, and a dim
# nucleus is normal.
FOR_KINDS = ("haze", "noise", "empty")
# Drawn ones, and what an annotator would call them.
DRAWN = {"body": "debris", "vesicles": "dead", "apoptosis": "dead"}
MITOSES = Path(__file__).with_name("prior_mitoses.csv")
"""Mitoses among the most outlying nuclei of BBBC006 and BBBC038, told by eye."""
EXPERT_ABNORMAL = MITOCHECK.abnormal
EXPERT_MITOTIC = ("Prometaphase", "Metaphase", "MetaphaseAlignment", "Anaphase", "ADCCM")
_SEVERITIES = (0.3, 1.0)
_PER_NUCLEUS = 2  # artefacts
_MOST_NUCLEI = 400  # of a plate that artefacts are applied to
_MOST_MITOTIC = 150
_MOST_DRAWN = 200
_FEWEST_NUCLEI = 60  # that tell what is usual in a group of images
_MITOCHECK_PX = 56
_STRETCHED_TO = 150  # grey value of the brightest pixel of MitoCheck's dim crops
_MITOCHECK_RANGE = (1.0, 99.9)  # percentiles
_NEAR = 0.25  # nucleus diameters between a mitosis that was told and the nucleus that is found
_APERTURE = 0.5
_BATCH = 64
_DARK = 8  # grey values: BBBC038's assays differ in their background
_DIAMETERS_PX = (11.5, 19.0)  # and in the size of their nuclei


@dataclass(frozen=True, eq=False, kw_only=True)
class Nuclei:
    """The nuclei of one plate, and some of them with an artefact or replaced."""

    cells: NDArray[np.float32]  # all that were found and are not cut by the border
    abnormal: NDArray[np.float32]  # with a simulated artefact
    kinds: NDArray[np.str_]  # of these
    further: NDArray[np.float32]  # with an artefact of those `FOR_KINDS`
    further_kinds: NDArray[np.str_]
    drawn: dict[str, NDArray[np.float32]]  # with one of `DRAWN`
    mitotic: NDArray[np.float32]  # simulated ones in the place of others
    seen_mitotic: NDArray[np.float32]  # real ones, of `MITOSES`


@dataclass(frozen=True, eq=False, kw_only=True)
class ExpertNuclei:
    """MitoCheck's nuclei with the class that experts gave them."""

    cells: NDArray[np.float32]  # as they were imaged
    brightened: NDArray[np.float32]  # as they are published, see `as_imaged`
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


def well_name(number: int) -> str:
    """Name the well of the image of this number."""
    return f"{'ABCDEFGH'[number // 12]}{number % 12 + 1:02}"


def open_images(paths: Iterable[Path], folder: Path) -> PlateState:
    """Bring images into a plate, one well each, and find their nuclei."""
    plate = folder / folder.name
    plate.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(paths):
        target = plate / f"{folder.name}_{well_name(number)}_s1_w1.tif"
        if not target.exists():
            tifffile.imwrite(target, imread(path))
    assay, (entry, *_) = steps.new(folder / "assay", [steps.PlateSource(plate)])
    steps.cells(assay)
    return load_plate(assay, entry.name)


def seen_mitoses(paths: Sequence[Path], state: PlateState) -> NDArray[np.int64]:
    """Find the rows of the mitoses that were told on some images, where a nucleus is found."""
    told, cells = pd.read_csv(MITOSES), state.plate_cells.cells
    rows: set[int] = set()
    for number, path in enumerate(paths):
        here = np.flatnonzero(~cells["is_cut"] & (cells["well"] == well_name(number)))
        places = cells.iloc[here][["y_px", "x_px"]].to_numpy()
        for place in told.loc[told["image"] == path.name, ["y_px", "x_px"]].to_numpy():
            distance = np.hypot(*(places - place).T)
            if distance.min(initial=np.inf) <= _NEAR * state.plate_cells.diameter_px:
                rows.add(int(here[distance.argmin()]))
    return np.array(sorted(rows), dtype=np.int64)


def nuclei_of(
    name: str,
    state: PlateState,
    recipe: CropRecipe,
    encoder: Encoder,
    folder: Path,
    seed: int,
    mitoses: NDArray[np.int64],
) -> Nuclei:
    """Embed the nuclei of a plate, as they are, with artefacts, and replaced by mitotic ones."""
    sized = recipe.with_diameter(state.plate_cells.diameter_px)
    rows = np.asarray(fill_store(state, sized, encoder, folder).embeddings, dtype=np.float32)
    table = state.plate_cells.cells
    is_whole = ~table["is_cut"].to_numpy(bool) & np.isfinite(rows).all(axis=1)
    rng = np.random.default_rng([seed, crc32(name.encode())])
    chosen = rng.permutation(np.flatnonzero(is_whole))[:_MOST_NUCLEI]
    becomes_mitotic = set(chosen[:_MOST_MITOTIC].tolist())
    has_drawn = set(chosen[:_MOST_DRAWN].tolist())
    imaging = imaging_of(state, None, _APERTURE)
    groups = sized.channel_groups([channel.name for channel in state.plate.channels])
    side_px = scene_side_px(sized.sides_px, imaging.diameter_px)
    kinds, further_kinds = get_kinds(ARTEFACTS), get_kinds(FOR_KINDS)
    further_rng = np.random.default_rng([seed, 1, crc32(name.encode())])
    drawing_rng = np.random.default_rng([seed, 2, crc32(name.encode())])
    dying_rng = np.random.default_rng([seed, 3, crc32(name.encode())])
    altered, mitotic, further = [], [], []
    drawn: dict[str, list[Scene]] = {kind: [] for kind in DRAWN}
    altered_kinds, kinds_of_further = [], []
    for key, here in table.iloc[np.sort(chosen)].groupby(["well", "site"], sort=True):
        raw = state.plate.read_site(SiteKey(str(key[0]), int(key[1])))
        scenes = cut_scenes(raw, here["y_px"], here["x_px"], imaging, side_px)
        for number, scene in zip(here.index, scenes, strict=True):
            for turn in range(_PER_NUCLEUS):
                kind = kinds[int(rng.integers(len(kinds)))]
                severity, cell = float(rng.uniform(*_SEVERITIES)), f"{name}/{number}/{turn}"
                altered.append(apply_artefact(scene, kind, severity, seed=seed, cell=cell))
                altered_kinds.append(kind.kind)
            kind = further_kinds[int(further_rng.integers(len(further_kinds)))]
            severity = float(further_rng.uniform(*_SEVERITIES))
            cell = f"{name}/{number}"
            further.append(apply_artefact(scene, kind, severity, seed=seed, cell=cell))
            kinds_of_further.append(kind.kind)
            if number in becomes_mitotic:
                mitotic.append(with_mitosis(scene, rng))
            if number in has_drawn:
                drawn["vesicles"].append(with_vesicles(scene, drawing_rng))
                drawn["apoptosis"].append(with_apoptosis(scene, dying_rng))
        some = here[[number in has_drawn for number in here.index]]
        drawn["body"] += _with_bodies(raw, some, imaging, side_px, drawing_rng)

    def embed(scenes: list[Scene]) -> NDArray[np.float32]:
        middle = [scenes[0].centre_px]
        crops = [cut_crops(scene.scaled(), middle, middle, sized, groups) for scene in scenes]
        return in_batches(torch.cat(crops), encoder)

    return Nuclei(
        cells=rows[is_whole],
        abnormal=embed(altered),
        kinds=np.array(altered_kinds),
        further=embed(further),
        further_kinds=np.array(kinds_of_further),
        drawn={kind: embed(those) for kind, those in drawn.items()},
        mitotic=embed(mitotic),
        seen_mitotic=rows[mitoses],
    )


def _with_bodies(
    raw: NDArray[Any],
    cells: pd.DataFrame,
    imaging: Imaging,
    side_px: int,
    rng: np.random.Generator,
) -> list[Scene]:
    """Draw a small body beside each of some cells of a site, where there is room for one."""
    places, radii_px = [], []
    scenes = cut_scenes(raw, cells["y_px"], cells["x_px"], imaging, side_px)
    for y, x, scene in zip(cells["y_px"], cells["x_px"], scenes, strict=True):
        radius_px = body_radius_px(scene, rng)
        offset = place_beside(scene, radius_px, rng)
        if offset is None:
            continue
        place = y + offset[0], x + offset[1]
        if all(0 <= at <= side - 1 for at, side in zip(place, raw.shape[1:], strict=True)):
            places.append(place)
            radii_px.append(radius_px)
    if not places:
        return []
    beside = cut_scenes(raw, *np.transpose(places), imaging, side_px)
    return [with_body(scene, radius, rng) for scene, radius in zip(beside, radii_px, strict=True)]


def in_batches(crops: torch.Tensor, encoder: Encoder) -> NDArray[np.float32]:
    """Embed crops ``(n, n_views, 1, side, side)``."""
    parts = [
        encoder.encode(batch.flatten(0, 1)).reshape(len(batch), -1).numpy()
        for batch in torch.split(crops, _BATCH)
    ]
    return np.concatenate(parts)


def as_imaged(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Undo that a dim crop of MitoCheck was brightened on its own, which no plate is.

    Its grey values k were made k 150 / m, rounded down, where m was the brightest; those that are
    missing in between tell m.
    """
    if crop.max() != _STRETCHED_TO:
        return crop
    values = np.unique(crop)
    for brightest in range(1, _STRETCHED_TO):
        stretched = np.arange(brightest + 1) * _STRETCHED_TO // brightest
        if np.isin(values, stretched).all():
            return np.searchsorted(stretched, crop).astype(np.uint8)
    return crop


def expert_nuclei(recipe: CropRecipe, encoder: Encoder) -> ExpertNuclei:
    """Embed MitoCheck's labelled crops."""
    crops = open_crops(MITOCHECK)
    grey = np.stack([as_imaged(imread(MITOCHECK.path / name)) for name in crops.ids])
    # One range for all: chosen crops do not tell that of their plates, which are of one screen.
    low, high = np.percentile(grey, _MITOCHECK_RANGE)
    # The largest view is the whole crop: as wide as two of its nuclei, as the recipe has it.
    margin = (grey.shape[1] - _MITOCHECK_PX) // 2
    inner = slice(margin, margin + _MITOCHECK_PX)

    def embed(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        middle = replace(crops, pixels=np.ascontiguousarray(pixels[:, inner, inner]))
        return in_batches(middle.crops(recipe, np.arange(len(pixels))), encoder)

    return ExpertNuclei(
        cells=embed(np.clip((grey - low) / (high - low), 0, 1).astype(np.float32)),
        brightened=embed(crops.pixels),
        classes=np.array([name.partition("/")[0] for name in crops.ids]),
        plates=crops.groups,
    )


def defocused_nuclei(
    recipe: CropRecipe, encoder: Encoder, folder: Path
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Embed the nuclei of BBBC006 in focus and 32 µm out of it; gives which are out of it."""
    sharp = plate_images()["bbbc006"]
    blurred = sorted((DATA / "bbbc006_focus" / "defocused").glob("*.tif"))
    state = open_images([*sharp, *blurred], folder / "bbbc006-both")
    sized = recipe.with_diameter(state.plate_cells.diameter_px)
    store = fill_store(state, sized, encoder, folder / "bbbc006-both")
    table = state.plate_cells.cells
    is_whole = ~table["is_cut"].to_numpy(bool)
    wells = sorted(set(state.plate.wells))[: len(sharp)]
    is_blurred = ~table["well"].isin(wells).to_numpy()
    return np.asarray(store.embeddings, dtype=np.float32)[is_whole], is_blurred[is_whole]


def all_nuclei(
    recipe: CropRecipe, encoder: Encoder, folder: Path, seed: int = 0
) -> tuple[dict[str, Nuclei], ExpertNuclei]:
    """Embed everything; groups of too few nuclei are left out."""
    plates = {}
    for name, paths in plate_images().items():
        state = open_images(paths, folder / name)
        if int((~state.plate_cells.cells["is_cut"]).sum()) >= _FEWEST_NUCLEI:
            mitoses = seen_mitoses(paths, state)
            plates[name] = nuclei_of(name, state, recipe, encoder, folder / name, seed, mitoses)
            print(f"{name}: {len(paths)} images, {len(plates[name].cells)} nuclei", flush=True)
    return plates, expert_nuclei(recipe, encoder)
