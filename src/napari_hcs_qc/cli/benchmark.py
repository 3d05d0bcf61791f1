"""The verb ``benchmark``: fill the tables and write them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.assay.benchmark import run_benchmark
from napari_hcs_qc.cli.words import shown_path
from napari_hcs_qc.encoders.own import MANIFEST, read_own
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.benchmark.spec import (
    BenchmarkSpec,
    EncoderSpec,
    SourceSpec,
    preset_values,
    read_spec,
)
from napari_hcs_qc.evaluation.benchmark.tables import write_tables

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars


def benchmark(options: argparse.Namespace, bars: Bars) -> tuple[list[str], dict[str, Any]]:
    """Run a benchmark; gives lines for a person, and the same as plain data.

    Raises
    ------
    HcsQcError
        When the spec or a source cannot be used.
    """
    spec = _spec(options)
    found = run_benchmark(spec, options.out, on_progress=bars)
    bars.close()
    planned = list(found.planned)
    written = write_tables(planned, found.results, options.out)
    counts = Counter(one.state for one in planned)
    lines = [
        f"{counts['done']} cells of the tables are filled, {counts['cannot run']} cannot run:",
        *(f"  {n} × {reason}" for reason, n in Counter(
            one.reason for one in planned if one.reason
        ).items()),
        f"Page: {shown_path(written[-1])}",
    ]  # fmt: skip
    return lines, {"states": dict(counts), "written": [str(path) for path in written]}


def _spec(options: argparse.Namespace) -> BenchmarkSpec:
    if options.spec is not None:
        if options.preset or options.plate or options.crops:
            raise HcsQcError("Give a SPEC.toml or flags, not both; the file can name a preset.")
        return read_spec(options.spec)
    sources = []
    if options.plate is not None:
        sources.append(SourceSpec("labels", "plate", options.plate, options.labels))
    if options.crops is not None:
        abnormal = tuple(one.strip() for one in options.abnormal.split(","))
        sources.append(SourceSpec("crops", "folder", options.crops, abnormal=abnormal))
    transfers = (("labels", "crops"),) if len(sources) == 2 else ()
    values = preset_values(options.preset or "grouped")
    spec = BenchmarkSpec(**{**values, "sources": tuple(sources), "transfers": transfers})
    if options.encoder is not None:
        added = _encoder(options.encoder, options.weights)
        kept = [one for one in spec.encoders if one.name != added.name]
        spec = replace(spec, encoders=(*kept, added))
    return spec


def _encoder(asked: str, weights: Path | None) -> EncoderSpec:
    """Give an encoder by its name, or by the folder of one that was trained on an assay."""
    folder = Path(asked)
    if weights is None and (folder / MANIFEST).is_file():
        own = read_own(folder)
        return EncoderSpec(own.name, own.weights)
    return EncoderSpec(asked, weights)
