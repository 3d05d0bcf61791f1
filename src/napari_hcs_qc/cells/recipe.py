"""The crop recipe: how much of the image around a cell the encoder sees, and in which channels."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Stages: TypeAlias = Literal["last", "inner"] | tuple[int, ...]
"""Which encoder stages are pooled: the last (as the paper), several inner ones, or by index."""

Pooling: TypeAlias = Literal["mean", "centre"]
"""How the map of a stage becomes one vector."""

# What the stains of the paper's two screens (and Cell Painting) are called in channel names.
# The order of the keys is the paper's R, G, B.
_RGB_STAINS: dict[str, tuple[str, ...]] = {
    "actin (red)": ("actin", "phalloidin", "ph_golgi", "agp", "rhodamine"),
    "mitochondria or tubulin (green)": ("mito", "tubulin"),
    "DNA (blue)": ("dna", "dapi", "hoechst", "draq", "nuclei", "nucleus"),
}


@dataclass(frozen=True, kw_only=True)
class CropRecipe:
    """How cells become encoder input; part of every model.

    Parameters
    ----------
    name
        Name of the preset it came from, or a user's own.
    scales
        Sides of the square crops, one view each, in `unit`.
    unit
        ``"diameter"``: multiples of the assay's median nucleus diameter; ``"px"``: pixels.
    input_px
        Side in pixels to which every crop is resized for the encoder.
    channels
        ``"each"``: every channel goes through the encoder as grey and the embeddings are
        concatenated; ``"rgb"``: three channels make one colour image, as in the paper.
    rgb
        Channel names for red, green and blue; empty means found by the names of the stains.
    stages
        Encoder stages that are pooled into the embedding.
    pooling
        How a stage's map becomes one vector: ``"mean"`` over the whole crop, as in the paper, or
        ``"centre"``, weighted towards the cell in the middle, so that its neighbours count less.
    diameter_px
        The nucleus diameter in pixels that `scales` refers to, once `with_diameter` has set it.

    Raises
    ------
    HcsQcError
        For sides, input sides or colour lists that make no crop.
    """

    name: str
    scales: tuple[float, ...]
    unit: Literal["diameter", "px"]
    input_px: int
    channels: Literal["each", "rgb"] = "each"
    rgb: tuple[str, ...] = ()
    stages: Stages = "inner"
    pooling: Pooling = "mean"
    diameter_px: float | None = None

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise HcsQcError(f"Recipe {self.name!r} {problem}")

    def _problems(self) -> Iterator[str]:
        if not self.scales or any(scale <= 0 for scale in self.scales):
            yield f"has scales {self.scales}; give one or more sides above 0."
        if self.unit not in ("diameter", "px"):
            yield f"has unit {self.unit!r}; use 'diameter' or 'px'."
        if self.channels not in ("each", "rgb"):
            yield f"has channels {self.channels!r}; use 'each' or 'rgb'."
        if not 16 <= self.input_px <= 1024:
            yield f"has an input side of {self.input_px} px; 16 to 1024 work."
        if self.rgb and len(self.rgb) != 3:
            yield (
                f"names {len(self.rgb)} colour channels {self.rgb}; exactly three are needed, red, "
                "green, blue (one may be repeated)."
            )
        if self.stages not in ("last", "inner") and not (
            isinstance(self.stages, tuple) and self.stages
        ):
            yield f"has stages {self.stages!r}; use 'last', 'inner' or indices."
        if self.pooling not in ("mean", "centre"):
            yield f"has pooling {self.pooling!r}; use 'mean' or 'centre'."

    @property
    def sides_px(self) -> tuple[int, ...]:
        """Sides of the crops in pixels, one for each scale.

        Raises
        ------
        HcsQcError
            When the recipe is in nucleus diameters and no diameter is set yet.
        """
        if self.unit == "px":
            factor = 1.0
        elif self.diameter_px is None:
            raise HcsQcError(
                f"Recipe {self.name!r} is in nucleus diameters, and none is set; "
                "find the cells of the plate first."
            )
        else:
            factor = self.diameter_px
        return tuple(max(4, round(scale * factor)) for scale in self.scales)

    def with_diameter(self, diameter_px: float) -> CropRecipe:
        """Give the recipe for nuclei of `diameter_px` pixels; one in pixels stays as it is."""
        if self.unit == "px":
            return self
        if not diameter_px > 0:
            raise HcsQcError(
                f"A nucleus diameter of {diameter_px} px is not possible; expected > 0."
            )
        return replace(self, diameter_px=round(float(diameter_px), 2))

    def channel_groups(self, names: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Channel indices of each view's image: single channels, or one group of three.

        Parameters
        ----------
        names
            The plate's channel names, in its order.

        Raises
        ------
        HcsQcError
            When a colour recipe's channels are not among `names`.
        """
        if self.channels == "each":
            return tuple((index,) for index in range(len(names)))
        if self.rgb:
            return (tuple(_find(name, names) for name in self.rgb),)
        if len(names) == 1:
            return ((0, 0, 0),)
        channels = []
        for stain, parts in _RGB_STAINS.items():
            matches = (
                index
                for index, name in enumerate(names)
                if any(part in name.casefold() for part in parts)
            )
            first = next(matches, None)
            if first is None:
                raise HcsQcError(
                    f"No channel among {', '.join(names)} is recognised as {stain}; "
                    "name the three channels yourself (--rgb RED,GREEN,BLUE)."
                )
            channels.append(first)
        return (tuple(channels),)

    def n_views(self, n_channels: int) -> int:
        """Count the views of one cell, each one pass through the encoder."""
        return len(self.scales) * (1 if self.channels == "rgb" else n_channels)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CropRecipe:
        """Rebuild what `to_dict` gave (also after a round trip through JSON).

        Raises
        ------
        HcsQcError
            When fields are missing or unknown.
        """
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        try:
            return cls(**values)
        except TypeError as error:
            raise HcsQcError(f"Not a crop recipe ({error}): {dict(data)}") from error

    @property
    def fingerprint(self) -> str:
        """Content address of everything that changes the crops or the embedding."""
        data = self.to_dict()
        del data["name"]
        return fingerprint(data)


def _find(name: str, names: Sequence[str]) -> int:
    folded = [candidate.casefold() for candidate in names]
    if name.casefold() not in folded:
        raise HcsQcError(f"The plate has no channel {name!r}; it has {', '.join(names)}.")
    return folded.index(name.casefold())


PRESETS: dict[str, CropRecipe] = {
    "nucleus": CropRecipe(
        name="nucleus", scales=(1.0, 2.0), unit="diameter", input_px=128, pooling="centre"
    ),
    "nucleus-mean": CropRecipe(
        name="nucleus-mean", scales=(1.1, 2.2), unit="diameter", input_px=128
    ),
    "paper-128px": CropRecipe(
        name="paper-128px", scales=(128.0,), unit="px", input_px=128, channels="rgb", stages="last"
    ),
}
DEFAULT_RECIPE = "nucleus"


def get_recipe(name: str) -> CropRecipe:
    """Look up a preset.

    Raises
    ------
    HcsQcError
        When there is none of that name.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise HcsQcError(f"No recipe {name!r}; there are {', '.join(PRESETS)}.") from None
