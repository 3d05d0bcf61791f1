"""Flags for what the cells of a site or well show together, against what is usual on the plate."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, log10
from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.qc.chance import benjamini_hochberg, beta_binomial_tail
from napari_hcs_qc.qc.rule import MAX_SEVERITY, Finding
from napari_hcs_qc.qc.scores import ESTIMATED, MIN_REFERENCE
from napari_hcs_qc.qc.usual import usual_count, usual_share
from napari_hcs_qc.text import count_of, interval, number, percent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_hcs_qc.qc.rule import FlagRule
    from napari_hcs_qc.qc.scores import Scores

# Cells near one another are alike, so that a well of many is not surely above a fixed share
_ALIKE = 0.02


@dataclass(frozen=True, kw_only=True)
class _Share:
    """A share of the cells that is a flag when it is high."""

    code: str
    hits: str  # column of the numerator
    total: str  # column of the denominator
    what: str  # as a reason puts it
    excess: float  # least difference from the usual share
    always: float = np.inf  # share that is a flag on any plate


def find_in_cells(scores: Scores, rule: FlagRule) -> Iterator[tuple[int, Finding]]:
    """Yield row and finding of what the cells of a site or well show together."""
    yield from _few_cells(scores, rule)
    yield from _high_shares(
        scores,
        _Share(
            code="share_abnormal",
            hits="n_abnormal",
            total="n_scored",
            what="cells abnormal",
            excess=rule.share_excess,
            always=rule.share_always,
        ),
        rule,
    )
    yield from _high_shares(
        scores,
        _Share(
            code="dead",
            hits="n_small",
            total="n_sized",
            what="nuclei are fragments",
            excess=rule.small_excess,
        ),
        rule,
    )


def _few_cells(scores: Scores, rule: FlagRule) -> Iterator[tuple[int, Finding]]:
    table, reference = scores.table, scores.reference
    is_of_wells = "n_sites" in table
    column = "cells_per_site" if is_of_wells else "n_cells"
    median = reference.medians[column]
    rows = np.flatnonzero(reference.plate_rows)
    if not median > 0 or not len(rows):
        return
    counts = table["n_cells"].to_numpy(np.float64, na_value=0.0)[rows].astype(np.int64)
    n_sites = np.ones(len(rows), dtype=np.int64)
    if is_of_wells:
        n_sites = (table["n_sites"] - table["n_unreadable"]).to_numpy(np.int64)[rows]
    limit = median * (rule.few_cells_well if is_of_wells else rule.few_cells_site)
    per_site = counts / n_sites
    is_few = per_site < limit
    if not is_few.any():
        return
    chance = np.ones(len(rows))
    usual = usual_count(counts, n_sites, median, int(np.count_nonzero(reference.rows)))
    chance[is_few] = usual.chance(counts[is_few], n_sites[is_few])
    is_rare = benjamini_hochberg(chance) <= rule.false_flag_share
    for index in np.flatnonzero(is_few & is_rare).tolist():
        n = float(per_site[index])
        compared = _compared(
            f"{reference.name} median {number(median)}", reference.note, chance[index]
        )
        if n == 0:
            text = "no nuclei found"
        elif n_sites[index] == 1:
            text = f"only {count_of(int(n), 'cell')}"
        else:
            text = f"only {number(n)} cells per site"
        severity = min(MAX_SEVERITY, limit / max(n, limit / MAX_SEVERITY))
        yield int(rows[index]), Finding("empty", severity, f"{text} ({compared})")


def _high_shares(scores: Scores, share: _Share, rule: FlagRule) -> Iterator[tuple[int, Finding]]:
    table, reference = scores.table, scores.reference
    hits, totals = (table[name].to_numpy(np.int64) for name in (share.hits, share.total))
    rows = np.flatnonzero(totals > 0)
    if not len(rows):
        return
    k, n = hits[rows], totals[rows]
    values = k / n
    severity = np.zeros(len(rows))
    chance = np.ones(len(rows))
    name, note, usual_value = reference.name, reference.note, np.nan
    is_of_plate, is_compared = reference.plate_rows[rows], reference.rows[rows]
    if name == "control" and np.count_nonzero(is_compared) < MIN_REFERENCE:
        name, note, is_compared = "plate", "too few control wells with cells", is_of_plate
    if np.count_nonzero(is_compared) >= MIN_REFERENCE:
        of_plate = (k[is_of_plate], n[is_of_plate])
        of_controls = (k[is_compared], n[is_compared]) if name == "control" else None
        usual = usual_share(of_plate, of_controls)
        usual_value = usual.share
        excess = (values - usual.share) / share.excess
        is_high = excess >= 1
        chance[is_high] = usual.chance(k[is_high], n[is_high])
        severity = np.where(is_high, np.minimum(excess, _rarity(chance, rule)), 0.0)
    is_rare = severity >= 1
    is_always = values > share.always
    if is_always.any():
        at_most = np.ones(len(rows))
        at_most[is_always] = beta_binomial_tail(k[is_always], n[is_always], share.always, _ALIKE)
        is_sure = is_always & (_rarity(at_most, rule) >= 1)
        severity = np.where(is_sure, np.maximum(severity, values / share.always), severity)
    ends = np.full((2, len(rows)), np.nan)
    if share.code == "share_abnormal" and ESTIMATED[0] in table:  # of wells
        ends = table[list(ESTIMATED[1:])].to_numpy(np.float64)[rows].T
    for index in np.flatnonzero(severity >= 1).tolist():
        compared = f"{name} {percent(usual_value)}" if np.isfinite(usual_value) else ""
        if not is_rare[index]:
            compared = f"above {percent(share.always)}" + (compared and f", {compared}")
        low, high = ends[:, index].tolist()
        limits = f"true share {interval(low, high)}, " if np.isfinite(low) else ""
        text = (
            f"{percent(values[index])} of {n[index]:,} {share.what} ({limits}"
            f"{_compared(compared, note, chance[index])})"
        )
        yield int(rows[index]), Finding(share.code, min(MAX_SEVERITY, severity[index]), text)


def _rarity(chance: NDArray[np.float64], rule: FlagRule) -> NDArray[np.float64]:
    """How many times rarer than may be, in powers; 1 and more is no chance."""
    adjusted = np.maximum(benjamini_hochberg(chance), 1e-300)
    rarity: NDArray[np.float64] = np.log(adjusted) / np.log(rule.false_flag_share)
    return rarity


def _compared(usual: str, note: str, chance: float) -> str:
    """Say with what was compared, and how rare it is there: a power of ten, no more is known."""
    power = min(floor(-log10(max(chance, 1e-300))), 6)
    rare = f"chance less than 1 in {10**power:,}" if power >= 1 else ""
    return ", ".join(part for part in (usual, note, rare) if part)
