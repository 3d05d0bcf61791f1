"""What a screen consists of, and how it is read from a TOML file."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
import warnings
from collections import Counter
from dataclasses import dataclass, field, replace
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, PlainValidator

from napari_hcs_qc.assay.annotations.kinds import listed_kinds
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_entry import folder_name, same_name
from napari_hcs_qc.documents import Part, parse_leniently
from napari_hcs_qc.errors import HcsQcError, Problem, ProblemsError
from napari_hcs_qc.plates.readers.assemble import natural_key
from napari_hcs_qc.qc.plate_level.plate_rule import PlateRule
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from napari_hcs_qc.plates.plate import Projection

_TABLES = frozenset({".csv", ".tsv", ".parquet", ".pq"})
_MAGIC = re.compile(r"[*?\[]")
_PLATE = re.compile(r"^plate\[(\d+)\]\.?")
FROM_FILES = "files"
"""Value of ``acquired``: the oldest image file of the plate tells when it was taken."""


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError(f"is {value!r}; a text in quotes was expected.")
    return value


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"pattern {value!r} is not a regular expression: {error}.") from error
    return value


def _time(value: object) -> dt.datetime | str | None:
    if value is None or value == FROM_FILES:
        return FROM_FILES if value else None
    try:
        return dt.datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError(
            f'is {value!r}; a time such as 2026-02-03T09:30:00, or "files", was expected.'
        ) from None


Text = Annotated[str, AfterValidator(_text)]


class StrictPart(Part):
    """A part that people write by hand: a field that is not known is a mistake."""

    # What is said of a field below it is in its JSON schema, and so in the documentation. Read from
    # the source when the class is made, which takes long: so it stands here, not in `documents`.
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class CellsTable(StrictPart):
    """How cells are found; as for the model by default."""

    channel: str | int | None = None
    """Channel of the nuclei, by name or number from 0."""
    z: Literal["max"] | Annotated[int, Field(ge=0)] | None = None
    """How z stacks are read: their maximum, or one plane."""


class ExportTable(StrictPart):
    """What is exported."""

    keep_kinds: tuple[str, ...] = ()
    """Abnormal cells of these kinds of the assay stay in."""
    exclude_unreviewed: bool = False
    """Flagged wells and sites are outliers until a reviewer keeps them."""


class PlateTable(StrictPart):
    """One plate, or with `glob` as many as match."""

    path: Text | None = None
    """Folder, table or OME-Zarr; this or `glob`."""
    glob: Text | None = None
    """Pattern of paths with wildcards; each match is a plate."""
    name: Text | None = None
    """Name of the plate; of a table with several plates which one."""
    pattern: Annotated[Text, AfterValidator(_pattern)] | None = None
    """Regular expression on the paths of images, as `--pattern`."""
    image_root: Text | None = None
    """Folder of the images of a table, if they were moved."""
    plate_shape: Text | None = None
    """Rows and columns, such as "8x12", or the number of wells."""
    time: int | Literal["all"] | None = None
    """The only time point to read, or "all": each as a plate of its own."""
    allow_remote: bool = False
    """Read images from servers that the table names."""
    platemap: Text | None = None
    """Plate map of this plate."""
    cells: Text | None = None
    """Masks or positions to import."""
    acquired: Annotated[
        dt.datetime | str | None, PlainValidator(_time, json_schema_input_type=str | None)
    ] = None
    """When it was imaged, or "files": as its oldest image file says."""
    order: float | None = None
    """Its place in the order of acquisition."""


class ScreenFile(StrictPart):
    """The TOML file of a screen; paths are relative to it."""

    name: Text | None = None
    """Name of the screen, in its report."""
    assay: Text | None = None
    """Folder of the assay with the trained model; needed."""
    model: Text | None = None
    """Number of the model, such as "0003"; by default the one in use."""
    platemap: Text | None = None
    """Plate map of every plate without its own."""
    cells: CellsTable = CellsTable()
    """How cells are found."""
    export: ExportTable = ExportTable()
    """Which cells, sites and wells are outliers in the tables."""
    rule: dict[str, JsonValue] = Field(default_factory=dict)
    """Thresholds by which plates are flagged."""
    plate: tuple[PlateTable, ...] = ()
    """The plates; at least one."""


@dataclass(frozen=True, kw_only=True)
class ScreenPlate:
    """One plate of a screen."""

    name: str  # names its folder and its rows; no other plate of the screen has it
    path: Path  # this and the next two as `open_plate` takes them; absolute
    pattern: str | None = None
    image_root: Path | None = None
    # Name for `open_plate`: of a table with several plates which one, None for the only one
    chosen_name: str | None = None
    plate_shape: str | None = None  # rows and columns, or the number of wells; None as stated
    time: int | Literal["all"] | None = None  # the only time point, None for the first
    is_of_series: bool = False  # whether it is one time point of a series
    allow_remote: bool = False  # whether servers that its table names may be contacted
    platemap: Path | None = None  # its plate map, None without one
    cells: Path | None = None  # masks or positions to import; None finds nuclei
    acquired: dt.datetime | str | None = None  # when it was imaged, `FROM_FILES`, or None
    order: float | None = None  # its place in the order of acquisition, or None

    @property
    def key(self) -> str:
        """Name of its folder: only characters that need no care in a shell or a workflow."""
        return re.sub(r"[^\w.%+=@-]", lambda match: f"%{ord(match[0]):02X}", folder_name(self.name))


@dataclass(frozen=True, kw_only=True)
class ScreenSpec:
    """A screen."""

    name: str  # title of the report
    assay: Path  # the assay that holds the trained model
    plates: tuple[ScreenPlate, ...]  # in the order of the file
    model: str | None = None  # id of the model; None takes the one in use
    channel: str | int | None = None  # how cells are found
    projection: Projection | None = None  # how cells are found
    keep_kinds: tuple[str, ...] = ()  # see `ExportOptions`
    exclude_unreviewed: bool = False
    rule: PlateRule = field(default_factory=PlateRule)  # by which plates are flagged
    source: Path | None = None  # the file it was read from

    @property
    def ordered_by(self) -> Literal["acquired", "order", "list"]:
        """What the order of the plates goes by."""
        if all(plate.acquired is not None for plate in self.plates):
            return "acquired"
        return "order" if all(plate.order is not None for plate in self.plates) else "list"


def read_screen(path: Path) -> ScreenSpec:
    """Read a TOML file; relative paths are relative to it.

    ::

        name = "My screen"
        assay = "assay"                 # with a trained model
        platemap = "platemap.csv"       # of every plate that names no other
        [cells]
        channel = "DNA"                 # as the model's by default
        [export]
        keep_kinds = ["dead"]
        [rule]
        z_limit = 5                     # see `PlateRule`
        [[plate]]
        glob = "raw/*/Images"           # each match is a plate, named by what the * stands for
        acquired = "files"              # the oldest image of each plate
        [[plate]]
        path = "late/P9"
        acquired = 2026-02-03T09:30:00
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HcsQcError(f"{path} cannot be read as TOML: {error}") from error
    export = data.get("export")
    if isinstance(export, dict) and "exclude_kinds" in export:
        warnings.warn(
            f"{path}: export.exclude_kinds is now called keep_kinds: these kinds are kept.",
            FutureWarning,
            stacklevel=2,
        )
        export.setdefault("keep_kinds", export.pop("exclude_kinds"))
    file, problems_found = parse_leniently(ScreenFile, data)
    # People count plates from 1.
    problems = [
        replace(problem, where=_PLATE.sub(lambda n: f"plate {int(n[1]) + 1} ", problem.where))
        for problem in problems_found
    ]
    spec = _Specification(path, problems).screen(file)
    if problems:
        raise ProblemsError(f"{path}: {count_of(len(problems), 'problem')}", problems)
    return spec


class _Specification:
    """Makes a screen of its file, and collects what is wrong."""

    def __init__(self, path: Path, problems: list[Problem]) -> None:
        self._path, self._base = path.resolve(), path.resolve().parent
        self._problems = problems

    def screen(self, file: ScreenFile) -> ScreenSpec:
        assay = self._placed(file.assay)
        if assay is None:
            self._report("assay", "is missing; name the folder of an assay with a trained model.")
        elif not (assay / "assay.json").is_file():
            self._report("assay", f"{assay} is not an assay; make and train one with: hcs-qc run.")
        else:
            self._check_kinds(assay, file)
        return ScreenSpec(
            name=file.name or self._path.stem,
            assay=assay or self._base,
            plates=self._plates(file),
            model=file.model,
            channel=file.cells.channel,
            projection=file.cells.z,
            keep_kinds=file.export.keep_kinds,
            exclude_unreviewed=file.export.exclude_unreviewed,
            rule=self._rule(file),
            source=self._path,
        )

    def _check_kinds(self, assay: Path, file: ScreenFile) -> None:
        try:
            kinds = AssayFolder.open(assay).kinds
        except HcsQcError as error:
            self._report("assay", str(error))
            return
        try:
            listed_kinds(file.export.keep_kinds, kinds)
        except HcsQcError as error:
            self._report("export.keep_kinds", str(error))

    def _rule(self, file: ScreenFile) -> PlateRule:
        try:
            return PlateRule.from_dict(file.rule)
        except ProblemsError as error:
            for problem in error.problems:
                self._report(f"rule.{problem.where}", problem.what)
        return PlateRule()

    def _plates(self, file: ScreenFile) -> tuple[ScreenPlate, ...]:
        if not file.plate:
            self._report("plate", "is missing; add [[plate]] with a path or a glob.")
        platemap = self._file(file.platemap, "platemap")
        plates = [
            plate
            for number, table in enumerate(file.plate, start=1)
            for plate in self._plates_of(table, f"plate {number}", platemap)
        ]
        counts = Counter(plate.name for plate in plates)
        for name in [name for name, count in counts.items() if count > 1][:20]:
            self._report(f"plate {name}", "is given twice; give each plate its own name.")
        names: list[str] = []
        for name in counts:
            other = next((other for other in names if same_name(other, name)), None)
            if other is not None:
                self._report(f"plate {name}", f"differs from {other} only in upper and lower case.")
            names.append(name)
        for what in ("acquired", "order"):
            without = [plate.name for plate in plates if getattr(plate, what) is None]
            if without and len(without) < len(plates):
                listed = ", ".join(without[:5])
                self._report(what, f"is missing on {listed}; give it on all plates or none.")
        return tuple(plates)

    def _plates_of(self, table: PlateTable, where: str, platemap: Path | None) -> list[ScreenPlate]:
        if (table.path is None) == (table.glob is None):
            self._report(where, "needs either a path, or a glob for many plates.")
            return []
        for_one = [name for name in ("name", "cells", "order") if getattr(table, name) is not None]
        if table.glob is not None and for_one:
            self._report(where, f"{', '.join(for_one)} applies to one plate; a glob matches many.")
        if table.platemap is not None:
            platemap = self._file(table.platemap, f"{where} platemap")
        plates = []
        for name, path, chosen in self._sources(table, where):
            try:
                folder_name(name)
            except HcsQcError as error:
                self._report(where, f"name {name!r} cannot be that of a folder: {error}")
                continue
            plates.append(
                ScreenPlate(
                    name=name,
                    path=path,
                    pattern=table.pattern,
                    image_root=self._placed(table.image_root),
                    # A table has the names of its plates itself.
                    chosen_name=chosen if path.suffix.lower() in _TABLES else name,
                    plate_shape=table.plate_shape,
                    time=table.time,
                    allow_remote=table.allow_remote,
                    platemap=platemap,
                    cells=self._placed(table.cells),
                    acquired=table.acquired,
                    order=table.order,
                )
            )
        return plates

    def _sources(self, table: PlateTable, where: str) -> list[tuple[str, Path, str | None]]:
        """Give name, path and chosen name of each plate that a table stands for."""
        path = self._placed(table.path)
        if path is not None:
            return [(table.name or _own_name(path), path, table.name)]
        full = str(self._placed(table.glob))
        # Sorted as a person counts: P2 before P10.
        matches = [Path(match) for match in sorted(glob(full, recursive=True), key=natural_key)]
        matches = [match for match in matches if not match.name.startswith(".")]
        if not matches:
            self._report(where, f"nothing matches the glob {full}.")
        return [(_matched_name(full, match), match, None) for match in matches]

    def _placed(self, text: str | None) -> Path | None:
        return None if text is None else self._base / Path(text).expanduser()

    def _file(self, text: str | None, where: str) -> Path | None:
        path = self._placed(text)
        if path is not None and not path.is_file():
            self._report(where, f"{path} is not a file.")
        return path

    def _report(self, where: str, what: str) -> None:
        self._problems.append(Problem(where, what))


def _own_name(path: Path) -> str:
    return path.stem if path.suffix.lower() in {*_TABLES, ".zarr"} else path.name


def _matched_name(pattern: str, path: Path) -> str:
    """Name a match by the part of its path that the wildcards stand for."""
    parts, wanted = path.parts, Path(pattern).parts
    first = next((i for i, part in enumerate(wanted) if _MAGIC.search(part)), len(wanted) - 1)
    n_after = next((i for i, part in enumerate(reversed(wanted)) if _MAGIC.search(part)), 0)
    middle = list(parts[first : len(parts) - n_after]) or [path.name]
    if n_after == 0:
        middle[-1] = _own_name(path)
    # Exports often repeat it: P1/P1/*.tif.
    return " ".join(part for i, part in enumerate(middle) if i == 0 or part != middle[i - 1])
