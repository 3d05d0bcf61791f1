from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import pytest

from napari_hcs_qc.assay.scoring.saved_prediction import NoveltySummary, Prediction
from napari_hcs_qc.assay.scoring.well_values import (
    MEASURES,
    REVIEW_WORDS,
    WellValues,
    unreadable_wells,
    well_values,
)
from napari_hcs_qc.assay.store.plate_cells import PlateCells
from napari_hcs_qc.cells.intensity import ChannelRange, IntensityRanges
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.plate import PLANE_COLUMNS, Channel, Plate, SiteKey
from napari_hcs_qc.qc.flags import score_plate
from napari_hcs_qc.qc.quality_measures import MEASURES as IMAGE_MEASURES

if TYPE_CHECKING:
    from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate

WELLS = ("A01", "A02", "A03", "A04", "B01", "B02")
SITES = [SiteKey(well, site) for well in WELLS for site in (1, 2)]
# Cells of each site; site 2 of A04 and all of B02 cannot be read.
N_CELLS = {"A01": (10, 10), "A02": (10, 10), "A03": (12, 10), "A04": (10, 0), "B01": (0, 0)}
ABNORMAL = {"A01": 0, "A02": 5, "A03": 11, "A04": 10}


class Scored(SimpleNamespace):
    """Stands for a `ScoredPlate`; like it, each is only itself."""

    __hash__ = object.__hash__


def _summary(n_measured: int, sentence: str = "") -> NoveltySummary:
    return NoveltySummary(
        n_measured=n_measured, n_novel=0, wells=(), is_much=False, sentence=sentence
    )


@pytest.fixture
def plate() -> Plate:
    rows = [(*site, 0, 0, 0, f"/{site}.tif", -1) for site in SITES]
    planes = pd.DataFrame(rows, columns=list(PLANE_COLUMNS))
    return Plate(
        name="P",
        source=Path("/"),
        format="pattern",
        shape=(2, 6),
        channels=(Channel("DNA"), Channel("Actin")),
        planes=planes,
    )


@pytest.fixture
def found() -> PlateCells:
    cells = [
        {"well": well, "site": site, "area_px": 300.0, "is_cut": False}
        for well, counts in N_CELLS.items()
        for site, n in enumerate(counts, start=1)
        for _ in range(n)
    ]
    quality = []
    for well, site in SITES:
        if well == "B02" or (well, site) == ("A04", 2):
            continue
        for channel in ("DNA", "Actin"):
            row = dict.fromkeys(IMAGE_MEASURES, 1.0) | {"saturated_share": 0.0}
            row |= {"well": well, "site": site, "channel": channel}
            if channel == "DNA":
                row["mean_intensity"] = 100.0 * site
                row["edge_width_px"] = np.nan if well == "B01" else 2.0 + site
            elif well == "A02":
                row["saturated_share"] = 0.02 * site
            quality.append(row)
    unreadable = {
        SiteKey("A04", 2): "cut short",
        SiteKey("B02", 1): "no image",
        SiteKey("B02", 2): "no image either",
    }
    ranges = IntensityRanges(
        (
            ChannelRange(
                channel="DNA",
                low=0.0,
                high=1.0,
                saturation_level=None,
                background=0.0,
                dtype="uint16",
            ),
        )
        * 2
    )
    return PlateCells(
        cells=pd.DataFrame(cells),
        ranges=ranges,
        quality=pd.DataFrame(quality),
        diameter_px=20.0,
        channel="DNA",
        projection="max",
        unreadable=unreadable,
        source="nuclei",
    )


@pytest.fixture
def scored(plate: Plate, found: PlateCells) -> ScoredPlate:
    classes: list[str] = []
    for well, counts in N_CELLS.items():
        n = ABNORMAL.get(well, 0)
        classes += ["abnormal"] * n + ["normal"] * (sum(counts) - n)
    predictions = pd.DataFrame({"predicted_class": classes, "predicted_kind": None})
    predictions = predictions.assign(annotated_class=None, annotated_kind=None).astype(object)
    scores = score_plate(
        SITES, found.cells, predictions, found.quality, unreadable=found.unreadable
    )
    # Flags by hand, so that the test does not hang on the rule.
    flagged = scores.wells["well"].isin(["A03", "A04", "B02"])
    wells = scores.wells.assign(
        is_flagged=flagged,
        flag_codes=np.where(flagged, "blur", ""),
        flag_reason=np.where(flagged, "out of focus", ""),
        severity=np.where(flagged, 2.5, 0.0),
        is_flagged_by_sites=False,
    )
    columns = ["plate", "well", "site", "verdict", "note", "reviewer", "at", "action", "seen"]
    verdicts = pd.DataFrame(columns=columns).astype({"site": "Int64"})
    state = SimpleNamespace(plate=plate, plate_cells=found, cells=found.cells)
    # Every second cell of a well is unlike anything annotated; of A03 none was measured.
    ratio = np.where(found.cells.groupby("well").cumcount() % 2 == 0, 1.2, 0.8)
    ratio[(found.cells["well"] == "A03").to_numpy()] = np.nan
    prediction = Prediction(
        plate="P",
        model="0001",
        table=pd.DataFrame({"novelty": ratio}),
        warnings=(),
        unreadable=(),
        shift=None,
        novelty=_summary(10),
    )
    told = Scored(
        state=state,
        scores=replace(scores, wells=wells),
        verdicts=verdicts,
        threshold=0.5,
        prediction=prediction,
    )
    return cast("ScoredPlate", told)


def with_verdicts(scored: ScoredPlate, *said: tuple[str, int | None, str]) -> ScoredPlate:
    rows = [
        {"plate": "P", "well": well, "site": site, "verdict": verdict, "note": None}
        | {"reviewer": "anna", "at": pd.Timestamp("2024-01-01", tz="UTC"), "action": "x"}
        | {"seen": None}
        for well, site, verdict in said
    ]
    verdicts = pd.DataFrame(rows).astype({"site": "Int64", "note": object, "seen": object})
    return cast("ScoredPlate", Scored(**{**vars(scored), "verdicts": verdicts}))


def annotations(*rows: tuple[str, str, int, float, float, str]) -> pd.DataFrame:
    names = ["plate", "well", "site", "y_px", "x_px", "annotator"]
    return pd.DataFrame(rows, columns=names).assign(**{"class": "normal"})


@pytest.mark.parametrize("measure", MEASURES)
def test_every_imaged_well_has_a_value_or_a_reason(
    measure: str, plate: Plate, found: PlateCells, scored: ScoredPlate
) -> None:
    for known in ({}, {"plate_cells": found}, {"plate_cells": found, "scored": scored}):
        values = well_values(measure, plate, **cast("Any", known))
        assert set(values.values) | set(values.missing) == set(WELLS)
        assert not set(values.values) & set(values.missing)
        assert all(values.missing.values())
        assert all(np.isfinite(list(values.values.values())))
        for well in WELLS:
            assert values.text(well)


def test_abnormal_cells_are_a_share_of_the_judged_ones(
    plate: Plate, found: PlateCells, scored: ScoredPlate
) -> None:
    values = well_values("share_abnormal", plate, plate_cells=found, scored=scored)
    assert values.values == pytest.approx({"A01": 0, "A02": 25, "A03": 50, "A04": 100})
    assert values.text("A02") == "25 %"
    assert values.text("A04") == "100 % (1 of 2 sites unreadable)"
    assert values.missing == {"B01": "none of its cells was classified", "B02": "no image"}
    assert values.text("B02") == "no value: no image"


def test_cells_unlike_anything_annotated_are_a_share_of_the_measured_ones(
    plate: Plate, found: PlateCells, scored: ScoredPlate
) -> None:
    values = well_values("novelty", plate, plate_cells=found, scored=scored)
    n_of = found.cells["well"].value_counts()
    expected = {well: 100 * -(-n // 2) / n for well, n in n_of.items() if well != "A03"}
    assert values.values == pytest.approx(expected)
    assert values.missing["A03"] == "none of its cells was classified"
    table = scored.prediction.table
    for prediction, why in (
        (replace(scored.prediction, table=table[[]]), "it is being computed"),
        (
            replace(scored.prediction, novelty=_summary(0, "too few")),
            "too few",
        ),
    ):
        told = cast("ScoredPlate", Scored(**{**vars(scored), "prediction": prediction}))
        values = well_values("novelty", plate, plate_cells=found, scored=told)
        assert not values.values
        assert values.missing["A01"] == why


def test_cells_are_counted_where_images_could_be_read(plate: Plate, found: PlateCells) -> None:
    values = well_values("cell_count", plate, plate_cells=found)
    assert values.values == {"A01": 20, "A02": 20, "A03": 22, "A04": 10, "B01": 0}
    assert values.write(1) == "1 cell"
    assert values.limits() == (0, 22)


def test_image_measures_are_means_of_the_nuclear_channel(plate: Plate, found: PlateCells) -> None:
    intensity = well_values("mean_intensity", plate, plate_cells=found)
    assert intensity.values == {"A01": 150, "A02": 150, "A03": 150, "A04": 100, "B01": 150}
    assert intensity.unit == "grey values"
    focus = well_values("focus", plate, plate_cells=found)
    assert focus.values == {"A01": 3.5, "A02": 3.5, "A03": 3.5, "A04": 3.0}
    assert "empty" in focus.missing["B01"]


def test_saturation_is_that_of_the_worst_channel(plate: Plate, found: PlateCells) -> None:
    values = well_values("saturation", plate, plate_cells=found)
    assert values.values["A02"] == pytest.approx(3.0)
    assert values.values["A01"] == 0


def test_severity_is_zero_without_a_flag(
    plate: Plate, found: PlateCells, scored: ScoredPlate
) -> None:
    values = well_values("severity", plate, plate_cells=found, scored=scored)
    assert values.values == {"A01": 0, "A02": 0, "A03": 2.5, "A04": 2.5, "B01": 0, "B02": 2.5}
    assert values.text("A03") == "2.5 × threshold"


def test_verdicts_are_words(plate: Plate, found: PlateCells, scored: ScoredPlate) -> None:
    said = with_verdicts(
        scored, ("A03", None, "exclude"), ("A02", None, "look again"), ("A01", 2, "keep")
    )
    values = well_values("verdict", plate, plate_cells=found, scored=said)
    assert values.categories == REVIEW_WORDS
    assert {well: values.text(well).split(" (")[0] for well in WELLS} == {
        "A01": "sites decided",
        "A02": "look again",
        "A03": "exclude",
        "A04": "to review",
        "B01": "not flagged",
        "B02": "to review",
    }
    assert values.limits() is None
    assert values.positions() == {}


def test_annotated_positions_count_once_whoever_annotated_them(plate: Plate) -> None:
    said = annotations(
        ("P", "A01", 1, 10.0, 10.0, "anna"),
        ("P", "A01", 1, 10.001, 10.0, "ben"),
        ("P", "A01", 2, 10.0, 10.0, "anna"),
        ("P", "A02", 1, 5.0, 5.0, "anna"),
        ("other", "A01", 1, 50.0, 50.0, "anna"),
    )
    values = well_values("annotations", plate, annotations=said)
    assert values.values == {"A01": 2, "A02": 1, "A03": 0, "A04": 0, "B01": 0, "B02": 0}


def test_what_is_not_known_yet_says_what_to_do(plate: Plate, found: PlateCells) -> None:
    assert "find the cells" in well_values("focus", plate).missing["A01"]
    assert "train" in well_values("severity", plate, plate_cells=found).missing["A01"]


def test_an_unknown_measure_is_refused(plate: Plate) -> None:
    with pytest.raises(HcsQcError, match=r"'colour'.*share_abnormal"):
        well_values("colour", plate)


def test_a_well_is_unreadable_when_none_of_its_sites_can_be_read(
    plate: Plate, found: PlateCells
) -> None:
    assert unreadable_wells(plate, found) == {"B02": "no image"}
    assert unreadable_wells(plate, None) == {}


def test_positions_go_from_the_least_value_or_zero_to_the_most() -> None:
    values = WellValues(title="t", unit="px", values={"A01": 2.0, "A02": 3.0, "A03": 4.0})
    assert values.positions() == {"A01": 0.0, "A02": 0.5, "A03": 1.0}
    from_zero = replace(values, begins_at_zero=True)
    assert from_zero.limits() == (0.0, 4.0)
    assert from_zero.positions()["A01"] == 0.5
    same = WellValues(title="t", unit="px", values={"A01": 2.0, "A02": 2.0})
    assert same.positions() == {"A01": 0.0, "A02": 0.0}
    assert WellValues(title="t", unit="px", values={}).limits() is None
