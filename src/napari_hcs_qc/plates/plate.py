"""The plate as an immutable index of planes; pixels come lazily, one site at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np

from napari_hcs_qc.errors import Problem, UnreadableSiteError
from napari_hcs_qc.files import fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

Projection: TypeAlias = Literal["max"] | int
"""How a z stack becomes one plane: maximum over z, or the plane of that z index."""

PLANE_COLUMNS = ("well", "site", "channel", "z", "time", "path", "part")


class SiteKey(NamedTuple):
    """One field of view: the well's name (``A01``) and the site's number."""

    well: str
    site: int

    def __str__(self) -> str:
        return f"{self.well} s{self.site}"
