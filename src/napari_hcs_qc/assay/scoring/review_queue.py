"""The wells that a person decides on, and the queue of those that are flagged or decided."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.text import listing
from napari_hcs_qc.text_columns import rows_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

    from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate

DECISIONS = ("keep", "exclude")
"""Verdicts that decide; ``look again`` decides nothing."""

# What a well is flagged for, as a sentence goes on after "flagged for".
_WORDS = {
    "unreadable": "unreadable sites",
    "empty": "few cells",
    "share_abnormal": "many abnormal cells",
    "dead": "fragments of nuclei",
    "dim": "weak signal",
}

_entries: WeakKeyDictionary[ScoredPlate, list[QueueEntry]] = WeakKeyDictionary()

_COLUMNS = (
    "well",
    "severity",
    "flag_codes",
    "flag_reason",
    "n_cells",
    "n_cut",
    "share_abnormal",
    "worst_site",
    "is_flagged_by_sites",
)


@dataclass(frozen=True, kw_only=True)
class SiteVerdict:
    """A person's word on one site of a well; see `QueueEntry` for the columns."""

    site: int
    verdict: str
    reviewer: str
    note: str | None
    at: pd.Timestamp
    change: str = ""


@dataclass(frozen=True, kw_only=True)
class QueueEntry:
    """One well, with what the machine and people say of it."""

    plate: str  # which
    well: str  # which
    severity: float  # how many times a threshold is passed; 0 when it is not flagged (any more)
    codes: tuple[str, ...]  # of the flag, gravest first; empty when it is not flagged
    reason: str  # the same in words and numbers
    n_cells: int  # cells found on its readable sites
    n_cut: int = 0  # those of them that count in no share, since the image border cuts them
    share_abnormal: float  # share of its judged cells that are abnormal; NaN without any
    worst_site: int  # the site to look at first
    verdict: str | None = None  # on the whole well: ``keep``, ``exclude``, ``look again`` or None
    reviewer: str | None = None  # who gave it
    note: str | None = None  # what they noted with it
    at: pd.Timestamp | None = None  # when
    change: str = ""  # in words, how the flag differs from what was seen at the verdict
    site_verdicts: tuple[SiteVerdict, ...] = ()  # words on single sites, by site
    flagged_sites: tuple[int, ...] = ()  # its sites that are flagged themselves
    # Whether only single sites give the reason, so that verdicts on these decide
    is_flagged_by_sites: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """Plate and well."""
        return (self.plate, self.well)

    @property
    def is_flagged(self) -> bool:
        """Whether the machine flags it now."""
        return bool(self.codes)

    @property
    def is_queued(self) -> bool:
        """Whether it is flagged or somebody has decided on it or one of its sites."""
        return self.is_flagged or self.verdict is not None or bool(self.site_verdicts)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to decide, by the rule of the export.

        It is kept or excluded; or only single sites flag it, and each of these is. A well that is
        no longer flagged is done unless the last word was to look again.
        """
        if self.verdict is not None:
            return self.verdict in DECISIONS
        if not self.is_flagged:
            return all(decision.verdict in DECISIONS for decision in self.site_verdicts)
        decided = {
            decision.site for decision in self.site_verdicts if decision.verdict in DECISIONS
        }
        return self.is_flagged_by_sites and decided.issuperset(self.flagged_sites)


def review_queue(scored: Iterable[ScoredPlate]) -> tuple[QueueEntry, ...]:
    """List the wells that are flagged or have a verdict, also one on a single site."""
    return tuple(entry for entry in well_entries(scored) if entry.is_queued)


def well_entries(scored: Iterable[ScoredPlate]) -> tuple[QueueEntry, ...]:
    """List all wells of plates, those first that a person should look at first.

    Those of a plate are kept with it: a job makes them, and the window's thread need not.
    """
    entries = []
    for plate in scored:
        if plate not in _entries:
            _entries[plate] = _of_plate(plate)
        entries += _entries[plate]
    return tuple(sorted(entries, key=lambda entry: -entry.severity))


def progress(entries: Sequence[QueueEntry]) -> tuple[int, int]:
    """Count how many wells are done, of how many."""
    return sum(entry.is_done for entry in entries), len(entries)


def next_open(
    entries: Sequence[QueueEntry], after: QueueEntry | tuple[str, str] | None = None
) -> QueueEntry | None:
    """Find the next well to be decided on, going round at the end."""
    key = after.key if isinstance(after, QueueEntry) else after
    keys = [entry.key for entry in entries]
    begin = keys.index(key) + 1 if key in keys else 0
    for entry in (*entries[begin:], *entries[:begin]):
        if not entry.is_done:
            return entry
    return None


def seen_now(
    scored: ScoredPlate, well: str, site: int | None = None
) -> dict[str, str | float | bool]:
    """Say what the machine says of a well or site, to be kept with a verdict on it."""
    table = scored.scores.wells if site is None else scored.scores.sites
    is_it = table["well"] == well
    if site is not None:
        is_it &= table["site"] == site
    rows = table[is_it]
    if not len(rows):
        what = well if site is None else f"{well} s{site}"
        raise HcsQcError(
            f"Plate {scored.state.plate.name} has no images of {what}; choose a well of the plate."
        )
    return {
        "model": scored.prediction.model,
        "is_flagged": bool(rows["is_flagged"].iloc[0]),
        "flag_codes": str(rows["flag_codes"].iloc[0]),
        "threshold": scored.threshold,
    }


def _of_plate(scored: ScoredPlate) -> list[QueueEntry]:
    wells, sites = scored.scores.wells, scored.scores.sites
    whole: dict[str, dict[str, Any]] = {}
    single: dict[str, list[dict[str, Any]]] = defaultdict(list)
    names = list(map(str, scored.verdicts.columns))
    for values in rows_of(scored.verdicts, names):
        word = dict(zip(names, values, strict=True))
        if word["site"] is None:
            whole[str(word["well"])] = word
        else:
            single[str(word["well"])].append(word)
    codes_of = {
        (str(well), int(site)): str(codes)
        for well, site, codes in zip(sites["well"], sites["site"], sites["flag_codes"], strict=True)
        if codes or str(well) in single
    }
    flagged_sites: dict[str, list[int]] = defaultdict(list)
    for (well, site), codes in codes_of.items():
        if codes:
            flagged_sites[well].append(site)
    entries = []
    # Of some 60 columns, as numbers and texts of Python.
    columns = {name: wells[name].tolist() for name in _COLUMNS}
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(columns, values, strict=True))
        well = str(row["well"])
        verdicts = whole.get(well, {})
        on_sites = tuple(
            SiteVerdict(
                site=int(site_verdict["site"]),
                verdict=str(site_verdict["verdict"]),
                reviewer=str(site_verdict["reviewer"]),
                note=site_verdict["note"],
                at=site_verdict["at"],
                change=_change(
                    site_verdict.get("seen"), codes_of.get((well, int(site_verdict["site"])), "")
                ),
            )
            for site_verdict in sorted(single.get(well, []), key=lambda site: int(site["site"]))
        )
        changes = [_change(verdicts.get("seen"), str(row["flag_codes"]))]
        changes += [f"site {site.site} {site.change}" for site in on_sites if site.change]
        entries.append(
            QueueEntry(
                plate=scored.state.plate.name,
                well=well,
                severity=float(row["severity"]),
                codes=_split(str(row["flag_codes"])),
                reason=str(row["flag_reason"]),
                n_cells=int(row["n_cells"]),
                n_cut=int(row["n_cut"]),
                share_abnormal=float(row["share_abnormal"]),
                worst_site=int(row["worst_site"]),
                verdict=verdicts.get("verdict"),
                reviewer=verdicts.get("reviewer"),
                note=verdicts.get("note"),
                at=verdicts.get("at"),
                change="; ".join(change for change in changes if change),
                site_verdicts=on_sites,
                flagged_sites=tuple(flagged_sites[well]),
                is_flagged_by_sites=bool(row["is_flagged_by_sites"]),
            )
        )
    return entries


def _change(seen: Mapping[str, Any] | None, codes: str) -> str:
    """Say how the flag differs from what was seen; empty when it does not or nobody knows."""
    if not seen or "flag_codes" not in seen:
        return ""
    before, now = _split(str(seen["flag_codes"])), _split(codes)
    if set(before) == set(now):
        return ""
    was = f"was flagged for {_as_text(before)}" if before else "was not flagged"
    if not now:
        return f"{was}, is no longer flagged"
    return f"{was}, is flagged for {_as_text(now)} now"


def _split(codes: str) -> tuple[str, ...]:
    return tuple(code for code in codes.split(",") if code)


def _as_text(codes: tuple[str, ...]) -> str:
    return listing([_WORDS.get(code, code) for code in codes])
