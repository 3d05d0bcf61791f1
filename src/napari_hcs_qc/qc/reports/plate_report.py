"""The report: one HTML file that opens offline, with pictures of what was flagged and why."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup
from PIL import Image

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import atomic_path
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.qc.reports.svg import (
    PlateMap,
    draw_histogram,
    draw_plate,
    draw_reliability,
    nice_ceiling,
)
from napari_hcs_qc.qc.rule import FLAG_CODES, FlagRule
from napari_hcs_qc.qc.scores import wilson_interval
from napari_hcs_qc.text import count_of, interval, number, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.errors import Problem


@dataclass(frozen=True, eq=False)
class Picture:
    """One small picture."""

    pixels: NDArray[np.uint8]  # uint8, (height, width) grey or (height, width, 3) RGB
    caption: str = ""  # shown under it, such as ``"0.98"``


@dataclass(frozen=True, eq=False)
class WellPictures:
    """Pictures of one flagged well; what there is none of is left out."""

    site: Picture | None = None
    most_abnormal: Sequence[Picture] = ()
    most_normal: Sequence[Picture] = ()


@dataclass(frozen=True)
class CrossValidated:
    """One figure from cross-validation: mean, standard deviation over seeds, 95 % interval."""

    name: str
    mean: float
    sd: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ModelCard:
    """What judged the cells."""

    name: str  # id of the model
    encoder: str  # in words, and the hash of the weights
    weights_sha256: str  # in words, and the hash of the weights
    recipe: str  # in words, and the hash of the weights
    head: str  # in words, and the hash of the weights
    seed: int  # of the training
    n_annotated: Mapping[str, int]  # annotated cells of each class, and of each kind
    # Annotated cells of each class, and of each kind
    n_kinds: Mapping[str, int] = field(default_factory=dict)
    # Figures, and in `validation` how they were got ("5 folds grouped by well, 5 seeds")
    cross_validation: Sequence[CrossValidated] = ()
    validation: str = ""
    # Bins as `draw_reliability` takes them
    reliability: Sequence[tuple[float, float, float, float, int]] = ()
    versions: Mapping[str, str] = field(default_factory=dict)  # name and version of the software
    facts: Sequence[tuple[str, str]] = ()  # further rows: what and value


@dataclass(frozen=True, eq=False)
class ReportPlate:
    """One plate of the report."""

    name: str  # name, where it was opened from, rows and columns
    source: str  # name, where it was opened from, rows and columns
    shape: tuple[int, int]  # name, where it was opened from, rows and columns
    sites: pd.DataFrame  # from `napari_hcs_qc.qc.flags.score_plate`
    wells: pd.DataFrame  # from `napari_hcs_qc.qc.flags.score_plate`
    reference: str  # ``"plate"`` or ``"control"``: what was compared with
    p_abnormal: NDArray[np.floating[Any]]  # probability of each cell; empty without a model
    verdicts: Mapping[str, str] = field(default_factory=dict)  # verdict on whole wells
    unreadable: Sequence[Problem] = ()  # what could not be read or was not understood
    # Sentences to see first: flags gather in a treatment, the plate is unlike the training
    warnings: Sequence[str] = ()
    novelty: str = ""  # which cells are unlike anything annotated, in words
    threshold: float = 0.5  # probability from which a cell counts as abnormal


@dataclass(frozen=True, eq=False)
class ReportData:
    """All that a report shows."""

    title: str  # name of the assay
    created: str  # when, as text
    plates: Sequence[ReportPlate]  # the plates, in the order shown
    rule: FlagRule  # by which wells were flagged
    model: ModelCard | None = None  # none before one was trained
    pictures: Callable[[str, str, int], WellPictures] | None = None
    max_wells: int = 60  # so many flagged wells of a plate, the gravest, are shown with pictures


def write_report(
    data: ReportData,
    path: Path,
    *,
    job: Job = NO_JOB,
) -> Path:
    """Write the report as one HTML file without any address outside of itself.

    The wells are drawn and written one after another, so that memory does not grow with them.
    """
    if not data.plates:
        raise HcsQcError("There is no plate to report on; predict at least one first.")
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.PackageLoader("napari_hcs_qc.qc.reports", "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent, number=number, thousands=lambda value: f"{value:,}", data_uri=_data_uri
    )
    shown = [min(int(plate.wells["is_flagged"].sum()), data.max_wells) for plate in data.plates]
    total = sum(shown)
    views = [
        _plate_view(data, plate, index, sum(shown[:index]), total, job)
        for index, plate in enumerate(data.plates)
    ]
    template = environment.get_template("report.html.jinja")
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        stream = template.stream(
            title=data.title,
            created=data.created,
            headline=_headline(data),
            warnings=[(plate.name, text) for plate in data.plates for text in plate.warnings],
            plates=views,
            model=data.model,
            reliability=Markup(draw_reliability(data.model.reliability))
            if data.model and data.model.reliability
            else None,
            rule=data.rule.describe(),
            codes=FLAG_CODES,
        )
        stream.enable_buffering(64)
        file.writelines(stream)
    job.report(total, total, f"Wrote {path.name}")
    return path


def _headline(data: ReportData) -> list[tuple[str, str, str]]:
    """Give the figures at the top: value, what it is, more about it."""
    wells = pd.concat([plate.wells for plate in data.plates])
    n_flagged = int(wells["is_flagged"].sum())
    n_sites, n_unreadable = int(wells["n_sites"].sum()), int(wells["n_unreadable"].sum())
    figures = [
        (
            f"{n_flagged} of {len(wells)}",
            "wells flagged",
            f"{percent(n_flagged / len(wells))} of them" if len(wells) else "",
        )
    ]
    n_scored, n_abnormal = int(wells["n_scored"].sum()), int(wells["n_abnormal"].sum())
    if n_scored:
        low, high = wilson_interval(n_abnormal, n_scored)
        figures.append(
            (
                percent(n_abnormal / n_scored),
                "of cells abnormal",
                f"{n_abnormal:,} of {n_scored:,}; 95 % interval "
                f"{100 * float(low):.1f}–{100 * float(high):.1f} %",
            )
        )
    n_cells = int(wells["n_cells"].sum())
    figures.append((f"{n_cells:,}", "cells", f"on {count_of(n_sites, 'site')}"))
    figures.append(
        (
            str(n_unreadable),
            f"site{'s'[: n_unreadable != 1]} could not be read",
            "listed below" if n_unreadable else "",
        )
    )
    for figure in data.model.cross_validation if data.model else ():
        if figure.name in {"weighted F1", "AUC"}:
            figures.append((f"{figure.mean:.3f}", figure.name, "cross-validated"))
    return figures


def _plate_view(
    data: ReportData,
    plate: ReportPlate,
    index: int,
    before: int,
    total: int,
    job: Job,
) -> dict[str, Any]:
    """Give what the template needs of one plate."""
    wells = plate.wells
    flagged = wells.loc[wells["is_flagged"]].sort_values("severity", ascending=False, kind="stable")
    shown, rest = flagged.iloc[: data.max_wells], flagged.iloc[data.max_wells :]
    key = f"p{index}"

    def cards() -> Iterator[dict[str, Any]]:
        for done, row in enumerate(shown.itertuples()):
            job.check()
            job.report(before + done, total, f"Drawing well {row.well} of {plate.name}")
            yield _card(data, plate, row, key)

    scored = plate.p_abnormal[np.isfinite(plate.p_abnormal)]
    return {
        "key": key,
        "name": plate.name,
        "source": plate.source,
        "reference": plate.reference,
        "n_wells": len(wells),
        "n_sites": int(wells["n_sites"].sum()),
        "n_flagged": len(flagged),
        "maps": _maps(plate, key, set(shown["well"])),
        "cards": cards(),
        "rest": [(row.well, row.flag_reason) for row in rest.itertuples()],
        "histogram": Markup(draw_histogram(scored, threshold=plate.threshold))
        if len(scored)
        else None,
        "n_scored": len(scored),
        "novelty": plate.novelty,
        "unreadable": plate.unreadable,
    }


def _maps(plate: ReportPlate, key: str, linked: set[str]) -> list[tuple[str, Markup]]:
    wells = plate.wells.set_index("well")
    flagged = set(wells.index[wells["is_flagged"]])
    links = {well: f"#{key}-{well}" for well in linked}
    notes = {str(well): str(text) for well, text in wells["flag_reason"].items() if text}
    maps = []
    for name, title, words, least in (
        ("share_abnormal", "Share of abnormal cells", percent, 0.1),
        ("cells_per_site", "Cells a site", number, 10.0),
    ):
        values = wells[name].astype(float)
        if values.notna().any():
            drawn = PlateMap(
                title=f"{title}, plate {plate.name}",
                shape=plate.shape,
                values={str(well): float(value) for well, value in values.items()},
                low=0.0,
                # One ruined well must not turn all the others into one colour.
                high=nice_ceiling(max(least, float(values.quantile(0.95)))),
                words=words,
                flagged=flagged,
                links=links,
                notes=notes,
            )
            # Safe: draw_plate escapes every text it is given.
            maps.append((title, Markup(draw_plate(drawn, f"{key}-{name}"))))
    return maps


def _card(data: ReportData, plate: ReportPlate, row: Any, key: str) -> dict[str, Any]:
    pictures, trouble = WellPictures(), ""
    if data.pictures is not None:
        try:
            pictures = data.pictures(plate.name, str(row.well), int(row.worst_site))
        except HcsQcError as error:
            trouble = str(error)
    share = ""
    if row.n_scored:
        limits = interval(row.share_abnormal_low, row.share_abnormal_high)
        share = f"{percent(row.share_abnormal)} abnormal ({limits})"
    return {
        "id": f"{key}-{row.well}",
        "well": row.well,
        "codes": [(code, FLAG_CODES[code]) for code in row.flag_codes.split(",")],
        "reasons": row.flag_reason.split("; "),
        "facts": " · ".join(
            text
            for text in (count_of(row.n_sites, "site"), count_of(row.n_cells, "cell"), share)
            if text
        ),
        "verdict": plate.verdicts.get(str(row.well), ""),
        "worst_site": int(row.worst_site),
        "has_cells": bool(row.n_cells),
        "pictures": pictures,
        "trouble": trouble,
    }


def _data_uri(pixels: NDArray[np.uint8]) -> str:
    """Encode a picture as a PNG that stands in the page itself."""
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        raise HcsQcError(
            f"A picture of dtype {pixels.dtype} and shape {pixels.shape} was given; uint8, "
            "(height, width) or (height, width, 3), was expected."
        )
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
