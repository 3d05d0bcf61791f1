"""Read LABELS.csv: positions of cells and what a person says about each."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeAlias

import pandas as pd

from napari_hcs_qc.assay.annotations.annotation import CLASSES, Annotation, checked_person
from napari_hcs_qc.assay.annotations.kinds import (
    BUILT_IN_KINDS,
    checked_kind_name,
    unlisted_text,
)
from napari_hcs_qc.errors import HcsQcError, Problem, ProblemsError
from napari_hcs_qc.plates.wells import parse_well
from napari_hcs_qc.read_table import read_table
from napari_hcs_qc.text import count_of
from napari_hcs_qc.text_columns import with_texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_hcs_qc.assay.annotations.kinds import Kind
    from napari_hcs_qc.plates.plate import Plate

SiteShapes: TypeAlias = "Mapping[tuple[str, int], tuple[int, int]]"
"""Of one plate: (well, site) to (height, width) in px."""

LABEL_COLUMNS = ("plate", "well", "site", "y_px", "x_px", "class", "kind", "annotator", "note")
_REQUIRED = ("well", "site", "y_px", "x_px", "label")
_OPTIONAL = ("plate", "kind", "annotator")
_MITOSIS = "mitosis"


def site_shapes(plate: Plate) -> SiteShapes:
    """Give the shape of every site of `plate`; sites of another shape are unreadable."""
    height, width = plate.layout.shape
    return {(site.well, site.site): (height, width) for site in plate.sites}


def read_labels(
    path: Path,
    plates: Mapping[str, SiteShapes],
    *,
    annotator: str,
    kinds: Sequence[Kind] | None = BUILT_IN_KINDS,
) -> pd.DataFrame:
    """Read a CSV or Parquet file of labelled cells.

    It has the columns ``well, site, y_px, x_px, label`` and may have ``plate`` (needed when there
    are several plates), ``kind`` and ``annotator``; further columns are ignored. `label` is
    normal, abnormal, or empty (or ``unsure``) for unsure. `kind` says why a cell is abnormal, one
    of `kinds` (any for None); only ``mitosis`` may stand at a cell that is not, and becomes its
    note. Upper and lower case are the same, and so are ``A1`` and ``A01``.
    """
    table = _named_columns(path, read_table(path), needs_plate=len(plates) > 1)
    person = checked_person(annotator)
    kept: dict[int, Annotation] = {}
    people: dict[int, str] = {}
    first: dict[tuple[Any, ...], int] = {}
    problems: list[Problem] = []
    listed = None if kinds is None else {kind.name for kind in kinds}
    unlisted: dict[str, list[int]] = defaultdict(list)
    for line, values in zip(table.index, table.itertuples(index=False, name=None), strict=True):
        row = dict(zip(table.columns, (value.strip() for value in values), strict=True))
        where = f"{path.name} line {line}"
        try:
            annotation = _annotation(row, plates)
            who = checked_person(row["annotator"]) if row.get("annotator") else person
        except HcsQcError as error:
            problems.append(Problem(where, str(error)))
            continue
        if listed is not None and annotation.kind is not None and annotation.kind not in listed:
            unlisted[annotation.kind].append(line)
            continue
        before = first.setdefault((who, *annotation.place), line)
        if before == line:
            kept[line], people[line] = annotation, who
        elif kept[before].content != annotation.content:
            what = (
                f"{who} annotates the position of line {before} as {_content_text(annotation)}, "
                f"there it is {_content_text(kept[before])}; remove one of the two."
            )
            problems.append(Problem(where, what))
    n_wrong = len(problems) + sum(map(len, unlisted.values()))
    for kind, lines in unlisted.items():  # each kind once, however many rows have it
        more = f" and {count_of(len(lines) - 1, 'further row')}" if len(lines) > 1 else ""
        where = f"{path.name} line {lines[0]}{more}"
        problems.append(Problem(where, unlisted_text(kind, kinds or ())))
    if problems:
        raise ProblemsError(f"{path}: {n_wrong} of {len(table)} rows are not valid", problems)
    rows = [
        (row.plate, row.well, row.site, row.y_px, row.x_px, row.cls, row.kind, people[line],
         row.note)
        for line, row in kept.items()
    ]  # fmt: skip
    labels = pd.DataFrame(rows, columns=LABEL_COLUMNS, index=pd.Index(kept, name="line"))
    return with_texts(labels, labels[["class", "kind", "note"]])


def _named_columns(path: Path, table: pd.DataFrame, *, needs_plate: bool) -> pd.DataFrame:
    """Keep the columns that mean something here, by their names in lower case."""
    table = table.rename(columns=str.casefold)
    required = ("plate", *_REQUIRED) if needs_plate else _REQUIRED
    missing = [name for name in required if name not in table.columns]
    if missing:
        why = " (the assay has several plates)" if "plate" in missing else ""
        raise HcsQcError(
            f"{path} has no column {', '.join(missing)}{why}; the columns "
            f"{', '.join(required)} were expected, and it has {', '.join(table.columns)}."
        )
    used = [name for name in (*_REQUIRED, *_OPTIONAL) if name in table.columns]
    table = table[used]
    if not table.columns.is_unique:
        twice = sorted(set(table.columns[table.columns.duplicated()]))
        raise HcsQcError(
            f"{path} has the column {', '.join(twice)} twice, in upper and lower case."
        )
    if table.empty:
        raise HcsQcError(
            f"{path} has a header but no rows; one row per labelled cell was expected."
        )
    return table


def _annotation(row: dict[str, str], plates: Mapping[str, SiteShapes]) -> Annotation:
    """Read one row."""
    wrong: list[str] = []
    plate, well, site = _place(row, plates, wrong)
    y_px, x_px = (_position(row[name], name, wrong) for name in ("y_px", "x_px"))
    shape = plates.get(plate, {}).get((well, site))
    if shape is not None:
        for value, name, extent in ((y_px, "y_px", shape[0]), (x_px, "x_px", shape[1])):
            # The middle of the first pixel is 0, so the image reaches half a pixel beyond.
            if not math.isnan(value) and not -0.5 <= value <= extent - 0.5:
                wrong.append(
                    f"{name} {value:g} is outside the image, which is {shape[0]} px high and "
                    f"{shape[1]} px wide."
                )
    cls, kind, note = _content(row, wrong)
    if wrong:
        raise HcsQcError(" ".join(wrong))
    return Annotation(
        plate=plate, well=well, site=site, y_px=y_px, x_px=x_px, cls=cls, kind=kind, note=note
    )


def _place(
    row: dict[str, str], plates: Mapping[str, SiteShapes], wrong: list[str]
) -> tuple[str, str, int]:
    plate = row.get("plate") or (next(iter(plates)) if len(plates) == 1 else "")
    well, site = "", -1
    if plate not in plates:
        wrong.append(f"The plate {plate!r} is not in the assay, which has {_some(list(plates))}.")
    try:
        well = str(parse_well(row["well"]))
    except HcsQcError as error:
        wrong.append(str(error))
    number = _number(row["site"])
    if not number.is_integer():  # NaN and infinity are not
        wrong.append(f"The site {row['site']!r} is not a whole number.")
    else:
        site = int(number)
    if plate in plates and well:
        known = plates[plate]
        sites = sorted(number for name, number in known if name == well)
        if not sites:
            wells = sorted({name for name, _ in known}, key=parse_well)
            wrong.append(f"The well {well} is not on the plate {plate}, which has {_some(wells)}.")
        elif site not in sites and number.is_integer():
            wrong.append(f"The well {well} has no site {site}; it has {_some(sites)}.")
    return plate, well, site


def _content(row: dict[str, str], wrong: list[str]) -> tuple[str, str | None, str | None]:
    cls = row["label"].casefold() or "unsure"
    kind = row.get("kind", "").casefold()
    if cls not in CLASSES:
        wrong.append(f"The label {row['label']!r} is not normal, abnormal or empty (unsure).")
    elif kind == _MITOSIS and cls != "abnormal":
        return cls, None, _MITOSIS
    elif kind == _MITOSIS:
        wrong.append("mitosis is normal; give the label normal, or another kind.")
    elif kind and cls != "abnormal":
        wrong.append(
            f"The kind {kind} says why a cell is abnormal, but the label is {cls}; change one."
        )
    elif kind:
        try:
            checked_kind_name(kind)
        except HcsQcError as error:
            wrong.append(str(error))
    return cls, kind or None, None


def _position(text: str, name: str, wrong: list[str]) -> float:
    value = _number(text)
    if not math.isfinite(value):
        hint = " with a decimal point" if "," in text else ""
        wrong.append(f"{name} {text!r} is not a number{hint}.")
        return math.nan
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _some(values: list[Any]) -> str:
    shown = ", ".join(str(value) for value in values[:6])
    return f"{shown} and {len(values) - 6} more" if len(values) > 6 else shown


def _content_text(annotation: Annotation) -> str:
    return " ".join(word for word in annotation.content if word)
