"""Judging again: another threshold, other annotations, plates that are open already."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from napari_hcs_qc.assay.models.model_in_use import chosen_model
from napari_hcs_qc.assay.scoring import plate_scores
from napari_hcs_qc.assay.scoring.plate_scores import (
    ScoredPlate,
    WellRoles,
    classes_at,
    score,
    score_state,
    well_roles,
)
from napari_hcs_qc.assay.scoring.review_queue import review_queue, seen_now
from napari_hcs_qc.assay.scoring.saved_prediction import load_prediction
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.figures import Figures, HeldOut
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.qc.flags import PlateScores, score_plate
from napari_hcs_qc.workflow.export import export

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.qc.intervals import Rates


@pytest.fixture
def assay(assay_copy: Path) -> AssayFolder:
    return AssayFolder.open(assay_copy)


def same(one: ScoredPlate, other: ScoredPlate) -> None:
    pd.testing.assert_frame_equal(one.predictions, other.predictions)
    pd.testing.assert_frame_equal(one.scores.wells, other.scores.wells)
    pd.testing.assert_frame_equal(one.scores.sites, other.scores.sites)
    assert (one.warnings, one.unreadable) == (other.warnings, other.unreadable)
    assert one.threshold == other.threshold


def test_classes_follow_the_threshold() -> None:
    p = np.array([0.0, 0.3, 0.5, 0.7, 1.0, np.nan], dtype=np.float32)
    told = [[word[0] if word else "-" for word in classes_at(p, at)] for at in (0.5, 0.7, 0, 1)]
    assert ["".join(words) for words in told] == ["nnaaa-", "nnnaa-", "aaaaa-", "nnnna-"]


def test_at_one_half_the_prediction_stands_as_it_was_made(assay: AssayFolder) -> None:
    (scored,) = score(assay)
    columns = ["p_abnormal", "predicted_class", "predicted_kind"]
    pd.testing.assert_frame_equal(scored.predictions[columns], scored.prediction.table[columns])
    assert scored.threshold == 0.5


def test_what_is_the_same_is_not_made_anew(assay: AssayFolder) -> None:
    (scored,) = score(assay)
    assert scored.with_verdicts(assay.journal().verdicts()) is scored
    annotations = assay.journal().annotations()
    again = scored.with_annotations(annotations, scored.threshold)
    assert again.prediction.table is scored.prediction.table
    same(again, scored)


def test_another_threshold_judges_cells_wells_and_outputs(
    assay: AssayFolder, tmp_path: Path
) -> None:
    (before,) = score(assay)
    p = before.predictions["p_abnormal"].to_numpy()
    threshold = float(np.quantile(p[np.isfinite(p)], 0.05))
    assert 0 < threshold < 0.5
    assay.update_settings(threshold=threshold)
    (scored,) = score(assay)
    assert scored.threshold == threshold
    is_abnormal = (scored.predictions["predicted_class"] == "abnormal").to_numpy()
    assert is_abnormal.tolist() == (p >= np.float32(threshold)).tolist()
    assert 0.9 < is_abnormal.mean() < 0.97
    assert scored.scores.wells["n_abnormal"].sum() > before.scores.wells["n_abnormal"].sum()
    assert "share_abnormal" in set(",".join(scored.scores.wells["flag_codes"]).split(","))
    assert len(review_queue([scored])) > len(review_queue([before]))
    same(score(assay, threshold=0.5)[0], before)
    out = tmp_path / "out"
    export(assay, out)
    cells = pd.read_parquet(out / "cells.parquet")
    assert (cells["predicted_class"] == "abnormal").tolist() == is_abnormal.tolist()
    said = json.loads((out / "provenance.json").read_text(encoding="utf-8"))
    assert [plate["threshold"] for plate in said["plates"]] == [threshold]


def test_the_threshold_moves_without_the_disk(
    assay: AssayFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (before,) = score(assay, keep_kinds=("dead",))
    expected = [score(assay, keep_kinds=("dead",), threshold=at)[0] for at in (0.2, 0.8)]
    monkeypatch.setattr("builtins.open", None)
    monkeypatch.setattr("pathlib.Path.open", None)
    monkeypatch.setattr("sqlite3.connect", None)
    for at, one in zip((0.2, 0.8), expected, strict=True):
        moved = before.with_annotations(before.state.annotations, at)
        same(moved, one)
        assert moved.keep_kinds == ("dead",)
    same(moved.with_annotations(before.state.annotations, 0.5), before)


def test_a_kind_is_only_of_a_cell_that_is_predicted_abnormal(assay: AssayFolder) -> None:
    (before,) = score(assay)
    table = before.prediction.table.copy()
    table["p_abnormal"] = np.linspace(0, 1, len(table), dtype=np.float32)
    table["predicted_kind"] = "blur"  # as a model tells it where the threshold was low
    prediction = replace(before.prediction, table=table)
    scored = score_state(
        before.state,
        prediction,
        verdicts=before.verdicts,
        rule=before.rule,
        roles=before.roles,
        threshold=0.75,
    )
    is_abnormal = (table["p_abnormal"] >= 0.75).tolist()
    assert scored.predictions["predicted_kind"].notna().tolist() == is_abnormal
    assert (prediction.table["predicted_kind"] == "blur").all()  # what was given is not changed


def test_true_shares_follow_the_errors_of_the_model_at_the_threshold(
    assay: AssayFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (before,) = score(assay)
    used: list[Rates | None] = []

    def score_and_note(*args: Any, rates: Rates | None, **kwargs: Any) -> PlateScores:
        used.append(rates)
        return score_plate(*args, rates=rates, **kwargs)

    monkeypatch.setattr(plate_scores, "score_plate", score_and_note)
    p = np.concatenate([np.linspace(0.4, 1, 200), np.linspace(0, 0.6, 300)])
    held_out = HeldOut(p_abnormal=(tuple(p.tolist()),), is_abnormal=(True,) * 200 + (False,) * 300)

    def scored_at(threshold: float, **kwargs: Any) -> ScoredPlate:
        return score_state(
            before.state,
            before.prediction,
            verdicts=before.verdicts,
            rule=before.rule,
            roles=before.roles,
            threshold=threshold,
            **kwargs,
        )

    figures = Figures(sentence="", by="well", held_out=held_out)
    scored = scored_at(0.5, figures=figures)
    assert scored.rates is not None
    assert 160 < scored.rates.n_abnormal_called < 170
    assert 45 < scored.rates.n_normal_called < 55
    assert used[-1] == scored.rates
    moved = scored.with_annotations(scored.state.annotations, 0.6)
    same(moved, scored_at(0.6, figures=figures))
    assert moved.rates != scored.rates
    assert used[-2:] == [moved.rates] * 2
    for unknown in (scored_at(0.5), scored_at(0.5, figures=figures, keep_kinds=("dead",))):
        assert unknown.rates is None
        assert unknown.scores.wells["share_estimated"].isna().all()


def test_plates_that_are_open_are_judged_as_loaded_ones(assay: AssayFolder) -> None:
    state = load_plate(assay, "SIM")
    (loaded,) = score(assay)
    (opened,) = score(assay, states={"SIM": state})
    same(opened, loaded)
    assert opened.state is state
    prediction = load_prediction(assay, state, chosen_model(assay).id)
    assert prediction is not None
    roles = well_roles(assay, state.plate)
    assert roles.platemap is not None
    pure = score_state(
        state,
        prediction,
        verdicts=assay.journal().verdicts(),
        rule=assay.flag_rule,
        roles=roles,
        threshold=assay.threshold,
        figures=chosen_model(assay).manifest.cross_validation,
    )
    same(pure, loaded)
    assert pure.roles.empty == roles.empty


def test_wells_have_no_roles_without_a_plate_map(assay: AssayFolder) -> None:
    assay.platemap_path.unlink()
    roles = well_roles(assay, load_plate(assay, "SIM").plate)
    assert (roles.control, roles.empty, roles.platemap) == (WellRoles().control, (), None)
    assert score(assay)[0].roles.platemap is None


def test_too_few_control_wells_are_said_where_the_plate_is_scored(assay: AssayFolder) -> None:
    platemap = pd.read_csv(assay.platemap_path)
    wells = platemap["well"][platemap["role"] != "empty"].tolist()
    platemap.loc[platemap["role"] == "control", "role"] = "sample"
    for n_controls in (4, 3):
        platemap.loc[platemap["well"].isin(wells[:n_controls]), "role"] = "control"
        platemap.loc[platemap["well"].isin(wells[n_controls:]), "role"] = "sample"
        platemap.to_csv(assay.platemap_path, index=False)
        (scored,) = score(assay)
        said = [text for text in scored.warnings if "control" in text]
        if n_controls == 4:
            assert (scored.scores.reference, said) == ("control", [])
    assert said == [
        "Plate SIM has only 3 control wells that could be read, and at least 4 are needed: its "
        "wells are compared with the whole plate."
    ]


def test_a_plate_takes_other_annotations_without_being_opened(
    assay: AssayFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = load_plate(assay, "SIM")
    journal = assay.journal()
    y_px, x_px = (float(state.plate_cells.cells[name].iloc[0]) for name in ("y_px", "x_px"))
    well, site = (
        str(state.plate_cells.cells["well"].iloc[0]),
        int(state.plate_cells.cells["site"].iloc[0]),
    )
    journal.annotate("SIM", well, site, y_px, x_px, "abnormal", "dead", "ben")
    journal.annotate("SIM", "A01", 1, 1.5, 1.5, "normal", None, "ben")  # on empty ground
    journal.annotate("other plate", "A01", 1, 9, 9, "normal", None, "ben")
    annotations = journal.annotations()
    expected = load_plate(assay, "SIM", annotations)
    monkeypatch.setattr("pathlib.Path.open", None)
    monkeypatch.setattr("builtins.open", None)
    changed = state.with_annotations(annotations)
    for name in ("annotations", "cells", "annotated", "training"):
        pd.testing.assert_frame_equal(getattr(changed, name), getattr(expected, name))
    assert len(changed.cells) == len(state.cells) + 1
    assert changed.plate_cells is state.plate_cells
    assert changed.plate is state.plate
    assert len(state.annotations) < len(changed.annotations)
    pd.testing.assert_frame_equal(
        changed.with_annotations(annotations.iloc[:0]).cells, state.plate_cells.cells
    )


def test_annotations_count_at_once_where_no_cell_was_added(assay: AssayFolder) -> None:
    (before,) = score(assay)
    state = before.state
    normal = np.flatnonzero(before.predictions["predicted_class"] == "normal")[:5]
    for row in normal:
        cell = state.cells.iloc[row]
        place = (str(cell["well"]), int(cell["site"]), float(cell["y_px"]), float(cell["x_px"]))
        assay.journal().annotate("SIM", *place, "abnormal", None, "zoe")
    now = state.with_annotations(assay.journal().annotations())
    (scored,) = score(assay, states={"SIM": now})
    undisputed = now.annotated["annotated_class"].iloc[normal] == "abnormal"
    assert undisputed.any()
    more = scored.scores.wells["n_abnormal"].sum() - before.scores.wells["n_abnormal"].sum()
    was_normal = before.predictions["annotated_class"].iloc[normal] == "normal"
    conflicting = int(was_normal.sum())
    assert more == len(normal) - conflicting


@pytest.mark.parametrize("threshold", [-0.01, 1.01, math.nan])
def test_a_threshold_that_cannot_be_is_refused(assay: AssayFolder, threshold: float) -> None:
    with pytest.raises(HcsQcError, match="from 0 to 1"):
        score(assay, threshold=threshold)


def test_a_prediction_of_other_cells_is_refused(assay: AssayFolder) -> None:
    (before,) = score(assay)
    assay.journal().annotate("SIM", "A01", 1, 1.5, 1.5, "normal", None, "ben")
    changed = before.state.with_annotations(assay.journal().annotations())
    with pytest.raises(HcsQcError, match="some were added or removed since"):
        score_state(
            changed,
            before.prediction,
            verdicts=before.verdicts,
            rule=before.rule,
            roles=before.roles,
            threshold=0.5,
        )


def test_the_queue_of_a_real_judgement_marks_what_changes(assay: AssayFolder) -> None:
    (before,) = score(assay)
    queue = review_queue([before])
    assert {"B02", "C03"} <= {entry.well for entry in queue}
    assert [entry.severity for entry in queue] == sorted((e.severity for e in queue), reverse=True)
    wells = before.scores.wells.set_index("well")
    unflagged = str(wells.index[~wells["is_flagged"]][0])
    journal = assay.journal()
    for well in ("B02", unflagged):
        seen = seen_now(before, well)
        assert seen["model"] == chosen_model(assay).id
        journal.verdict("SIM", well, "keep", reviewer="ben", seen=seen)
    p = before.predictions["p_abnormal"].to_numpy()
    (now,) = score(assay, threshold=float(np.nanmin(p)))  # every cell is abnormal
    changes = {entry.well: entry.change for entry in review_queue([now])}
    assert changes[unflagged] == "was not flagged, is flagged for many abnormal cells now"
    assert changes["B02"] == ""  # it has no cells
