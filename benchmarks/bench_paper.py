"""The paper's three tables with every encoder that can run here, as `benchmark --preset paper`.

Trained on BBBC022's labelled nuclei and on MitoCheck, split by cell as the paper does, and from the
first to the second. Hours on a processor; what is measured is kept in --folder, and the same
command goes on. Self-supervised encoders are those of --encoders, as `bench_ssl --table` leaves
them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.labelled_plate import BBBC039, MITOCHECK, REAL_PLATE, SHARED

from napari_hcs_qc.encoders.custom_encoder import MANIFEST, read_custom_encoder
from napari_hcs_qc.study.benchmark.benchmark_spec import (
    SSL_METHODS,
    BenchmarkSpec,
    EncoderSpec,
    SourceSpec,
    preset_values,
)
from napari_hcs_qc.study.benchmark.output.paper_tables import write_tables
from napari_hcs_qc.study.benchmark.sources import run_benchmark

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_hcs_qc.study.benchmark.results import Planned, Result
    from napari_hcs_qc.study.benchmark.sources import Benchmark

SQUEEZENET = EncoderSpec(
    "torchvision:squeezenet1_1", SHARED / "weights" / "squeezenet1_1_imagenet.safetensors"
)


def spec_of(encoders: Path | None) -> BenchmarkSpec:
    """Say what is compared; `encoders` holds folders ``METHOD-default``."""
    values = preset_values("paper")
    own = {}
    for method in SSL_METHODS if encoders is not None else ():
        folder = encoders / f"{method}-default"
        if (folder / MANIFEST).is_file():
            own[method] = EncoderSpec(method, read_custom_encoder(folder).weights)
    given = tuple(own.get(usual.name, usual) for usual in values["encoders"])
    values["encoders"] = (*given, SQUEEZENET)
    return BenchmarkSpec(
        sources=(
            SourceSpec(name="labels", kind="plate", path=REAL_PLATE, labels=BBBC039 / "labels.csv"),
            MITOCHECK,
        ),
        transfers=(("labels", MITOCHECK.name),),
        **values,
    )


def f1_of(one: Planned, results: Mapping[str, Result]) -> str:
    """Weighted F1 in percent, or a dash."""
    if one.key not in results:
        return "–"
    return f"{100 * (results[one.key].summary['f1_weighted'].mean or 0.0):.1f}"


def show(found: Benchmark) -> None:
    """Print weighted F1 by encoder, recipe and head: Table 2 of both sources, and Table 3."""
    lines: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    columns = {("labels", "labels"): "labels.csv", ("MitoCheck", "MitoCheck"): "MitoCheck",
               ("labels", "MitoCheck"): "labels.csv → MitoCheck"}  # fmt: skip
    sizes: dict[str, dict[str, None]] = {name: {} for name in columns.values()}
    for one in found.planned:
        cell = one.cell
        name = columns[cell.train, cell.test]
        is_shown = cell.table != 1 and (one.state != "cannot run" or cell.n_train < 350)
        if is_shown and not one.reason.startswith("the weights"):
            line = lines.setdefault((cell.recipe, cell.encoder, cell.head), {})
            line.setdefault(name, []).append(f1_of(one, found.results))
            sizes[name][str(cell.n_train)] = None
    heads = " | ".join(f"{name} {' / '.join(known)}" for name, known in sizes.items())
    recipe = ""
    for (now, encoder, head), told in sorted(lines.items(), key=lambda line: line[0][0]):
        if now != recipe:
            recipe = now
            print(f"\n| recipe {recipe} | {heads} |\n|---|{'---|' * len(sizes)}")
        figures = " | ".join(" / ".join(told.get(name, ["–"])) for name in sizes)
        print(f"| {encoder.removeprefix('torchvision:')}, {head} | {figures} |")


def main(arguments: list[str] | None = None) -> int:
    """Fill the tables, write them, and print a summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="results are kept here")
    parser.add_argument("--encoders", type=Path, help="folder of self-supervised encoders")
    options = parser.parse_args(arguments)
    if not SHARED.is_dir():
        print(f"The real images are not at {SHARED}; nothing was measured.")
        return 0
    spec = spec_of(options.encoders)

    def told(one: Planned, result: Result) -> None:
        cell = one.cell
        f1 = 100 * (result.summary["f1_weighted"].mean or 0.0)
        where = f"{cell.train} → {cell.test}, {cell.encoder}, {cell.recipe}, {cell.head}"
        print(f"{where}, {cell.n_train}: {f1:.1f} ({result.seconds:.0f} s)", flush=True)

    found = run_benchmark(spec, options.folder, on_cell=told)
    print(write_tables(list(found.planned), found.results, options.folder)[-1])
    show(found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
