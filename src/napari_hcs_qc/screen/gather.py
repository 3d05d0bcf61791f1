"""One report over all plates of a screen, from the small tables that each plate's job has left."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from napari_hcs_qc.assay.models.versions import versions
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import atomic_path
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.old_names import RENAMED
from napari_hcs_qc.qc.plate_level.plate_flags import PlateFigures, PlateFlag, flag_plates
from napari_hcs_qc.qc.plate_level.position_effects import (
    MEASURES,
    PositionEffect,
    centred,
    drift,
    effect_rows,
    position_effects,
    screen_effects,
)
from napari_hcs_qc.qc.reports.screen_report import (
    DriftView,
    ScreenPlateView,
    ScreenReport,
    write_screen_report,
)
from napari_hcs_qc.screen.documents import DoneDocument, Failure, PlateOutcome, ScreenProvenance
from napari_hcs_qc.screen.screen_spec import FROM_FILES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from napari_hcs_qc.screen.screen_plan import PlannedPlate, ScreenPlan

_READ = ("well", "row", "column", "role", "n_sites", "n_cells", "n_scored", "n_abnormal",
         "share_abnormal", "cells_per_site", "is_flagged", "flag_codes", "flag_reason",
         "verdict")  # fmt: skip
_DRIFT_QUALITY = {"edge_width_px": "Width of edges (px)", "noise": "Noise"}


@dataclass(frozen=True, eq=False)
class Gathered:
    """What was found over all plates."""

    failed: list[tuple[str, str]]  # name and reason of each plate without results
    # Name of each judged plate, in the order of acquisition, to its flags
    flags: dict[str, list[PlateFlag]]
    figures: list[PlateFigures]  # what they are compared by
    files: list[Path] = field(default_factory=list)

    @property
    def report(self) -> Path:
        """The page."""
        return next(path for path in self.files if path.name == "report.html")


@dataclass(frozen=True, eq=False, kw_only=True)
class _ScoredPlate:
    """One plate as its job has left it."""

    planned: PlannedPlate
    done: DoneDocument
    figures: PlateFigures
    grid: Any
    centred: dict[str, dict[str, float]]


def gather(plan: ScreenPlan, *, job: Job = NO_JOB) -> Gathered:
    """Read what the plates' jobs have left, flag plates, and write tables and report.

    One plate's wells are in memory at a time, and some figures of each of the others.
    """
    failed: list[tuple[str, str, str]] = []
    scored: list[_ScoredPlate] = []
    total = len(plan.plates)
    for done, (planned, standing) in enumerate(plan.as_of_now()):
        job.check()
        job.report(done, total, f"Reading plate {planned.plate.name}")
        why = standing.why
        if standing.state == "done":
            try:
                scored.append(_read(planned))
                continue
            except (HcsQcError, KeyError, ValueError, OSError, pa.ArrowException) as bad:
                why = f"its results are damaged ({bad}); remove {planned.folder.path} and run again"
        log = f"plates/{quote(planned.plate.key)}/log.txt"
        failed.append((planned.plate.name, why, log if planned.folder.log_path.is_file() else ""))
    places, order_text = _places(plan, scored)
    ranked = sorted(range(len(scored)), key=lambda index: places[index][0])
    scored, places = [scored[index] for index in ranked], [places[index] for index in ranked]
    figures = [plate.figures for plate in scored]
    flags = flag_plates(figures, plan.spec.rule)
    effects = screen_effects([summary.effects for summary in figures])
    drifts = _drifts(figures, [place for place, _ in places])
    shape = _usual_shape(scored)
    data = ScreenReport(
        title=plan.spec.name,
        created=dt.datetime.now(dt.UTC).astimezone().isoformat(sep=" ", timespec="minutes"),
        failed=failed,
        plates=[
            ScreenPlateView(
                figures=plate.figures,
                flags=flags[plate.figures.name],
                link=f"plates/{quote(plate.planned.plate.key)}/results/report.html",
                place=place,
                when=when,
                wells=plate.grid,
                warnings=plate.done.figures.warnings,
            )
            for plate, (place, when) in zip(scored, places, strict=True)
        ],
        order_text=order_text,
        effects=effects,
        maps=_maps(scored, shape),
        map_shape=shape,
        drifts=drifts,
        rule=plan.spec.rule,
        facts=_facts(plan, scored),
    )
    files = [
        *_write(plan.out, "plates", _plates_table(scored, places, flags, failed)),
        *_write_wells(plan.out, scored, job),
        *_write(plan.out, "position_effects", _effects_table(figures, effects)),
        *_write(plan.out, "drift", _drift_table(drifts)),
    ]
    files.append(write_screen_report(data, plan.out / "report.html", job=job))
    _provenance(plan, scored, failed).save(plan.out / "provenance.json")
    files.append(plan.out / "provenance.json")
    return Gathered([(name, why) for name, why, _ in failed], flags, figures, files)


def _wells_of(planned: PlannedPlate, columns: Iterable[str]) -> pa.Table:
    table = pq.read_table(planned.folder.wells_path)
    names = [RENAMED.get(name, name) for name in table.column_names]
    return table.rename_columns(names).select(list(columns))


def _read(planned: PlannedPlate) -> _ScoredPlate:
    done = DoneDocument.load(planned.folder.done_path)
    summary = done.figures
    columns = ["well", "row", "column", "role", *MEASURES]
    wells = _wells_of(planned, columns).to_pandas()
    samples = wells[wells["role"] == "sample"]
    rows, cols = summary.shape

    def number(value: float | None) -> float:
        return float("nan") if value is None else value

    figures = PlateFigures(
        name=planned.plate.name,
        **{
            name: getattr(summary, name)
            for name in ("n_wells", "n_flagged", "n_sites", "n_unreadable", "n_cells", "n_scored",
                         "n_abnormal")
        },
        share_abnormal=number(summary.share_abnormal),
        cells_per_site=number(summary.cells_per_site),
        quality=summary.quality,
        novelty=summary.novelty,
        effects=position_effects(samples, (rows, cols)),
    )  # fmt: skip
    shares = wells["share_abnormal"].to_numpy(np.float64)
    shifted = {
        measure: dict(
            zip(
                samples["well"],
                centred(samples[measure].to_numpy(np.float64), measure).tolist(),
                strict=True,
            )
        )
        for measure in MEASURES
    }
    grid = np.full((rows, cols), np.inf)  # infinite where there is no well
    grid[wells["row"], wells["column"]] = shares
    return _ScoredPlate(planned=planned, done=done, figures=figures, grid=grid, centred=shifted)


def _places(
    plan: ScreenPlan, scored: Sequence[_ScoredPlate]
) -> tuple[list[tuple[float, str]], str]:
    """Give each plate's place in the order of acquisition, and the same in words."""
    rank = {planned.plate.name: index for index, planned in enumerate(plan.plates, start=1)}
    by_list = [
        (float(rank[plate.figures.name]), f"no. {rank[plate.figures.name]}") for plate in scored
    ]
    by = plan.spec.ordered_by
    if by == "order":
        numbers = [plate.planned.plate.order or 0.0 for plate in scored]
        return [(value, f"{value:g}") for value in numbers], "in the order given"
    if by == "acquired":
        times = [_time_of(plate) for plate in scored]
        known = [time for time in times if time is not None]
        if known and len(known) == len(times):
            first = min(known)
            return [
                ((time - first).total_seconds() / 86400, f"{time.astimezone():%Y-%m-%d %H:%M}")
                for time in known
            ], "in the order of acquisition (slope per day)"
    return by_list, "in the order of the list (slope per plate)"


def _time_of(plate: _ScoredPlate) -> dt.datetime | None:
    acquired = plate.planned.plate.acquired
    if isinstance(acquired, dt.datetime):
        return acquired.astimezone()
    first = plate.done.figures.first_image if acquired == FROM_FILES else None
    return None if first is None else dt.datetime.fromisoformat(first)


def _usual_shape(scored: Sequence[_ScoredPlate]) -> tuple[int, int]:
    shapes = [plate.grid.shape for plate in scored]
    return max(set(shapes), key=shapes.count) if shapes else (8, 12)


def _maps(scored: Sequence[_ScoredPlate], shape: tuple[int, int]) -> dict[str, dict[str, float]]:
    """Median over the plates of what each well differs from its plate's median."""
    maps: dict[str, dict[str, float]] = {}
    for measure in MEASURES:
        values: dict[str, list[float]] = {}
        for plate in scored:
            if plate.grid.shape == shape:
                for well, value in plate.centred[measure].items():
                    values.setdefault(str(well), []).append(value)
        known = {
            well: [value for value in known_values if np.isfinite(value)]
            for well, known_values in values.items()
        }
        maps[measure] = {
            well: float(np.median(known_values)) if known_values else float("nan")
            for well, known_values in known.items()
        }
    return maps


def _drifts(figures: Sequence[PlateFigures], order: Sequence[float]) -> list[DriftView]:
    lines: list[tuple[str, list[float], bool]] = [
        (
            "Share of abnormal cells, median well",
            [summary.share_abnormal for summary in figures],
            True,
        ),
        ("Share of flagged wells", [summary.share_flagged for summary in figures], True),
        ("Cells per site, median well", [summary.cells_per_site for summary in figures], False),
    ]
    for measure, title in _DRIFT_QUALITY.items():
        channels = sorted(
            {name for summary in figures for name in summary.quality.get(measure, {})}
        )
        for channel in channels:
            values = [
                float(summary.quality.get(measure, {}).get(channel, float("nan")))
                for summary in figures
            ]
            lines.append((f"{title}, {channel}", values, False))
    return [
        DriftView(title, values, is_share, drift(values, order))
        for title, values, is_share in lines
    ]


def _facts(plan: ScreenPlan, scored: Sequence[_ScoredPlate]) -> list[tuple[str, str]]:
    source = "" if plan.spec.source is None else str(plan.spec.source)
    duration = sum(plate.done.duration_s for plate in scored)
    return [
        ("Screen", source),
        ("Folder", str(plan.out.resolve())),
        ("Model", f"{plan.model.model} of {plan.model.assay}"),
        ("Model checksum", plan.model.mark),
        ("Job time", f"{duration / 3600:.2f} h in total"),
        *((name, text) for name, text in versions().items()),
    ]


# ---- tables ------------------------------------------------------------------------------


def _plates_table(
    scored: Sequence[_ScoredPlate],
    places: Sequence[tuple[float, str]],
    flags: dict[str, list[PlateFlag]],
    failed: Sequence[tuple[str, str, str]],
) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for plate, (place, when) in zip(scored, places, strict=True):
        plate_flags, figures = flags[plate.figures.name], plate.figures
        rows.append(
            {
                "Metadata_Plate": plate.done.figures.name,
                "plate": figures.name,
                "state": "done",
                "acquired": when,
                "order": place,
                **{
                    name: getattr(figures, name)
                    for name in ("n_wells", "n_flagged", "n_sites", "n_unreadable", "n_cells",
                                 "n_scored", "n_abnormal", "share_flagged", "share_abnormal",
                                 "cells_per_site")
                },
                **{
                    f"{measure}_{channel}": value
                    for measure, by_channel in figures.quality.items()
                    for channel, value in by_channel.items()
                },
                "shift": plate.done.figures.shift,
                "is_flagged": bool(plate_flags),
                "flag_codes": ",".join(flag.code for flag in plate_flags),
                "flag_reason": "; ".join(flag.text for flag in plate_flags),
                "problem": "",
                "folder": str(plate.planned.folder.path.resolve()),
            }
        )  # fmt: skip
    rows += [{"plate": name, "state": "failed", "problem": why} for name, why, _ in failed]
    table = pd.DataFrame(rows)
    for column in map(str, table.columns):
        if column.startswith("n_"):
            table[column] = table[column].astype("Int64")
    if "is_flagged" in table:
        table["is_flagged"] = table["is_flagged"].astype("boolean")
    return table


def _effects_table(
    figures: Sequence[PlateFigures], effects: Sequence[PositionEffect]
) -> pd.DataFrame:
    rows = effect_rows(
        {"": list(effects), **{summary.name: summary.effects for summary in figures}}
    )
    table = pd.DataFrame(
        rows, columns=["plate", "measure", "place", "shift", "low", "high", "n", "n_others"]
    )
    table.insert(0, "over", np.where(table["plate"] == "", "screen", "plate"))
    return table


def _drift_table(drifts: Sequence[DriftView]) -> pd.DataFrame:
    names = ["figure", "n", "slope", "slope_low", "slope_high", "change", "rho", "rho_low",
             "rho_high"]  # fmt: skip
    rows = []
    for row in drifts:
        drift = row.drift
        if drift is not None:
            slope, rho = drift.slope, drift.rho
            rows.append(
                (row.title, drift.n, slope.value, slope.low, slope.high, drift.change, rho.value,
                 rho.low, rho.high)
            )  # fmt: skip
    return pd.DataFrame(rows, columns=names)


def _write(out: Path, name: str, table: pd.DataFrame) -> list[Path]:
    paths = [out / f"{name}.parquet", out / f"{name}.csv"]
    with atomic_path(paths[0]) as temporary:
        table.to_parquet(temporary, index=False)
    with atomic_path(paths[1]) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    return paths


def _write_wells(out: Path, scored: Sequence[_ScoredPlate], job: Job) -> list[Path]:
    """Write the wells of all plates, a plate at a time."""

    def parts() -> Iterator[pa.Table]:
        for scored_plate in scored:
            job.check()
            table = _wells_of(scored_plate.planned, _READ)
            for name in ("verdict", "role", "flag_codes", "flag_reason", "well"):
                index = table.column_names.index(name)
                table = table.set_column(index, name, table[name].cast(pa.string()))
            name = scored_plate.done.figures.name
            plate = pa.array([name] * table.num_rows, pa.string())
            yield table.add_column(0, "Metadata_Plate", plate).replace_schema_metadata(None)

    paths = [out / "wells.parquet", out / "wells.csv"]
    if not scored:
        return []
    with atomic_path(paths[0]) as temporary, atomic_path(paths[1]) as text:
        writer: pq.ParquetWriter | None = None
        try:
            with text.open("w", encoding="utf-8", newline="") as file:
                for part in parts():
                    if writer is None:
                        writer = pq.ParquetWriter(temporary, part.schema, compression="zstd")
                    part.to_pandas().to_csv(
                        file, index=False, header=file.tell() == 0, lineterminator="\n"
                    )
                    writer.write_table(part.cast(writer.schema))
        finally:
            if writer is not None:
                writer.close()
    return paths


def _provenance(
    plan: ScreenPlan, scored: Sequence[_ScoredPlate], failed: Sequence[tuple[str, str, str]]
) -> ScreenProvenance:
    source = plan.spec.source
    return ScreenProvenance(
        screen=plan.spec.name,
        spec=None if source is None else str(source),
        spec_text=None if source is None else source.read_text(encoding="utf-8"),
        model=plan.model,
        rule=plan.spec.rule.to_dict(),
        rule_in_words=plan.spec.rule.describe(),
        plates=tuple(
            PlateOutcome(
                name=plate.figures.name,
                fingerprint=plate.done.fingerprint,
                job=plate.done.job,
                finished=plate.done.finished,
                duration_s=plate.done.duration_s,
                versions=plate.done.versions,
            )
            for plate in scored
        ),
        failed=tuple(Failure(name=name, why=why) for name, why, _ in failed),
        versions=versions(),
    )
