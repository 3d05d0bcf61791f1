"""``hcs-qc predict``: score every cell of plates, adding a new one where its path is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hcs_qc.cli.arguments import add_assay, add_device, add_plate_options, parameters
from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.cli.outcome_text import as_data, novelty_lines
from napari_hcs_qc.job import Job
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_assay(parser)
    parser.add_argument(
        "--plate", metavar="PLATE", help="only this plate; a new one is added to the assay"
    )
    parser.add_argument("--model", metavar="ID", help="an earlier model instead of the latest")
    add_device(parser)
    add_plate_options(parser, platemap=False)


def _run(options: argparse.Namespace, bars: Bars) -> Outcome:
    from napari_hcs_qc.api.assay import Assay
    from napari_hcs_qc.assay.scoring.plate_scores import classes_at

    assay = Assay.open(options.assay)
    predictions = assay.predict(**parameters(options, "assay"), job=Job(bars))
    threshold = assay.threshold
    lines, data = [], []
    for prediction in predictions:
        p_abnormal = prediction.table["p_abnormal"]
        n_scored = int(p_abnormal.notna().sum())
        n_abnormal = int((classes_at(p_abnormal, threshold) == "abnormal").sum())
        unreadable = [f"{where}: {why}" for where, why in prediction.unreadable]
        lines.append(
            f"{prediction.plate}: {n_scored:,} of {count_of(len(p_abnormal), 'cell')} classified "
            f"by model {prediction.model}, {n_abnormal:,} abnormal"
        )
        lines.extend(f"  Warning: {warning}" for warning in prediction.warnings)
        lines.extend(novelty_lines(prediction.novelty))
        lines.extend(f"  Not read: {line}" for line in unreadable)
        data.append(
            {
                "plate": prediction.plate,
                "model": prediction.model,
                "n_cells": len(p_abnormal),
                "n_scored": n_scored,
                "n_abnormal": n_abnormal,
                "shift": as_data(prediction.shift),
                "novelty": as_data(prediction.novelty),
                "warnings": list(prediction.warnings),
                "unreadable": unreadable,
            }
        )
    return Outcome(lines, {"plates": data})


PREDICT = Command(
    "predict", "Classify every cell, site and well with the latest model.", _add_arguments, _run
)
