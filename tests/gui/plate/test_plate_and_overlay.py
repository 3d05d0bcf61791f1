"""The plate, overlay and guide panels without a window."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtWidgets import QRadioButton, QWidget

from napari_hcs_qc.assay.annotations.kinds import BUILT_IN_KINDS
from napari_hcs_qc.assay.scoring.well_values import MEASURES
from napari_hcs_qc.gui.canvas.our_layers import CELLS, CROP, HEAT, MASKS
from napari_hcs_qc.gui.canvas.overlay_dock import OverlayDock
from napari_hcs_qc.gui.plate.plate_dock import PlateDock
from napari_hcs_qc.gui.widgets.palette import NEUTRAL_COLOUR, rgba
from napari_hcs_qc.gui.window import guide_dock
from napari_hcs_qc.gui.window.guide_dock import GuideDock
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from pathlib import Path


def shown(desk: Any, kind: Any) -> Any:
    made = kind(desk.viewer)
    desk.qtbot.addWidget(made)
    made.resize(440, 440)
    made.show()
    return made


# ---- plate ---------------------------------------------------------------------------------


def test_every_measure_colours_the_wells(desk: Any, assay_path: Path) -> None:
    desk.open(assay_path)
    dock = shown(desk, PlateDock)
    said = {}
    for key, measure in MEASURES.items():
        dock.set_measure(key)
        assert dock.measure() == key
        said[key] = dock.plate_map.describe("B02")
        assert measure.unit in said[key] or key == "verdict"
    assert len(set(said.values())) == len(MEASURES)


def test_choosing_a_well_goes_to_its_worst_site_and_back(desk: Any, assay_path: Path) -> None:
    desk.open(assay_path)
    dock = shown(desk, PlateDock)
    dock.plate_map.set_current("B02")
    desk.idle()
    worst = desk.session.models.scored.scores.wells.set_index("well").loc["B02", "worst_site"]
    assert desk.session.selection.site == SiteKey("B02", int(worst))
    assert dock.findChild(QWidget, "sites").value() == desk.session.selection.site
    desk.session.selection.go_to(SiteKey("A02", 1))
    desk.idle()
    assert dock.plate_map.current() == "A02"
    assert desk.session.selection.site == SiteKey("A02", 1)  # following does not go anywhere itself


def test_cells_are_found_from_the_panel_of_a_new_assay(
    desk: Any, plate_path: Path, tmp_path: Path
) -> None:
    steps.new(tmp_path / "new", [steps.PlateSource(plate_path)])
    desk.open(tmp_path / "new")
    dock, guide = shown(desk, PlateDock), shown(desk, GuideDock)
    assert dock.findChild(QWidget, "find").isVisible()
    assert guide_dock.STEPS[guide.value()] == "Find cells"
    assert len(desk.viewer.layers) >= 2  # its sites can be looked at meanwhile
    dock.findChild(QWidget, "find").click()
    desk.idle()
    assert desk.errors() == []
    assert not dock.findChild(QWidget, "find").isVisible()
    assert len(desk.session.selection.state.plate_cells.cells) > 20
    assert guide_dock.STEPS[guide.value()] == "Annotate"
    assert desk.view.cells is not None and len(desk.view.cells)


def test_the_guide_follows_to_the_review_and_its_end(desk: Any, assay_path: Path) -> None:
    guide = shown(desk, GuideDock)
    assert guide_dock.STEPS[guide.value()] == "Open"
    desk.open(assay_path)
    assert guide_dock.STEPS[guide.value()] == "Review"
    flagged = desk.session.models.scored.scores.wells.query("is_flagged")["well"]
    for well in flagged:
        assert desk.session.annotations.decide("SIM", well, "keep")
    desk.idle()
    assert "All flagged wells are reviewed" in guide.findChild(QWidget, "advice").text()
    for _ in flagged:
        assert desk.session.annotations.undo()
    scored = desk.session.models.scored
    wells, sites = (
        table.assign(flag_codes="") for table in (scored.scores.wells, scored.scores.sites)
    )
    scores = replace(scored.scores, wells=wells, sites=sites)
    desk.session.models.set_scored({"SIM": replace(scored, scores=scores)})
    desk.idle()
    assert "No well is flagged" in guide.findChild(QWidget, "advice").text()


# ---- overlay -------------------------------------------------------------------------------


def outlines(desk: Any) -> np.ndarray:
    return np.asarray(desk.viewer.layers[CELLS].border_color)


def test_the_threshold_recolours_cells_at_once_and_flags_follow(
    desk: Any, assay_path: Path
) -> None:
    desk.open(assay_path)
    dock = shown(desk, OverlayDock)
    before = outlines(desk).copy()
    assert "cells abnormal" in dock.findChild(QWidget, "effect").text()
    dock.findChild(QWidget, "threshold").setValue(0.02)
    told = dock.findChild(QWidget, "effect").text().partition(";")[0]
    assert desk.session.models.threshold == pytest.approx(0.02)
    cells = desk.view.cells
    is_abnormal = cells.predicted_class(0.02) == "abnormal"
    assert is_abnormal.sum() > (cells.predicted_class(0.5) == "abnormal").sum()
    assert (outlines(desk) != before).any()
    assert set(desk.viewer.layers[CELLS].features["class"][is_abnormal]) == {"abnormal"}
    desk.idle()
    assert dock.findChild(QWidget, "effect").text().startswith(told)
    share = desk.session.models.scored.scores.wells["n_abnormal"].sum()
    p = desk.session.models.scored.counted_p
    said = desk.session.models.scored.predictions["annotated_class"].notna().to_numpy()
    assert share >= ((p >= np.float32(0.02)) & ~said).sum()


def test_colour_by_kind_and_score_and_only_abnormal(desk: Any, assay_path: Path) -> None:
    desk.open(assay_path)
    dock = shown(desk, OverlayDock)
    buttons = {button.property("key"): button for button in dock.findChildren(QRadioButton)}
    by_class = outlines(desk).copy()
    buttons["score"].click()
    assert desk.view.value().colour_by == "score"
    assert len(np.unique(outlines(desk), axis=0)) > 2
    assert (outlines(desk) != by_class).any()
    buttons["kind"].click()
    known = [rgba(kind.colour) for kind in BUILT_IN_KINDS]
    kinds = desk.view.cells.predicted_kind
    abnormal = desk.view.cells.predicted_class(0.5) == "abnormal"
    for index in np.flatnonzero(abnormal & np.array([kind is not None for kind in kinds])):
        assert any(np.allclose(outlines(desk)[index, :3], colour[:3]) for colour in known)
    dock.findChild(QWidget, "only_abnormal").setChecked(True)
    layer = desk.viewer.layers[CELLS]
    said = np.isin(desk.view.cells.annotated_class, ["abnormal", "conflict"])
    np.testing.assert_array_equal(layer.shown, abnormal | said)
    desk.session.annotations.is_blind = True
    neutral = np.tile(rgba(NEUTRAL_COLOUR)[:3], (len(layer.data), 1))
    np.testing.assert_allclose(outlines(desk)[:, :3], neutral)
    assert layer.shown.all()
    assert np.isnan(layer.features["p_abnormal"]).all()


def test_nuclei_are_filled_with_the_colour_of_their_class(desk: Any, assay_path: Path) -> None:
    desk.open(assay_path)
    dock = shown(desk, OverlayDock)
    dock.findChild(QWidget, "masks").setChecked(True)
    desk.idle()
    assert desk.errors() == []
    layer = desk.viewer.layers[MASKS]
    cells = desk.view.cells
    found = np.flatnonzero(cells.rows >= 0)
    y, x = np.rint(cells.yx_px[found]).astype(int).T
    ids = desk.session.selection.state.plate_cells.cells["label"].to_numpy()[cells.rows[found]]
    inside = np.asarray(layer.data)[y, x] == ids
    assert inside.mean() > 0.9  # a centroid may lie beside a bent nucleus
    for index, number in zip(found, ids, strict=True):
        np.testing.assert_allclose(
            layer.colormap.color_dict[int(number)], outlines(desk)[index], atol=1e-6
        )
    dock.findChild(QWidget, "masks").setChecked(False)
    assert not layer.visible


def test_the_crop_under_the_cursor_is_outlined_as_the_encoder_sees_it(
    desk: Any, assay_path: Path
) -> None:
    desk.open(assay_path)
    desk.point_at(0)
    layer = desk.viewer.layers[CROP]
    squares = np.asarray(layer.data)[:, 0].reshape(-1, 4, 2)  # where the four edges begin
    sides = [np.ptp(square, axis=0).max() for square in squares]
    assert sides == pytest.approx(list(desk.session.models.model.recipe.sides_px))
    centres = [square.mean(axis=0) for square in squares]
    np.testing.assert_allclose(centres, [desk.view.cells.yx_px[0]] * len(centres))
    desk.leave_canvas()
    assert not layer.visible


# ---- cells that the image border cuts ------------------------------------------------------


def test_cut_cells_are_dimmed_until_annotated_counted_nowhere_and_not_suggested(
    desk: Any, assay_path: Path
) -> None:
    desk.open(assay_path)
    overlay = shown(desk, OverlayDock)
    cells, layer = desk.view.cells, desk.viewer.layers[CELLS]
    is_open = np.array([cls is None for cls in cells.annotated_class])
    is_cut = cells.is_cut & is_open
    assert 0 < is_cut.sum() < len(cells)
    assert (layer.border_color[is_cut, 3] < 0.5).all()
    assert (layer.border_color[~is_cut, 3] > 0.9).all()
    scored = desk.session.models.scored
    n_counted = len(scored.state.cells) - int(scored.state.is_left_out.sum())
    assert f"of {n_counted:,} cells" in overlay.findChild(QWidget, "effect").text()
    index = int(np.flatnonzero(is_cut)[0])
    desk.annotate("normal", index)
    desk.idle()
    assert desk.viewer.layers[CELLS].border_color[index, 3] > 0.9
    found = desk.session.selection.state.plate_cells.cells
    shown_cells: list[tuple[float, float]] = []
    desk.session.selection.cell_chosen.connect(shown_cells.append)
    for _ in range(25):
        desk.session.suggestions.show_next()
        desk.idle()
        site, place = desk.session.selection.site, shown_cells[-1]
        near = found[(found["well"] == site.well) & (found["site"] == site.site)]
        distance = np.hypot(near["y_px"] - place[0], near["x_px"] - place[1])
        assert not near.loc[distance.idxmin(), "is_cut"]


# ---- where something lies that is unlike the plate -----------------------------------------


def test_the_artefact_map_lies_under_the_cells_and_follows_the_site(
    desk: Any, assay_path: Path
) -> None:
    desk.open(assay_path)
    dock = shown(desk, OverlayDock)
    box = dock.findChild(QWidget, "heat")
    assert HEAT not in desk.viewer.layers
    box.setChecked(True)
    desk.idle()
    assert desk.errors() == []
    layer = desk.viewer.layers[HEAT]
    first = np.asarray(layer.data).copy()
    assert layer.visible
    assert first.shape == desk.viewer.layers[0].data.shape
    names = [item.name for item in desk.viewer.layers]
    assert names.index(HEAT) < names.index(CELLS)
    layer.opacity = 0.3  # the person's choice stays
    here = desk.session.selection.site
    other = next(site for site in desk.session.selection.plate.sites if site != here)
    desk.session.selection.go_to(other)
    desk.idle()
    assert desk.viewer.layers[HEAT] is layer
    assert (layer.visible, layer.opacity) == (True, 0.3)
    assert not np.array_equal(layer.data, first)
    # It is a prediction, which blind mode hides.
    desk.session.annotations.is_blind = True
    assert not layer.visible
    desk.session.annotations.is_blind = False
    assert layer.visible
    desk.view.toggle_raw()
    assert not layer.visible
    desk.view.toggle_raw()
    box.setChecked(False)
    assert not layer.visible
