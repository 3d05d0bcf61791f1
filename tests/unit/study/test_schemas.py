"""The JSON schemas of the study's files in the documentation are those of the program.

After a change of a file's format: ``python tests/unit/study/test_schemas.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from napari_hcs_qc.study.artefacts.sensitivity_results import Accuracy, KindResult
from napari_hcs_qc.study.benchmark.results import DrawResult
from napari_hcs_qc.study.datasets.record import Archives, Manifest
from napari_hcs_qc.study.simulation.synthetic_spec import SimulationRecord

if TYPE_CHECKING:
    from napari_hcs_qc.documents import Part

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "schemas" / "study"
SCHEMAS: dict[str, type[Part]] = {
    "benchmark-draw": DrawResult,
    "fetched": Manifest,
    "registry": Archives,
    "sensitivity": KindResult,
    "sensitivity-accuracy": Accuracy,
    "simulation": SimulationRecord,
}


def schema_of(model: type[Part]) -> str:
    return json.dumps(model.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_in_the_documentation_is_that_of_the_file(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == schema_of(SCHEMAS[name])


def test_no_schema_is_left_over() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(SCHEMAS)


if __name__ == "__main__":
    for title, document in SCHEMAS.items():
        (FOLDER / f"{title}.json").write_text(schema_of(document), encoding="utf-8")
