"""The report: one HTML file that opens offline, with pictures of what was flagged and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.qc.intervals import ABOUT_SCORE, NO_INTERVAL, plate_interval
from napari_hcs_qc.qc.reports.figures import nice_ceiling
from napari_hcs_qc.qc.reports.pages import write_page
from napari_hcs_qc.qc.reports.plate_charts import (
    AnnotatedMap,
    PlateMap,
    annotated_chart,
    plate_map,
    reliability_chart,
    score_histogram,
)
from napari_hcs_qc.qc.rule import FLAG_CODES, FlagRule
from napari_hcs_qc.qc.scores import UNKNOWN_KIND
from napari_hcs_qc.text import count_of, interval, number, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from napari_hcs_qc.errors import Problem
    from napari_hcs_qc.qc.intervals import Rates


@dataclass(frozen=True, eq=False)
class Picture:
    """One small picture."""

    pixels: NDArray[np.uint8]  # (height, width) grey or (height, width, 3) RGB
    caption: str = ""  # shown under it, such as ``"0.98"``


@dataclass(frozen=True, eq=False)
class WellPictures:
    """Pictures of one flagged well; what there is none of is left out."""

    site: Picture | None = None
    most_abnormal: Sequence[Picture] = ()
    most_normal: Sequence[Picture] = ()


@dataclass(frozen=True, kw_only=True)
class CrossValidated:
    """One figure from cross-validation."""

    name: str
    mean: float
    sd: float | None = None  # over seeds
    interval: str = ""  # at 95 %, or why there is none


@dataclass(frozen=True, kw_only=True)
class Calls:
    """How many held-out annotated cells of a class or kind are called abnormal."""

    name: str
    n: int
    n_called: float  # a mean over seeds


@dataclass(frozen=True, eq=False, kw_only=True)
class ErrorExamples:
    """Held-out annotated cells that a model got wrong in one way."""

    title: str
    pictures: Sequence[Picture]  # the surest first
    rows: Sequence[int]  # of each picture's cell among all that were annotated


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """The model that classified the cells."""

    name: str  # its id
    encoder: str
    weights_sha256: str
    recipe: str
    head: str
    seed: int  # of the training
    n_annotated: Mapping[str, int]  # annotated cells of each class
    n_kinds: Mapping[str, int] = field(default_factory=dict)  # annotated cells of each kind
    cross_validation: Sequence[CrossValidated] = ()
    validation: str = ""  # what the figures are of, how they were measured, what they are not
    # Bins: mean score, share abnormal, its 95 % interval (low, high), number of cells
    reliability: Sequence[tuple[float, float, float, float, int]] = ()
    calls: Sequence[Calls] = ()
    errors: Sequence[ErrorExamples] = ()
    # Annotations that the others contradict, most likely wrong first: where, class and score
    label_issues: Sequence[tuple[str, str, float]] = ()
    annotated_map: AnnotatedMap | None = None  # none where it cannot be drawn
    versions: Mapping[str, str] = field(default_factory=dict)  # of the software, by name
    facts: Sequence[tuple[str, str]] = ()  # further rows: name and value


@dataclass(frozen=True, eq=False, kw_only=True)
class ReportPlate:
    """One plate of the report."""

    name: str
    source: str  # where it was opened from
    shape: tuple[int, int]  # rows and columns
    sites: pd.DataFrame  # from `napari_hcs_qc.qc.flags.score_plate`, as `wells`
    wells: pd.DataFrame
    reference: str  # ``"plate"`` or ``"control"``: what wells were compared with
    p_abnormal: NDArray[np.floating[Any]]  # of each cell; empty without a model
    reference_note: str = ""  # why it is not the controls that the plate map lists
    verdicts: Mapping[str, str] = field(default_factory=dict)  # verdict on whole wells
    unreadable: Sequence[Problem] = ()  # what could not be read or was not understood
    # Sentences to see first: flags gather in a treatment, the plate differs from the training
    warnings: Sequence[str] = ()
    n_of_kind: Mapping[str, int] = field(default_factory=dict)  # of the cells that are abnormal
    novelty: str = ""  # sentence on the cells that are unlike any annotated one
    threshold: float = 0.5  # score from which a cell counts as abnormal


@dataclass(frozen=True, eq=False, kw_only=True)
class ReportData:
    """All that a report shows."""

    title: str  # name of the assay
    created: str  # when, as text
    plates: Sequence[ReportPlate]  # in the order shown
    rule: FlagRule  # by which wells were flagged
    model: ModelCard | None = None  # none before one was trained
    # Gives the pictures of a well, by plate, well and its worst site
    pictures: Callable[[str, str, int], WellPictures] | None = None
    rates: Rates | None = None  # of the model on annotated cells, for the true share of all wells
    max_wells: int = 60  # so many flagged wells of a plate, the worst, are shown with pictures


def write_report(data: ReportData, path: Path, *, job: Job = NO_JOB) -> Path:
    """Write the report as one HTML file without any address outside of itself."""
    if not data.plates:
        raise HcsQcError("There is no plate to report on; predict at least one first.")
    shown = [min(int(plate.wells["is_flagged"].sum()), data.max_wells) for plate in data.plates]
    total, done = sum(shown), count()

    def cards(plate: ReportPlate, wells: pd.DataFrame, key: str) -> Iterator[dict[str, Any]]:
        for row in wells.itertuples():
            job.check()
            job.report(next(done), total, f"Drawing well {row.well} of {plate.name}")
            yield _card(data, plate, row, key)

    def view(plate: ReportPlate, key: str) -> dict[str, Any]:
        wells = plate.wells
        flagged = wells[wells["is_flagged"]].sort_values("severity", ascending=False, kind="stable")
        first, others = flagged.iloc[: data.max_wells], flagged.iloc[data.max_wells :]
        scores = plate.p_abnormal[np.isfinite(plate.p_abnormal)]
        return {
            "key": key,
            "plate": plate,
            "n_wells": len(wells),
            "n_sites": int(wells["n_sites"].sum()),
            "n_flagged": len(flagged),
            "maps": _maps(plate, key, set(first["well"])),
            "cards": cards(plate, first, key),
            "others": [(row.well, row.flag_reason) for row in others.itertuples()],
            "n_scores": len(scores),
            "kinds": ", ".join(f"{_kind(name)} {n:,}" for name, n in plate.n_of_kind.items()),
            "histogram": score_histogram(scores, threshold=plate.threshold)
            if len(scores)
            else None,
        }

    bins = data.model.reliability if data.model else ()
    annotated = data.model.annotated_map if data.model else None
    values = vars(data) | {
        "headline": _headline(data),
        "views": [view(plate, f"p{index}") for index, plate in enumerate(data.plates)],
        "reliability": reliability_chart(bins) if bins else None,
        "annotated_map": annotated_chart(annotated) if annotated else None,
        "rule": data.rule.describe(),
        "about_score": ABOUT_SCORE,
    }
    write_page(path, "report.html.jinja", values)
    job.report(total, total, f"Writing {path.name}")
    return path


def _kind(name: str) -> str:
    return "kind unknown" if name == UNKNOWN_KIND else name


def _headline(data: ReportData) -> list[tuple[str, str, str]]:
    """Give the figures at the top: value, what it is, more about it."""
    wells = pd.concat([plate.wells for plate in data.plates])
    n_flagged = int(wells["is_flagged"].sum())
    n_cells, n_sites = int(wells["n_cells"].sum()), int(wells["n_sites"].sum())
    n_scored, n_abnormal = int(wells["n_scored"].sum()), int(wells["n_abnormal"].sum())
    n_unreadable = int(wells["n_unreadable"].sum())
    share = percent(n_flagged / len(wells)) if len(wells) else ""
    figures = [(f"{n_flagged} of {len(wells)}", "wells flagged", share)]
    if n_scored:
        of_wells = plate_interval(wells["n_abnormal"], wells["n_scored"], data.rates)
        true_share = _true_share(*(float(value[0]) for value in of_wells))
        more = f"{n_abnormal:,} of {n_scored:,}; {true_share}"
        figures.append((percent(n_abnormal / n_scored), "of cells called abnormal", more))
    n_cut = int(wells["n_cut"].sum())
    cut = f"; {n_cut:,} cut by the image border and not counted" if n_cut else ""
    figures.append((f"{n_cells:,}", "cells", f"on {count_of(n_sites, 'site')}{cut}"))
    unreadable = f"{'site' if n_unreadable == 1 else 'sites'} could not be read"
    figures.append((str(n_unreadable), unreadable, "listed below" if n_unreadable else ""))
    for figure in data.model.cross_validation if data.model else ():
        if figure.name in {"weighted F1", "AUC"}:
            figures.append((f"{figure.mean:.3f}", figure.name, "of held-out annotated cells"))
    return figures


def _true_share(estimate: float, low: float, high: float) -> str:
    if not np.isfinite(estimate):
        return NO_INTERVAL
    return f"true share about {percent(estimate)}, 95 % interval {interval(low, high)}"


def _maps(plate: ReportPlate, key: str, linked: set[str]) -> list[tuple[str, Figure]]:
    wells = plate.wells.set_index("well")
    maps = []
    for column, title, to_text, least in (
        ("share_abnormal", "Share of abnormal cells", percent, 0.1),
        ("cells_per_site", "Cells per site", number, 10.0),
    ):
        values = wells[column].astype(float)
        if values.notna().any():
            data = PlateMap(
                title=f"{title}, plate {plate.name}",
                shape=plate.shape,
                values={str(well): float(value) for well, value in values.items()},
                low=0.0,
                # One ruined well must not turn all the others into one colour.
                high=nice_ceiling(max(least, float(values.quantile(0.95)))),
                to_text=to_text,
                flagged=set(wells.index[wells["is_flagged"]]),
                links={well: f"#{key}-{well}" for well in linked},
                notes={str(well): str(text) for well, text in wells["flag_reason"].items()},
            )
            maps.append((title, plate_map(data)))
    return maps


def _card(data: ReportData, plate: ReportPlate, row: Any, key: str) -> dict[str, Any]:
    pictures, problem = WellPictures(), ""
    if data.pictures is not None:
        try:
            pictures = data.pictures(plate.name, str(row.well), int(row.worst_site))
        except HcsQcError as error:
            problem = str(error)
    cut = f" ({row.n_cut:,} cut by the image border, not counted)" if row.n_cut else ""
    facts = [count_of(row.n_sites, "site"), count_of(row.n_cells, "cell") + cut]
    if row.n_scored:
        true_share = _true_share(
            row.share_estimated, row.share_estimated_low, row.share_estimated_high
        )
        facts.append(f"{percent(row.share_abnormal)} called abnormal ({true_share})")
    return {
        "id": f"{key}-{row.well}",
        "well": row.well,
        "flags": [FLAG_CODES[code] for code in row.flag_codes.split(",")],
        "reasons": row.flag_reason.split("; "),
        "facts": " · ".join(facts),
        "verdict": plate.verdicts.get(str(row.well), ""),
        "worst_site": int(row.worst_site),
        "has_cells": bool(row.n_cells),
        "pictures": pictures,
        "problem": problem,
    }
