"""Flags: the machine's mark on sites and wells, with the reason in words and numbers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.qc.cell_flags import find_in_cells
from napari_hcs_qc.qc.rule import (
    FLAG_CODES,
    MAX_SEVERITY,
    SLIGHTLY_WIDER,
    Check,
    Finding,
    FlagRule,
    gravest_first,
    one_per_code,
    with_unit,
)
from napari_hcs_qc.qc.scores import Scores, score_sites, score_wells
from napari_hcs_qc.text import listing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    import pandas as pd

    from napari_hcs_qc.cells.by_site import CellsBySite
    from napari_hcs_qc.qc.intervals import Rates

_UNREADABLE_SEVERITY = 5.0


@dataclass(frozen=True, eq=False, kw_only=True)
class PlateScores:
    """Everything known of the sites and wells of one plate."""

    sites: pd.DataFrame
    wells: pd.DataFrame
    reference: str  # what was compared with: ``"plate"`` or ``"control"``
    note: str  # why it was not the controls that the plate map lists, or ""
    medians: Mapping[str, float]


def score_plate(
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
    keep_kinds: Collection[str] = (),
    include_cut: bool = False,
    by_site: CellsBySite | None = None,
    rates: Rates | None = None,
) -> PlateScores:
    """Score and flag all sites and wells of one plate."""
    rule = rule or FlagRule()
    scored = score_sites(
        sites,
        cells,
        predictions,
        quality,
        unreadable=unreadable,
        control_wells=control_wells,
        empty_wells=empty_wells,
        keep_kinds=keep_kinds,
        include_cut=include_cut,
        by_site=by_site,
    )
    channels = list(dict.fromkeys(quality["channel"]))
    if nuclear_channel is None and channels:
        nuclear_channel = channels[0]
    site_findings = find_in_sites(scored, rule, channels, nuclear_channel)
    flagged = with_flags(scored.table, site_findings)
    wells = score_wells(flagged, control_wells=control_wells, empty_wells=empty_wells, rates=rates)
    own = find_in_wells(wells, rule)
    of_sites: dict[str, list[tuple[int, Finding]]] = defaultdict(list)
    for row in sorted(site_findings):
        well, site = sites[row]
        of_sites[well] += [(site, finding) for finding in site_findings[row]]
    findings = {}
    is_own = np.zeros(len(wells.table), dtype=bool)
    names, n_sites = wells.table["well"].tolist(), wells.table["n_sites"].tolist()
    for row, well in enumerate(names):
        if row not in own and well not in of_sites:
            continue
        known = {finding.code for _, finding in of_sites[well]}
        # The only site of a well says the same of its cells, and names itself; fragments of
        # nuclei that were found in noise are noise.
        is_said = known - {"share_abnormal"} if n_sites[row] == 1 else set()
        if "noise" in known:
            is_said = is_said | {"dead"}
        mine = [finding for finding in own.get(row, ()) if finding.code not in is_said]
        is_own[row] = bool(mine)
        findings[row] = mine + _from_sites(of_sites[well], {finding.code for finding in mine})
    table = with_flags(wells.table, findings)
    table["is_flagged_by_sites"] = table["is_flagged"] & ~is_own
    medians = dict(scored.reference.medians) | {
        f"well_{name}": value for name, value in wells.reference.medians.items()
    }
    reference = scored.reference
    compared = ", ".join(part for part in (reference.name, reference.note) if part)
    flagged["compared_with"] = table["compared_with"] = compared
    return PlateScores(
        sites=flagged,
        wells=table,
        reference=reference.name,
        note=reference.note,
        medians=medians,
    )


def site_keys(table: pd.DataFrame) -> list[SiteKey]:
    """Sites of the rows of a table with the columns ``well`` and ``site``."""
    return [SiteKey(str(w), int(s)) for w, s in zip(table["well"], table["site"], strict=True)]


def find_in_sites(
    scores: Scores,
    rule: FlagRule,
    channels: Iterable[str],
    nuclear_channel: str | None,
) -> dict[int, list[Finding]]:
    """Find the reasons to flag each site."""
    table = scores.table
    of_rows: dict[int, list[Finding]] = defaultdict(list)
    for row, problem in enumerate(table["problem"].tolist()):
        if problem:
            # A semicolon parts one reason from the next.
            text = f"could not be read: {problem.rstrip('.').replace(';', ',')}"
            of_rows[row].append(Finding("unreadable", _UNREADABLE_SEVERITY, text))
    has_cells = table["n_cells"].fillna(0).to_numpy(np.int64) > 0
    for check in _image_checks(rule):
        for channel in channels:
            if check.code in _NUCLEAR_ONLY and channel != nuclear_channel:
                continue
            name = f"channel {channel}: " if channel != nuclear_channel else ""
            for row, finding in _passed(check, scores, channel, name, rule):
                if check.code == "dim" and not has_cells[row]:
                    continue  # no cells, no signal: said once, as empty
                of_rows[row].append(finding)
    for row, finding in find_in_cells(scores, rule):
        of_rows[row].append(finding)
    return {row: one_per_code(_causes(findings), FLAG_CODES) for row, findings in of_rows.items()}


def find_in_wells(scores: Scores, rule: FlagRule) -> dict[int, list[Finding]]:
    """Find the reasons to flag each well by its cells together, see `find_in_sites`."""
    of_rows: dict[int, list[Finding]] = defaultdict(list)
    for row, finding in find_in_cells(scores, rule):
        of_rows[row].append(finding)
    return {row: one_per_code(findings, FLAG_CODES) for row, findings in of_rows.items()}


def with_flags(table: pd.DataFrame, findings: Mapping[int, Sequence[Finding]]) -> pd.DataFrame:
    """Add the columns of a flag; `findings` are those of the rows that have any, gravest first."""
    n = len(table)
    severity = np.zeros(n)
    code, codes, reason = [""] * n, [""] * n, [""] * n
    for row, row_findings in findings.items():
        if not row_findings:
            continue
        code[row] = row_findings[0].code
        codes[row] = ",".join(dict.fromkeys(finding.code for finding in row_findings))
        reason[row] = "; ".join(finding.text for finding in row_findings)
        severity[row] = max(finding.severity for finding in row_findings)
    return table.assign(
        is_flagged=np.array(code) != "",
        flag_code=code,
        flag_codes=codes,
        flag_reason=reason,
        severity=severity,
    )


def _image_checks(rule: FlagRule) -> tuple[Check, ...]:
    return (
        Check("blur", "edge_width_px", "times", rule.blur_ratio),
        Check("blur", "octave_power_slope", "drop", rule.blur_slope),
        Check("saturation", "saturated_spot_nuclei", "above", rule.saturated_spot),
        Check("saturation", "saturated_share", "above", rule.saturated_share),
        Check("debris", "bright_structure_share", "above", rule.bright_share),
        Check("debris", "bright_outside_share", "above", rule.bright_share),
        Check("debris", "bright_extent_nuclei", "above", rule.bright_extent),
        Check("haze", "background_rise", "above", rule.haze_rise),
        Check("haze", "background_span", "above", rule.haze_rise),
        Check("noise", "noise", "times", rule.noise_ratio),
        Check("dim", "signal_to_noise", "below", rule.dim_ratio),
    )


_NUCLEAR_ONLY = frozenset({"debris", "dim"})
_REASONS = {
    "edge_width_px": "out of focus, edges {} px wide",
    "octave_power_slope": "slightly out of focus, slope of the power spectrum {}",
    "saturated_spot_nuclei": "saturated area as large as {} nuclei",
    "saturated_share": "{} of the image saturated",
    "bright_structure_share": "bright structure wider than a nucleus on {} of the image",
    "bright_outside_share": "bright area outside nuclei {} of the image",
    "bright_extent_nuclei": "bright structure as long as {} nuclei",
    "background_rise": "background raised by {} of the intensity range",
    "background_span": "background uneven by {} of the intensity range",
    "noise": "noise {}",
    "signal_to_noise": "weak signal, {} times the noise",
}


def _passed(
    check: Check, scores: Scores, channel: str, name: str, rule: FlagRule
) -> Iterator[tuple[int, Finding]]:
    """Yield the rows that pass a check, with what was found; `name` begins the reason."""
    column, edge_column = f"{check.measure}_{channel}", f"edge_width_px_{channel}"
    is_slope = check.measure == "octave_power_slope"
    if column not in scores.table or (is_slope and edge_column not in scores.table):
        return
    values = scores.table[column].to_numpy(np.float64)
    z = scores.table[f"z_{column}"].to_numpy(np.float64)
    median = scores.reference.medians[column]
    severity = check.severity(values, median, z, rule.z_limit)
    if is_slope:
        edges = scores.table[edge_column].to_numpy(np.float64)
        wider = edges / scores.reference.medians[edge_column]
        severity = np.minimum(severity, (wider - 1) / (SLIGHTLY_WIDER - 1))
    reference = scores.reference
    compared = f"{reference.name} median {with_unit(check.measure, median)}"
    if reference.note:
        compared += f", {reference.note}"
    # A NaN (nothing to compare, nothing to measure) is no reason.
    for row in np.flatnonzero(severity >= 1).tolist():
        reason = _REASONS[check.measure].format(with_unit(check.measure, float(values[row])))
        text = f"{name}{reason} ({compared}, z {z[row]:.0f})"
        yield row, Finding(check.code, min(MAX_SEVERITY, float(severity[row])), text)


def _causes(findings: list[Finding]) -> list[Finding]:
    """Leave out fragments of nuclei that were found in noise: they are noise."""
    is_noisy = any(finding.code == "noise" for finding in findings)
    return [finding for finding in findings if not (is_noisy and finding.code == "dead")]


def _from_sites(findings: Sequence[tuple[int, Finding]], known: Collection[str]) -> list[Finding]:
    """Put the findings of the sites of a well into one for each code, naming the worst site."""
    by_code: dict[str, list[tuple[int, Finding]]] = defaultdict(list)
    for site, finding in findings:
        if finding.code not in known:
            by_code[finding.code].append((site, finding))
    merged = []
    for code, items in by_code.items():
        worst, gravest = max(items, key=lambda item: (item[1].severity, -item[0]))
        others = [site for site, _ in items if site != worst]
        text = f"site {worst}: {gravest.text}"
        if others:
            text += f", also {'sites' if len(others) > 1 else 'site'} {listing(others)}"
        merged.append(Finding(code, gravest.severity, text))
    return gravest_first(merged, FLAG_CODES)
