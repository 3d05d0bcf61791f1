from __future__ import annotations

import json
from dataclasses import replace

import pytest

from napari_hcs_qc.cells.recipe import DEFAULT_RECIPE, PRESETS, CropRecipe, get_recipe
from napari_hcs_qc.errors import HcsQcError


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_json(name: str) -> None:
    recipe = get_recipe(name).with_diameter(28.9)
    again = CropRecipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert again == recipe
    assert again.fingerprint == recipe.fingerprint


def test_stages_by_index_survive_json() -> None:
    recipe = replace(get_recipe(DEFAULT_RECIPE), stages=(1, 3))
    assert CropRecipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_the_default_is_scaled_by_the_nucleus_and_weighs_the_centre() -> None:
    recipe = get_recipe(DEFAULT_RECIPE).with_diameter(29.17)
    assert recipe.sides_px == (29, 58)
    assert (recipe.pooling, recipe.stages, recipe.input_px) == ("centre", "inner", 128)


def test_sides_in_diameters_need_a_diameter() -> None:
    with pytest.raises(HcsQcError, match="find the cells of the plate first"):
        _ = get_recipe(DEFAULT_RECIPE).sides_px


def test_the_papers_crop_is_128_px_whatever_the_nucleus() -> None:
    recipe = get_recipe("paper-128px")
    assert recipe.with_diameter(12.0) == recipe
    assert recipe.sides_px == (128,)
    assert recipe.stages == "last"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["Hoechst", "ERSyto", "Ph_golgi", "Mito"], (2, 3, 0)),  # BBBC022: actin, mitochondria, DNA
        (["DAPI", "Tubulin", "Actin"], (2, 1, 0)),  # BBBC021
        (["w1"], (0, 0, 0)),  # a single channel is repeated
    ],
)
def test_the_papers_colours_are_found_by_stain(names: list[str], expected: tuple[int, ...]) -> None:
    assert get_recipe("paper-128px").channel_groups(names) == (expected,)


def test_colours_can_be_named() -> None:
    recipe = replace(get_recipe("paper-128px"), rgb=("w2", "W1", "w2"))
    assert recipe.channel_groups(["w1", "w2"]) == ((1, 0, 1),)


def test_unknown_stains_ask_for_names() -> None:
    with pytest.raises(HcsQcError, match=r"w1, w2, w3.*actin.*--rgb"):
        get_recipe("paper-128px").channel_groups(["w1", "w2", "w3"])
    with pytest.raises(HcsQcError, match="no channel 'w9'; it has w1, w2"):
        replace(get_recipe("paper-128px"), rgb=("w1", "w9", "w2")).channel_groups(["w1", "w2"])


def test_every_channel_is_a_view_at_every_scale() -> None:
    recipe = get_recipe(DEFAULT_RECIPE)
    assert recipe.channel_groups(["a", "b", "c"]) == ((0,), (1,), (2,))
    assert recipe.n_views(3) == 6
    assert get_recipe("paper-128px").n_views(3) == 1


def test_the_fingerprint_is_of_what_changes_the_embedding() -> None:
    recipe = get_recipe(DEFAULT_RECIPE)
    assert replace(recipe, name="mine").fingerprint == recipe.fingerprint
    others = [
        replace(recipe, scales=(1.0,)),
        replace(recipe, input_px=96),
        replace(recipe, pooling="mean"),
        replace(recipe, stages="last"),
        recipe.with_diameter(30),
    ]
    assert len({one.fingerprint for one in [recipe, *others]}) == len(others) + 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"scales": ()}, "one or more sides above 0"),
        ({"scales": (-1.0,)}, "above 0"),
        ({"unit": "cm"}, "'diameter' or 'px'"),
        ({"channels": "grey"}, "'each' or 'rgb'"),
        ({"input_px": 8}, "16 to 1024"),
        ({"rgb": ("a",)}, "exactly three"),
        ({"stages": "middle"}, "'last', 'inner' or indices"),
        ({"pooling": "max"}, "'mean' or 'centre'"),
    ],
)
def test_what_makes_no_crop_is_refused(changes: dict[str, object], told: str) -> None:
    with pytest.raises(HcsQcError, match=told):
        replace(get_recipe(DEFAULT_RECIPE), **changes)


def test_an_unknown_preset_lists_those_there_are() -> None:
    with pytest.raises(HcsQcError, match=r"No recipe 'x'.*nucleus.*paper-128px"):
        get_recipe("x")
    with pytest.raises(HcsQcError, match="Not a crop recipe"):
        CropRecipe.from_dict({"name": "x", "colour": 3})
    with pytest.raises(HcsQcError, match="expected > 0"):
        get_recipe(DEFAULT_RECIPE).with_diameter(float("nan"))
