"""``hcs-qc train``: train a model."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from napari_hcs_qc.cli.arguments import add_assay, add_train_options, parameters
from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.cli.outcome_text import figures
from napari_hcs_qc.job import Job

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_assay(parser)
    add_train_options(parser)


def _run(options: argparse.Namespace, bars: Bars) -> Outcome:
    from napari_hcs_qc.api.assay import Assay

    assay = Assay.open(options.assay)
    model = assay.train(**parameters(options, "assay"), job=Job(bars))
    counts = ", ".join(f"{n} {name}" for name, n in model.manifest.n_annotated.items())
    lines = [
        f"Model {model.id}: {model.encoder.name}, recipe {model.recipe.name}, head "
        f"{model.manifest.head}, trained on {counts} cells.",
    ]
    if model.manifest.simulated:
        lines.append(
            "In addition, on as many simulated cells as there are abnormal ones: "
            f"{', '.join(model.manifest.simulated)}."
        )
    if model.manifest.left_out:
        lines.append(model.manifest.left_out)
    if model.manifest.n_unreadable:
        lines.append(f"Which sites: hcs-qc status {quote(str(options.assay))}")
    lines.extend(figures(model, assay.threshold))
    return Outcome(lines, {"model": model.id, "manifest": model.manifest.plain()})


TRAIN = Command(
    "train", "Fit a head on the annotated cells and cross-validate it.", _add_arguments, _run
)
