"""What a GPU brings: files to embeddings against the bare forward pass, and steps of training.

    python -m benchmarks.bench_gpu [--cells 4000] [--turns 5] [--device cuda]

Some five minutes on one GPU. The bare passes are those of the same network on crops that lie in the
device's memory already, in float32 and in half precision; all take turns. ``--device cpu --cells 40
--turns 1`` tries the script where there is none; its figures then tell nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from benchmarks.bench_encoding import BATCH_SIZE, from_disk, some_cells
from benchmarks.bench_ssl import step_ratio
from benchmarks.labelled_plate import REAL_PLATE, labelled_assay
from benchmarks.results import with_range, write_results

from napari_hcs_qc.cells.intensity import measure_intensity
from napari_hcs_qc.cells.recipe import get_recipe
from napari_hcs_qc.encoders.backends.choice import TORCH
from napari_hcs_qc.encoders.embed.crop_reader import CropSource
from napari_hcs_qc.encoders.registry import load_encoder
from napari_hcs_qc.plates.open import open_plate
from napari_hcs_qc.study.ssl.pretrain_settings import METHOD_NAMES, PRESET_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable


def encoding(device: str, n_cells: int, turns: int) -> dict[str, Any]:
    """Print and give rates of encoding, in crops a second."""
    plate = open_plate(REAL_PLATE)
    cells = some_cells(plate, n_cells).iloc[:n_cells]
    ranges = measure_intensity(plate, n_sites=4)
    recipe = get_recipe("nucleus").with_diameter(float(cells["diameter_px"].median()))
    source = CropSource(plate, cells, ranges, recipe, "max", BATCH_SIZE // 2)
    encoder = load_encoder(
        stages=recipe.stages, pooling=recipe.pooling, device=device, backend=TORCH
    )
    crops = [
        batch.crops.flatten(0, 1).to(encoder.device)
        for batch in source.batches([(0, range(len(cells)))])
    ]
    n_crops = sum(map(len, crops))
    half = torch.float16 if encoder.device.type == "cuda" else torch.bfloat16

    def bare(*, is_half: bool) -> None:
        with torch.autocast(encoder.device.type, dtype=half, enabled=is_half):
            for batch in crops:
                encoder.encode(batch)

    works: dict[str, Callable[[], object]] = {
        "from disk": lambda: from_disk(plate, cells, ranges, recipe, encoder),
        "bare": lambda: bare(is_half=False),
        "bare, half precision": lambda: bare(is_half=True),
    }
    rates: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(turns + 1):
        for name in list(works)[:: 1 if turn % 2 else -1]:
            began = time.perf_counter()
            works[name]()
            if turn:  # the first one warms up
                rates[name].append(n_crops / (time.perf_counter() - began))
    for name, found in rates.items():
        print(f"{name}: {median(found):.0f} crops/s ({min(found):.0f} to {max(found):.0f})")
    ours, plain, in_half = rates.values()
    figures: dict[str, Any] = {"n_crops": n_crops}
    for name, found in rates.items():
        figures.update(with_range(f"{name}, crops/s", found, 1))
    pairs = zip(ours, plain, in_half, strict=True)
    of_bare, of_half = zip(*((one / base, one / fast) for one, base, fast in pairs), strict=True)
    return {**figures, **with_range("of_bare", of_bare), **with_range("of_bare_half", of_half)}


def main(arguments: list[str] | None = None) -> int:
    """Print the figures, and write them where a GPU made them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cells", type=int, default=4000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=256, help="of the steps of training")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("skipped: no GPU that PyTorch can use")
        return 0
    if not REAL_PLATE.is_dir():
        print(f"The real images are not at {REAL_PLATE}; nothing was measured.")
        return 0
    figures = encoding(options.device, options.cells, options.turns)
    with tempfile.TemporaryDirectory() as folder:
        _, state = labelled_assay(Path(folder) / "assay")
        for method in METHOD_NAMES:
            figures[f"step of {method}"] = step_ratio(
                state, method, PRESET_NAMES[0], options.batch_size, options.turns
            )
    if options.device == "cuda":
        figures["gpu"] = torch.cuda.get_device_name()
        print(write_results("gpu", figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
