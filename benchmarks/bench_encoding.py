"""Encoding on the CPU: from files to embeddings against a plain loop, and each backend's decisions.

The plain loop reads the same fields, cuts and resizes the same crops, and calls timm's whole model
in float32 eager with the same batch. All are run by turns, each first every other time, so that
whatever else the machine does hits all alike; the ratios are medians over the turns. Then the
weighted F1 on the labelled cells of BBBC022, and the share of cells whose class changes against
PyTorch: of the plate, of the objects of ``found_labels.csv`` (by a model of ``labels.csv``), and of
MitoCheck (held out, by plate). ``--shared`` adds whole-field convolution (minutes).

    python -m benchmarks.bench_encoding [--cells 400] [--repeats 3] [--accuracy] [--shared]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from benchmarks.bench_plate import Found, counted_objects
from benchmarks.labelled_plate import MITOCHECK, REAL_PLATE, labelled_assay
from benchmarks.results import with_range, write_results
from benchmarks.shared_field import SharedField
from torch.nn import functional

from napari_hcs_qc.assay.annotations.matching import cells_at
from napari_hcs_qc.cells.crops import cut_crops, cut_squares
from napari_hcs_qc.cells.intensity import IntensityRanges, measure_intensity
from napari_hcs_qc.cells.nuclei import find_nuclei
from napari_hcs_qc.cells.recipe import CropRecipe, get_recipe
from napari_hcs_qc.cells.table import cells_of_site, join_cells
from napari_hcs_qc.encoders.backends.choice import TORCH, choose_backend, list_backends
from napari_hcs_qc.encoders.embed.crop_reader import CropSource
from napari_hcs_qc.encoders.embed.embed_cells import embed_cells
from napari_hcs_qc.encoders.registry import load_architecture, load_encoder
from napari_hcs_qc.evaluation.crossval import cross_validate
from napari_hcs_qc.heads.head_registry import make_head
from napari_hcs_qc.heads.linear.scoring import abnormal_column
from napari_hcs_qc.plates.open import open_plate
from napari_hcs_qc.plates.plate import Plate, SiteKey
from napari_hcs_qc.study.benchmark.labelled import open_crops
from napari_hcs_qc.study.simulation.synthetic import simulate_plate
from napari_hcs_qc.study.simulation.synthetic_spec import SyntheticSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.encoders.encoder import Encoder

BATCH_SIZE = 64
REQUIRED_SPEED_UP, GOAL, REQUIRED_DISK = 5.0, 8.0, 0.95
REQUIRED_F1 = 0.005
N_PLATE_CELLS = 1500


def some_cells(plate: Plate, n_cells: int) -> pd.DataFrame:
    """Find the nuclei of as many sites as it takes."""
    tables: list[pd.DataFrame] = []
    for key in plate.sites:
        if sum(map(len, tables)) >= n_cells:
            break
        image = plate.read_site(key, [0])[0]
        tables.append(cells_of_site(find_nuclei(image), image, key))
    return join_cells(tables)


class PlainLoop:
    """What one would write without this package: read, crop, resize, the whole model."""

    def __init__(self, recipe: CropRecipe) -> None:
        self._recipe = recipe
        self._model = load_architecture()[0].module.eval()

    def run(self, plate: Plate, cells: pd.DataFrame, ranges: IntensityRanges) -> None:
        """Encode the cells."""
        waiting: list[torch.Tensor] = []
        with torch.inference_mode():
            for (well, site), here in cells.groupby(["well", "site"], sort=False):
                pixels = ranges.scale(plate.read_site(SiteKey(well, site), [0]), [0])
                for side_px in self._recipe.sides_px:
                    for y, x in zip(here["y_px"], here["x_px"], strict=True):
                        crop = torch.from_numpy(cut_one(pixels, y, x, side_px))[None]
                        resized = functional.interpolate(
                            crop, size=(self._recipe.input_px,) * 2, mode="bilinear"
                        )
                        waiting.append(resized.expand(-1, 3, -1, -1))
                        if len(waiting) == BATCH_SIZE:
                            self._encode(waiting)
                            waiting = []
            if waiting:
                self._encode(waiting)

    def _encode(self, crops: list[torch.Tensor]) -> torch.Tensor:
        features: torch.Tensor = self._model((torch.cat(crops) - 0.5) / 0.5)
        return features


def cut_one(pixels: NDArray[np.float32], y: float, x: float, side_px: int) -> NDArray[np.float32]:
    """Cut one square by slices; one that reaches over the border is mirrored there."""
    top, left = round(y) - side_px // 2, round(x) - side_px // 2
    if top >= 0 and left >= 0:
        cut = pixels[:, top : top + side_px, left : left + side_px]
        if cut.shape[1:] == (side_px, side_px):
            return cut
    return cut_squares(pixels, [y], [x], side_px)[0]


def seconds_of(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def speeds(folder: Path, n_cells: int, repeats: int, figures: dict[str, Any]) -> bool:
    """Print the table of rates, add it to `figures`; give whether all required is reached."""
    plate = open_plate(folder)
    cells = some_cells(plate, n_cells).iloc[:n_cells]
    ranges = measure_intensity(plate, n_sites=4)
    recipe = get_recipe("nucleus").with_diameter(float(cells["diameter_px"].median()))
    source = CropSource(plate, cells, ranges, recipe, "max", BATCH_SIZE // 2)
    batches = [batch.crops.flatten(0, 1) for batch in source.batches([(0, range(len(cells)))])]
    n_crops = sum(map(len, batches))
    print(f"{len(cells)} cells, {n_crops} crops of {recipe.input_px} px, batches of {BATCH_SIZE}")
    loop_ = PlainLoop(recipe)
    works: dict[str, Callable[[], object]] = {"plain": lambda: loop_.run(plate, cells, ranges)}
    for info in list_backends():
        if info.needs:
            print(f"{info.name} is not here: {info.needs}")
            continue
        began = time.perf_counter()
        encoder = loaded(info.name)
        print(f"{info.name} {info.version}: ready after {time.perf_counter() - began:.1f} s")
        works[f"{info.name} bare"] = lambda encoder=encoder: [encoder.encode(x) for x in batches]
        works[f"{info.name} from disk"] = lambda encoder=encoder: from_disk(
            plate, cells, ranges, recipe, encoder
        )
    encoder = None
    rates: dict[str, list[float]] = {name: [] for name in works}
    by_cpu: dict[str, list[float]] = {name: [] for name in works}
    for repeat in range(repeats + 1):
        for name in list(works) if repeat % 2 == 0 else list(works)[::-1]:
            processor = time.process_time()
            seconds = seconds_of(works[name])
            processor = time.process_time() - processor
            if repeat:  # the first turn warms up
                rates[name].append(n_crops / seconds)
                by_cpu[name].append(n_crops / processor)
    print("\n| encoded by | crops/s (range) | a CPU second | of plain (range) | of bare |")
    print("|---|---|---|---|---|")
    reached = True
    figures["default"] = chosen = choose_backend("auto")
    for name, found in rates.items():
        of_plain = [one / base for one, base in zip(found, rates["plain"], strict=True)]
        of_bare = ""
        figures[name] = {
            "crops_per_s": round(statistics.median(found), 1),
            "crops_per_cpu_s": round(statistics.median(by_cpu[name]), 1),
            **with_range("of_plain", of_plain),
        }
        if name.endswith("from disk"):
            bare = rates[name.replace("from disk", "bare")]
            shares = [a / b for a, b in zip(found, bare, strict=True)]
            share = statistics.median(shares)
            of_bare = f"{share:.3f}"
            figures[name].update(with_range("of_bare", shares, 3))
            if name.startswith(chosen):
                reached = share >= REQUIRED_DISK and statistics.median(of_plain) >= (
                    REQUIRED_SPEED_UP
                )
        print(
            f"| {name} | {statistics.median(found):.0f} ({min(found):.0f}–{max(found):.0f}) | "
            f"{statistics.median(by_cpu[name]):.0f} | "
            f"{statistics.median(of_plain):.2f} ({min(of_plain):.2f}–{max(of_plain):.2f}) | "
            f"{of_bare} |",
            flush=True,
        )
    print(
        f"\ndefault {chosen}: required {REQUIRED_SPEED_UP:g} times plain (goal {GOAL:g}) and "
        f"{REQUIRED_DISK} of its bare rate: {'reached' if reached else 'MISSED'}"
    )
    return reached


def loaded(backend: str) -> Encoder:
    recipe = get_recipe("nucleus")
    return load_encoder(stages=recipe.stages, pooling=recipe.pooling, device="cpu", backend=backend)


def from_disk(
    plate: Plate, cells: pd.DataFrame, ranges: IntensityRanges, recipe: CropRecipe, encoder: Encoder
) -> None:
    with tempfile.TemporaryDirectory() as root:
        embed_cells(plate, cells, ranges, recipe, encoder, Path(root), batch_size=BATCH_SIZE)


class Decisions:
    """Labelled cells, and cells of the plate, of one assay."""

    def __init__(self, state: PlateState) -> None:
        self._state = state
        self.recipe = get_recipe("nucleus").with_diameter(state.plate_cells.diameter_px)
        self._said = cells_at(state.training, 0, state.plate_cells.diameter_px)
        cells = state.plate_cells.cells
        some = cells.sample(min(N_PLATE_CELLS, len(cells)), random_state=0).index
        objects = counted_objects(state, Found(state))["row"]
        objects = objects[objects >= 0].unique()
        self._judged = cells.loc[some.union(objects)]
        self._is_some = self._judged.index.isin(some)
        self._is_object = self._judged.index.isin(objects)
        self.n_cells, self.n_objects = int(self._is_some.sum()), int(self._is_object.sum())
        nuclei = open_crops(MITOCHECK)
        self._classes, self._plates = nuclei.classes, nuclei.groups
        self._views = nuclei.crops(get_recipe("nucleus"), np.arange(len(nuclei.ids)))
        self._first: dict[str, Any] = {}  # what the first backend gave, PyTorch

    def score(
        self, name: str, encode: Callable[[Any, Any, Any], Any], encoder: Encoder | None = None
    ) -> dict[str, float]:
        """Print and give one row; `encode` takes a field and positions, `encoder` single crops."""
        labelled, rows = self._features(self._said, encode)
        plate, _ = self._features(self._judged, encode)
        training = self._state.training.reset_index(drop=True).loc[rows]
        classes, wells = training["class"].to_numpy().astype(str), training["well"].to_numpy()
        found = cross_validate(labelled, classes, wells)
        head = make_head("linear", 0)
        head.fit(labelled, classes, groups=wells)
        is_called = head.predict_proba(plate)[:, abnormal_column(head)] >= 0.5
        f1 = found.figures.mean["f1_weighted"]
        base = self._first.setdefault("f1", f1)
        is_other = is_called != self._first.setdefault("cells", is_called)
        row = {
            "f1_weighted": round(f1, 4),
            "gain": round(f1 - base, 4),
            "auc": round(found.figures.mean["auc"], 4),
            "changed": round(float(is_other[self._is_some].mean()), 5),
            "changed objects": round(float(is_other[self._is_object].mean()), 5),
        }
        if encoder is not None:
            row |= self._of_nuclei(encoder)
        print(
            f"| {name} | {f1:.4f} ({f1 - base:+.4f}) | {row['auc']:.4f} | {row['changed']:.2%} | "
            f"{row['changed objects']:.2%} | {row.get('MitoCheck f1', np.nan):.4f} | "
            f"{row.get('changed MitoCheck', np.nan):.2%} |",
            flush=True,
        )
        return row

    def _of_nuclei(self, encoder: Encoder) -> dict[str, float]:
        """Judge MitoCheck's nuclei by models of its other plates."""
        encoded = encoder.encode(self._views.flatten(0, 1))
        features = encoded.reshape(len(self._views), -1).numpy()
        found = cross_validate(features, self._classes, self._plates, seeds=(0,))
        is_called = found.p_abnormal[0] >= 0.5
        is_other = is_called != self._first.setdefault("nuclei", is_called)
        return {
            "MitoCheck f1": round(found.figures.mean["f1_weighted"], 4),
            "changed MitoCheck": round(float(is_other.mean()), 5),
        }

    def _features(self, cells: pd.DataFrame, encode: Callable[..., Any]) -> tuple[Any, list[int]]:
        parts, rows = [], []
        for (well, site), here in cells.groupby(["well", "site"], sort=False):
            raw = self._state.plate.read_site(SiteKey(well, site), [0])
            pixels = self._state.plate_cells.ranges.scale(raw, [0])
            positions = (here[axis].to_numpy(dtype=np.float64) for axis in ("y_px", "x_px"))
            parts.append(encode(pixels, *positions))
            rows.extend(here.index)
        return np.concatenate(parts), rows


def by_crops(encoder: Encoder, recipe: CropRecipe) -> Callable[[Any, Any, Any], Any]:
    def encode(pixels: Any, y_px: Any, x_px: Any) -> Any:
        crops = cut_crops(pixels, y_px, x_px, recipe, [(0,)])
        return encoder.encode(crops.flatten(0, 1)).numpy().reshape(len(crops), -1)

    return encode


def decisions(figures: dict[str, Any], *, shared: bool) -> bool:
    """Print what the backends do to F1 and classes, add it to `figures`; whether F1 holds."""
    with tempfile.TemporaryDirectory() as folder:
        table = Decisions(labelled_assay(Path(folder) / "assay")[1])
        print(
            f"\nClasses that change: of {table.n_cells} cells, of {table.n_objects} objects of "
            "found_labels.csv, of MitoCheck's nuclei.\n"
            "| encoded by | weighted F1 | AUC | cells | objects | MitoCheck: F1 | changed |\n"
            "|---|---|---|---|---|---|---|"
        )
        worst = 0.0
        for info in list_backends():
            if not info.needs:
                encoder = loaded(info.name)
                encode = by_crops(encoder, table.recipe)
                row = table.score(info.name, encode, encoder)
                figures[f"decisions by {info.name}"] = row
                worst = max(worst, -row["gain"])
        if shared:
            field = SharedField()
            figures["decisions by whole fields"] = table.score(
                "whole fields (torch)",
                lambda pixels, y, x: field.encode(pixels[0], y, x, table.recipe),
            )
    return worst <= REQUIRED_F1


def shared_speed(folder: Path) -> None:
    """Print what a whole field costs against its cells one by one."""
    plate = open_plate(folder)
    cells = some_cells(plate, 60)
    first = cells.iloc[0]
    here = cells[(cells["well"] == first["well"]) & (cells["site"] == first["site"])]
    ranges = measure_intensity(plate, n_sites=4)
    recipe = get_recipe("nucleus").with_diameter(float(cells["diameter_px"].median()))
    pixels = ranges.scale(plate.read_site(SiteKey(first["well"], first["site"]), [0]), [0])
    positions = here["y_px"].to_numpy(float), here["x_px"].to_numpy(float)
    field, encode = SharedField(), by_crops(loaded(TORCH), recipe)
    encode(pixels, *positions)
    whole = seconds_of(lambda: field.encode(pixels[0], *positions, recipe))
    single = seconds_of(lambda: encode(pixels, *positions))
    n_crops = SharedField.n_crops(pixels.shape[1:], recipe)
    print(
        f"\nwhole field {whole:.2f} s (as many pixels as {n_crops:.0f} crops) against {single:.2f} "
        f"s for its {len(here)} cells = {2 * len(here)} crops, both torch: it pays from "
        f"{len(here) * whole / single:.0f} cells a field on"
    )


def main(arguments: list[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cells", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--accuracy", action="store_true", help="F1 and classes too (a minute)")
    parser.add_argument("--shared", action="store_true", help="whole fields too (many minutes)")
    options = parser.parse_args(arguments if arguments is not None else sys.argv[1:])
    with tempfile.TemporaryDirectory() as temporary:
        folder = REAL_PLATE
        if not folder.is_dir():
            spec = SyntheticSpec(n_wells=8, sites_per_well=2)
            folder = simulate_plate(Path(temporary) / "plate", spec).plate_dir
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
        print(
            f"{folder}; {platform.machine()}, {torch.get_num_threads()} threads, PyTorch "
            f"{torch.__version__} with {torch.backends.cpu.get_cpu_capability()}, load {load:.1f}"
        )
        figures: dict[str, Any] = {"plate": folder.name, "n_cells": options.cells}
        good = speeds(folder, options.cells, options.repeats, figures)
        if options.shared:
            shared_speed(folder)
        if (options.accuracy or options.shared) and REAL_PLATE.is_dir():
            good &= decisions(figures, shared=options.shared)
        write_results("encoding" if options.accuracy else "encoding-quick", figures)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
