"""The report on a screen: one HTML file over all plates, failed and flagged ones first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.qc.plate_level.plate_flags import effect_text
from napari_hcs_qc.qc.plate_level.plate_rule import PLATE_CODES, PlateRule
from napari_hcs_qc.qc.plate_level.position_effects import MEASURES
from napari_hcs_qc.qc.reports.figures import nice_ceiling
from napari_hcs_qc.qc.reports.pages import write_page
from napari_hcs_qc.qc.reports.plate_charts import PlateMap, plate_map
from napari_hcs_qc.qc.reports.screen_charts import drift_chart, effects_chart, plate_thumbnail
from napari_hcs_qc.text import count_of, percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from napari_hcs_qc.qc.plate_level.plate_flags import PlateFigures, PlateFlag
    from napari_hcs_qc.qc.plate_level.position_effects import Drift, PositionEffect


@dataclass(frozen=True, eq=False, kw_only=True)
class ScreenPlateView:
    """One analysed plate."""

    figures: PlateFigures  # what it is compared by
    flags: Sequence[PlateFlag]  # why it is flagged; empty when it is not
    link: str  # address of its own report, from the page
    place: float  # in the order of acquisition: a rank, a number, or days
    when: str  # the same as text
    wells: NDArray[np.float64]  # (rows, columns): share of abnormal cells
    warnings: Sequence[str] = ()  # sentences of its own report


@dataclass(frozen=True)
class DriftView:
    """A figure of each plate in order: ``values`` are those of `ScreenReport.plates`."""

    title: str
    values: Sequence[float]
    is_share: bool
    drift: Drift | None


@dataclass(frozen=True, kw_only=True, eq=False)
class ScreenReport:
    """All that the report on a screen shows."""

    title: str  # name of the screen
    created: str  # when, as text
    # Plates without results: name, reason, and the address of their log
    failed: Sequence[tuple[str, str, str]]
    plates: Sequence[ScreenPlateView]  # the analysed ones, in the order of acquisition
    order_text: str  # what the order goes by
    effects: Sequence[PositionEffect]  # over all plates
    # Measure to well to its value over all plates, see `napari_hcs_qc.screen.gather`
    maps: Mapping[str, Mapping[str, float]]
    map_shape: tuple[int, int]  # rows and columns of `maps`
    drifts: Sequence[DriftView]  # what may drift
    rule: PlateRule  # by which plates were flagged
    # Rows of the table at the end: name and value
    facts: Sequence[tuple[str, str]] = field(default_factory=tuple)


def write_screen_report(data: ScreenReport, path: Path, *, job: Job = NO_JOB) -> Path:
    """Write the report as one HTML file; its only addresses are those of the plates' reports."""
    total = len(data.plates)
    shares = np.concatenate([[], *(plate.wells.ravel() for plate in data.plates)])
    shares = shares[np.isfinite(shares)]
    # One ruined well must not turn all the others into one colour.
    high = nice_ceiling(max(0.1, float(np.quantile(shares, 0.98)) if len(shares) else 0.1))
    rows = []
    for done, plate in enumerate(data.plates):
        job.check()
        job.report(done, total, f"Drawing plate {plate.figures.name}")
        rows.append(
            {
                "plate": plate,
                "figures": plate.figures,
                "picture": plate_thumbnail(plate.wells, high),
                "share": _share(plate.figures),
                "flags": [PLATE_CODES[flag.code] for flag in plate.flags],
            }
        )
    values = vars(data) | {
        "headline": _headline(data),
        "flagged": [plate for plate in data.plates if plate.flags],
        "codes": PLATE_CODES,
        "plates": rows,
        "scale": plate_thumbnail(np.linspace(0, high, 150)[np.newaxis], high),
        "scale_end": high,
        "maps": _maps(data),
        "effects": _effects(data),
        "drifts": _drifts(data),
        "rule": data.rule.describe(),
    }
    write_page(path, "screen.html.jinja", values)
    job.report(total, total, f"Writing {path.name}")
    return path


def _share(figures: PlateFigures) -> str:
    return percent(figures.n_abnormal / figures.n_scored) if figures.n_scored else "–"


def _headline(data: ScreenReport) -> list[tuple[str, str, str]]:
    """Give the figures at the top: value, what it is, more about it."""
    n_plates = len(data.plates)

    def total(name: str) -> int:
        return sum(int(getattr(plate.figures, name)) for plate in data.plates)

    n_scored, n_abnormal = total("n_scored"), total("n_abnormal")
    n_unreadable = total("n_unreadable")
    figures = [
        (
            f"{n_plates} of {n_plates + len(data.failed)}",
            "plates analysed",
            f"{len(data.failed)} failed",
        ),
        (f"{sum(bool(plate.flags) for plate in data.plates)} of {n_plates}", "plates flagged", ""),
        (f"{total('n_flagged'):,} of {total('n_wells'):,}", "wells flagged", ""),
    ]
    if n_scored:
        more = f"{n_abnormal:,} of {n_scored:,}"
        figures.append((percent(n_abnormal / n_scored), "of cells abnormal", more))
    unreadable = f"{'site' if n_unreadable == 1 else 'sites'} could not be read"
    figures.append((f"{n_unreadable:,}", unreadable, ""))
    return figures


def _maps(data: ScreenReport) -> list[tuple[str, Figure]]:
    maps = []
    for measure, title in (
        ("share_abnormal", "Abnormal cells, relative to the median of the plate (points)"),
        ("cells_per_site", "Cells per site, relative to the median of the plate (%)"),
    ):
        values = {well: 100 * value for well, value in data.maps.get(measure, {}).items()}
        sizes = [abs(value) for value in values.values() if np.isfinite(value)]
        if sizes:
            limit = nice_ceiling(max(1.0, float(np.quantile(sizes, 0.98))))
            plate = PlateMap(
                title=title,
                shape=data.map_shape,
                values=values,
                low=-limit,
                high=limit,
                to_text=lambda value: f"{value:+.3g}" if value else "0",
            )
            maps.append((title, plate_map(plate)))
    return maps


def _effects(data: ScreenReport) -> list[tuple[str, Figure, list[str]]]:
    """Give a chart for each measure: title, figure, and the surest effects as sentences."""
    charts = []
    for measure, name in MEASURES.items():
        effects = [effect for effect in data.effects if effect.measure == measure]
        if effects:
            unit = "points" if measure == "share_abnormal" else "%"
            effects.sort(key=lambda effect: _position_order(effect.place))
            figure = effects_chart(effects, title=f"Position effects on the {name}", unit=unit)
            sure = [effect for effect in effects if effect.shift.is_sure]
            sure.sort(key=lambda effect: -abs(effect.shift.least))
            title = f"{name[0].upper()}{name[1:]} ({unit})"
            charts.append((title, figure, [effect_text(effect) for effect in sure[:6]]))
    return charts


def _position_order(place: str) -> tuple[int, int, str]:
    kind, _, name = place.partition(" ")
    is_number = name.isdigit()
    return (
        ("edge", "row", "column").index(kind),
        int(name) if is_number else len(name),
        "" if is_number else name,
    )


def _drifts(data: ScreenReport) -> list[tuple[str, Figure, str]]:
    """Give a chart for each figure that may drift: title, figure, and what it shows."""
    ends = [(plate.place, plate.when) for plate in (*data.plates[:1], *data.plates[1:][-1:])]
    charts = []
    for view in data.drifts:
        figure = drift_chart(
            [plate.place for plate in data.plates],
            view.values,
            [plate.figures.name for plate in data.plates],
            title=f"{view.title} by plate",
            ends=ends,
            is_share=view.is_share,
            flagged=[bool(plate.flags) for plate in data.plates],
            drift=view.drift,
        )
        charts.append((view.title, figure, _drift_text(view)))
    return charts


def _drift_text(view: DriftView) -> str:
    drift = view.drift
    if drift is None:
        return "Too few plates to test for a drift."
    scale, unit = (100, " points") if view.is_share else (1, "")
    trend = "Drifts" if drift.slope.is_sure else "No significant drift"
    return (
        f"{trend}: {scale * drift.change:+.3g}{unit} from the first to the last of "
        f"{count_of(drift.n, 'plate')} (slope {scale * drift.slope.value:+.2g}, 95 % interval "
        f"{scale * drift.slope.low:+.2g} to {scale * drift.slope.high:+.2g}); rank correlation "
        f"{drift.rho.value:+.2f} ({drift.rho.low:+.2f} to {drift.rho.high:+.2f})"
    )
