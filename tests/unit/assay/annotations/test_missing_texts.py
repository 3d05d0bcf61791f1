"""Where nothing was said there is None, also with a pandas that keeps missing texts as NaN."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import pytest

from napari_hcs_qc.assay.annotations.annotation import Annotation
from napari_hcs_qc.assay.annotations.annotation_cache import AnnotationCache, PlateSite
from napari_hcs_qc.assay.annotations.journal import Journal
from napari_hcs_qc.assay.annotations.labels_csv import read_labels
from napari_hcs_qc.assay.annotations.matching import (
    columns_of,
    match_annotations,
    training_positions,
)
from napari_hcs_qc.assay.embeddings.training_set import positions_again, training_cells
from napari_hcs_qc.assay.scoring.plate_scores import classes_at
from napari_hcs_qc.assay.store.plate_state import PlateState
from napari_hcs_qc.assay.views.annotated_rows import AnnotatedRows
from napari_hcs_qc.assay.views.annotation_summary import count_annotations, find_conflicts
from napari_hcs_qc.assay.views.site_cells import site_cells
from napari_hcs_qc.cells.by_site import CellsBySite
from napari_hcs_qc.cells.table import typed_cells
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.qc.export.export_tables import CELL_TABLE, ExportOptions, ExportPlate, cell_table
from napari_hcs_qc.qc.flags import score_plate
from napari_hcs_qc.tables.plate_sites import PlateSites

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.assay.store.model_manifest import ModelManifest
    from napari_hcs_qc.plates.plate import Plate

pytestmark = pytest.mark.usefixtures("pandas_3_texts")

SITE = SiteKey("A01", 1)
SAID: tuple[tuple[str | None, str | None, str | None], ...] = (
    ("abnormal", "blur", None),
    ("abnormal", None, None),
    ("normal", None, "mitosis"),
    ("unsure", None, None),
)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """Four cells annotated with and without kind and note, and one that two people disagree on."""
    journal = Journal.open(tmp_path / "journal.sqlite")
    for place, (cls, kind, note) in enumerate(SAID):
        annotation = Annotation.of_row(("P1", *SITE, 20.0 * place, 10.0, cls, kind, note))
        journal.annotate_many([annotation], "anna")
    journal.annotate("P1", *SITE, 0.0, 50.0, "abnormal", "debris", "anna")
    journal.annotate("P1", *SITE, 0.0, 50.0, "normal", None, "ben")
    return journal


@pytest.fixture
def found() -> Any:
    """Five found cells at the annotated positions, and one that nobody annotated."""
    n = 6
    cells = typed_cells(
        {
            "cell_id": np.arange(n),
            "well": [SITE.well] * n,
            "site": [SITE.site] * n,
            "label": np.arange(1, n + 1),
            "y_px": [0.0, 20.0, 40.0, 60.0, 0.0, 90.0],
            "x_px": [10.0, 10.0, 10.0, 10.0, 50.0, 90.0],
            "area_px": [80.0] * n,
            "diameter_px": [10.0] * n,
            "mean_intensity": [100.0] * n,
            "is_cut": [False] * n,
            "source": ["nuclei"] * n,
            "object_number": np.full(n, pd.NA, dtype=object),
        }
    )
    return SimpleNamespace(cells=cells, diameter_px=10.0)


@pytest.fixture
def state(journal: Journal, found: Any) -> PlateState:
    annotations = journal.annotations()
    matched = match_annotations(annotations, found.cells, 5.0)
    plate = cast("Plate", SimpleNamespace(name="P1", layout=SimpleNamespace(shape=(500, 500))))
    return PlateState(
        plate=plate,
        plate_cells=found,
        annotations=annotations,
        matched=matched,
        by_site=CellsBySite.of(found.cells),
    )


def test_the_journal_and_what_is_kept_of_it_in_memory(journal: Journal) -> None:
    live = AnnotationCache(journal)
    for table in (journal.annotations(), live.table, live.at_site(PlateSite("P1", SITE))):
        said = table[table["y_px"].gt(0) | table["x_px"].eq(10)]
        assert said[["class", "kind", "note"]].to_numpy(dtype=object).tolist() == [
            list(one) for one in SAID
        ]
    together = journal.consensus()
    assert together["kind"].tolist() == ["blur", None, None, None, None]
    assert together["class"].tolist() == ["abnormal", "abnormal", "normal", "unsure", None]
    assert live.reload() == frozenset()


def test_one_verdict_with_what_was_seen_beside_one_without(journal: Journal) -> None:
    journal.verdict("P1", "A01", "keep", reviewer="anna", seen={"flag_codes": "blur"})
    journal.verdict("P1", "A02", "exclude", reviewer="ben", note="torn")
    verdicts = journal.verdicts()
    assert verdicts["seen"].tolist() == [{"flag_codes": "blur"}, None]
    assert verdicts["note"].tolist() == [None, "torn"]


def test_labels_of_a_file(tmp_path: Path, journal: Journal) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(
        "well,site,y_px,x_px,label,kind\nA01,1,1,1,abnormal,blur\nA01,1,9,9,normal,mitosis\n"
        "A01,1,5,5,,\n"
    )
    plate = PlateSites(name="P1", sites=(SiteKey("A01", 1),), shape=(100, 100))
    labels = read_labels(path, {"P1": plate}, annotator="anna").table
    assert labels["kind"].tolist() == ["blur", None, None]
    assert labels["note"].tolist() == [None, "mitosis", None]
    assert journal.add_labels(labels, source="labels.csv") == (3, 0)
    assert journal.add_labels(labels, source="labels.csv") == (0, 3)


def test_the_cells_of_a_model_are_json(state: PlateState) -> None:
    listed = training_cells([state])
    assert json.loads(json.dumps(listed, allow_nan=False)) == [list(cell) for cell in listed]
    assert [(cell.cls, cell.kind) for cell in listed] == [
        ("abnormal", "blur"),
        ("abnormal", None),
        ("normal", None),
    ]
    # A table that pandas has made its own type of says the same.
    positions = training_positions(state.annotations, state.matched)
    own = positions.assign(kind=pd.array(positions["kind"], dtype="string"))
    again = SimpleNamespace(plate=state.plate, training=own)
    assert training_cells([cast("PlateState", again)]) == listed
    manifest = cast("ModelManifest", SimpleNamespace(training_cells=listed))
    ((_, cells),) = positions_again(manifest, {"P1": state})
    assert cells["kind"].tolist() == ["blur", None, None]


def test_what_is_said_of_each_cell(journal: Journal, state: PlateState, found: Any) -> None:
    classes = ["abnormal", "abnormal", "normal", "unsure", "conflict", None]
    kinds = ["blur", None, None, None, None, None]
    rows = AnnotatedRows("P1", found, state.by_site, AnnotationCache(journal))
    assert (rows.classes.tolist(), rows.kinds.tolist()) == (classes, kinds)
    cells = site_cells(found, state.by_site, SITE, columns_of(journal.annotations()))
    assert cells.annotated_class.tolist() == classes
    assert cells.annotated_kind.tolist() == kinds
    assert state.annotated["annotated_class"].tolist() == [*classes[:3], None, None, None]
    assert state.annotated["annotated_kind"].tolist() == kinds
    (conflict,) = find_conflicts({"P1": state}, journal.annotations())
    assert conflict.opinions == (("anna", "abnormal", "debris"), ("ben", "normal", None))
    counts = count_annotations(journal.annotations())
    assert (counts.classes["abnormal"], counts.kinds["blur"]) == (3, 1)


def test_the_exported_table_of_cells(state: PlateState, found: Any) -> None:
    p_abnormal = np.array([0.9, 0.2, 0.1, 0.8, 0.6, np.nan], dtype=np.float32)
    predictions = pd.DataFrame(
        {
            "p_abnormal": p_abnormal,
            "predicted_class": classes_at(p_abnormal, 0.5),
            "predicted_kind": ["blur", None, None, "", "dead", None],
        }
    )
    predictions = pd.concat([predictions, state.annotated], axis=1)
    quality = pd.DataFrame(columns=["well", "site", "channel", *_measures()])
    scores = score_plate([SITE], found.cells, predictions, quality)
    verdicts = pd.DataFrame({"plate": ["P1"], "well": ["A01"], "site": [None], "verdict": [None]})
    plate = ExportPlate(
        name="P1",
        cells=found.cells,
        predictions=predictions,
        sites=scores.sites,
        wells=scores.wells,
        verdicts=verdicts,
    )
    table = cell_table(plate, ExportOptions())
    assert list(table.columns) == list(CELL_TABLE)
    assert table["predicted_class"].tolist()[-2:] == ["abnormal", None]
    assert table["predicted_kind"].tolist() == ["blur", None, None, None, "dead", None]
    assert table["annotated_kind"].tolist() == ["blur", None, None, None, None, None]


def _measures() -> list[str]:
    from napari_hcs_qc.qc.quality_measures import MEASURES

    return list(MEASURES)
