"""The verb ``sensitivity``: which simulated artefacts are missed, and how severe ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.cells.recipe import DEFAULT_RECIPE
from napari_hcs_qc.cli.outcome_text import shown_path
from napari_hcs_qc.encoders.registry import DEFAULT_ENCODER
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Job
from napari_hcs_qc.study.artefacts.sensitivity import (
    DEFAULT_SEVERITIES,
    SensitivityOptions,
    measure_sensitivity,
)
from napari_hcs_qc.study.artefacts.sensitivity_page import summary_rows, write_sensitivity
from napari_hcs_qc.study.benchmark.benchmark_spec import EncoderSpec
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars


def sensitivity(options: argparse.Namespace, bars: Bars) -> tuple[list[str], dict[str, Any]]:
    """Measure and write; gives lines for a person, and the same as plain data."""
    asked = SensitivityOptions(
        encoders=_encoders(options.encoder, options.weights),
        recipe=options.recipe or DEFAULT_RECIPE,
        head=options.head or "linear",
        kinds=_words(options.kinds),
        severities=_numbers(options.severities),
        seeds=options.seeds,
        n_cells=options.cells,
        simulated=_words(options.train_on_simulated) or (),
        numerical_aperture=options.numerical_aperture,
        pixel_size_um=options.pixel_size,
        device=options.device,
    )
    assay = AssayFolder.open(options.assay)
    found = measure_sensitivity(assay, asked, options.out, job=Job(bars))
    bars.close()
    written = write_sensitivity(
        found.provenance, found.results, found.accuracy, found.strips, options.out
    )
    rows = summary_rows(found.results)
    lines = [
        f"Artefacts were added to {count_of(found.provenance['n_spoiled'], 'normal cell')}; "
        "half of them detected from:"
    ]
    for row in rows:
        half = "never" if row["half_at"] is None else f"severity {row['half_at']:.2f}"
        false = f"{100 * row['untouched']['called_abnormal']:.0f} % of the unmodified"
        trained = "" if row["trained"] == "real" else " + simulated"
        lines.append(f"  {row['kind']:16} {row['encoder']}{trained}: {half} ({false})")
    lines.append(f"Page: {shown_path(written[-1])}")
    return lines, {
        "provenance": found.provenance,
        "results": found.results,
        "accuracy": found.accuracy,
        "written": [str(path) for path in written],
    }


def _encoders(names: list[str] | None, weights: Path | None) -> tuple[EncoderSpec, ...]:
    specs = []
    for name in names or [DEFAULT_ENCODER]:
        plain, separator, file = name.partition("=")
        specs.append(EncoderSpec(plain, Path(file) if separator else None))
    if weights is not None:
        without = [spec for spec in specs if spec.weights is None and spec.name != DEFAULT_ENCODER]
        if len(without) != 1:
            raise HcsQcError(
                f"--weights {weights} could belong to {len(without)} of the encoders; with several "
                "encoders use --encoder NAME=FILE.safetensors."
            )
        specs[specs.index(without[0])] = EncoderSpec(without[0].name, weights)
    if len({spec.name for spec in specs}) < len(specs):
        raise HcsQcError("An encoder is given twice; give each once.")
    missing = [spec.weights for spec in specs if spec.weights and not spec.weights.is_file()]
    if missing:
        raise HcsQcError(
            f"The weights file {missing[0]} does not exist; give an existing .safetensors file."
        )
    return tuple(specs)


def _words(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _numbers(text: str | None) -> tuple[float, ...]:
    if text is None:
        return DEFAULT_SEVERITIES
    try:
        return tuple(float(word) for word in text.split(",") if word.strip())
    except ValueError:
        raise HcsQcError(
            f"--severities is {text!r}; numbers above 0, at most 1, separated by commas were "
            "expected: 0.1,0.5,1."
        ) from None
