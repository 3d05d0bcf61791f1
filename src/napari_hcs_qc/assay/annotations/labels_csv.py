"""Read files of annotated cells: positions of cells and what a person says about each."""

from __future__ import annotations

import math
import shlex
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_hcs_qc.assay.annotations.annotation import CLASSES, Annotation, checked_person
from napari_hcs_qc.assay.annotations.kinds import (
    BUILT_IN_KINDS,
    checked_kind_name,
    unlisted_text,
)
from napari_hcs_qc.assay.annotations.label_files import label_files, open_labels
from napari_hcs_qc.errors import HcsQcError, Problem, ProblemsError
from napari_hcs_qc.plates.wells import parse_well
from napari_hcs_qc.tables.columns import check_twice, find_columns, missing_columns
from napari_hcs_qc.tables.places import NEEDED, read_placed, with_unit
from napari_hcs_qc.tables.positions_are import PositionsAre
from napari_hcs_qc.tables.values import UNSURE, asks, class_of, is_number, number
from napari_hcs_qc.text import count_of, listing
from napari_hcs_qc.text_columns import with_formula, with_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from napari_hcs_qc.assay.annotations.kinds import Kind
    from napari_hcs_qc.tables.places import PlacedTable
    from napari_hcs_qc.tables.plate_sites import PlateSites

LABEL_COLUMNS = ("plate", "well", "site", "y_px", "x_px", "class", "kind", "annotator", "note")
_MEANINGS = ("class", "kind", "annotator", "note")
_MITOSIS = "mitosis"
_ONLY_WHERE_GIVEN = ("annotated_class", "user_label", "user label", "classification", "annotations")
"""Columns, in lower case, of tables of all cells: one that is blank is of a cell nobody annotated.
"""


@dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """How a file of annotated cells is read."""

    positions_are: PositionsAre = field(default_factory=PositionsAre)
    image_table: Path | None = None  # what the images are that it names by number
    classes: Mapping[str, str] = field(default_factory=dict)  # its words, and which class each is


@dataclass(frozen=True, eq=False)
class Labels:
    """What a file says, and how it was understood."""

    table: pd.DataFrame  # `LABEL_COLUMNS`
    understood: str


def read_labels(
    path: Path,
    plates: Mapping[str, PlateSites],
    *,
    annotator: str,
    kinds: Sequence[Kind] | None = BUILT_IN_KINDS,
    options: LabelOptions | None = None,
    check: Callable[[pd.DataFrame, PositionsAre, str], object] | None = None,
) -> Labels:
    """Read a table or GeoJSON of annotated cells, or a folder with one for each image.

    Columns are told by their names (`napari_hcs_qc.tables.columns`): plate (needed when there are
    several), well, site, position, class, and where there are any kind and annotator. A blank class
    is unsure. The kind says why a cell is abnormal, one of `kinds` (any for None); only ``mitosis``
    may stand at a cell that is not, and becomes its note. `check` is given all positions, what
    they are and the plate's name in the file if it is another, before rows are refused one by one.
    """
    options = options or LabelOptions()
    listed = None if kinds is None else {kind.name for kind in kinds}
    reader = _Reader(plates, checked_person(annotator), options, listed)
    places = []
    for file in label_files(path):
        source = open_labels(file, options.image_table)
        placed = read_placed(file, plates, _MEANINGS, source=source)
        if "class" not in placed.columns:
            needed = f"{NEEDED}, and a class (label, class or annotated_class)"
            raise missing_columns(file, "label", needed, source.columns)
        check_twice(file, placed.columns, source.columns)
        reader.add(file, placed)
        places.append(placed.places)
    if not reader.rows:
        raise HcsQcError(
            f"{path} has a header but no rows; one row per annotated cell was expected. "
            "Annotate some in the program that it is from."
        )
    if check is not None:
        check(pd.concat(places, ignore_index=True), reader.are, reader.other_plate)
    return Labels(reader.labels(path, kinds), reader.understood)


def names_plates(path: Path) -> bool:
    """Tell whether a file of annotated cells names the plate of each."""
    return "plate" in find_columns(open_labels(label_files(path)[0], None).columns, ["plate"])


@dataclass(frozen=True)
class _Row:
    """One row of a file."""

    where: str
    line: int
    texts: dict[str, str]  # by meaning
    place: tuple[str | None, str | None, int | None, float, float]


class _Reader:
    def __init__(
        self,
        plates: Mapping[str, PlateSites],
        person: str,
        options: LabelOptions,
        listed: set[str] | None,
    ) -> None:
        self._plates, self._person, self._listed = plates, person, listed
        self._classes = {key.strip().casefold(): value for key, value in options.classes.items()}
        self.are = options.positions_are
        self.rows: list[_Row] = []
        self.understood = ""
        self.other_plate = ""
        self._class_column = ""
        self._classes_of: dict[str, str] = {}
        self._unknown: dict[str, list[_Row]] = defaultdict(list)  # by the word, as it stands
        self._has_codes = False

    def add(self, path: Path, placed: PlacedTable) -> None:
        """Take the rows of one file."""
        columns = placed.columns
        self._class_column = columns["class"]
        self.understood = self.understood or placed.understood
        self.other_plate = self.other_plate or placed.other_plate
        self.are = with_unit(columns, self.are, placed.places)
        moved = self.are.moved(placed.places, self._plates)
        names = columns.names
        values = placed.table.to_dict("list")
        site = [None if pd.isna(number) else int(number) for number in moved["site"]]
        places = zip(moved["plate"], moved["well"], site, moved["y_px"], moved["x_px"], strict=True)
        for index, (line, place) in enumerate(zip(placed.table.index, places, strict=True)):
            texts = {
                meaning: with_formula(values[name][index].strip())
                for meaning, name in names.items()
            }
            if not self._is_given(texts["class"]):
                continue
            self.rows.append(_Row(f"{path.name} line {line}", int(line), texts, place))

    def _is_given(self, text: str) -> bool:
        if self._class_column.strip().casefold() not in _ONLY_WHERE_GIVEN:
            return True
        return text.casefold() not in ("", "0", "-1", *UNSURE - {"unsure"})

    def labels(self, path: Path, kinds: Sequence[Kind] | None) -> pd.DataFrame:
        """Give all rows, or all that is wrong with them."""
        self._has_codes = _are_codes([row.texts["class"] for row in self.rows], self._class_column)
        kept: list[tuple[Annotation, str]] = []
        lines: list[int] = []
        first: dict[tuple[Any, ...], tuple[_Row, Annotation]] = {}
        problems: list[Problem] = []
        unlisted: dict[str, list[_Row]] = defaultdict(list)
        for row in self.rows:
            try:
                annotation = self._annotation(row)
                if annotation is None:
                    continue
                named = row.texts.get("annotator")
                who = checked_person(named) if named else self._person
            except HcsQcError as error:
                problems.append(Problem(row.where, str(error)))
                continue
            kind = annotation.kind
            if self._listed is not None and kind is not None and kind not in self._listed:
                unlisted[kind].append(row)
                continue
            before, earlier = first.setdefault((who, *annotation.place), (row, annotation))
            if before is row:
                kept.append((annotation, who))
                lines.append(row.line)
            elif earlier.content != annotation.content:
                what = (
                    f"{who} annotates the position of line {before.line} as "
                    f"{_content_text(annotation)}, there it is {_content_text(earlier)}; remove "
                    "one of the two."
                )
                problems.append(Problem(row.where, what))
        unknown = [row for rows in self._unknown.values() for row in rows]
        listed = [*unknown, *(row for rows in unlisted.values() for row in rows)]
        n_wrong = len({problem.where for problem in problems} | {row.where for row in listed})
        for name, rows in unlisted.items():  # each kind once, however many rows have it
            problems.append(Problem(_where(rows), unlisted_text(name, kinds or ())))
        if unknown:
            problems.insert(0, Problem(_where(unknown), self._unknown_text()))
        if problems:
            raise ProblemsError(
                f"{path}: {n_wrong} of {len(self.rows)} rows are not valid; correct or remove them",
                problems,
            )
        self._add_classes()
        values = [
            (row.plate, row.well, row.site, row.y_px, row.x_px, row.cls, row.kind, who, row.note)
            for row, who in kept
        ]
        labels = pd.DataFrame(values, columns=LABEL_COLUMNS, index=pd.Index(lines, name="line"))
        return with_texts(labels, labels[["class", "kind", "note"]])

    def _add_classes(self) -> None:
        words = [f"{word!r} is {cls}" for word, cls in self._classes_of.items() if word != cls]
        if words:
            self.understood += "; " + ", ".join(words)

    def _unknown_text(self) -> str:
        counts = ", ".join(
            f"{word!r} ({count_of(len(rows), 'row')})" for word, rows in self._unknown.items()
        )
        known = sorted({row.texts["class"] for row in self.rows} - set(self._unknown) - {""})
        beside = f", beside {listing(list(map(repr, known)))}, which are known" if known else ""
        pairs = ",".join(f"{word}=CLASS" for word in self._unknown)
        return (
            f"The column {self._class_column} has {counts}{beside}. Say for each which class it "
            f"means: --classes {shlex.quote(pairs)}, where CLASS is normal, abnormal or unsure."
        )

    def _annotation(self, row: _Row) -> Annotation | None:
        """Give what a row says; None where its word is unknown, which is reported for all rows."""
        wrong: list[str] = []
        plate, well, site = self._place(row, wrong)
        y_px, x_px = row.place[3:]
        for value, name in ((y_px, "y_px"), (x_px, "x_px")):
            if not math.isfinite(value):
                wrong.append(f"{name} {row.texts[name]!r} is not a number.")
        shape = self._plates[plate].shape if plate in self._plates and well and site >= 0 else None
        if shape is not None:
            for value, name, extent in ((y_px, "y_px", shape[0]), (x_px, "x_px", shape[1])):
                # The middle of the first pixel is 0, so the image reaches half a pixel beyond.
                if np.isfinite(value) and not -0.5 <= value <= extent - 0.5:
                    wrong.append(
                        f"{name} {value:g} is outside the image, which is {shape[0]} px high and "
                        f"{shape[1]} px wide."
                    )
        cls, kind, note = self._content(row, wrong)
        if wrong:
            raise HcsQcError(" ".join(wrong))
        if not cls:
            return None
        return Annotation(
            plate=plate, well=well, site=site, y_px=y_px, x_px=x_px, cls=cls, kind=kind, note=note
        )

    def _place(self, row: _Row, wrong: list[str]) -> tuple[str, str, int]:
        plate, well, site = (row.place[0] or "", row.place[1] or "", row.place[2])
        if plate not in self._plates:
            wrong.append(
                f"The plate {row.texts.get('plate', plate)!r} is not in the assay, which has "
                f"{_some(list(self._plates))}."
            )
        if not well:
            try:
                well = str(parse_well(row.texts.get("well", "")))
            except HcsQcError as error:
                wrong.append(str(error))
        if site is None:
            text = row.texts.get("site")
            what = "Its image names no site." if text is None else ""
            wrong.append(what or f"The site {text!r} is not a whole number.")
        elif plate in self._plates and well:
            known = self._plates[plate].sites
            sites = sorted(key.site for key in known if key.well == well)
            if not sites:
                wells = sorted({key.well for key in known}, key=parse_well)
                wrong.append(
                    f"The well {well} is not on the plate {plate}, which has {_some(wells)}."
                )
            elif site not in sites:
                wrong.append(f"The well {well} has no site {site}; it has {_some(sites)}.")
        return plate, well, -1 if site is None else site

    def _content(self, row: _Row, wrong: list[str]) -> tuple[str, str | None, str | None]:
        text, _, named = row.texts["class"].partition(": ")  # QuPath has `Abnormal: debris`
        kind = (row.texts.get("kind", "") or named).casefold()
        word = text.casefold()
        cls = self._classes.get(word)
        if cls is None and not (self._has_codes and is_number(text)):
            cls = class_of(text, self._class_column)
        if cls is None and word == _MITOSIS:
            cls, kind = "normal", kind or word
        if cls is None and not kind and word in (self._listed or {k.name for k in BUILT_IN_KINDS}):
            cls, kind = "abnormal", word  # a column of kinds
        if cls is None or cls not in CLASSES:
            self._unknown[text].append(row)
            return "", None, None
        if text:
            self._classes_of[text] = cls
        if kind == _MITOSIS and cls != "abnormal":
            return cls, None, _MITOSIS
        if kind == _MITOSIS:
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
        return cls, kind or None, row.texts.get("note") or None


def _are_codes(texts: Sequence[str], column: str) -> bool:
    """Tell whether numbers are codes of classes, of which 1 need not mean abnormal.

    0 and 1 mean no and yes where the column is a question (`is_outlier`), or where both or other
    names of classes stand in it and no other number.
    """
    found = {number(text) for text in texts if is_number(text)}
    if found - {0.0, 1.0}:
        return True
    has_names = any(class_of(text) != "unsure" for text in texts if not is_number(text))
    return len(found) == 1 and not has_names and not asks(column)


def _where(rows: Sequence[_Row]) -> str:
    more = f" and {count_of(len(rows) - 1, 'further row')}" if len(rows) > 1 else ""
    return f"{rows[0].where}{more}"


def _some(values: list[Any]) -> str:
    shown = ", ".join(str(value) for value in values[:6])
    return f"{shown} and {len(values) - 6} more" if len(values) > 6 else shown


def _content_text(annotation: Annotation) -> str:
    return " ".join(word for word in annotation.content if word)
