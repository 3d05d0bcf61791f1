"""Colours of kinds: distinct from one another and from those of classes, with any colour vision."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

# Okabe & Ito's orange and blue: distinct with any kind of colour vision.
ABNORMAL_COLOUR = "#e69f00"
NORMAL_COLOUR = "#56b4e9"
NEUTRAL_COLOUR = "#c4c4c4"
"""Of what has neither annotation nor prediction."""
CHOSEN_COLOUR = "#ffffff"

_OF_OTHERS = {
    "normal": NORMAL_COLOUR,
    "not classified": NEUTRAL_COLOUR,
    "selected": CHOSEN_COLOUR,
}
_LEAST_DIFFERENCE = 10.0  # CIEDE2000, as of any two of the kinds that every assay has
_LEAST_CONTRAST = 3.0  # to a black image (WCAG 2.2, 1.4.11)
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
# Normal vision, then Machado, Oliveira & Fernandes 2009, IEEE TVCG 15:1291, severity 1.0, linear
# RGB: protanopia, deuteranopia, tritanopia.
_VISIONS = np.array(
    [
        np.eye(3),
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ],
    ]
)


def check_colour(colour: str, kinds: Mapping[str, str]) -> None:
    """Refuse a colour that is lost on a dark image, or looks like that of a class or kind."""
    if _contrast([colour])[0] < _LEAST_CONTRAST:
        raise HcsQcError(
            f"The colour {colour} is too dark to be seen on a fluorescence image; choose a lighter "
            "one."
        )
    names = {**_OF_OTHERS, **kinds}
    difference = _differences([colour], names.values())[0, 0]  # to a person who sees all colours
    nearest = int(difference.argmin())
    if difference[nearest] < _LEAST_DIFFERENCE:
        raise HcsQcError(
            f"The colour {colour} looks like {[*names.values()][nearest]} of "
            f"{[*names][nearest]!r}; choose another one, or none: then it is "
            f"{next_colours(kinds.values())[0]}."
        )


def next_colours(colours: Collection[str], n: int = 1) -> list[str]:
    """Choose colours for further kinds: each the one that is confused least with all before.

    Those that `check_colour` refuses come last.
    """
    levels = [f"{level:02x}" for level in (*range(0, 256, 32), 255)]
    candidates = ["#" + "".join(parts) for parts in product(levels, repeat=3)]
    is_seen = _contrast(candidates) >= _LEAST_CONTRAST
    candidates = [colour for colour, seen in zip(candidates, is_seen, strict=True) if seen]
    least = _differences(candidates, (*_OF_OTHERS.values(), *colours)).min(axis=2)
    chosen: list[str] = []
    for _ in range(n):
        is_allowed = least[0] >= _LEAST_DIFFERENCE
        order = np.lexsort((least.min(axis=0), is_allowed))
        chosen.append(candidates[int(order[-1])])
        least = np.minimum(least, _differences(candidates, chosen[-1:]).min(axis=2))
    return chosen


def _differences(first: Sequence[str], second: Collection[str]) -> NDArray[np.float64]:
    """CIEDE2000 of each pair, (visions, first, second); that to normal counts half.

    An abnormal cell that looks normal is worse than one that looks like another kind.
    """
    from skimage.color import deltaE_ciede2000

    ciede2000: Any = deltaE_ciede2000  # it has no types
    difference: NDArray[np.float64] = ciede2000(_lab(first)[:, :, None], _lab([*second])[:, None])
    return np.where(np.array([*second]) == NORMAL_COLOUR, difference / 2, difference)


def _lab(colours: Sequence[str]) -> NDArray[np.float64]:
    """Colours as people with each kind of vision see them, (visions, colours, 3) in CIELAB."""
    from skimage.color import rgb2lab

    light = np.clip(np.einsum("vij,nj->vni", _VISIONS, _linear(colours)), 0, 1)
    rgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    lab: NDArray[np.float64] = rgb2lab(rgb)
    return lab


def _linear(colours: Sequence[str]) -> NDArray[np.float64]:
    """Linear RGB, (colours, 3)."""
    rgb = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in colours])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def _contrast(colours: Sequence[str]) -> NDArray[np.float64]:
    """Contrast ratio of colours to black."""
    return np.asarray((_linear(colours) @ _LUMINANCE + 0.05) / 0.05)
