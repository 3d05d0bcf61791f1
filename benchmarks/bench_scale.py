"""Whether a screen of millions is as steady as a plate: ratios to floors and peers, in one run.

    python -m benchmarks.bench_scale [--quick] [--only rescoring,flatness]

Full size needs 8 GB of disk and some 25 minutes on 2 idle cores; `--quick` a minute or two. Wall
time is what counts on an idle machine; processor time beside it stands other work better.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import tifffile
from benchmarks.labelled_plate import BBBC039, REAL_PLATE
from benchmarks.results import (
    FOLDER,
    anon_mib,
    children_s,
    table,
    timed,
    write_plot,
    write_results,
)
from scipy import ndimage as ndi
from skimage.filters import gaussian, threshold_otsu
from skimage.measure import label, regionprops_table
from skimage.segmentation import watershed

from napari_hcs_qc.cells.detect import find_cells, plate_diameter
from napari_hcs_qc.cells.nuclei import find_nuclei
from napari_hcs_qc.heads.threads import n_processors
from napari_hcs_qc.plates import open_plate
from napari_hcs_qc.study.simulation.synthetic import SyntheticSpec, simulate_plate

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_hcs_qc.study.simulation.synthetic import SimulatedPlate

_POLL_S = 0.02
_SHAPE_PX = (260, 348)


def measured(arguments: list[str]) -> tuple[float, float, float]:
    """Run ``hcs-qc``; wall seconds, processor seconds and peak RssAnon in MiB."""
    command = [sys.executable, "-m", "napari_hcs_qc", *arguments]
    wall, cpu, peak = time.monotonic(), children_s(), 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, anon_mib(process.pid))
            time.sleep(_POLL_S)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return time.monotonic() - wall, children_s() - cpu, peak


def rescoring(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Re-score generated embeddings, each size in a process of its own for its peak."""
    from benchmarks.rescoring import compare

    found = {}
    half = 20_000 if quick else 100_000
    sizes: list[tuple[int, Any]] = [(half, "float16"), (half, "float32")]
    sizes += [(200_000 if quick else 2_000_000, "float32")]
    for n_cells, dtype in sizes:
        found[f"{n_cells:,} cells, {dtype}"] = compare(folder / "store", n_cells, dtype)
    return found


def flatness(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Run the whole loop at 1, 4 and 16 times the sites."""
    base = 4 if quick else 32
    found: dict[str, Any] = {}
    for times, repeats in ((1, 3), (4, 2), (16, 1)):
        n_sites = base * times
        made = simulate_plate(
            folder / f"plate {times}",
            SyntheticSpec(
                n_wells=min(n_sites, 64),
                plate_format=384,
                sites_per_well=max(1, n_sites // 64),
                shape_px=_SHAPE_PX,
                n_labels=100,
                channels=("DNA",),
            ),
        )
        out = folder / f"out {times}"

        def run(name: str, made: SimulatedPlate = made, out: Path = out) -> Any:
            arguments = ["run", str(folder / name), str(made.plate_dir)]
            return measured(
                [*arguments, "--labels", str(made.labels), "--out", str(out), "--quiet"]
            )

        if times == 1:
            run("warm up")  # libraries are read, and the network converted and kept
        runs = np.array([run(f"assay {times} {repeat}") for repeat in range(repeats)])
        wall, cpu, peak = np.median(runs, axis=0)
        found[f"{times}x"] = {
            "n_sites": n_sites,
            "n_cells": pq.read_metadata(out / "cells.parquet").num_rows,
            "wall_s": round(float(wall), 2),
            "cpu_s": round(float(cpu), 2),
            "peak_mib": round(float(peak)),
        }
        print(f"  {times}x: {found[f'{times}x']}", flush=True)
    one, four, sixteen = (found[size] for size in ("1x", "4x", "16x"))
    for kind in ("wall_s", "cpu_s"):
        # Starting takes seconds and does not grow; left in, it would hide what does.
        growth, of_cells = (
            (sixteen[key] - four[key]) / max(four[key] - one[key], 1e-9)
            for key in (kind, "n_cells")
        )
        found[f"exponent of {kind}"] = (
            round(math.log(growth) / math.log(of_cells), 3) if growth > 0 else None
        )
    found["peak at 16x over 1x"] = round(found["16x"]["peak_mib"] / found["1x"]["peak_mib"], 3)
    write_plot(
        FOLDER / "scale.svg",
        "hcs-qc run over the number of sites",
        {
            name: {found[size]["n_sites"]: found[size][key] for size in ("1x", "4x", "16x")}
            for name, key in (
                ("wall time, s", "wall_s"),
                ("processor time, s", "cpu_s"),
                ("peak memory, MiB", "peak_mib"),
            )
        },
    )
    return found


def whole(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Run the whole loop on real fields and on a plate of 1,536 wells, against decoding the files.

    The floor reads and decodes the same files with tifffile, a thread for each processor.
    """
    plates: dict[str, tuple[Path, Path]] = {}
    if REAL_PLATE.is_dir():
        plates["real fields"] = REAL_PLATE, BBBC039 / "labels.csv"
    n_wells = 24 if quick else 1536
    made = simulate_plate(
        folder / "simulated",
        SyntheticSpec(
            n_wells=n_wells,
            plate_format=1536,
            sites_per_well=1,
            shape_px=_SHAPE_PX,
            n_labels=200,
            channels=("DNA",),
        ),
    )
    plates[f"{n_wells} simulated wells"] = made.plate_dir, made.labels
    found: dict[str, Any] = {}
    for number, (name, (images, labels)) in enumerate(plates.items()):
        files = [*images.rglob("*.tif")]

        def decode(files: list[Path] = files) -> None:
            with ThreadPoolExecutor(n_processors()) as pool:
                for _ in pool.map(tifffile.imread, files):
                    pass

        decode()  # from here on the files are in the system's memory for both
        seconds: dict[str, list[tuple[float, float]]] = {}
        with timed(seconds, "decode"):
            decode()
        out = folder / f"tables {number}"
        wall, cpu, peak = measured(
            [
                "run",
                str(folder / f"assay {number}"),
                str(images),
                "--labels",
                str(labels),
                "--out",
                str(out),
                "--quiet",
            ]
        )
        n_cells = pq.read_metadata(out / "cells.parquet").num_rows
        floor = seconds["decode"][0][0]
        found[name] = {
            "n_files": len(files),
            "n_cells": n_cells,
            "wall_s": round(wall, 1),
            "cpu_s": round(cpu, 1),
            "peak_mib": round(peak),
            "files_per_s": round(len(files) / wall, 2),
            "cells_per_s": round(n_cells / wall, 1),
            "decoded_files_per_s": round(len(files) / floor, 1),
            "run / decoding": round(wall / floor, 1),
        }
        print(f"  {name}: {found[name]}", flush=True)
    return found


def commands(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Time and peak of each command on an assay of 20 plates of 100,000 cells."""
    from benchmarks.screen_assay import copy_predictions, make_screen_assay

    n_plates, n_cells = (4, 20_000) if quick else (20, 100_000)
    assay = make_screen_assay(folder / "screen", n_plates, n_cells)
    found: dict[str, Any] = {"n_plates": n_plates, "n_cells": n_plates * n_cells}
    for name, arguments in (
        ("train", ["train", str(assay), "--quiet"]),
        ("predict 1 plate", ["predict", str(assay), "--plate", "DESK", "--quiet"]),
        ("status", ["status", str(assay)]),
        ("status again", ["status", str(assay)]),
        ("report", ["report", str(assay), str(folder / "report.html"), "--quiet"]),
        ("export", ["export", str(assay), str(folder / "tables"), "--quiet"]),
    ):
        wall, cpu, peak = measured(arguments)
        found[name] = {"wall_s": round(wall, 1), "cpu_s": round(cpu, 1), "peak_mib": round(peak)}
        print(f"  {name}: {found[name]}", flush=True)
        if name.startswith("predict"):
            copy_predictions(assay)
            time.sleep(3)  # what was just written is not yet known by its dates
    return found


def opening(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Open a plate of 1536 wells, 4 sites and 3 channels, against listing its folder."""
    rows, columns, sites = (8, 12, 4) if quick else (32, 48, 4)
    source = folder / "1536" / "TimePoint_1"
    source.mkdir(parents=True)
    letters = [*"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "AA", "AB", "AC", "AD", "AE", "AF"]
    image = simulate_plate(
        folder / "one",
        SyntheticSpec(n_wells=1, shape_px=_SHAPE_PX, n_labels=2, channels=("DNA",)),
    )
    content = next(image.plate_dir.rglob("*.tif")).read_bytes()
    for row in letters[:rows]:
        for column in range(1, columns + 1):
            for site in range(1, sites + 1):
                for channel in (1, 2, 3):
                    name = f"P_{row}{column:02d}_s{site}_w{channel}.tif"
                    (source / name).write_bytes(content[:1024])
    first = source / "P_A01_s1_w1.tif"
    first.write_bytes(content)
    seconds: dict[str, list[tuple[float, float]]] = {}
    for _ in range(3):
        with timed(seconds, "list"):
            n_files = sum(1 for path in source.iterdir() if path.stat().st_size)
        with timed(seconds, "open"):
            plate = open_plate(source)
            assert len(plate.wells) == rows * columns, plate
    medians = {name: statistics.median(one[0] for one in each) for name, each in seconds.items()}
    return {
        "n_files": n_files,
        "open_s": round(medians["open"], 3),
        "list_s": round(medians["list"], 3),
        "open / list": round(medians["open"] / medians["list"], 1),
    }


def bare_nuclei(image: NDArray[Any]) -> NDArray[np.int32]:
    """Find nuclei as a script of scikit-image's gallery does: smooth, Otsu, watershed, measure.

    It knows no uneven background, dim nuclei beside bright ones, fibres nor dirt.
    """
    smooth = gaussian(image.astype(np.float64), 1.0)
    mask = smooth > threshold_otsu(smooth)
    distance = gaussian(ndi.distance_transform_edt(mask), 2.0)
    peaks = label((distance == ndi.maximum_filter(distance, size=9)) & mask)
    found: NDArray[np.int32] = watershed(-distance, peaks, mask=mask).astype(np.int32)
    regionprops_table(found, image, properties=("label", "centroid", "area", "mean_intensity"))
    return found


def nuclei(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Find the nuclei of a plate against a bare loop of the same calls, and of fewer.

    The bare loop reads each file with tifffile and calls scikit-image and SciPy as `find_nuclei`
    does, field after field: what is left is what reading ahead, tables and progress cost or save.
    """
    made = simulate_plate(
        folder / "fields",
        SyntheticSpec(
            n_wells=3 if quick else 12, shape_px=(520, 696), n_labels=10, channels=("DNA",)
        ),
    )
    plate = open_plate(made.plate_dir)
    files = sorted(made.plate_dir.rglob("*.tif"))
    assert len(files) == len(plate.sites), files
    diameter_px = plate_diameter(plate)

    def loop(find: Callable[[NDArray[Any]], Any]) -> None:
        for path in files:
            find(tifffile.imread(path))

    works: dict[str, Callable[[], object]] = {
        "ours": lambda: find_cells(plate, diameter_px=diameter_px),
        "same calls": lambda: loop(partial(find_nuclei, diameter_px=diameter_px)),
        "plain recipe": lambda: loop(bare_nuclei),
    }
    seconds: dict[str, list[tuple[float, float]]] = {}
    for turn in range(3):
        for name in list(works)[:: 1 if turn % 2 else -1]:
            with timed(seconds, name):
                works[name]()
    figures: dict[str, Any] = {"n_fields": len(files)}
    for name, each in seconds.items():
        middle = statistics.median(wall for wall, _ in each)
        figures[f"{name}, s a field"] = round(middle / len(files), 4)
    for peer in ("same calls", "plain recipe"):
        pairs = list(zip(seconds["ours"], seconds[peer], strict=True))
        for kind, word in enumerate(("", ", processor time")):
            ratio = statistics.median(ours[kind] / bare[kind] for ours, bare in pairs)
            figures[f"ours / {peer}{word}"] = round(ratio, 3)
    return figures


REQUIRED: dict[str, float] = {
    "linear / product with anchors and directions": 1.5,
    "knn / distances": 1.5,
    "peak_mib": 2048,
    "export: peak_mib": 600,
    "exponent of wall_s": 1.05,
    "exponent of cpu_s": 1.05,
    "peak at 16x over 1x": 1.2,
}
"""Most that a figure may be, by the end of its name."""

PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "rescoring": rescoring,
    "opening": opening,
    "nuclei": nuclei,
    "commands": commands,
    "flatness": flatness,
    "whole": whole,
}


def missed(part: str, figures: dict[str, Any]) -> list[str]:
    """List the figures of one part that are not what is required of them."""
    found = []

    def look(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                look(f"{name}: {key}", inner)
            return
        for end, most in REQUIRED.items():
            if name.endswith(end) and (value is None or value > most):
                found.append(f"{name} is {value}, required is at most {most:g}")

    look(part, figures)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; give 1 when one of them is not what is required."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, parted by commas")
    parser.add_argument("--folder", type=Path, help="where the work lies (8 GB)")
    options = parser.parse_args(arguments)
    rows: list[tuple[str, str]] = []
    bad: list[str] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for name in options.only.split(","):
            print(f"-- {name}", flush=True)
            place = Path(folder) / name
            place.mkdir()
            figures = PARTS[name](place, quick=options.quick)
            for key, value in figures.items():
                inner = value.items() if isinstance(value, dict) else [("", value)]
                rows += [(f"{name}: {key} {part}".strip(), str(figure)) for part, figure in inner]
            write_results(f"{name}-quick" if options.quick else name, figures)
            bad += missed(name, figures)
    print(table(rows))
    print("\n".join(bad) or "all that is required is reached")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
