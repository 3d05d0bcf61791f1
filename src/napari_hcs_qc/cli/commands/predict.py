"""``hcs-qc predict``: score every cell of plates, adding a new one where its path is given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.cli.arguments import (
    add_assay,
    add_device,
    add_plate_options,
    add_position_options,
    parameters,
)
from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.cli.outcome_text import as_data, counts, scored_lines
from napari_hcs_qc.job import Job

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_assay(parser)
    parser.add_argument(
        "--plate", metavar="PLATE", help="only this plate; a new one is added to the assay"
    )
    parser.add_argument("--model", metavar="ID", help="an earlier model instead of the latest")
    parser.add_argument(
        "--rule",
        metavar="TABLE",
        type=Path,
        help="table of cells in which coSMicQC says which are outliers (cqc.*.is_outlier or "
        "Metadata_cqc_*): taken as predictions, which people overrule; export --onto hands it back",
    )
    add_device(parser)
    add_plate_options(parser, platemap=False)
    add_position_options(parser)


def _run(options: argparse.Namespace, bars: Bars) -> Outcome:
    from napari_hcs_qc.api.assay import Assay
    from napari_hcs_qc.assay.models.model_in_use import chosen_model
    from napari_hcs_qc.assay.scoring.plate_scores import score
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder

    assay = Assay.open(options.assay)
    predictions = assay.predict(**parameters(options, "assay"), job=Job(bars))
    folder = AssayFolder.open(options.assay)
    folder.opened = assay.opened
    names = [prediction.plate for prediction in predictions]
    model = chosen_model(folder, predictions[0].model)
    scored = score(folder, names, model=model)
    rule = model.manifest.rule
    read = [] if rule is None else [f"Read: {rule.understood}.", f"Positions: {rule.check}."]
    data = [
        {
            "plate": prediction.plate,
            "model": prediction.model,
            **counts(plate),
            "n_scored": int(prediction.table["p_abnormal"].notna().sum()),
            "n_flagged": int(plate.scores.wells["is_flagged"].sum()),
            "shift": as_data(prediction.shift),
            "novelty": as_data(prediction.novelty),
            "warnings": list(plate.warnings),
            "unreadable": [f"{where}: {why}" for where, why in prediction.unreadable],
        }
        for prediction, plate in zip(predictions, scored, strict=True)
    ]
    return Outcome([*read, *scored_lines(scored)], {"plates": data})


PREDICT = Command(
    "predict", "Classify every cell, site and well with the latest model.", _add_arguments, _run
)
