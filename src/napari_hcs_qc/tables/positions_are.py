"""What the positions of a table are, where they are not px of the plate's own images."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from napari_hcs_qc.tables.plate_sites import PlateSites

POSITIONS_ARE_HELP = (
    "um or um:0.65 (µm, and the size of a pixel), binned:2, swapped (x and y), sites-from:0, y-up, "
    "centred; several with commas"
)


@dataclass(frozen=True, kw_only=True)
class PositionsAre:
    """How positions are changed into px of the plate's images, and sites into the plate's."""

    is_um: bool = False
    um_per_px: float | None = None  # None: as the plate states it
    binned: float = 1.0
    is_swapped: bool = False
    sites_from: int | None = None  # number that the table gives the first site
    is_y_up: bool = False
    is_centred: bool = False

    def __str__(self) -> str:
        """Write it as the option is given."""
        return ",".join(option for option, _ in self._parts())

    @property
    def meaning(self) -> str:
        """Say it in words."""
        return " and ".join(words for _, words in self._parts())

    def _parts(self) -> list[tuple[str, str]]:
        """Give what is not as in the plate's images, each as an option and in words."""
        pixel = f"{self.um_per_px or 0:.4g}"
        um, um_words = (
            ("", "") if self.um_per_px is None else (f":{pixel}", f" ({pixel} µm a pixel)")
        )
        binned = f"{self.binned:g}"
        parts = (
            (self.is_um, f"um{um}", f"positions in µm, not px{um_words}"),
            (self.binned != 1, f"binned:{binned}", f"positions in px of images binned by {binned}"),
            (self.is_swapped, "swapped", "x and y swapped"),
            (
                self.sites_from is not None,
                f"sites-from:{self.sites_from}",
                f"sites counted from {self.sites_from}",
            ),
            (self.is_y_up, "y-up", "y counted from the bottom"),
            (self.is_centred, "centred", "positions from the middle of the image"),
        )
        return [(option, words) for is_so, option, words in parts if is_so]

    def moved(self, places: pd.DataFrame, plates: Mapping[str, PlateSites]) -> pd.DataFrame:
        """Give rows (plate, well, site, y_px, x_px) in px and site numbers of the plates."""
        y, x = (places[axis].to_numpy("float64", copy=True) for axis in ("y_px", "x_px"))
        site = places["site"]
        for name, plate in plates.items():
            rows = (places["plate"] == name).to_numpy()
            y[rows], x[rows] = self.px(y[rows], x[rows], plate)
            site = site.where(~rows, site + self.site_shift(plate))
        return places.assign(y_px=y, x_px=x, site=site)

    def site_shift(self, plate: PlateSites) -> int:
        """Give what is added to the number of a site."""
        return 0 if self.sites_from is None else plate.first_site - self.sites_from

    def px(
        self, y: NDArray[np.float64], x: NDArray[np.float64], plate: PlateSites
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give positions in px of the images of a plate."""
        if self.is_swapped:
            y, x = x, y
        scale = self.binned / self._size(plate) if self.is_um else self.binned
        y, x = y * scale, x * scale
        if self.is_centred or self.is_y_up:
            height, width = plate.shape or (0, 0)
            y = (-y if self.is_y_up else y) + (height - 1) * self._shift
            x = x + (width - 1) / 2 * self.is_centred
        return y, x

    @property
    def _shift(self) -> float:
        """Where the origin lies, as a share of the height."""
        if self.is_centred:
            return 0.5
        return 1.0 if self.is_y_up else 0.0

    def _size(self, plate: PlateSites) -> float:
        size = self.um_per_px or plate.pixel_size_um
        if size is None:
            raise HcsQcError(
                f"The positions are in µm, and plate {plate.name} does not state the size of a "
                "pixel. Give it, such as --positions-are um:0.65."
            )
        return size


def positions_are(texts: Iterable[str]) -> PositionsAre:
    """Read the option ``--positions-are``, its parts one by one."""
    are = PositionsAre()
    parts = texts.split(",") if isinstance(texts, str) else texts
    for text in parts:
        match = re.fullmatch(r"\s*([a-zµμ-]+)(?:[:=]([\d.]+))?\s*", text, re.IGNORECASE)
        name, value = (match[1].casefold(), match[2]) if match else ("", None)
        if name in ("um", "µm", "μm"):
            are = replace(are, is_um=True, um_per_px=_positive(text, value) if value else None)
        elif name == "binned" and value:
            are = replace(are, binned=_positive(text, value))
        elif name == "swapped":
            are = replace(are, is_swapped=True)
        elif name == "sites-from" and value and value.isdigit():
            are = replace(are, sites_from=int(value))
        elif name == "y-up":
            are = replace(are, is_y_up=True)
        elif name in ("centred", "centered"):
            are = replace(are, is_centred=True)
        elif name != "px":
            raise HcsQcError(f"Positions are {text!r}; expected {POSITIONS_ARE_HELP}.")
    return are


def _positive(text: str, value: str) -> float:
    try:
        size = float(value)
    except ValueError:
        size = 0.0
    if not size > 0:
        raise HcsQcError(f"Positions are {text!r}; a number above 0 was expected after the colon.")
    return size
