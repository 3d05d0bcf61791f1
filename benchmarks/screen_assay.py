"""An assay of many plates of 100,000 cells with their embeddings, for measuring the commands.

The plates share images and embeddings (by hard links); see `desk_assay`.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd
from benchmarks.desk_assay import DIAMETER_PX, make_desk_assay

from napari_hcs_qc.assay.models.model_in_use import chosen_model
from napari_hcs_qc.assay.models.train_options import TrainOptions, requested_recipe
from napari_hcs_qc.assay.scoring.saved_prediction import load_prediction, save_prediction
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.cells.intensity import IntensityRanges
from napari_hcs_qc.cells.table import read_cells
from napari_hcs_qc.encoders.embed.embed_cells import store_fingerprint
from napari_hcs_qc.encoders.embed.embedding_store import ARRAY
from napari_hcs_qc.encoders.registry import load_encoder
from napari_hcs_qc.files import read_json, write_json
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from pathlib import Path


def make_screen_assay(folder: Path, n_plates: int, n_cells: int) -> Path:
    """Make the assay, of which only the first plate is annotated, and give its folder."""
    path = make_desk_assay(folder, n_cells, side_px=256)
    assay = AssayFolder.open(path)
    first = assay.plates[0]
    (store,) = [one for one in assay.embeddings_folder.iterdir() if (one / ARRAY).is_file()]
    recipe = requested_recipe(TrainOptions()).with_diameter(DIAMETER_PX)
    encoder = load_encoder(stages=recipe.stages, pooling=recipe.pooling, device="cpu")
    table = pd.read_csv(folder / "DESK.csv")
    source_folder = assay.plate_folder(first.name)
    cells = read_cells(source_folder / "cells.parquet")
    state = read_json(source_folder / "cells.json")
    for number in range(2, n_plates + 1):
        name = f"DESK{number:02d}"
        csv = folder / f"{name}.csv"
        table.assign(Metadata_Plate=name).to_csv(csv, index=False)
        source = steps.PlateSource(csv)
        (plate,) = source.open()
        steps.add_plate(assay, source)
        assay.reload()
        mine = assay.plate_folder(name)
        shutil.copytree(source_folder, mine)
        write_json(mine / "cells.json", {**state, "plate_fingerprint": plate.fingerprint})
        ranges = IntensityRanges.from_dict(state["ranges"])
        of = assay.embeddings_folder / store_fingerprint(plate, cells, ranges, recipe, encoder)
        of.mkdir()
        for file in store.iterdir():
            (os.link if file.name == ARRAY else shutil.copyfile)(file, of / file.name)
    return path


def copy_predictions(path: Path) -> None:
    """Give the first plate's prediction to the plates that have none: they hold the same cells."""
    assay = AssayFolder.open(path)
    model = chosen_model(assay)
    found = load_prediction(assay, load_plate(assay, assay.plates[0].name), model.id)
    assert found is not None
    for entry in assay.plates[1:]:
        state = load_plate(assay, entry.name)
        with assay.lock():
            save_prediction(assay, replace(found, plate=entry.name), state)
