"""The report on a screen: one HTML file over all plates, failed and flagged ones first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from markupsafe import Markup

from napari_hcs_qc.files import atomic_path
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.qc.plate_level.plate_flags import effect_words
from napari_hcs_qc.qc.plate_level.plate_rule import PLATE_CODES, PlateRule
from napari_hcs_qc.qc.plate_level.position_effects import MEASURES
from napari_hcs_qc.qc.reports.screen_charts import (
    draw_drift,
    draw_effects,
    plate_thumbnail,
    ramp_legend,
)
from napari_hcs_qc.qc.reports.svg import PlateMap, draw_plate, nice_ceiling
from napari_hcs_qc.text import count_of, number, percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.qc.plate_level.plate_flags import PlateFigures, PlateFlag
    from napari_hcs_qc.qc.plate_level.position_effects import Drift, PositionEffect


@dataclass(frozen=True, eq=False)
class ScreenPlateView:
    """One judged plate."""

    figures: PlateFigures  # what it is compared by
    flags: Sequence[PlateFlag]  # why it is flagged; empty when it is not
    link: str  # address of its own report, from the page
    place: float  # in the order of acquisition: a rank, a number, or days
    when: str  # the same in words
    wells: NDArray[np.float64]  # (rows, columns): share of abnormal cells
    warnings: Sequence[str] = ()  # sentences of its own report


@dataclass(frozen=True)
class DriftView:
    """A figure of each plate in order: ``values`` are those of `ScreenReport.plates`."""

    title: str
    values: Sequence[float]
    is_share: bool
    found: Drift | None


@dataclass(frozen=True, eq=False)
class ScreenReport:
    """All that the report on a screen shows."""

    title: str  # name of the screen, and when, as text
    created: str  # name of the screen, and when, as text
    # Plates without results: name, why, and the address of their log
    failed: Sequence[tuple[str, str, str]]
    plates: Sequence[ScreenPlateView]  # the judged ones, in the order of acquisition
    order_words: str  # what the order goes by
    effects: Sequence[PositionEffect]  # of the places, over all plates
    # Measure to well to its value over all plates, see `napari_hcs_qc.screen.gather`
    maps: Mapping[str, Mapping[str, float]]
    map_shape: tuple[int, int]  # rows and columns of `maps`
    drifts: Sequence[DriftView]  # what may drift
    rule: PlateRule  # by which plates were flagged
    # Rows of the table at the end: what and value
    facts: Sequence[tuple[str, str]] = field(default_factory=tuple)


def write_screen_report(
    data: ScreenReport,
    path: Path,
    *,
    job: Job = NO_JOB,
) -> Path:
    """Write the report as one HTML file; its only addresses are those of the plates' reports."""
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.PackageLoader("napari_hcs_qc.qc.reports", "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, number=number, thousands=lambda n: f"{n:,}")
    shares = [one.wells[np.isfinite(one.wells)] for one in data.plates]
    together = np.concatenate(shares) if shares else np.empty(0)
    # One ruined well must not turn all the others into one colour.
    high = nice_ceiling(max(0.1, float(np.quantile(together, 0.98)) if len(together) else 0.1))

    def rows() -> Iterator[dict[str, Any]]:
        for done, one in enumerate(data.plates):
            job.check()
            job.report(done, len(data.plates), f"Drawing plate {one.figures.name}")
            yield {
                "plate": one,
                "figures": one.figures,
                "picture": plate_thumbnail(one.wells, high),
                "share": _share(one.figures),
                "codes": [(flag.code, PLATE_CODES[flag.code]) for flag in one.flags],
            }

    template = environment.get_template("screen.html.jinja")
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        stream = template.stream(
            title=data.title,
            created=data.created,
            headline=_headline(data),
            failed=data.failed,
            flagged=[one for one in data.plates if one.flags],
            codes=PLATE_CODES,
            plates=list(rows()),
            legend=Markup(ramp_legend("ramp-wall", ("0 %", f"{percent(high)} abnormal"))),
            maps=_maps(data),
            forests=_forests(data),
            drifts=_drifts(data),
            order_words=data.order_words,
            rule=data.rule.describe(),
            facts=data.facts,
        )
        stream.enable_buffering(64)
        file.writelines(stream)
    job.report(len(data.plates), len(data.plates), f"Wrote {path.name}")
    return path


def _share(figures: PlateFigures) -> str:
    return percent(figures.n_abnormal / figures.n_scored) if figures.n_scored else "–"


def _headline(data: ScreenReport) -> list[tuple[str, str, str]]:
    """Give the figures at the top: value, what it is, more about it."""
    n_flagged = sum(bool(one.flags) for one in data.plates)
    n_all = len(data.plates) + len(data.failed)
    n_wells = sum(one.figures.n_wells for one in data.plates)
    n_bad = sum(one.figures.n_flagged for one in data.plates)
    n_scored = sum(one.figures.n_scored for one in data.plates)
    n_abnormal = sum(one.figures.n_abnormal for one in data.plates)
    n_unread = sum(one.figures.n_unreadable for one in data.plates)
    figures = [
        (f"{len(data.plates)} of {n_all}", "plates judged", f"{len(data.failed)} failed"),
        (f"{n_flagged} of {len(data.plates)}", "plates flagged", ""),
        (f"{n_bad:,} of {n_wells:,}", "wells flagged", ""),
    ]
    if n_scored:
        more = f"{n_abnormal:,} of {n_scored:,}"
        figures.append((percent(n_abnormal / n_scored), "of cells abnormal", more))
    figures.append((f"{n_unread:,}", f"site{'s'[: n_unread != 1]} could not be read", ""))
    return figures


def _maps(data: ScreenReport) -> list[tuple[str, Markup]]:
    drawn = []
    for measure, title in (
        ("share_abnormal", "Abnormal cells, against the median of the plate (points)"),
        ("cells_per_site", "Cells a site, against the median of the plate (%)"),
    ):
        values = {well: 100 * value for well, value in data.maps.get(measure, {}).items()}
        known = [abs(value) for value in values.values() if np.isfinite(value)]
        if not known:
            continue
        limit = nice_ceiling(max(1.0, float(np.quantile(known, 0.98))))
        plate = PlateMap(
            title=title,
            shape=data.map_shape,
            values=values,
            low=-limit,
            high=limit,
            words=lambda value: f"{value:+.3g}",
        )
        # Safe: draw_plate escapes every text it is given.
        drawn.append((title, Markup(draw_plate(plate, f"screen-{measure}"))))
    return drawn


def _forests(data: ScreenReport) -> list[tuple[str, Markup, list[str]]]:
    found = []
    for measure, words in MEASURES.items():
        effects = [one for one in data.effects if one.measure == measure]
        if not effects:
            continue
        unit = "points" if measure == "share_abnormal" else "%"
        order = {"edge": 0, "row": 1, "column": 2}
        effects.sort(key=lambda one: (order[one.place.split()[0]], _natural(one.place)))
        drawing = Markup(draw_effects(effects, title=f"Effects of the place on the {words}"))
        sure = sorted(
            (one for one in effects if one.shift.is_sure), key=lambda one: -abs(one.shift.least)
        )
        sentences = [effect_words(one) for one in sure[:6]]
        found.append((f"{words[0].upper()}{words[1:]} ({unit})", drawing, sentences))
    return found


def _natural(place: str) -> tuple[int, str]:
    last = place.split()[-1]
    return (int(last), "") if last.isdigit() else (len(last), last)


def _drifts(data: ScreenReport) -> list[dict[str, Any]]:
    order = [one.place for one in data.plates]
    names = [one.figures.name for one in data.plates]
    is_flagged = [bool(one.flags) for one in data.plates]
    ends = [(one.place, one.when) for one in (*data.plates[:1], *data.plates[-1:])]
    found = []
    for drift in data.drifts:
        words = percent if drift.is_share else _short
        drawing = draw_drift(
            order,
            drift.values,
            names,
            title=f"{drift.title} by plate",
            x_words=ends if len(data.plates) > 1 else [],
            words=words,
            flagged=is_flagged,
            found=drift.found,
        )
        found.append(
            {"title": drift.title, "drawing": Markup(drawing), "words": _drift_words(drift)}
        )
    return found


def _short(value: float) -> str:
    return f"{value:.3g}"


def _drift_words(drift: DriftView) -> str:
    found = drift.found
    if found is None:
        return "Too few plates to tell a drift."
    scale, unit = (100, " points") if drift.is_share else (1, "")
    sure = "drifts" if found.slope.is_sure else "no sure drift"
    return (
        f"{sure}: {scale * found.change:+.3g}{unit} from the first to the last of "
        f"{count_of(found.n, 'plate')} (slope {scale * found.slope.value:+.2g}, 95 % interval "
        f"{scale * found.slope.low:+.2g} to {scale * found.slope.high:+.2g}); rank correlation "
        f"{found.rho.value:+.2f} ({found.rho.low:+.2f} to {found.rho.high:+.2f})"
    )
