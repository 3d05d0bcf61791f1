"""Where the tiles of a gallery are, what marks each, and the pictures kept in memory."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap

from napari_hcs_qc.gui.widgets.controls import to_image

if TYPE_CHECKING:
    from collections.abc import Set

    from numpy.typing import NDArray

# From the outside to the picture, px on every side of a tile.
GAP, RING, SPACE, BORDER = 1, 3, 1, 3
MARGIN = GAP + RING + SPACE + BORDER

NOT_ANNOTATED, NORMAL, ABNORMAL, UNSURE, CONFLICT = range(5)
ANNOTATED = {
    NORMAL: "normal",
    ABNORMAL: "abnormal",
    UNSURE: "unsure",
    CONFLICT: "normal and abnormal: annotators disagree",
}


@dataclass(frozen=True)
class Grid:
    """Tiles in rows from left to right, as many to a row as fit."""

    n: int  # number of tiles
    tile_px: int  # side of a picture
    width: int  # room from left to right, px

    @cached_property
    def pitch(self) -> int:
        """From one tile to the next, px."""
        return self.tile_px + 2 * MARGIN

    @cached_property
    def columns(self) -> int:
        """Tiles of a row, at least one."""
        return max(1, self.width // self.pitch)

    @cached_property
    def rows(self) -> int:
        """Number of rows."""
        return -(-self.n // self.columns)

    @cached_property
    def height(self) -> int:
        """Of all rows, px."""
        return self.rows * self.pitch

    @cached_property
    def left(self) -> int:
        """Where the first column begins, px: rows are centred."""
        return max(0, (self.width - self.columns * self.pitch) // 2)

    def corner(self, position: int) -> tuple[int, int]:
        """Give the upper left corner (x, y) of a tile, px."""
        row, column = divmod(position, self.columns)
        return self.left + column * self.pitch, row * self.pitch

    def at(self, x: int, y: int) -> int | None:
        """Give the position of the tile at a point, None where there is none."""
        column = (x - self.left) // self.pitch
        if not 0 <= column < self.columns or y < 0:
            return None
        position = y // self.pitch * self.columns + column
        return position if position < self.n else None

    def between(self, top: int, bottom: int) -> range:
        """Give the positions of all rows that touch the stripe [top, bottom), px."""
        first = max(0, top // self.pitch) * self.columns
        last = max(0, -(-bottom // self.pitch)) * self.columns
        return range(min(first, self.n), min(last, self.n))

    def inside(self, left: int, top: int, right: int, bottom: int) -> NDArray[np.int64]:
        """Give the positions of the tiles that a rectangle touches; its sides are within it."""
        first = max(0, (left - self.left) // self.pitch)
        last = min(self.columns - 1, (right - self.left) // self.pitch)
        rows = np.arange(max(0, top // self.pitch), max(-1, bottom // self.pitch) + 1)
        columns = np.arange(first, last + 1)
        places = (rows[:, None] * self.columns + columns).ravel()
        return places[places < self.n].astype(np.int64)


@dataclass(frozen=True, eq=False)
class Marks:
    """Annotations and predictions of all cells of a plate; the index is the cell's row."""

    p_abnormal: NDArray[np.floating]  # (n_cells,) P(abnormal) in [0, 1]; NaN where not scored
    # (n_cells,) 0 not annotated, 1 normal, 2 abnormal, 3 unsure, 4 annotators disagree
    annotated: NDArray[np.integer]
    kind: NDArray[np.object_]  # (n_cells,) name, or None

    def __post_init__(self) -> None:
        lengths = {len(self.p_abnormal), len(self.annotated), len(self.kind)}
        if len(lengths) > 1:
            raise ValueError(
                f"{len(self.p_abnormal)} probabilities, {len(self.annotated)} annotations and "
                f"{len(self.kind)} kinds were given; one of each for every cell was expected."
            )

    @classmethod
    def none(cls) -> Marks:
        """No cell has a mark."""
        no_code = np.zeros(0, dtype=np.int8)
        return cls(np.zeros(0), no_code, np.empty(0, dtype=object))

    def of(self, cell: int) -> CellMark:
        """Give the mark of a cell; an empty one for a cell that is not there."""
        if not 0 <= cell < len(self.p_abnormal):
            return _NOTHING
        kind = self.kind[cell] or ""
        return CellMark(float(self.p_abnormal[cell]), int(self.annotated[cell]), kind)


class CellMark(NamedTuple):
    """Mark of one cell, see `Marks`; `kind` by its name, empty for none."""

    p_abnormal: float
    annotated: int
    kind: str

    @property
    def is_scored(self) -> bool:
        """Whether there is a prediction."""
        return self.p_abnormal == self.p_abnormal


_NOTHING = CellMark(float("nan"), NOT_ANNOTATED, "")


@dataclass
class Pictures:
    """Pictures of cells as they came, and those shown in the size and sharpness of the screen."""

    max_bytes: int = 2**27  # of pictures as they came; those used last stay
    max_scaled_bytes: int = 2**26  # of those ready for the screen
    _pictures: OrderedDict[int, QImage] = field(default_factory=OrderedDict)
    _scaled: OrderedDict[int, QPixmap] = field(default_factory=OrderedDict)
    _n_bytes: int = 0
    _scaled_px: int = 0

    def __contains__(self, cell: int) -> bool:
        return cell in self._pictures

    def __len__(self) -> int:
        return len(self._pictures)

    @property
    def n_bytes(self) -> int:
        """Size of the pictures as they came, bytes."""
        return self._n_bytes

    def add(self, cell: int, image: NDArray[np.uint8]) -> None:
        """Keep a picture, (h, w, 3)."""
        self._drop(cell)
        # RGB32 is what the screen takes, so scaling and drawing need not convert it each time.
        picture = to_image(image).convertToFormat(QImage.Format.Format_RGB32)
        self._pictures[cell] = picture
        self._n_bytes += picture.sizeInBytes()

    def use(self, cell: int) -> None:
        """Note that a picture is in use, so that others are forgotten before it."""
        if cell in self._pictures:
            self._pictures.move_to_end(cell)

    def trim(self, in_use: Set[int]) -> None:
        """Forget pictures used longest ago beyond `max_bytes`, but none that is in use."""
        if self._n_bytes <= self.max_bytes:
            return
        for cell in [cell for cell in self._pictures if cell not in in_use]:
            self._drop(cell)
            if self._n_bytes <= self.max_bytes:
                return

    def clear(self) -> None:
        """Forget all."""
        self._pictures.clear()
        self._scaled.clear()
        self._n_bytes = 0

    def scaled(self, cell: int, side_px: int, pixel_ratio: float) -> QPixmap | None:
        """Give a picture with its longer side as `side_px`; None when it is not there."""
        side = round(side_px * pixel_ratio)
        if side != self._scaled_px:
            self._scaled.clear()
            self._scaled_px = side
        pixmap = self._scaled.get(cell)
        if pixmap is not None:
            self._scaled.move_to_end(cell)
            return pixmap
        picture = self._pictures.get(cell)
        if picture is None:
            return None
        if max(picture.width(), picture.height()) != side:
            picture = picture.scaled(
                side,
                side,
                Qt.AspectRatioMode.KeepAspectRatio,
                Qt.TransformationMode.SmoothTransformation,
            )
        pixmap = QPixmap.fromImage(picture)
        pixmap.setDevicePixelRatio(pixel_ratio)
        self._scaled[cell] = pixmap
        while len(self._scaled) > max(1, self.max_scaled_bytes // (4 * side * side)):
            self._scaled.popitem(last=False)
        return pixmap

    def _drop(self, cell: int) -> None:
        gone = self._pictures.pop(cell, None)
        if gone is not None:
            self._n_bytes -= gone.sizeInBytes()
        self._scaled.pop(cell, None)
