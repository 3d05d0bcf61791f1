"""Crops of cells in folders by class, and pictures of sites: for other programs, and for talks."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import skimage.draw
import tifffile
from PIL import Image

from napari_hcs_qc.assay.views.montage import CROP_DIAMETERS
from napari_hcs_qc.assay.views.pictures import PictureStyle, composite
from napari_hcs_qc.cells.crops import cut_squares
from napari_hcs_qc.errors import HcsQcError, Problem, UnreadableSiteError
from napari_hcs_qc.files import atomic_folder
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.qc.scores import effective_class, effective_kind
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate

Source: TypeAlias = Literal["annotated", "predicted"]
"""Cells that people annotated, or all cells by what the model predicts."""

_COLOURS = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))  # nuclei, and two channels more
_WHITE, _BLACK = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
_RINGS = {"normal": (86, 180, 233), "abnormal": (230, 159, 0)}  # Okabe and Ito's, as at the desk
_GREY = (150, 150, 150)
_SITES = "sites"


@dataclass(frozen=True)
class CropsWritten:
    """What was written."""

    folder: Path
    n_by_class: dict[str, int]  # crops in each folder
    n_sites: int  # pictures of whole sites
    unreadable: tuple[Problem, ...]  # sites whose cells are missing therefore


def write_crops(
    scored: Sequence[ScoredPlate],
    out: Path,
    *,
    source: Source = "annotated",
    most: int | None = None,
    overlays: bool = False,
    seed: int = 0,
    job: Job = NO_JOB,
) -> CropsWritten:
    """Write a TIFF of each cell into the folder of its class, grey values as in the images.

    All channels are in it; at the border the image is mirrored. A kind has a folder of its own,
    ``abnormal-debris``. ``crops.csv`` says where each crop is from. With `most`, so many of each
    folder are drawn at random; with `overlays` there is a PNG of each of their sites with all cells
    in circles: blue normal, orange abnormal, thick where a person says so, grey where cut.
    """
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise HcsQcError(f"{out} is not empty; a new folder for the crops was expected.")
    tables = [
        _chosen(plate, source).assign(plate_index=index) for index, plate in enumerate(scored)
    ]
    chosen = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    if not len(chosen):
        raise HcsQcError(
            f"There is nothing to write: no cell is {source}. Annotate cells, or write those that "
            "are predicted."
        )
    if most is not None:
        mixed = chosen.sample(frac=1, random_state=seed)
        chosen = mixed.groupby("folder", sort=True).head(most).sort_index()
    with atomic_folder(out) as folder:
        written = _write_all(folder, scored, chosen, overlays=overlays, job=job)
    return replace(written, folder=out)


def _write_all(
    out: Path, scored: Sequence[ScoredPlate], chosen: pd.DataFrame, *, overlays: bool, job: Job
) -> CropsWritten:
    rows: list[pd.DataFrame] = []
    unreadable: list[Problem] = []
    n_sites = 0
    groups = chosen.groupby(["plate_index", "well", "site"], sort=False)
    for done, (_, cells) in enumerate(groups):
        first = cells.iloc[0]
        plate = scored[int(first["plate_index"])]
        site = SiteKey(str(first["well"]), int(first["site"]))
        job.check()
        job.report(done, len(groups), f"Cutting cells of {site}")
        state = plate.state
        try:
            channels = state.plate.available_channels(site)
            pixels = state.plate.read_site(site, channels, projection=state.plate_cells.projection)
        except UnreadableSiteError as error:
            unreadable.append(Problem(str(site), str(error)))
            continue
        rows.append(_write_cells(out, plate, site, cells, pixels))
        if overlays:
            _write_site(out, plate, site, pixels, channels)
            n_sites += 1
    if not rows:
        raise HcsQcError(f"No crop could be written: {unreadable[0]}")
    written = pd.concat(rows, ignore_index=True)
    written.to_csv(out / "crops.csv", index=False, encoding="utf-8-sig")
    counts = written["folder"].value_counts().sort_index()
    n_by_class = {str(name): int(n) for name, n in counts.items()}
    return CropsWritten(out, n_by_class, n_sites, tuple(unreadable))


def crops_text(written: CropsWritten) -> str:
    """Say what was written."""
    counts = ", ".join(f"{n:,} {name}" for name, n in written.n_by_class.items())
    sites = f", and {count_of(written.n_sites, 'picture')} of sites" if written.n_sites else ""
    lost = f"; {count_of(len(written.unreadable), 'site')} could not be read"
    return f"Crops in {written.folder}: {counts}{sites}{lost if written.unreadable else ''}."


def _chosen(plate: ScoredPlate, source: Source) -> pd.DataFrame:
    """Give the cells to be written, with the names of their folders."""
    predictions = plate.predictions
    annotated = predictions["annotated_class"]
    cls = annotated if source == "annotated" else effective_class(predictions)
    kind = effective_kind(predictions)
    folder = cls.astype(object).where(kind.isna(), cls.astype(str) + "-" + kind.astype(str))
    table = plate.state.cells.assign(
        plate=plate.state.plate.name,
        **{name: predictions[name].to_numpy() for name in predictions.columns},
        folder=folder.to_numpy(),
    )
    is_left_out = plate.state.is_left_out if source == "predicted" else np.zeros(len(table), bool)
    return table[cls.notna().to_numpy() & ~is_left_out]


def _write_cells(
    out: Path, plate: ScoredPlate, site: SiteKey, cells: pd.DataFrame, pixels: NDArray[Any]
) -> pd.DataFrame:
    """Write the crops of one site; gives their rows of the table."""
    state = plate.state
    side_px = max(16, round(CROP_DIAMETERS * state.plate_cells.diameter_px))
    crops = cut_squares(pixels, cells["y_px"], cells["x_px"], side_px)
    size_um = state.plate.pixel_size_um
    files = []
    for crop, (_, cell) in zip(crops, cells.iterrows(), strict=True):
        name = _safe(f"{state.plate.name}_{site.well}_s{site.site}_cell{cell['cell_id']}")
        path = out / _safe(str(cell["folder"])) / f"{name}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(
            path,
            crop,
            photometric="minisblack",
            metadata={"axes": "CYX"},
            resolution=(1e4 / size_um, 1e4 / size_um) if size_um else None,
            resolutionunit="CENTIMETER" if size_um else None,
        )
        files.append(path.relative_to(out).as_posix())
    columns = [
        "plate",
        "well",
        "site",
        "cell_id",
        "y_px",
        "x_px",
        "annotated_class",
        "annotated_kind",
        "predicted_class",
        "predicted_kind",
        "p_abnormal",
        "is_cut",
        "folder",
    ]
    return cells[columns].assign(file=files)


def _write_site(
    out: Path, plate: ScoredPlate, site: SiteKey, pixels: NDArray[Any], channels: Sequence[int]
) -> None:
    """Write the picture of a site, with its cells in circles."""
    state, ranges = plate.state, plate.state.plate_cells.ranges
    first = state.plate.channel_index(state.plate_cells.channel)
    others = [index for index in range(len(state.plate.channels)) if index != first]
    shown = [first, *others[: len(_COLOURS) - 1]]
    style = PictureStyle(
        tuple(
            (_WHITE if len(shown) == 1 else _COLOURS[shown.index(index)])
            if index in shown
            else _BLACK
            for index in range(len(state.plate.channels))
        )
    )
    picture = composite(pixels, channels, ranges, style)
    drawing: Any = skimage.draw  # it has no types
    for y_px, x_px, radius_px, colour, width in _rings(plate, site):
        for more in range(width):
            middle = round(y_px), round(x_px)
            radius = round(radius_px) + more
            picture[drawing.circle_perimeter(*middle, radius, shape=picture.shape)] = colour
    path = out / _SITES / f"{_safe(f'{state.plate.name}_{site.well}_s{site.site}')}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def _rings(
    plate: ScoredPlate, site: SiteKey
) -> Iterator[tuple[float, float, float, tuple[int, int, int], int]]:
    """Give place, radius, colour and width of the circle of each cell of a site."""
    cells, diameter_px = plate.state.cells, plate.state.plate_cells.diameter_px
    is_here = ((cells["well"] == site.well) & (cells["site"] == site.site)).to_numpy()
    cls = effective_class(plate.predictions)[is_here]
    by_person = plate.predictions["annotated_class"][is_here].notna()
    left_out = plate.state.is_left_out[is_here]
    for (_, cell), name, is_annotated, is_out in zip(
        cells[is_here].iterrows(), cls, by_person, left_out, strict=True
    ):
        own_px = cell["diameter_px"]
        radius_px = 0.75 * float(diameter_px if pd.isna(own_px) else own_px)
        colour = _GREY if is_out else _RINGS.get(str(name), _GREY)
        yield float(cell["y_px"]), float(cell["x_px"]), radius_px, colour, 3 if is_annotated else 1


def _safe(name: str) -> str:
    """Give a file name that every system takes."""
    return re.sub(r"[^\w.+-]+", "_", name)
