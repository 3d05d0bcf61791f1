"""The rule by which plates of a screen are flagged: thresholds, and the same in plain sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from napari_hcs_qc.qc.rule import Rule
from napari_hcs_qc.text import percent

if TYPE_CHECKING:
    from collections.abc import Collection

PLATE_CODES: dict[str, str] = {
    "unreadable": "sites could not be read",
    "no_cells": "no cells",
    "flagged_wells": "many flagged wells",
    "share_abnormal": "many abnormal cells",
    "few_cells": "few cells",
    "many_cells": "many cells",
    "blur": "out of focus",
    "noise": "noise",
    "dim": "weak signal",
    "haze": "bright background",
    "edge": "edge effect",
    "row": "row effect",
    "column": "column effect",
    "novelty": "unlike the training plates",
}
"""Reason codes of a flagged plate and what they mean, in the order in which they are named."""

MIN_COMPARED = 4
"""With fewer plates they are not compared with one another."""


@dataclass(frozen=True, kw_only=True)
class PlateRule(Rule):
    """Thresholds for a plate.

    A comparison with the other plates needs two things at once: a robust z beyond `z_limit` and
    an effect that matters.
    """

    title: ClassVar[str] = "rule for plates"
    above_one: ClassVar[Collection[str]] = ("many_cells", "blur_ratio", "noise_ratio")
    below_one: ClassVar[Collection[str]] = (
        "flagged_excess",
        "flagged_always",
        "abnormal_excess",
        "few_cells",
        "dim_ratio",
        "haze_rise",
        "unreadable_share",
        "position_abnormal",
        "position_cells",
    )

    z_limit: float = 4.0  # robust z among the plates
    # The lower 95 % limit of the share of flagged wells must be above the median plate by this
    flagged_excess: float = 0.10
    # Lower limit of the share of flagged wells that is a flag whatever the others are like
    flagged_always: float = 0.5
    # Share of abnormal cells of the median well, above the median plate
    abnormal_excess: float = 0.05
    few_cells: float = 0.6  # cells of the median site, relative to the median plate
    many_cells: float = 1.67  # cells of the median site, relative to the median plate
    blur_ratio: float = 1.25
    noise_ratio: float = 1.5
    dim_ratio: float = 0.6
    haze_rise: float = 0.03  # background above the median plate, as a share of the intensity range
    unreadable_share: float = 0.05  # share of the sites that could not be read
    position_abnormal: float = 0.05
    # The same in the number of cells, as a share of the plate's median
    position_cells: float = 0.15

    def describe(self) -> tuple[str, ...]:
        """Say the rule in plain sentences, for the report."""
        return (
            "Plates are compared with the median of all classified plates of the screen, if there "
            f"are at least {MIN_COMPARED}. A plate is an outlier when it differs by more than "
            f"{self.z_limit:g} robust standard deviations and also by at least the amount "
            "given below.",
            "Many flagged wells: the lower end of the 95 % interval of their share is at least "
            f"{percent(self.flagged_excess)} (of all wells) above the median plate; or it is "
            f"{percent(self.flagged_always)} or more, independent of the others.",
            f"Many abnormal cells: the share in the median well is {percent(self.abnormal_excess)} "
            "(of all cells) above the median plate.",
            f"Few or many cells: less than {percent(self.few_cells)}, or more than "
            f"{self.many_cells:g} times, the cells per site of the median plate. A plate "
            "without any cell is always flagged.",
            f"Out of focus: edges {self.blur_ratio:g} times as wide as on the median plate. "
            f"Noise: {self.noise_ratio:g} times. Weak signal: less than "
            f"{percent(self.dim_ratio)} of its signal-to-noise ratio. Bright background: by "
            f"{percent(self.haze_rise)} of the intensity range more. In any channel.",
            "Edge, row and column effect: the 95 % interval of the difference between the wells "
            f"at the position and all others is beyond {percent(self.position_abnormal)} in the "
            f"share of abnormal cells, or beyond {percent(self.position_cells)} in the number of "
            "cells. Wells that the plate map lists as control or empty are left out.",
            f"Unreadable: {percent(self.unreadable_share)} of the sites or more. Unlike the "
            "training plates: more of its cells than usual are farther from those that the model "
            "was trained on than these are from one another.",
            "A plate that failed has not been classified at all; it is listed first.",
        )
