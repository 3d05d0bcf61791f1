"""A benchmark from the parameters of a command or function instead of a TOML file."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from napari_hcs_qc.encoders.custom_encoder import MANIFEST, read_custom_encoder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.study.benchmark.benchmark_spec import BenchmarkSpec, read_spec, spec_of

if TYPE_CHECKING:
    from collections.abc import Sequence

Size: TypeAlias = int | Literal["all"]

_SOURCES = ("plate", "assay", "folder", "arrays")


@dataclass(frozen=True, kw_only=True)
class BenchmarkFlags:
    """What is compared, see `napari_hcs_qc.benchmark`."""

    plate: Sequence[str | Path] = ()
    assay: Sequence[str | Path] = ()
    folder: Sequence[str | Path] = ()
    arrays: Sequence[str | Path] = ()
    labels: Sequence[str | Path] = ()
    abnormal: Sequence[str] = ()
    group: str | None = None
    transfer: Sequence[str] = ()
    preset: str | None = None
    protocol: str | None = None
    encoder: Sequence[str] = ()
    recipe: Sequence[str] = ()
    head: Sequence[str] = ()
    sizes: Sequence[Size] = ()
    seeds: int | None = None
    fine_tuned_seeds: int | None = None
    fine_tuned_matched: bool | None = None
    baseline: bool = True
    plate_directions: bool = True

    def given(self) -> list[str]:
        """Give those that are not their defaults, as flags of the command line."""
        names = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default and value != []:  # argparse begins with empty lists
                name = field.name.replace("_", "-")
                names.append(f"--no-{name}" if field.default is True else f"--{name}")
        return names


def spec_from(spec: Path | None, flags: BenchmarkFlags) -> BenchmarkSpec:
    """Read the file, or put the flags together; not both."""
    if spec is None:
        return spec_of(_data(flags), Path(), "The flags")
    if flags.given():
        raise HcsQcError(
            f"Give a SPEC.toml or flags, not both; the file can replace {', '.join(flags.given())}."
        )
    return read_spec(spec)


def _data(flags: BenchmarkFlags) -> dict[str, Any]:
    """Give what a TOML file would hold."""
    sources = _sources(flags)
    names = [str(source["name"]) for source in sources]
    if flags.transfer:
        pairs = [_pair(text) for text in flags.transfer]
    else:  # from the first, which are the user's own cells, to each other
        pairs = [(names[0], name) for name in names[1:]]
    data: dict[str, Any] = {
        "source": sources,
        "transfer": [{"train": train, "test": test} for train, test in pairs],
        "baseline": flags.baseline,
        "plate_directions": flags.plate_directions,
    }
    if flags.encoder:
        data["encoder"] = [_encoder(text) for text in flags.encoder]
    if flags.sizes:
        data["sizes"] = [0 if size == "all" else size for size in flags.sizes]
    optional = {
        "preset": flags.preset,
        "protocol": flags.protocol,
        "recipes": list(flags.recipe) or None,
        "heads": list(flags.head) or None,
        "seeds": None if flags.seeds is None else list(range(flags.seeds)),
        "fine_tuned_seeds": flags.fine_tuned_seeds,
        "fine_tuned_matched": flags.fine_tuned_matched,
    }
    return data | {key: value for key, value in optional.items() if value is not None}


def _sources(flags: BenchmarkFlags) -> list[dict[str, Any]]:
    labels = [str(path) for path in flags.labels]
    sources: list[dict[str, Any]] = []
    for kind in _SOURCES:
        for text in getattr(flags, kind):
            name, path = _named(str(text))
            source: dict[str, Any] = {"name": name, kind: str(path)}
            if kind in ("folder", "arrays"):
                source["abnormal"] = list(flags.abnormal) or ["abnormal"]
            if kind == "folder" and flags.group:
                source["group"] = flags.group
            if labels and (kind == "plate" or path.suffix.lower() == ".npy"):
                source["labels"] = labels.pop(0)
            sources.append(source)
    if labels:
        raise HcsQcError(
            f"There are more --labels than --plate (and --arrays X.npy); {labels[0]} has no "
            "counterpart."
        )
    return sources


def _named(text: str) -> tuple[str, Path]:
    """Split ``NAME=PATH``; a path alone is called as its last part."""
    name, separator, path = text.partition("=")
    if separator and name and path and not Path(text).exists():
        return name, Path(path)
    return Path(text).resolve().stem, Path(text)


def _encoder(text: str) -> dict[str, str]:
    """Split ``NAME[=WEIGHTS]``, or ``[NAME=]FOLDER`` of an encoder that was trained on an assay."""
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
