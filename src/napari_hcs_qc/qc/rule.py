"""The rule by which sites and wells are flagged: thresholds, and the same in plain sentences."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from napari_hcs_qc.errors import Problem, ProblemsError
from napari_hcs_qc.text import listing, number, percent, unknown_setting

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from numpy.typing import NDArray

FLAG_CODES: dict[str, str] = {
    "unreadable": "could not be read",
    "empty": "no or few cells",
    "share_abnormal": "many abnormal cells",
    "dead": "fragments of nuclei",
    "blur": "out of focus",
    "saturation": "saturated area",
    "debris": "bright structure other than nuclei",
    "haze": "bright or uneven background",
    "noise": "noise",
    "dim": "weak signal",
}
"""Reason codes of a flag and what they mean, in the order in which equals are named."""


SLIGHTLY_WIDER = 1.06
"""Of edges, beside a steeper spectrum, which alone could be brighter cells or less noise."""

MAX_SEVERITY = 10.0
"""Severity is how many times a threshold is passed, at most this."""

_SHARES = frozenset({"share_abnormal", "background_rise", "background_span"})


@dataclass(frozen=True)
class Finding:
    """One reason for a flag: its code, how far beyond the threshold it is (>= 1), in words."""

    code: str
    severity: float
    text: str


@dataclass(frozen=True)
class Check:
    """One measure against the median: for a flag the effect must pass `limit`, beside the z."""

    code: str
    measure: str
    # A difference (up or down), or a multiple of the median
    effect: Literal["above", "drop", "times", "below"]
    limit: float

    def severity(
        self, values: NDArray[np.float64], median: float, z: NDArray[np.float64], z_limit: float
    ) -> NDArray[np.float64]:
        """How many times the thresholds are passed; NaN where there is nothing to compare."""
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.effect in ("above", "drop"):
                passed = np.abs(values - median) / self.limit
            else:
                passed = (values / median - 1) / (self.limit - 1)
            sign = -1 if self.effect in ("below", "drop") else 1
            severity: NDArray[np.float64] = np.minimum(sign * z / z_limit, passed)
        return severity


def with_unit(measure: str, value: float) -> str:
    """Write a value of a measure of the image or the cells."""
    is_share = measure.endswith("_share") or measure in _SHARES
    return percent(value) if is_share else number(value)


def gravest_first(findings: Iterable[Finding], codes: Iterable[str]) -> list[Finding]:
    """Sort findings, equals in the order of the codes."""
    order = {code: index for index, code in enumerate(codes)}
    return sorted(findings, key=lambda finding: (-finding.severity, order[finding.code]))


def one_per_code(findings: Iterable[Finding], codes: Iterable[str]) -> list[Finding]:
    """Keep the gravest finding of each code, gravest first."""
    gravest: dict[str, Finding] = {}
    for finding in gravest_first(findings, codes):
        gravest.setdefault(finding.code, finding)
    return list(gravest.values())


@dataclass(frozen=True)
class Rule:
    """Thresholds, each a positive number."""

    title: ClassVar[str]
    above_one: ClassVar[Collection[str]]
    below_one: ClassVar[Collection[str]]
    retired: ClassVar[Mapping[str, float]] = {}  # thresholds of 0.1.0 with their defaults

    def __post_init__(self) -> None:
        """Refuse thresholds that cannot be meant."""
        problems = []
        for name, value in self.to_dict().items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not 0 < value < float("inf"):
                problems.append(Problem(name, f"is {value!r}; a positive number is needed."))
            elif name in self.above_one and value <= 1:
                problems.append(Problem(name, f"is {value}; more than 1 is needed."))
            elif name in self.below_one and value >= 1:
                problems.append(Problem(name, f"is {value}; less than 1 is needed."))
        if problems:
            raise ProblemsError(f"The {self.title} cannot be used", problems)

    def to_dict(self) -> dict[str, Any]:
        """Give plain data for JSON; `from_dict` is the inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Make a rule from a part of its thresholds; the rest are defaults."""
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(data) - set(known) - set(cls.retired))
        if unknown:
            raise ProblemsError(
                f"The {cls.title} cannot be used",
                [Problem(name, unknown_setting(name, known)) for name in unknown],
            )
        changed = sorted(name for name, old in cls.retired.items() if data.get(name, old) != old)
        if changed:
            warnings.warn(
                f"The {cls.title} has no threshold {listing(changed)} since 0.2.0; chance is held "
                "by false_flag_share. Remove it from the settings.",
                FutureWarning,
                stacklevel=2,
            )
        return cls(**{name: value for name, value in data.items() if name not in cls.retired})


@dataclass(frozen=True, kw_only=True)
class FlagRule(Rule):
    """Thresholds for a flag.

    Every comparison with the plate needs two things at once: that it is no chance (a robust z
    beyond `z_limit` of a measure of the image, `false_flag_share` for what cells show together),
    and an effect that matters.
    """

    title: ClassVar[str] = "flag rule"
    above_one: ClassVar[Collection[str]] = ("blur_ratio", "noise_ratio")
    below_one: ClassVar[Collection[str]] = (
        "dim_ratio",
        "few_cells_site",
        "few_cells_well",
        "false_flag_share",
    )
    retired: ClassVar[Mapping[str, float]] = {"share_z": 3.0, "few_cells_probability": 0.001}

    z_limit: float = 6.0  # robust z that a measure of the image must pass
    # Of the wells (or sites) flagged for one of the four reasons below, the share that may be so by
    # chance; the chance that a clean plate has any
    false_flag_share: float = 0.1
    share_excess: float = 0.15  # the share of abnormal cells above the usual one
    share_always: float = 0.5  # share of abnormal cells that is a flag whatever the plate is like
    few_cells_site: float = 0.2  # number of cells, relative to the median
    few_cells_well: float = 0.3  # number of cells per site, relative to the median
    # As `share_excess`, for the share of nuclei smaller than 0.4 of the typical area
    small_excess: float = 0.2
    blur_ratio: float = 1.4  # width of edges, relative to the median
    # Slight blur: how much steeper the power spectrum falls, where edges are wider as well
    blur_slope: float = 0.3
    noise_ratio: float = 2.0  # pixel noise, relative to the median
    dim_ratio: float = 0.33  # signal-to-noise ratio of the nuclei, relative to the median
    saturated_share: float = 0.005  # saturated share of the image above the median
    saturated_spot: float = 0.5  # largest connected saturated area above the median, in nuclei
    bright_share: float = 0.01  # share of the image that is bright and no nucleus, above the median
    bright_extent: float = 5.0  # length of the longest bright structure above the median, in nuclei
    # Rise or unevenness of the background above the median, as a share of the intensity range
    haze_rise: float = 0.05

    def describe(self) -> tuple[str, ...]:
        """Say the rule in plain sentences, for the report and the window."""
        return (
            "A well is flagged when one of its sites is, or when all its cells together are. "
            "Sites are compared with the median of the plate, or of its control wells if a plate "
            "map lists at least 4. An image is an outlier when it differs by more than "
            f"{self.z_limit:g} robust standard deviations and also by at least the amount "
            "given below. With fewer than 4 sites there is no comparison.",
            "Cells that the border of the image cuts are in no share, unless the assay includes "
            "them or a person has annotated them.",
            "What cells show together is flagged where it differs by at least the amount given "
            "below and is no chance: by how much wells (or sites) differ on this plate, at most "
            f"{percent(self.false_flag_share)} of those flagged for one reason are expected to be "
            "so by chance (Benjamini-Hochberg), and on a plate without any fault a flag for one "
            f"reason has a chance of at most {percent(self.false_flag_share)}.",
            f"Many abnormal cells: their share is at least {percent(self.share_excess)} (of all "
            "cells) above the usual share (beta-binomial distribution); or it is more than "
            f"{percent(self.share_always)}, independent of the plate.",
            f"No or few cells: a site has less than {percent(self.few_cells_site)} of the median "
            f"number, or a well less than {percent(self.few_cells_well)} of it per site (negative "
            "binomial distribution). Wells that the plate map lists as empty are not checked.",
            "Fragments of nuclei: the share of nuclei smaller than 40 % of the typical area is at "
            f"least {percent(self.small_excess)} above the usual share.",
            f"Out of focus: edges are {self.blur_ratio:g} times as wide as the median; or "
            "slightly so: the power spectrum falls more steeply, by a slope of "
            f"{self.blur_slope:g}, and edges are {number(SLIGHTLY_WIDER)} times as wide.",
            f"Saturated area: one connected saturated area larger than "
            f"{self.saturated_spot:g} nuclei, or {percent(self.saturated_share)} of the "
            "image saturated, more than the median.",
            "Bright structure other than nuclei (fibres, debris, haze): it covers "
            f"{percent(self.bright_share)} more of the image than the median, or is longer by "
            f"{self.bright_extent:g} nuclei than the longest of the median image.",
            f"Bright or uneven background: by {percent(self.haze_rise)} of the plate's intensity "
            "range more than the median.",
            f"Noise: {self.noise_ratio:g} times the median noise. Weak signal: less than "
            f"{percent(self.dim_ratio)} of the median signal-to-noise ratio of the nuclei.",
            "A site that cannot be read flags its well. A plate that is bad throughout has "
            "nothing to compare with: only the share of abnormal cells shows it.",
        )
