"""An assay of any number of cells with its embeddings ready, for measuring the desk.

The images are four files that all sites share, and the embeddings are generated: two overlapping
clouds. What is measured with it (fitting, scoring, judging, drawing) does not look at what the
numbers mean; no accuracy may be told from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import tifffile

from napari_hcs_qc.assay.annotations.annotation import Annotation
from napari_hcs_qc.assay.models.train_options import TrainOptions, requested_recipe
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.cells.intensity import measure_intensity
from napari_hcs_qc.cells.table import typed_cells, write_cells
from napari_hcs_qc.encoders.embed.embed_cells import store_fingerprint
from napari_hcs_qc.encoders.embed.embedding_store import StoreWriter
from napari_hcs_qc.encoders.registry import load_encoder
from napari_hcs_qc.files import write_json
from napari_hcs_qc.plates import open_plate
from napari_hcs_qc.qc.quality_measures import MEASURES
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from pathlib import Path

ROWS, COLUMNS, SITES = "ABCDEFGHIJKLMNOP", 24, 9
DIAMETER_PX = 24.0
_N_IMAGES = 4


def make_desk_assay(
    folder: Path,
    n_cells: int,
    *,
    n_annotated: int = 200,
    n_sites: int = SITES,
    channels: tuple[str, ...] = ("DNA",),
    side_px: int = 1024,
    seed: int = 0,
) -> Path:
    """Make the assay and give its folder.

    Parameters
    ----------
    folder
        Empty folder.
    n_cells
        Cells, spread over the sites of a 384-well plate.
    n_annotated
        Of them annotated, half normal.
    n_sites
        Sites of a well.
    channels
        Names; each adds 944 features.
    side_px
        Side of a site.
    seed
        Of what is random.
    """
    rng = np.random.default_rng(seed)
    source = _plate(folder, side_px, channels, n_sites, rng)
    steps.new(folder / "assay", [steps.PlateSource(source)])
    assay = AssayFolder.open(folder / "assay")
    plate = open_plate(source)
    names = [f"{row}{column:02d}" for row in ROWS for column in range(1, COLUMNS + 1)]
    site_of = np.sort(rng.integers(0, len(names) * n_sites, n_cells))
    is_odd = rng.random(n_cells) < 0.08
    cells = typed_cells(
        {
            "cell_id": np.arange(n_cells),
            "well": np.array(names, dtype=object)[site_of // n_sites],
            "site": site_of % n_sites + 1,
            "label": np.arange(1, n_cells + 1),
            "y_px": rng.uniform(20, side_px - 20, n_cells),
            "x_px": rng.uniform(20, side_px - 20, n_cells),
            "area_px": rng.normal(450, 60, n_cells).clip(100),
            "diameter_px": np.full(n_cells, DIAMETER_PX),
            "mean_intensity": rng.normal(1500, 200, n_cells),
            "is_cut": np.zeros(n_cells, dtype=bool),
            "source": np.full(n_cells, "nuclei", dtype=object),
            "object_number": np.full(n_cells, pd.NA, dtype=object),
        }
    )
    plate_folder = assay.plate_folder(plate.name)
    plate_folder.mkdir(parents=True, exist_ok=True)
    write_cells(cells, plate_folder / "cells.parquet", {})
    sites = plate.sites
    quality = pd.DataFrame(
        {
            "well": [site.well for site in sites for _ in channels],
            "site": np.repeat([site.site for site in sites], len(channels)).astype("int32"),
            "channel": list(channels) * len(sites),
            **{name: rng.normal(5, 0.1, len(sites) * len(channels)) for name in MEASURES},
        }
    )
    quality.to_parquet(plate_folder / "quality.parquet", index=False)
    ranges = measure_intensity(plate, n_sites=2)
    write_json(
        plate_folder / "cells.json",
        {
            "plate_fingerprint": plate.fingerprint,
            "ranges": ranges.to_dict(),
            "diameter_px": DIAMETER_PX,
            "channel": "DNA",
            "projection": "max",
            "source": "nuclei",
            "unreadable": [],
            "problems": [],
        },
    )
    recipe = requested_recipe(TrainOptions()).with_diameter(DIAMETER_PX)
    encoder = load_encoder(stages=recipe.stages, pooling=recipe.pooling, device="cpu")
    width = recipe.n_views(len(channels)) * encoder.n_features
    fingerprint = store_fingerprint(plate, cells, ranges, recipe, encoder)
    writer = StoreWriter(
        assay.embeddings_folder / fingerprint, (n_cells, width), "float32", 8192, {}
    )
    mixing = rng.normal(size=(60, width)).astype(np.float32)
    away = rng.normal(size=60).astype(np.float32)
    for chunk in writer.pending:
        rows = np.asarray(writer.rows(chunk))
        hidden = rng.normal(size=(len(rows), 60)).astype(np.float32)
        hidden += 0.7 * is_odd[rows, np.newaxis] * away
        noise = rng.normal(size=(len(rows), width)).astype(np.float32)
        writer.write(chunk, 0.1 * hidden @ mixing + 0.05 * noise)
    writer.finish()
    half = n_annotated // 2
    chosen = [
        *rng.choice(np.flatnonzero(~is_odd), half, replace=False),
        *rng.choice(np.flatnonzero(is_odd), n_annotated - half, replace=False),
    ]
    assay.journal().annotate_many(
        [
            Annotation(
                plate=plate.name,
                well=str(cells["well"].iloc[row]),
                site=int(cells["site"].iloc[row]),
                y_px=float(cells["y_px"].iloc[row]),
                x_px=float(cells["x_px"].iloc[row]),
                cls="abnormal" if is_odd[row] else "normal",
                kind=("blur", "debris", "dead")[row % 3] if is_odd[row] else None,
            )
            for row in chosen
        ],
        "benchmark",
    )
    return assay.path


def _plate(
    folder: Path,
    side_px: int,
    channels: tuple[str, ...],
    n_sites: int,
    rng: np.random.Generator,
) -> Path:
    """Write a LoadData table whose sites share a few images."""
    images = folder / "images"
    images.mkdir(parents=True)
    for number in range(_N_IMAGES):
        for channel in channels:
            image = rng.normal(400, 40, (side_px, side_px))
            for y, x in rng.integers(30, side_px - 30, (60, 2)):
                image[y - 12 : y + 12, x - 12 : x + 12] += 1500
            tifffile.imwrite(images / f"{number}_{channel}.tif", image.astype(np.uint16))
    rows = []
    for index, (row, column, site) in enumerate(
        (row, column, site)
        for row in ROWS
        for column in range(1, COLUMNS + 1)
        for site in range(1, n_sites + 1)
    ):
        entry: dict[str, object] = {
            "Metadata_Plate": "DESK",
            "Metadata_Well": f"{row}{column:02d}",
            "Metadata_Site": site,
        }
        for channel in channels:
            entry[f"PathName_{channel}"] = str(images)
            entry[f"FileName_{channel}"] = f"{index % _N_IMAGES}_{channel}.tif"
        rows.append(entry)
    table = folder / "DESK.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    return table
