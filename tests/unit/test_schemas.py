"""The JSON schemas in the documentation are those of the program.

After a change of a file's format: ``python tests/unit/test_schemas.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from napari_hcs_qc.assay.scoring.saved_prediction import PredictionDocument
from napari_hcs_qc.assay.store.assay_document import AssayDocument
from napari_hcs_qc.assay.store.detection import CellsDocument
from napari_hcs_qc.assay.store.model_manifest import ModelManifest
from napari_hcs_qc.assay.store.plate_cells import ContentDocument
from napari_hcs_qc.screen.documents import (
    BundleDocument,
    DoneDocument,
    JobDocument,
    PlanDocument,
    ProblemDocument,
    ScreenProvenance,
)
from napari_hcs_qc.screen.screen_spec import ScreenFile
from napari_hcs_qc.study.artefacts.sensitivity_results import Accuracy, KindResult
from napari_hcs_qc.study.benchmark.results import DrawResult
from napari_hcs_qc.study.datasets.record import Archives, Manifest
from napari_hcs_qc.study.simulation.synthetic_spec import SimulationRecord
from napari_hcs_qc.workflow.export import Provenance

if TYPE_CHECKING:
    from napari_hcs_qc.documents import Part

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "schemas"
SCHEMAS: dict[str, type[Part]] = {
    "assay": AssayDocument,
    "cells": CellsDocument,
    "content": ContentDocument,
    "model": ModelManifest,
    "prediction": PredictionDocument,
    "provenance": Provenance,
    "screen": ScreenFile,
    "screen-bundle": BundleDocument,
    "screen-done": DoneDocument,
    "screen-job": JobDocument,
    "screen-plan": PlanDocument,
    "screen-problem": ProblemDocument,
    "screen-provenance": ScreenProvenance,
    "study/benchmark-draw": DrawResult,
    "study/fetched": Manifest,
    "study/registry": Archives,
    "study/sensitivity": KindResult,
    "study/sensitivity-accuracy": Accuracy,
    "study/simulation": SimulationRecord,
}


def schema_of(model: type[Part]) -> str:
    return json.dumps(model.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_in_the_documentation_is_that_of_the_file(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == schema_of(SCHEMAS[name])


def test_no_schema_is_left_over() -> None:
    written = {path.relative_to(FOLDER).with_suffix("") for path in FOLDER.rglob("*.json")}
    assert {path.as_posix() for path in written} == set(SCHEMAS)


if __name__ == "__main__":
    for schema_name, schema_model in SCHEMAS.items():
        path = FOLDER / f"{schema_name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(schema_of(schema_model), encoding="utf-8")
