"""A session by itself: what a person does, and what the layers then show. Without a window."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.gui.canvas.our_layers import ANNOTATED, CELLS
from napari_hcs_qc.gui.session.target import cell_id
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytestqt.qtbot import QtBot

A01, A02, B01 = SiteKey("A01", 1), SiteKey("A02", 1), SiteKey("B01", 1)


def journal_of(path: Path) -> Any:
    return AssayFolder.open(path).journal().annotations()


# ---- opening -------------------------------------------------------------------------------


def test_a_trained_assay_opens_at_its_first_site_with_cells_and_predictions(
    desk: Any, assay_path: Path
) -> None:
    desk.open(assay_path)
    session = desk.session
    assert session.assay.folder.path == assay_path
    assert [one.name for one in session.assay.folder.plates] == ["SIM"]
    assert session.selection.site == A01 == desk.view.on_screen
    assert session.models.model is not None
    assert session.models.scored.prediction.model == session.models.model.id
    assert [layer.name for layer in desk.viewer.layers][:2] == ["DNA", "Actin"]
    found = session.selection.state.plate_cells.cells
    here = (found["well"] == "A01") & (found["site"] == 1)
    assert len(desk.viewer.layers[CELLS].data) >= here.sum() > 0
    assert not np.isnan(desk.view.cells.p_abnormal[: here.sum()]).any()
    assert desk.messages == []


def test_what_is_no_assay_is_told_and_what_is_open_stays(
    desk: Any, assay_path: Path, tmp_path: Path
) -> None:
    desk.open(assay_path)
    site, assay = desk.session.selection.site, desk.session.assay.folder
    desk.open(tmp_path / "nothing here")
    assert "does not exist" in desk.errors()[0]
    assert desk.session.assay.folder is assay
    assert desk.session.selection.site == site == desk.view.on_screen


def test_another_assay_takes_the_place_of_the_first(
    desk: Any, assay_path: Path, trained: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(trained / "assay", tmp_path / "other")
    desk.open(assay_path)
    desk.session.selection.go_to(B01)
    desk.idle()
    desk.open(other)
    assert desk.session.assay.folder.path == other
    assert desk.session.selection.site == A01 == desk.view.on_screen
    assert desk.annotate("abnormal")
    assert len(journal_of(other)) == len(journal_of(assay_path)) + 1


def test_a_threshold_that_is_no_number_is_told(desk: Any, assay_path: Path) -> None:
    file = assay_path / "assay.json"
    data = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**data, "settings": {"threshold": "high"}}), encoding="utf-8")
    desk.open(assay_path)
    assert len(desk.errors()) == 1
    assert "threshold" in desk.errors()[0]
    assert desk.session.assay.folder is None


@pytest.mark.parametrize("kept", [{"rgb": 3}, {"weights": 4}, "linear"])
def test_choices_that_make_no_sense_are_told_and_the_assay_opens(
    desk: Any, assay_path: Path, kept: Any
) -> None:
    AssayFolder.open(assay_path).update_settings(train_options=kept)
    desk.open(assay_path)
    assert desk.session.selection.site == A01
    assert desk.annotate("normal")
    assert any("options" in text and repr(kept) in text for _, text in desk.messages)


def test_an_empty_assay_says_what_to_do_and_breaks_nothing(desk: Any, tmp_path: Path) -> None:
    AssayFolder.create(tmp_path / "empty")
    desk.open(tmp_path / "empty")
    session = desk.session
    assert session.assay.folder.plates == ()
    assert (
        session.selection.plate
        is session.selection.state
        is session.selection.site
        is session.models.model
        is None
    )
    assert session.annotations.annotate(A01, [(1.0, 1.0)], "normal") is False
    session.selection.step(1)
    session.selection.go_to(A01)
    session.suggestions.show_next()
    desk.training.retrain()
    desk.tasks.find_cells()
    desk.training.score_again()
    session.models.set_threshold(0.7)
    desk.idle()
    assert not session.annotations.undo()
    assert session.selection.site is None
    assert desk.errors() == []
    assert any("find the cells" in text for _, text in desk.messages)


def test_nothing_is_open(desk: Any, tmp_path: Path) -> None:
    session = desk.session
    assert (
        session.assay.folder
        is session.selection.plate
        is session.annotations.cache
        is session.models.scored
        is None
    )
    assert session.models.all_scored == ()
    assert session.annotations.annotate(A01, [(1.0, 1.0)], "normal") is False
    assert session.annotations.decide("SIM", "A01", "keep") is False
    assert not session.annotations.undo()
    assert not session.annotations.redo()
    session.selection.step(1)
    session.selection.go_to_cell("SIM", A01, 1.0, 1.0)
    session.close_assay()
    for task in (
        desk.training.retrain,
        desk.tasks.embed,
        desk.training.measure,
        desk.training.score_again,
    ):
        assert task() is None
    assert desk.tasks.export(tmp_path) is None
    assert desk.errors() == []


def test_an_assay_without_cells_can_be_looked_at_and_its_cells_be_found(
    desk: Any, trained: Path, tmp_path: Path
) -> None:
    steps.new(tmp_path / "assay", [steps.PlateSource(trained / "made" / "SIM")])
    desk.open(tmp_path / "assay")
    assert desk.session.selection.state is desk.session.models.scored is None
    assert desk.view.on_screen == A01
    assert desk.viewer.layers["DNA"].data.max() > 0
    low, high = desk.viewer.layers["DNA"].contrast_limits
    assert low < high
    assert desk.view.cells is None
    desk.session.suggestions.show_next()
    assert "find the cells" in desk.messages[-1][1]
    desk.session.selection.go_to(B01)
    desk.tasks.find_cells()
    desk.idle()
    assert desk.session.selection.site == B01 == desk.view.on_screen
    assert len(desk.view.cells) > 0
    assert "cells found on SIM" in desk.messages[-1][1]
    assert desk.annotate("abnormal")
    assert desk.annotation_of() == "abnormal"


def test_an_assay_without_a_model_is_trained_when_both_classes_were_annotated(
    desk: Any, assay_path: Path
) -> None:
    for made in ("models", "predictions"):
        shutil.rmtree(assay_path / made)
    desk.open(assay_path)
    assert desk.session.models.model is desk.session.models.scored is None
    assert np.isnan(desk.view.cells.p_abnormal).all()
    assert desk.annotate("abnormal")  # shown without a model as well
    assert desk.annotation_of() == "abnormal"
    desk.training.retrain()
    desk.idle()
    assert desk.errors() == []
    assert desk.session.models.model is not None
    assert not np.isnan(desk.view.cells.p_abnormal).any()


# ---- going about ---------------------------------------------------------------------------


def test_steps_go_through_all_sites_and_round(desk: Any, assay_path: Path) -> None:
    desk.open(assay_path)
    sites = desk.session.selection.plate.sites
    seen = []
    for _ in sites:
        seen.append(desk.session.selection.site)
        desk.session.selection.step(1)
        desk.idle()
        assert desk.view.cells.site == desk.session.selection.site
    assert seen == list(sites)
    assert desk.session.selection.site == sites[0]
    desk.session.selection.step(-1)
    desk.idle()
    assert desk.session.selection.site == sites[-1] == desk.view.on_screen


def test_a_hasty_person_ends_where_they_went_last(desk: Any, assay_path: Path) -> None:
    desk.open(assay_path)
    sites = desk.session.selection.plate.sites
    for number in (3, 1, 5, 2, 6, 4):
        desk.session.selection.go_to(sites[number])
    desk.idle()
    assert desk.view.on_screen == sites[4] == desk.view.cells.site
    shown = np.asarray(desk.viewer.layers["DNA"].data)
    np.testing.assert_array_equal(shown, desk.session.selection.cache.get(sites[4]).pixels[0])


def test_pixels_of_the_plate_before_are_not_shown_as_those_of_this_one(
    desk: Any, assay_path: Path, plate_path: Path, tmp_path: Path
) -> None:
    # Both plates have a site A01/1; the first one's pixels arrive when the second is shown.
    from napari_hcs_qc.study.simulation.synthetic import SyntheticSpec, simulate_plate

    spec = SyntheticSpec(
        name="TWO",
        wells=("A01",),
        sites_per_well=1,
        shape_px=(220, 260),
        channels=("DNA", "Actin"),
        seed=9,
        artefact_share=0.0,
        n_labels=0,
    )
    two = simulate_plate(tmp_path / "two", spec)
    steps.new(assay_path, [steps.PlateSource(two.plate_dir)])
    desk.open(assay_path)
    desk.session.selection.show_plate("TWO")
    desk.idle()
    expected = np.asarray(desk.viewer.layers["DNA"].data).copy()
    for _ in range(5):
        desk.session.selection.show_plate("SIM")  # asks for A01/1 of SIM
        desk.session.selection.show_plate("TWO")  # and for that of TWO before the answer
        desk.qtbot.wait(100)
        desk.idle()
        assert desk.session.selection.plate.name == "TWO"
        np.testing.assert_array_equal(desk.viewer.layers["DNA"].data, expected)
    assert desk.messages == []


def test_a_cell_is_brought_into_the_middle_of_its_site(desk: Any, assay_path: Path) -> None:
    desk.open(assay_path)
    cell = desk.session.selection.state.plate_cells.cells.query("well == 'B01' and site == 2").iloc[
        0
    ]
    desk.session.selection.go_to_cell("SIM", SiteKey("B01", 2), cell["y_px"], cell["x_px"])
    desk.idle()
    centre = np.asarray(desk.viewer.scene.camera.center)[-2:] / desk.view.scale
    np.testing.assert_allclose(centre, [cell["y_px"], cell["x_px"]], atol=0.01)


def test_a_cell_whose_plate_is_not_open_is_reported(desk: Any, assay_path: Path) -> None:
    desk.open(assay_path)
    before = desk.session.selection.site
    desk.session.go_to_annotated("GONE", SiteKey("B01", 2), 5.0, 5.0)
    assert desk.session.selection.site == before
    assert "plate GONE" in desk.messages[-1][1]


def test_every_cell_is_suggested_once(desk: Any, assay_path: Path) -> None:
    desk.open(assay_path)
    seen = []
    desk.session.selection.cell_chosen.connect(
        lambda at: seen.append((desk.session.selection.site, at))
    )
    for _ in range(6):
        desk.session.suggestions.show_next()
        desk.idle()
    assert len(set(seen)) == 6
    said = {
        (SiteKey(well, site), y, x)
        for well, site, y, x in desk.session.annotations.cache.table[
            ["well", "site", "y_px", "x_px"]
        ].to_numpy()
    }
    assert said.isdisjoint({(site, *at) for site, at in seen})


def test_how_an_annotated_cell_was_chosen_is_recorded_and_stays(
    desk: Any, assay_path: Path
) -> None:
    desk.open(assay_path)
    places = []
    desk.session.selection.cell_chosen.connect(
        lambda at: places.append((desk.session.selection.site, at))
    )

    def chosen_of_last() -> str:
        table = desk.session.annotations.cache.table
        return table.sort_values("at")["chosen"].iloc[-1]

    for _ in range(6):
        desk.session.suggestions.show_next()
    suggested = []
    for site, at in places:
        desk.session.annotations.annotate(site, [at], "normal")
        suggested.append(chosen_of_last())
    assert sorted(set(suggested)) == ["random", "suggested"]
    site, at = places[suggested.index("suggested")]
    desk.session.annotations.annotate(site, [at], "abnormal")
    assert chosen_of_last() == "suggested"
    desk.session.annotations.annotate(site, [(at[0] + 40, at[1])], "abnormal")
    assert chosen_of_last() == "hand"


# ---- saying something ----------------------------------------------------------------------


def test_what_is_said_is_in_the_journal_before_anything_is_shown(
    desk: Any, assay_path: Path
) -> None:
    desk.open(assay_path)
    before = len(journal_of(assay_path))
    seen = []
    desk.session.annotations.changed.connect(lambda _: seen.append(len(journal_of(assay_path))))
    index = next(i for i, word in enumerate(desk.view.cells.annotated_class) if word is None)
    colour = desk.viewer.layers[CELLS].border_color[index].copy()
    n_halos = len(desk.viewer.layers[ANNOTATED].data)
    assert desk.annotate("abnormal", index)
    assert seen == [before + 1]
    assert desk.annotation_of(index) == "abnormal"
    layer = desk.viewer.layers[CELLS]
    assert layer.features["annotation"].iloc[index] == "abnormal"
    assert len(desk.viewer.layers[ANNOTATED].data) == n_halos + 1
    row = desk.view.cells.rows[index]
    assert desk.session.annotations.rows.classes[row] == "abnormal"
    assert desk.session.annotations.undo()
    assert desk.annotation_of(index) is None
    assert desk.session.annotations.rows.classes[row] is None
    np.testing.assert_array_equal(desk.viewer.layers[CELLS].border_color[index], colour)


def test_undo_and_redo_go_over_everything_and_across_a_restart(
    desk: Any, make_desk: Callable[[], Any], assay_path: Path
) -> None:
    desk.open(assay_path)
    desk.session.annotations.annotator = "anna"
    free = [i for i, word in enumerate(desk.view.cells.annotated_class) if word is None][:3]
    for index, cls in zip(free, ("normal", "abnormal", "unsure"), strict=True):
        assert desk.annotate(cls, index)
    assert desk.session.annotations.decide("SIM", "A02", "exclude")
    assert len(desk.session.models.scored.verdicts) == 1
    assert desk.session.annotations.undo()  # the verdict
    assert len(desk.session.models.scored.verdicts) == 0
    assert desk.messages[-1] == ("info", "Undo changed the verdict on SIM A02.")
    n_messages = len(desk.messages)
    assert desk.session.annotations.undo()
    assert [desk.annotation_of(i) for i in free] == ["normal", "abnormal", None]
    assert len(desk.messages) == n_messages  # it is seen in the image
    other = next(site for site in desk.session.selection.plate.sites if site.well != "A01")
    desk.session.selection.go_to(other)
    assert desk.session.annotations.undo() and desk.session.annotations.redo()
    assert [text for _, text in desk.messages[n_messages:]] == [
        f"{verb} changed annotations of SIM A01 s1." for verb in ("Undo", "Redo")
    ]
    desk.session.selection.go_to(A01)
    desk.close()

    again = make_desk().open(assay_path)
    again.session.annotations.annotator = "anna"
    assert [again.annotation_of(i) for i in free] == ["normal", "abnormal", None]
    assert again.session.annotations.redo()
    assert [again.annotation_of(i) for i in free] == ["normal", "abnormal", "unsure"]
    assert again.session.annotations.redo()
    assert list(again.session.models.scored.verdicts["verdict"]) == ["exclude"]
    assert not again.session.annotations.redo()
    assert "anna has nothing to redo" in again.messages[-1][1]


def test_an_undo_is_seen_in_the_image_of_a_plate_whose_folder_got_another_name(
    desk: Any, assay_path: Path, tmp_path: Path
) -> None:
    assay = AssayFolder.open(assay_path)
    shutil.copytree(assay.plate("SIM").source, tmp_path / "another name")
    steps.relocate(assay, "SIM", tmp_path / "another name")
    desk.open(assay_path)
    desk.session.annotations.annotator = "anna"
    index = next(i for i, word in enumerate(desk.view.cells.annotated_class) if word is None)
    assert desk.annotate("abnormal", index)
    n_messages = len(desk.messages)
    assert desk.session.annotations.undo()
    assert desk.annotation_of(index) is None
    assert len(desk.messages) == n_messages
    assert desk.session.annotations.decide("SIM", "A02", "exclude")
    assert desk.session.annotations.undo()
    assert desk.messages[-1] == ("info", "Undo changed the verdict on SIM A02.")


def test_many_cells_at_once_are_one_action(desk: Any, assay_path: Path) -> None:
    desk.open(assay_path)
    desk.session.annotations.annotator = "anna"
    places = [tuple(place) for place in desk.view.cells.yx_px[:4]]
    assert desk.session.annotations.annotate(A01, places, "abnormal", "debris")
    assert list(desk.view.cells.annotated_kind[:4]) == ["debris"] * 4
    assert desk.session.annotations.undo()
    mine = journal_of(assay_path).query("annotator == 'anna'")
    assert len(mine) == 0


def test_a_cell_is_added_on_empty_ground_kept_and_judged(
    desk: Any, make_desk: Callable[[], Any], assay_path: Path
) -> None:
    desk.open(assay_path)
    n_cells = len(desk.view.cells)
    height, width = desk.session.selection.plate.layout.shape
    grid = [(float(y), float(x)) for y in range(5, height, 9) for x in range(5, width, 9)]
    place = next(at for at in grid if desk.view.cells.nearest(*at, reach=1.0) is None)
    assert desk.session.annotations.annotate(A01, [place], "abnormal", "debris")
    assert len(desk.view.cells) == n_cells + 1 == len(desk.viewer.layers[CELLS].data)
    added = desk.view.cells.nearest(*place)
    assert desk.view.cells.rows[added] == -1
    np.testing.assert_allclose(desk.view.cells.yx_px[added], place)
    assert np.isnan(desk.view.cells.p_abnormal[added])
    desk.session.models.set_threshold(0.45)  # wells are judged without it until it is trained on
    desk.idle()
    assert desk.errors() == []
    assert desk.session.models.scored.threshold == 0.45
    later = make_desk().open(assay_path)
    assert not np.isnan(later.view.cells.p_abnormal[:n_cells]).any()
    assert later.view.cells.annotated_class[later.view.cells.nearest(*place)] == "abnormal"
    later.close()
    desk.training.retrain()
    desk.idle()
    assert desk.errors() == []
    assert not np.isnan(desk.view.cells.p_abnormal[desk.view.cells.nearest(*place)])
    desk.close()
    again = make_desk().open(assay_path)
    added = again.view.cells.nearest(*place)
    assert again.view.cells.annotated_class[added] == "abnormal"
    assert not np.isnan(again.view.cells.p_abnormal[added])
    assert again.session.annotations.undo()
    assert len(again.view.cells) == n_cells


def test_two_annotators_who_disagree_are_a_conflict(desk: Any, assay_path: Path) -> None:
    desk.open(assay_path)
    index = next(i for i, word in enumerate(desk.view.cells.annotated_class) if word is None)
    desk.session.annotations.annotator = "anna"
    assert desk.annotate("normal", index)
    desk.session.annotations.annotator = "ben"
    assert desk.annotate("abnormal", index)
    assert desk.annotation_of(index) == "conflict"
    assert desk.viewer.layers[CELLS].features["annotation"].iloc[index] == "conflict"
    assert desk.session.annotations.undo()  # ben's only
    assert desk.annotation_of(index) == "normal"
    assert not desk.session.annotations.undo()
    assert "ben has nothing" in desk.messages[-1][1]
    desk.session.annotations.annotator = "  "  # nobody
    assert desk.session.annotations.annotator == "ben"


@pytest.mark.parametrize(
    ("cls", "kind", "note"),
    [
        ("sick", None, None),
        ("normal", "debris", None),
        ("abnormal", "odd", None),
        ("abnormal", None, "a\x00b"),
    ],
)
def test_words_that_cannot_be_recorded_are_told(
    desk: Any, assay_path: Path, cls: str, kind: str | None, note: str | None
) -> None:
    desk.open(assay_path)
    before = journal_of(assay_path)
    assert desk.session.annotations.annotate(A01, [desk.cell()], cls, kind, note) is False
    assert len(desk.errors()) == 1
    assert desk.session.annotations.annotate(A01, [(float("nan"), 1.0)], "normal") is False
    assert len(desk.errors()) == 2
    assert len(journal_of(assay_path)) == len(before)


def test_a_verdict_of_another_word_is_told(desk: Any, assay_path: Path) -> None:
    desk.open(assay_path)
    assert desk.session.annotations.decide("SIM", "A01", "burn it") is False
    assert "burn it" in desk.errors()[0]


# ---- what the machine says -----------------------------------------------------------------


def test_a_moved_threshold_recolours_at_once_and_flags_anew(desk: Any, assay_path: Path) -> None:
    desk.open(assay_path)
    session = desk.session
    shares = {}
    for threshold in (0.02, 0.98):
        session.models.set_threshold(threshold)
        features = desk.viewer.layers[CELLS].features  # before the wells are judged
        is_abnormal = (features["class"] == "abnormal").to_numpy()
        np.testing.assert_array_equal(is_abnormal, desk.view.cells.p_abnormal >= threshold)
        desk.idle()
        assert session.models.scored.threshold == threshold
        shares[threshold] = session.models.scored.scores.wells["share_abnormal"].sum()
    assert shares[0.02] > shares[0.98]
    desk.qtbot.waitUntil(lambda: AssayFolder.open(assay_path).threshold == 0.98, timeout=30_000)


def test_a_threshold_moved_at_the_last_moment_is_kept(
    desk: Any, make_desk: Callable[[], Any], assay_path: Path
) -> None:
    desk.open(assay_path)
    desk.session.models.set_threshold(0.31)
    desk.close()
    assert AssayFolder.open(assay_path).threshold == 0.31
    again = make_desk().open(assay_path)
    assert again.session.models.threshold == 0.31
    again.session.models.set_threshold(0.62)
    again.session.close_assay()  # the assay, not the viewer
    assert AssayFolder.open(assay_path).threshold == 0.62


def test_a_blind_person_sees_no_prediction_and_what_they_say(desk: Any, assay_path: Path) -> None:
    desk.open(assay_path)
    desk.session.models.set_threshold(0.02)
    features = desk.viewer.layers[CELLS].features
    assert (features["class"] == "abnormal").any()
    desk.session.annotations.is_blind = True
    layer = desk.viewer.layers[CELLS]
    assert layer.features["p_abnormal"].isna().all()
    assert (layer.features["class"] != "abnormal").all()
    assert (layer.features["kind"] == "").all()
    free = [i for i, word in enumerate(desk.view.cells.annotated_class) if word is None]
    colours = {tuple(layer.border_color[i, :3]) for i in free}
    assert len(colours) == 1
    halos = desk.viewer.layers[ANNOTATED]
    n_halos = len(halos.data)
    assert desk.annotate("abnormal", free[0])
    assert len(halos.data) == n_halos + 1
    desk.session.selection.step(1)
    desk.idle()
    assert desk.viewer.layers[CELLS].features["p_abnormal"].isna().all()
    desk.session.annotations.is_blind = False
    assert desk.viewer.layers[CELLS].features["p_abnormal"].notna().any()


def test_a_retrained_head_is_shown_and_found_again(
    desk: Any, make_desk: Callable[[], Any], assay_path: Path
) -> None:
    desk.open(assay_path)
    old, before = desk.session.models.model.id, desk.view.cells.p_abnormal.copy()
    for index in range(min(8, len(desk.view.cells))):
        assert desk.annotate("abnormal", index)
    desk.idle()
    desk.training.next_note = "eight more"
    desk.training.retrain()
    desk.idle()
    assert desk.errors() == []
    model = desk.session.models.model
    assert model.id != old
    assert model.manifest.note == "eight more"
    assert model.manifest.cross_validation is not None  # followed by itself
    assert desk.view.cells.p_abnormal[:8].mean() > before[:8].mean()
    desk.training.restore(old)
    desk.idle()
    assert desk.session.models.model.id == old
    np.testing.assert_allclose(desk.view.cells.p_abnormal, before)
    desk.training.retrain()
    desk.idle()
    newest = desk.session.models.model.id
    desk.close()
    assert make_desk().open(assay_path).session.models.model.id == newest


# ---- a plate that is gone ------------------------------------------------------------------


def moved_plate(assay_path: Path, plate_path: Path) -> None:
    """Let the assay use a copy of its plate."""
    AssayFolder.open(assay_path).relocate_plate("SIM", plate_path)


def test_an_assay_whose_plate_is_gone_opens_with_a_word_about_it(
    desk: Any, assay_path: Path, plate_path: Path, tmp_path: Path
) -> None:
    moved_plate(assay_path, plate_path)
    plate_path.rename(tmp_path / "elsewhere")
    desk.open(assay_path)
    assert desk.session.assay.folder is not None
    assert desk.session.selection.plate is None
    assert any(level == "warning" and str(plate_path) in text for level, text in desk.messages)
    desk.session.selection.show_plate("SIM")
    assert desk.session.selection.open_plate.problem
    assert desk.session.selection.site is None
    assert desk.session.annotations.annotate(A01, [(1.0, 1.0)], "normal") is False
    for task in (desk.training.retrain, desk.tasks.embed, desk.tasks.find_cells):
        task()
        desk.idle()
    assert all(not text.startswith(("KeyError", "Attribute")) for text in desk.errors())
    (tmp_path / "elsewhere").rename(plate_path)
    desk.open(assay_path)
    assert desk.view.on_screen == A01


def test_of_two_plates_one_is_gone_and_the_other_is_worked_on(
    desk: Any, assay_path: Path, plate_path: Path, qtbot: QtBot
) -> None:
    other = plate_path.rename(plate_path.with_name("OTHER"))
    steps.new(assay_path, [steps.PlateSource(other, name="OTHER")])
    shutil.rmtree(other)
    desk.open(assay_path)
    assert desk.session.selection.plate.name == "SIM"
    assert any("OTHER" in text for _, text in desk.messages)
    desk.training.retrain()
    desk.idle()
    assert desk.errors() == []


def test_a_damaged_model_is_told_and_the_rest_opens(desk: Any, assay_path: Path) -> None:
    (manifest,) = (assay_path / "models").glob("*/model.json")
    manifest.write_text("{")
    desk.open(assay_path)
    (messages,) = [text for level, text in desk.messages if level == "warning"]
    assert "model.json" in messages
    assert "Retrain" in messages
    assert desk.session.models.model is None
    assert desk.session.models.scored is None
    desk.training.retrain()
    desk.idle()
    assert desk.session.models.model.id == "0002"
    assert desk.errors() == []


def test_who_annotates_otherwise_than_somebody_else_is_told(desk: Any, assay_path: Path) -> None:
    desk.open(assay_path)
    open_cells = [
        index
        for index in range(len(desk.view.cells))
        if desk.annotation_of(index) is None and desk.view.cells.rows[index] >= 0
    ]
    first, second = (cell_id(desk.view.cells, index) for index in open_cells[:2])
    annotations = desk.session.annotations
    annotations.annotator = "anna"
    assert annotations.annotate_cells([first, second], "normal")
    annotations.annotator = "bert"
    desk.messages.clear()
    assert annotations.annotate_cells([second], "normal")  # they agree
    assert not desk.messages
    assert annotations.annotate_cells([first], "abnormal")
    assert "annotated otherwise by somebody else" in desk.messages[-1][1]
    assert annotations.undo()
    annotations.is_blind = True
    desk.messages.clear()
    assert annotations.annotate_cells([first], "abnormal")
    assert not desk.messages, "blind mode hides what others said"
