"""Embedding a plate from disk against the bare encoder on crops in memory, side by side.

Prints both rates and their ratio; reading, cutting and writing are to cost at most a tenth. The
two are run by turns, each first every other time, so that whatever else the machine does hits
both alike.

    python benchmarks/bench_embedding.py [PLATE] [--cells 1500] [--repeats 3] [--encoder NAME]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from napari_hcs_qc.cells.intensity import measure_intensity
from napari_hcs_qc.cells.nuclei import find_nuclei
from napari_hcs_qc.cells.recipe import PRESETS, get_recipe
from napari_hcs_qc.cells.table import cells_of_site, join_cells
from napari_hcs_qc.encoders.crop_reader import CropSource
from napari_hcs_qc.encoders.pipeline import embed_cells
from napari_hcs_qc.encoders.registry import DEFAULT_ENCODER, load_encoder
from napari_hcs_qc.plates.open import open_plate
from napari_hcs_qc.plates.synthetic import simulate_plate
from napari_hcs_qc.plates.synthetic_spec import SyntheticSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from napari_hcs_qc.plates.plate import Plate

REAL_PLATE = Path(__file__).resolve().parents[2] / "shared" / "data" / "bbbc039" / "20585"
BATCH_SIZE = 64
REQUIRED_RATIO = 0.9


def some_cells(plate: Plate, n_cells: int) -> pd.DataFrame:
    """Find the nuclei of as many sites as it takes."""
    tables: list[pd.DataFrame] = []
    for key in plate.sites:
        if sum(map(len, tables)) >= n_cells:
            break
        image = plate.read_site(key, [0])[0]
        tables.append(cells_of_site(find_nuclei(image), image, key))
    return join_cells(tables)


def seconds_of(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("plate", type=Path, nargs="?")
    parser.add_argument("--cells", type=int, default=1500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--encoder", default=DEFAULT_ENCODER)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--recipe", default="nucleus", choices=list(PRESETS))
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as temporary:
        folder = args.plate or (REAL_PLATE if REAL_PLATE.is_dir() else None)
        if folder is None:
            spec = SyntheticSpec(n_wells=12, sites_per_well=2)
            folder = simulate_plate(Path(temporary) / "plate", spec).plate_dir
        plate = open_plate(folder)
        cells = some_cells(plate, args.cells)
        ranges = measure_intensity(plate, n_sites=4)
        recipe = get_recipe(args.recipe).with_diameter(float(cells["diameter_px"].median()))
        encoder = load_encoder(
            args.encoder,
            stages=recipe.stages,
            pooling=recipe.pooling,
            weights=args.weights,
            device=args.device,
        )
        n_sites = len(cells[["well", "site"]].drop_duplicates())
        print(f"{folder}: {len(cells)} cells of {n_sites} sites, recipe {recipe.name}")
        print(f"{encoder} on {encoder.device}, {torch.get_num_threads()} threads")

        source = CropSource(plate, cells, ranges, recipe, "max", BATCH_SIZE)
        started = time.perf_counter()
        batches = [batch.crops.flatten(0, 1) for batch in source.batches([(0, range(len(cells)))])]
        n_crops = sum(map(len, batches))
        crops = [part for batch in batches for part in batch.split(BATCH_SIZE)]
        print(f"reading and cutting alone: {n_crops / (time.perf_counter() - started):.0f} crops/s")
        encoder.measure_speed(recipe.input_px, BATCH_SIZE)

        def bare() -> None:
            for part in crops:
                encoder.encode(part)

        def from_disk() -> None:
            with tempfile.TemporaryDirectory() as root:
                embed_cells(
                    plate, cells, ranges, recipe, encoder, Path(root), batch_size=BATCH_SIZE
                )

        ratios = []
        for repeat in range(args.repeats):
            first, second = (bare, from_disk) if repeat % 2 == 0 else (from_disk, bare)
            seconds = {work: seconds_of(work) for work in (first, second)}
            ratios.append(seconds[bare] / seconds[from_disk])
            print(
                f"bare encoder {n_crops / seconds[bare]:6.1f} crops/s   "
                f"from disk {n_crops / seconds[from_disk]:6.1f} crops/s   ratio {ratios[-1]:.3f}"
            )
    ratio = statistics.median(ratios)
    print(f"median ratio {ratio:.3f} (required: {REQUIRED_RATIO})")
    return 0 if ratio >= REQUIRED_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
