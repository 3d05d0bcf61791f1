"""Flags: the machine's mark on sites and wells, with the reason in words and numbers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.qc.rule import FLAG_CODES, FlagRule
from napari_hcs_qc.qc.scores import Scores, score_sites, score_wells
from napari_hcs_qc.qc.words import interval, listing, number, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

MAX_SEVERITY = 10.0
"""Severity is how many times a threshold is passed, at most this."""

_UNREADABLE_SEVERITY = 5.0
_CODE_ORDER = {code: order for order, code in enumerate(FLAG_CODES)}


@dataclass(frozen=True)
class Finding:
    """One reason for a flag: its code, how far beyond the threshold it is (>= 1), in words."""

    code: str
    severity: float
    text: str


@dataclass(frozen=True, eq=False)
class PlateScores:
    """Everything known of the sites and wells of one plate.

    Parameters
    ----------
    sites, wells
        Tables of `score_sites` and `score_wells`, with ``is_flagged`` (bool), ``flag_code`` (the
        code of the gravest reason, ``""`` without a flag), ``flag_codes`` (all of them, joined by
        a comma), ``flag_reason`` (in words) and ``severity`` (0 without a flag; sort by it).
        Wells have ``is_flagged_by_sites`` as well: only sites give the reason.
    reference
        What was compared with: ``"plate"`` or ``"control"``.
    medians
        Median of each measure over the reference sites, and of the wells as
        ``well_share_abnormal`` and ``well_cells_per_site``.
    """

    sites: pd.DataFrame
    wells: pd.DataFrame
    reference: str
    medians: Mapping[str, float]


def judge_plate(
    sites: Sequence[SiteKey],
    cells: pd.DataFrame,
    predictions: pd.DataFrame | None,
    quality: pd.DataFrame,
    *,
    rule: FlagRule | None = None,
    nuclear_channel: str | None = None,
    unreadable: Mapping[SiteKey, str] | None = None,
    control_wells: Collection[str] = (),
    empty_wells: Collection[str] = (),
    exclude_kinds: Collection[str] = (),
) -> PlateScores:
    """Score and flag all sites and wells of one plate.

    Parameters
    ----------
    sites, cells, predictions, quality, unreadable, control_wells, empty_wells, exclude_kinds
        See `napari_hcs_qc.qc.scores.score_sites`.
    rule
        Thresholds; the default ones when None.
    nuclear_channel
        Name of the channel that shows the nuclei. The first of `quality` when None.

    Returns
    -------
    PlateScores
        One row for each site and well.

    Raises
    ------
    HcsQcError
        When the inputs do not fit together.
    """
    rule = rule or FlagRule()
    scored = score_sites(
        sites,
        cells,
        predictions,
        quality,
        unreadable=unreadable,
        control_wells=control_wells,
        empty_wells=empty_wells,
        exclude_kinds=exclude_kinds,
    )
    channels = list(dict.fromkeys(quality["channel"]))
    if nuclear_channel is None and channels:
        nuclear_channel = channels[0]
    found = find_in_sites(scored, rule, channels, nuclear_channel, empty_wells=empty_wells)
    flagged = with_flags(scored.table, [found[site] for site in site_keys(scored.table)])
    wells = score_wells(flagged, control_wells=control_wells, empty_wells=empty_wells)
    own = find_in_wells(wells, rule, empty_wells=empty_wells)
    of_sites: dict[str, list[tuple[int, Finding]]] = defaultdict(list)
    for site in site_keys(scored.table):
        of_sites[site.well] += [(site.site, finding) for finding in found[site]]
    findings = []
    for row, well in enumerate(wells.table["well"]):
        known = {finding.code for _, finding in of_sites[well]}
        # The only site of a well says the same of its cells, and names itself; fragments of
        # nuclei that were found in noise are noise.
        is_said = known - {"share_abnormal"} if wells.table["n_sites"].iloc[row] == 1 else set()
        if "noise" in known:
            is_said = is_said | {"dead"}
        own[row] = [finding for finding in own[row] if finding.code not in is_said]
        codes = {finding.code for finding in own[row]}
        findings.append(own[row] + _from_sites(of_sites[well], codes))
    table = with_flags(wells.table, findings)
    is_own = np.array([bool(finding) for finding in own], dtype=bool)
    table["is_flagged_by_sites"] = table["is_flagged"] & ~is_own
    medians = dict(scored.reference.medians) | {
        f"well_{name}": value for name, value in wells.reference.medians.items()
    }
    return PlateScores(flagged, table, scored.reference.name, medians)


def site_keys(table: pd.DataFrame) -> list[SiteKey]:
    """Sites of the rows of a table with the columns ``well`` and ``site``."""
    return [SiteKey(str(w), int(s)) for w, s in zip(table["well"], table["site"], strict=True)]


def find_in_sites(
    scores: Scores,
    rule: FlagRule,
    channels: Iterable[str],
    nuclear_channel: str | None,
    *,
    empty_wells: Collection[str] = (),
) -> dict[SiteKey, list[Finding]]:
    """Find the reasons to flag each site.

    Parameters
    ----------
    scores
        From `score_sites`.
    rule
        Thresholds.
    channels
        Names of the channels that were measured.
    nuclear_channel
        The one of them that shows the nuclei.
    empty_wells
        Wells that are meant to have no cells.

    Returns
    -------
    dict
        For every site its findings, gravest first; an empty list when there is nothing.
    """
    table = scores.table
    keys = site_keys(table)
    found: dict[SiteKey, list[Finding]] = {key: [] for key in keys}
    for key, problem in zip(keys, table["problem"], strict=True):
        if problem:
            # A semicolon parts one reason from the next.
            text = f"could not be read: {problem.rstrip('.').replace(';', ',')}"
            found[key].append(Finding("unreadable", _UNREADABLE_SEVERITY, text))
    has_cells = table["n_cells"].fillna(0).to_numpy(np.int64) > 0
    for check in _image_checks(rule):
        for channel in channels if check.any_channel else [nuclear_channel]:
            column = f"{check.measure}_{channel}"
            if column not in table:
                continue
            name = f"channel {channel}: " if channel != nuclear_channel else ""
            for row, severity in _passed(check, scores, column, rule):
                if check.code == "dim" and not has_cells[row]:
                    continue  # no cells, no signal: said once, as empty
                text = name + check.words(float(table[column].iloc[row]))
                found[keys[row]].append(
                    Finding(check.code, severity, text + _compared(check, scores, column, row))
                )
    for row, finding in _find_in_cells(scores, "n_cells", rule.few_cells_site, rule, empty_wells):
        found[keys[row]].append(finding)
    return {key: _one_per_code(_causes(findings)) for key, findings in found.items()}


def find_in_wells(
    scores: Scores, rule: FlagRule, *, empty_wells: Collection[str] = ()
) -> list[list[Finding]]:
    """Find the reasons to flag each well by its cells together, one list a row of `scores`."""
    found: list[list[Finding]] = [[] for _ in range(len(scores.table))]
    for row, finding in _find_in_cells(
        scores, "cells_per_site", rule.few_cells_well, rule, empty_wells
    ):
        found[row].append(finding)
    return [_one_per_code(findings) for findings in found]


def with_flags(table: pd.DataFrame, findings: Sequence[Sequence[Finding]]) -> pd.DataFrame:
    """Add the columns of a flag, one list of findings a row."""
    return table.assign(
        is_flagged=np.array([bool(found) for found in findings], dtype=bool),
        flag_code=[found[0].code if found else "" for found in findings],
        flag_codes=[",".join(dict.fromkeys(f.code for f in found)) for found in findings],
        flag_reason=["; ".join(f.text for f in found) for found in findings],
        severity=np.array(
            [max((f.severity for f in found), default=0.0) for found in findings], dtype=np.float64
        ),
    )


@dataclass(frozen=True)
class _Check:
    """One measure of the image against the median: `effect` is what it must pass beside z."""

    code: str
    measure: str
    words: Callable[[float], str]
    effect: Callable[[NDArray[np.float64], float], NDArray[np.float64]]
    sign: int = 1
    any_channel: bool = True
    unit: Callable[[float], str] = number


def _image_checks(rule: FlagRule) -> tuple[_Check, ...]:
    """Give the checks of the image; `effect` is scaled so that 1 is the threshold."""

    def above(least: float) -> Callable[[NDArray[np.float64], float], NDArray[np.float64]]:
        return lambda values, median: (values - median) / least

    def times(ratio: float) -> Callable[[NDArray[np.float64], float], NDArray[np.float64]]:
        return lambda values, median: (values / median - 1) / (ratio - 1)

    return (
        _Check(
            "blur",
            "edge_width_px",
            lambda value: f"out of focus, edges {number(value)} px wide",
            times(rule.blur_ratio),
        ),
        _Check(
            "saturation",
            "saturated_spot_nuclei",
            lambda value: f"saturated area as large as {number(value)} nuclei",
            above(rule.saturated_spot),
        ),
        _Check(
            "saturation",
            "saturated_share",
            lambda value: f"{percent(value)} of the image saturated",
            above(rule.saturated_share),
            unit=percent,
        ),
        _Check(
            "debris",
            "bright_structure_share",
            lambda value: f"bright structure wider than a nucleus on {percent(value)} of the image",
            above(rule.bright_share),
            any_channel=False,
            unit=percent,
        ),
        _Check(
            "debris",
            "bright_outside_share",
            lambda value: f"bright area outside nuclei {percent(value)} of the image",
            above(rule.bright_share),
            any_channel=False,
            unit=percent,
        ),
        _Check(
            "debris",
            "bright_extent_nuclei",
            lambda value: f"bright structure as long as {number(value)} nuclei",
            above(rule.bright_extent),
            any_channel=False,
        ),
        _Check(
            "haze",
            "background_rise",
            lambda value: f"background raised by {percent(value)} of the intensity range",
            above(rule.haze_rise),
            unit=percent,
        ),
        _Check(
            "haze",
            "background_span",
            lambda value: f"background uneven by {percent(value)} of the intensity range",
            above(rule.haze_rise),
            unit=percent,
        ),
        _Check("noise", "noise", lambda value: f"noise {number(value)}", times(rule.noise_ratio)),
        _Check(
            "dim",
            "signal_to_noise",
            lambda value: f"weak signal, {number(value)} times the noise",
            times(rule.dim_ratio),
            sign=-1,
            any_channel=False,
        ),
    )


def _passed(check: _Check, scores: Scores, column: str, rule: FlagRule) -> list[tuple[int, float]]:
    """Rows that pass a check, with their severity."""
    values = scores.table[column].to_numpy(np.float64)
    z = check.sign * scores.table[f"z_{column}"].to_numpy(np.float64)
    median = scores.reference.medians[column]
    with np.errstate(divide="ignore", invalid="ignore"):
        severity = np.minimum(z / rule.z_limit, check.effect(values, median))
    # A NaN (nothing to compare, nothing to measure) is no reason.
    rows = np.flatnonzero(severity >= 1)
    return [(int(row), min(MAX_SEVERITY, float(severity[row]))) for row in rows]


def _compared(check: _Check, scores: Scores, column: str, row: int) -> str:
    reference = scores.reference
    z = float(scores.table[f"z_{column}"].iloc[row])
    return f" ({reference.name} median {check.unit(reference.medians[column])}, z {z:.0f})"


def _find_in_cells(
    scores: Scores,
    count: str,
    few_ratio: float,
    rule: FlagRule,
    empty_wells: Collection[str],
) -> Iterator[tuple[int, Finding]]:
    """Yield row and finding of what the cells of a site or well show together."""
    wells = scores.table["well"]
    severities = (
        ("empty", _few_cells(scores, count, few_ratio, rule) * ~wells.isin(list(empty_wells))),
        (
            "share_abnormal",
            _shares(scores, "share_abnormal", rule.share_excess, rule.share_z, rule.share_always),
        ),
        ("dead", _shares(scores, "share_small", rule.small_excess, rule.share_z, np.inf)),
    )
    for code, severity in severities:
        for row in np.flatnonzero(severity >= 1):
            if code == "empty":
                text = _few_words(scores, count, int(row))
            else:
                text = _share_words(scores, code, int(row))
            yield int(row), Finding(code, float(severity[row]), text)


def _few_cells(scores: Scores, column: str, ratio: float, rule: FlagRule) -> NDArray[np.float64]:
    """Severity of too few cells (no flag below 1)."""
    n = scores.table[column].to_numpy(np.float64, na_value=np.nan)
    median = scores.reference.medians[column]
    if not median > 0:
        return np.zeros(len(n))
    limit = ratio * median
    # Cells that fall at random scatter by chance; a plate of few cells must not flag its tail.
    rare = stats.poisson.cdf(np.nan_to_num(n), median) < rule.few_cells_probability
    severity = np.minimum(MAX_SEVERITY, limit / np.maximum(n, limit / MAX_SEVERITY))
    return np.where((n < limit) & rare, severity, 0.0)


def _shares(
    scores: Scores, column: str, excess: float, z_limit: float, always: float
) -> NDArray[np.float64]:
    """Severity of a share of the cells that is too high (no flag below 1)."""
    low = scores.table[f"{column}_low"].to_numpy(np.float64)
    z = scores.table[f"z_{column}"].to_numpy(np.float64)
    median = scores.reference.medians[column]
    relative = np.nan_to_num(np.minimum(z / z_limit, (low - median) / excess))
    severity = np.maximum(relative, np.nan_to_num(low) / always)
    capped: NDArray[np.float64] = np.minimum(severity, MAX_SEVERITY)
    return capped


def _few_words(scores: Scores, column: str, row: int) -> str:
    n = float(scores.table[column].iloc[row])
    median = f"({scores.reference.name} median {number(scores.reference.medians[column])}"
    if column == "n_cells":
        found = "no nuclei found" if n == 0 else f"only {n:.0f} cell{'s'[: n != 1]}"
        return f"{found} {median})"
    each = "" if scores.table["n_sites"].iloc[row] == 1 else " a site"
    return f"no nuclei found {median})" if n == 0 else f"only {number(n)} cells{each} {median})"


def _share_words(scores: Scores, code: str, row: int) -> str:
    name = "share_abnormal" if code == "share_abnormal" else "share_small"
    share, low, high = (
        float(scores.table[f"{name}{end}"].iloc[row]) for end in ("", "_low", "_high")
    )
    what = "cells abnormal" if code == "share_abnormal" else "nuclei are fragments"
    return (
        f"{percent(share)} of {what} (95 % interval {interval(low, high)}, "
        f"{scores.reference.name} median {percent(scores.reference.medians[name])})"
    )


def _causes(findings: list[Finding]) -> list[Finding]:
    """Leave out fragments of nuclei that were found in noise: they are noise."""
    is_noisy = any(finding.code == "noise" for finding in findings)
    return [finding for finding in findings if not (is_noisy and finding.code == "dead")]


def _one_per_code(findings: Iterable[Finding]) -> list[Finding]:
    """Keep the gravest finding of each code, gravest first."""
    gravest: dict[str, Finding] = {}
    for finding in sorted(findings, key=lambda f: (-f.severity, _CODE_ORDER[f.code])):
        gravest.setdefault(finding.code, finding)
    return list(gravest.values())


def _from_sites(found: Sequence[tuple[int, Finding]], known: Collection[str]) -> list[Finding]:
    """Put the findings of the sites of a well into one for each code, naming the worst site."""
    by_code: dict[str, list[tuple[int, Finding]]] = defaultdict(list)
    for site, finding in found:
        if finding.code not in known:
            by_code[finding.code].append((site, finding))
    merged = []
    for code, items in by_code.items():
        worst, gravest = max(items, key=lambda item: (item[1].severity, -item[0]))
        others = [site for site, _ in items if site != worst]
        text = f"site {worst}: {gravest.text}"
        if others:
            text += f", likewise site{'s'[: len(others) > 1]} {listing(others)}"
        merged.append(Finding(code, gravest.severity, text))
    return sorted(merged, key=lambda f: (-f.severity, _CODE_ORDER[f.code]))
