"""What a crop recipe shows the encoder, in words for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hcs_qc.cells.recipe import CropRecipe


def recipe_text(recipe: CropRecipe, channels: Sequence[str] = ()) -> str:
    """Describe a crop recipe, as far as it is known for a plate."""
    return " ".join((_cut(recipe), _seen(recipe, channels), _pooled(recipe)))


def _cut(recipe: CropRecipe) -> str:
    n = len(recipe.scales)
    what = "a square" if n == 1 else f"{n} squares"
    scales = _listed([f"{scale:g}" for scale in recipe.scales])
    if recipe.unit == "px":
        sides = f"{scales} px"
    elif recipe.diameter_px is None:
        sides = f"{scales} nucleus diameters (in pixels once cells are found)"
    else:
        in_px = _listed([str(side) for side in recipe.sides_px])
        sides = f"{in_px} px ({scales} nucleus diameters)"
    verb = "is" if n == 1 else "are"
    return f"Around each cell {what} of {sides} {verb} cut out and resized to {recipe.input_px} px."


def _seen(recipe: CropRecipe, channels: Sequence[str]) -> str:
    if recipe.channels == "each":
        if not channels:
            return "The encoder sees each channel as a grey image."
        n_views = recipe.n_views(len(channels))
        names = _listed(list(channels))
        views = "one view" if n_views == 1 else f"{n_views} views"
        return f"The encoder sees each channel ({names}) as a grey image: {views} of a cell."
    if not channels:
        return "The encoder sees three channels as one colour image."
    try:
        (group,) = recipe.channel_groups(channels)
    except HcsQcError as error:
        return f"The encoder sees three channels as one colour image. {error}"
    red, green, blue = (channels[index] for index in group)
    return f"The encoder sees one colour image: red {red}, green {green}, blue {blue}."


def _pooled(recipe: CropRecipe) -> str:
    stages = {"last": "Its last stage is", "inner": "Its inner stages are"}
    subject = stages.get(str(recipe.stages), f"Its stages {recipe.stages} are")
    if recipe.pooling == "centre":
        return f"{subject} averaged with most weight on the cell in the middle."
    return f"{subject} averaged over the whole crop."


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
