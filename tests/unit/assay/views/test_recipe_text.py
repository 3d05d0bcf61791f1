from __future__ import annotations

from dataclasses import replace

from napari_hcs_qc.assay.views.recipe_text import recipe_text
from napari_hcs_qc.cells.recipe import PRESETS


def test_a_recipe_in_diameters_tells_pixels_once_they_are_known():
    recipe = PRESETS["nucleus"]
    assert "2 squares of 1 and 2 nucleus diameters" in recipe_text(recipe)
    words = recipe_text(recipe.with_diameter(29.4), ["DNA", "Actin", "Mito"])
    assert "2 squares of 29 and 59 px (1 and 2 nucleus diameters) are cut out" in words
    assert "(DNA, Actin and Mito) as a grey image: 6 views" in words
    assert "most weight on the cell in the middle" in words


def test_one_scale_and_one_channel_are_told_in_the_singular():
    recipe = replace(PRESETS["nucleus-mean"], scales=(2.5,), diameter_px=20.0)
    words = recipe_text(recipe, ["DNA"])
    assert "a square of 50 px (2.5 nucleus diameters) is cut out" in words
    assert ": one view of a cell" in words
    assert "averaged over the whole crop" in words


def test_a_colour_recipe_names_its_channels_or_says_what_is_missing():
    recipe = PRESETS["paper-128px"]
    words = recipe_text(recipe, ["DAPI", "Mito", "Phalloidin"])
    assert "a square of 128 px is cut out" in words
    assert "red Phalloidin, green Mito, blue DAPI" in words
    assert "last stage" in words
    assert "No channel among GFP, RFP is recognised" in recipe_text(recipe, ["GFP", "RFP"])
    assert "three channels as one colour image" in recipe_text(recipe)


def test_stages_by_index_are_told():
    words = recipe_text(replace(PRESETS["nucleus"], stages=(1, 3)))
    assert "Its stages (1, 3) are averaged" in words
