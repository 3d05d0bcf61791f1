"""The verb ``benchmark``: fill the tables and write them."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.cli.outcome_text import shown_path
from napari_hcs_qc.encoders.custom_encoder import MANIFEST, read_custom_encoder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.study.benchmark.benchmark_spec import BenchmarkSpec, read_spec, spec_of
from napari_hcs_qc.study.benchmark.output.paper_tables import write_tables
from napari_hcs_qc.study.benchmark.output.results import read_results
from napari_hcs_qc.study.benchmark.sources import Benchmark, run_benchmark
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars

_SOURCES = ("plate", "assay", "folder", "arrays")
_LISTS = ("transfer", "encoder", "recipe", "head", "sizes")
_OTHERS = ("preset", "protocol", "group", "labels", "abnormal", "seeds")
_NUMBERS = ("fine-tuned-seeds",)  # of which 0 says something


def benchmark(options: argparse.Namespace, bars: Bars) -> tuple[list[str], dict[str, Any]]:
    """Run a benchmark; gives lines for a person, and the same as plain data.

    When it is stopped, or cannot go on, the tables are written as they stand.
    """
    spec = _spec(options)
    begun: list[Benchmark] = []
    try:
        found = run_benchmark(spec, options.out, on_plan=begun.append, job=Job(bars))
    except (KeyboardInterrupt, Cancelled, HcsQcError):
        bars.close()
        if begun:
            _write_as_it_stands(begun[0])
        raise
    bars.close()
    planned = list(found.planned)
    written = write_tables(planned, found.results, options.out)
    counts = Counter(one.state for one in planned)
    reasons: dict[str, dict[str, None]] = {}
    for one in planned:
        if one.reason:
            reasons.setdefault(one.group, {})[one.subject] = None
    lines = [
        f"{count_of(counts['done'], 'table entry', 'table entries')} filled, "
        f"{counts['cannot run']} cannot run" + (":" if reasons else "."),
        *(f"  {group}: {', '.join(subjects)}" for group, subjects in reasons.items()),
        f"Page: {shown_path(written[-1])}",
    ]
    return lines, {"states": dict(counts), "written": [str(path) for path in written]}


def _write_as_it_stands(begun: Benchmark) -> None:
    planned = begun.as_it_stands()
    # A second Ctrl+C, or a disk that is full, must not hide that it was stopped.
    with contextlib.suppress(HcsQcError):
        write_tables(planned, read_results(begun.folder, planned), begun.folder)


def _spec(options: argparse.Namespace) -> BenchmarkSpec:
    given = vars(options)
    flags = [name for name in (*_SOURCES, *_LISTS, *_OTHERS) if given[name]]
    flags += [name for name in _NUMBERS if given[_dest(name)] is not None]
    flags += [f"no-{name}" for name in ("baseline", "plate-directions") if not given[_dest(name)]]
    flags += ["fine-tuned-matched"] * (options.fine_tuned_matched is not None)
    if options.spec is not None:
        if flags:
            raise HcsQcError(
                "Give a SPEC.toml or flags, not both; the file can replace "
                f"{', '.join(f'--{name}' for name in flags)}."
            )
        return read_spec(options.spec)
    return spec_of(_data(options), Path(), "The flags")


def _dest(name: str) -> str:
    return name.replace("-", "_")


def _data(options: argparse.Namespace) -> dict[str, Any]:
    """Say what the flags say as a TOML file would."""
    sources = _sources(options)
    names = [str(one["name"]) for one in sources]
    if options.transfer:
        pairs = [_pair(text) for text in options.transfer]
    else:  # from the first, which are the user's own cells, to each other
        pairs = [(names[0], name) for name in names[1:]]
    data: dict[str, Any] = {
        "source": sources,
        "transfer": [{"train": train, "test": test} for train, test in pairs],
        "baseline": options.baseline,
        "plate_directions": options.plate_directions,
    }
    if options.preset:
        data["preset"] = options.preset
    if options.protocol:
        data["protocol"] = options.protocol
    if options.encoder:
        data["encoder"] = [_encoder(text) for text in options.encoder]
    if options.recipe:
        data["recipes"] = options.recipe
    if options.head:
        data["heads"] = options.head
    if options.sizes:
        data["sizes"] = [_size(word) for word in _words(options.sizes)]
    if options.seeds is not None:
        data["seeds"] = list(range(options.seeds))
    if options.fine_tuned_seeds is not None:
        data["fine_tuned_seeds"] = options.fine_tuned_seeds
    if options.fine_tuned_matched is not None:
        data["fine_tuned_matched"] = options.fine_tuned_matched
    return data


def _sources(options: argparse.Namespace) -> list[dict[str, Any]]:
    labels = list(options.labels or ())
    found: list[dict[str, Any]] = []
    for kind in _SOURCES:
        for text in getattr(options, kind) or ():
            name, path = _named(text)
            source: dict[str, Any] = {"name": name, kind: str(path)}
            if kind in ("folder", "arrays"):
                source["abnormal"] = _words(options.abnormal or "abnormal")
            if kind == "folder" and options.group:
                source["group"] = options.group
            if labels and (kind == "plate" or path.suffix.lower() == ".npy"):
                source["labels"] = str(labels.pop(0))
            found.append(source)
    if labels:
        raise HcsQcError(
            f"There are more --labels than --plate (and --arrays X.npy); {labels[0]} has no "
            "counterpart."
        )
    return found


def _named(text: str) -> tuple[str, Path]:
    """Take ``NAME=PATH`` apart; a path alone is called as its last part."""
    name, separator, path = text.partition("=")
    if separator and name and path and not Path(text).exists():
        return name, Path(path)
    return Path(text).resolve().stem, Path(text)


def _encoder(text: str) -> dict[str, str]:
    """Take ``NAME[=WEIGHTS]``, or ``[NAME=]FOLDER`` of an encoder that was trained on an assay."""
    if (Path(text) / MANIFEST).is_file():
        own = read_custom_encoder(Path(text))
        return {"name": own.name, "weights": str(own.weights)}
    name, separator, weights = text.partition("=")
    if separator and (Path(weights) / MANIFEST).is_file():
        weights = str(read_custom_encoder(Path(weights)).weights)
    return {"name": name, "weights": weights} if separator else {"name": name}


def _pair(text: str) -> tuple[str, str]:
    train, separator, test = text.partition(":")
    if not (separator and train and test):
        raise HcsQcError(f"--transfer is {text}; two names TRAIN:TEST were expected.")
    return train, test


def _size(word: str) -> int:
    if word == "all":
        return 0
    if not word.isdecimal():
        raise HcsQcError(
            f"--sizes contains {word!r}; numbers and 'all' were expected: 350,100,all."
        )
    return int(word)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
