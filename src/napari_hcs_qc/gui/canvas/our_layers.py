"""The layers that are ours in a viewer: found by name, made once and then changed."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from napari_hcs_qc.gui.keys.own_keys import status_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from napari.components import ViewerModel
    from napari.layers import Image
    from numpy.typing import NDArray

CELLS, RIMS, ANNOTATED, CROP, MASKS = "cells", "rims of cells", "annotated", "crop", "masks"
TARGET, SELECTION, HEAT = "target", "selection", "artefact map"

# Dark rims about light rings: seen on nuclei of any brightness. In diameters of nuclei.
_RIM_MARGIN = 0.03
_RIM_COLOUR = (0.0, 0.0, 0.0, 0.75)


_RINGS = {"ndim": 2, "face_color": "transparent", "border_width_is_relative": False}


def empty_cells() -> tuple[NDArray[np.float64], dict[str, Any], str]:
    """Give our layer of cells before there are any, as layer data."""
    return np.empty((0, 2)), {"name": CELLS, "metadata": {"hcs_qc": CELLS}, **_RINGS}, "points"


class OurLayers:
    """Makes, finds and changes them; layers that are not ours are left alone."""

    def __init__(self, viewer: ViewerModel, look_changed: Callable[[], object]) -> None:
        self.viewer = viewer
        self._look_changed = look_changed  # called when a channel is shown in another way
        self.pixel_um: float | None = None  # of the plate shown
        self.diameter_px = 20.0  # of nuclei of the plate shown, the measure of all line widths
        self._drawn: WeakKeyDictionary[Any, dict[str, NDArray[Any]]] = WeakKeyDictionary()

    @property
    def place(self) -> dict[str, Any]:
        """Give scale and units of a layer of the plate shown."""
        unit = "um" if self.pixel_um else "pixel"
        side = self.pixel_um or 1.0
        return {"scale": (side, side), "units": (unit, unit), "axis_labels": ("y", "x")}

    def find(self, name: str) -> Any:
        """Give a layer of ours by its name, None where there is none."""
        for layer in self.viewer.layers:
            if layer.name == name and layer.metadata.get("hcs_qc"):
                return layer
        return None

    def images(self) -> list[Image]:
        """Give those of channels, lowest first."""
        return [item for item in self.viewer.layers if item.metadata.get("hcs_qc") == "channel"]

    def clear(self) -> None:
        """Delete all that are ours."""
        for layer in list(self.viewer.layers):
            if layer.metadata.get("hcs_qc"):
                self.viewer.layers.remove(layer)

    def put(self, layer: Any) -> None:
        """Place a layer as the plate shown is, where it is not yet."""
        place = self.place
        if not np.allclose(layer.scale, place["scale"]):
            layer.scale = place["scale"]
        if tuple(str(unit) for unit in layer.units) != _UNIT_NAMES[place["units"]]:
            layer.units = place["units"]

    def set_image(self, data: Any, options: dict[str, Any]) -> None:
        """Show the pixels of a channel."""
        layer = self.find(options["name"])
        if layer is None:
            metadata = {**options["metadata"], "hcs_qc": "channel"}
            added = self.viewer.add_image(data, **{**options, "metadata": metadata})
            added.help = status_text()
            for name in ("visible", "contrast_limits", "gamma", "colormap"):
                getattr(added.events, name).connect(self._change_look)
            # Channels lie below the cells, whichever was made first.
            self.viewer.layers.move(self.viewer.layers.index(added), len(self.images()) - 1)
            return
        layer.data = data
        if layer.metadata.pop("hidden", False):
            layer.visible = True
        layer.metadata.update(options["metadata"])

    def _change_look(self, _event: object) -> None:
        self._look_changed()

    def set_points(
        self,
        name: str,
        yx_px: Any,
        size: Any,
        colours: Any,
        features: dict[str, Any],
        shown: Any = None,
        *,
        border_width: Any,  # in diameters of nuclei
        opacity: float = 1.0,
        symbol: Any = "disc",
    ) -> Any:
        """Show rings about places, and give their layer."""
        layer = self.find(name)
        if layer is None:
            active = self.viewer.layers.selection.active
            layer = self.viewer.add_points(
                np.empty((0, 2)), name=name, metadata={"hcs_qc": name}, **_RINGS, **self.place
            )
            layer.editable = False  # cells come from the journal, not from napari's own tools
            layer.help = status_text()
            # The person acts on the cells, so that layer is the active one.
            self.viewer.layers.selection.active = layer if name == CELLS else active
            if name == CELLS:
                self.viewer.help = status_text()
        n = len(yx_px)
        look = {
            "size": np.broadcast_to(size, n).astype(float),
            "border_color": np.asarray(colours, dtype=float),
            "border_width": np.broadcast_to(border_width, n) * self.diameter_px,
            "symbol": np.broadcast_to(symbol, n),
            "shown": np.ones(n, dtype=bool) if shown is None else np.asarray(shown),
        }
        # One change and one redraw instead of seven, of what differs: the person waits for it.
        drawn = self._drawn.get(layer, {})
        is_moved = n != len(layer.data) or not np.array_equal(yx_px, layer.data)
        new = [
            name
            for name, values in look.items()
            if is_moved or name not in drawn or not np.array_equal(values, drawn[name])
        ]
        self._drawn[layer] = look
        with layer.events.blocker_all():
            if is_moved:
                layer.data = yx_px
            with _single_refresh(layer):
                for name in new if n else ():
                    setattr(layer, name, look[name])
                if features:
                    _set_features(layer, features)
        if is_moved:
            layer.refresh()
        elif new:
            layer.refresh(thumbnail=False, highlight=False, extent=False)
        if features:
            layer.events.features()
        self.put(layer)
        if layer.opacity != opacity:
            layer.opacity = opacity
        return layer

    def set_rims(
        self, yx_px: Any, size: Any, alpha: Any, shown: Any, *, border_width: float, symbol: Any
    ) -> None:
        """Put a dark rim under each ring; `alpha` (n,) is the opacity of the ring."""
        margin = _RIM_MARGIN * self.diameter_px
        colours = np.tile(_RIM_COLOUR, (len(yx_px), 1))
        colours[:, 3] *= alpha
        self.set_points(
            RIMS,
            yx_px,
            size + 2 * margin,
            colours,
            {},
            shown,
            border_width=border_width + 2 * _RIM_MARGIN,
            symbol=symbol,
        )

    def set_outline(self, name: str, shapes: list[NDArray[np.float64]], opacity: float) -> None:
        """Draw polygons; none hides the layer."""
        layer = self.find(name)
        if not shapes:
            if layer is not None and layer.visible:
                layer.visible = False
            return
        if layer is None:
            active = self.viewer.layers.selection.active
            layer = self.viewer.add_shapes(
                shapes,
                shape_type="polygon",
                name=name,
                face_color="transparent",
                edge_color="white",
                edge_width=max(1.0, 0.04 * self.diameter_px),
                opacity=opacity,
                metadata={"hcs_qc": name},
                **self.place,
            )
            layer.help = status_text()
            self.viewer.layers.selection.active = active
            return
        layer.data = shapes
        self.put(layer)
        layer.visible = True

    def set_squares(
        self, name: str, centre: NDArray[np.float64], sides_px: Sequence[float], opacity: float
    ) -> None:
        """Draw squares about a place; no side hides the layer.

        As a layer of vectors: one of shapes takes ten times as long, at each move of the pointer,
        and large markers are cut by some graphics cards.
        """
        layer = self.find(name)
        if not len(sides_px):
            if layer is not None and layer.visible:
                layer.visible = False
            return
        halves = np.asarray(sides_px, dtype=float)[:, np.newaxis, np.newaxis] / 2
        lines = np.stack([centre + halves * _CORNERS, halves * _EDGES], axis=2).reshape(-1, 2, 2)
        if layer is None:
            active = self.viewer.layers.selection.active
            layer = self.viewer.add_vectors(
                lines,
                name=name,
                vector_style="line",
                edge_color="white",
                edge_width=max(1.0, 0.04 * self.diameter_px),
                opacity=opacity,
                metadata={"hcs_qc": name},
                **self.place,
            )
            layer.help = status_text()
            self.viewer.layers.selection.active = active
            return
        if not np.array_equal(layer.data, lines):
            layer.data = lines
        self.put(layer)
        if not layer.visible:
            layer.visible = True


# Of a square with the half side 1: where its edges begin, and where they go from there.
_CORNERS = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [1.0, -1.0]])
_EDGES = np.roll(_CORNERS, -1, axis=0) - _CORNERS

_UNIT_NAMES = {("um", "um"): ("micrometer", "micrometer"), ("pixel", "pixel"): ("pixel", "pixel")}


def _set_features(layer: Any, features: dict[str, NDArray[Any]]) -> None:
    """Change the table of a layer; napari makes a new one at each change, which takes longer."""
    table = layer.features
    is_alike = len(table) == len(layer.data) and [*table] == [*features]
    follows_it = (  # somebody has made texts or colours of it
        layer.text.values.ndim > 0
        or layer.face_color_mode != "direct"
        or layer.border_color_mode != "direct"
    )
    if follows_it or not is_alike:
        layer.features = features
        return
    for name, values in features.items():
        if not np.array_equal(table[name].to_numpy(), values):
            table[name] = values


def _single_refresh(layer: Any) -> AbstractContextManager[None]:
    """Keep a layer from refreshing itself at each change; napari has no public way."""
    blocked: AbstractContextManager[None] = getattr(layer, "_block_refresh", nullcontext)()
    return blocked
