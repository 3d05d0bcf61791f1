"""What a screen consists of, and how it is read from a TOML file."""

from __future__ import annotations

import datetime as dt
import glob as globbing
import re
import tomllib
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_hcs_qc.assay.annotations.annotation import KINDS
from napari_hcs_qc.assay.store.plate_entry import folder_name, same_name
from napari_hcs_qc.errors import HcsQcError, Problem, ProblemsError
from napari_hcs_qc.plates.readers.assemble import natural_key
from napari_hcs_qc.qc.plate_level.plate_rule import PlateRule
from napari_hcs_qc.text import count_of, unknown_setting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_hcs_qc.plates.plate import Projection

_TABLES = frozenset({".csv", ".tsv", ".parquet", ".pq"})
_MAGIC = re.compile(r"[*?\[]")
_KEYS: dict[str, frozenset[str]] = {
    "": frozenset({"name", "assay", "model", "platemap", "cells", "export", "rule", "plate"}),
    "cells": frozenset({"channel", "z"}),
    "export": frozenset({"keep_kinds", "exclude_kinds", "exclude_unreviewed"}),
    "plate": frozenset(
        {"path", "glob", "name", "pattern", "image_root", "platemap", "cells", "acquired", "order"}
    ),
}
FROM_FILES = "files"
"""Value of ``acquired``: the oldest image file of the plate tells when it was taken."""


@dataclass(frozen=True)
class ScreenPlate:
    """One plate of a screen."""

    name: str  # names its folder and its rows; no other plate of the screen has it
    path: Path  # as `napari_hcs_qc.plates.open_plate` takes them; absolute
    pattern: str | None = None  # as `napari_hcs_qc.plates.open_plate` takes them; absolute
    image_root: Path | None = None  # as `napari_hcs_qc.plates.open_plate` takes them; absolute
    # Name for `open_plate`: of a table with several plates which one, None for the only one
    chosen_name: str | None = None
    platemap: Path | None = None  # its plate map, None without one
    cells: Path | None = None  # masks or positions to import; None finds nuclei
    acquired: dt.datetime | str | None = None  # when it was imaged, `FROM_FILES`, or None
    order: float | None = None  # its place in the order of acquisition, or None

    @property
    def key(self) -> str:
        """Name of its folder: only characters that need no care in a shell or a workflow."""
        return re.sub(r"[^\w.%+=@-]", lambda match: f"%{ord(match[0]):02X}", folder_name(self.name))


@dataclass(frozen=True)
class ScreenSpec:
    """A screen."""

    name: str  # title of the report
    assay: Path  # the assay that holds the trained model
    plates: tuple[ScreenPlate, ...]  # in the order of the file
    model: str | None = None  # id of the model; None takes the one in use
    channel: str | int | None = None  # how cells are found
    projection: Projection | None = None  # how cells are found
    keep_kinds: tuple[str, ...] = ()  # see `napari_hcs_qc.qc.export.export_tables.ExportOptions`
    exclude_unreviewed: bool = False  # see `napari_hcs_qc.qc.export.export_tables.ExportOptions`
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
    problems: list[Problem] = []
    reader = _Reader(path.resolve().parent, problems)
    spec = reader.screen(data, path)
    if problems:
        raise ProblemsError(f"{path}: {count_of(len(problems), 'problem')}", problems)
    assert spec is not None
    return spec


class _Reader:
    """Reads values, and collects what is wrong with them."""

    def __init__(self, base: Path, problems: list[Problem]) -> None:
        self._base, self._problems = base, problems

    def screen(self, data: Mapping[str, Any], path: Path) -> ScreenSpec | None:
        self._known(data, "", "")
        assay = self._path(data, "assay", "")
        if assay is None:
            self._tell("assay", "is missing; name the folder of an assay with a trained model.")
        elif not (assay / "assay.json").is_file():
            self._tell("assay", f"{assay} is not an assay; make and train one with: hcs-qc run.")
        cells, export = self._table(data, "cells"), self._table(data, "export")
        plates = self._plates(data)
        if "exclude_kinds" in export:
            warnings.warn(
                f"{path}: export.exclude_kinds is now called keep_kinds: these kinds are kept.",
                FutureWarning,
                stacklevel=2,
            )
        kinds = export.get("keep_kinds", export.get("exclude_kinds", []))
        if not isinstance(kinds, list) or any(one not in KINDS for one in kinds):
            self._tell(
                "export.keep_kinds", f"is {kinds!r}; a list of {', '.join(KINDS)} was expected."
            )
            kinds = []
        rule = PlateRule()
        try:
            rule = PlateRule.from_dict(self._table(data, "rule", check=False))
        except ProblemsError as error:
            for one in error.problems:
                self._tell(f"rule.{one.where}", one.what)
        except HcsQcError as error:
            self._tell("rule", str(error))
        spec = None
        if assay is not None:
            spec = ScreenSpec(
                self._text(data, "name", "") or path.stem,
                assay,
                plates,
                self._text(data, "model", ""),
                self._channel(cells),
                self._projection(cells),
                tuple(str(one) for one in kinds),
                self._flag(export, "exclude_unreviewed", "export"),
                rule,
                path.resolve(),
            )
        return spec

    # ---- plates --------------------------------------------------------------------------

    def _plates(self, data: Mapping[str, Any]) -> tuple[ScreenPlate, ...]:
        rows = data.get("plate", [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            self._tell("plate", "must be tables, each beginning with [[plate]].")
            return ()
        if not rows:
            self._tell("plate", "is missing; add [[plate]] with a path or a glob.")
        platemap = self._file(data, "platemap", "")
        plates = [
            plate
            for number, row in enumerate(rows, start=1)
            for plate in self._plate(row, f"plate {number}", platemap)
        ]
        counts = Counter(plate.name for plate in plates)
        twice = [name for name, count in counts.items() if count > 1]
        for name in twice[:20]:
            self._tell(f"plate {name}", "is given twice; give each plate its own name.")
        folded: dict[str, str] = {}
        for name in counts:
            other = next((one for one in folded.values() if same_name(one, name)), None)
            if other is not None:
                self._tell(f"plate {name}", f"differs from {other} only in upper and lower case.")
            folded[name] = name
        for what in ("acquired", "order"):
            without = [plate.name for plate in plates if getattr(plate, what) is None]
            if without and len(without) < len(plates):
                self._tell(
                    what, f"is missing on {', '.join(without[:5])}; give it on all plates or none."
                )
        return tuple(plates)

    def _plate(
        self, row: Mapping[str, Any], where: str, platemap: Path | None
    ) -> list[ScreenPlate]:
        self._known(row, "plate", where)
        if ("path" in row) == ("glob" in row):
            self._tell(where, "needs either a path, or a glob for many plates.")
            return []
        for_one = [key for key in ("name", "cells", "order") if key in row and "glob" in row]
        if for_one:
            self._tell(where, f"{', '.join(for_one)} applies to one plate; a glob matches many.")
        pattern = self._text(row, "pattern", where)
        if pattern is not None:
            try:
                re.compile(pattern)
            except re.error as error:
                self._tell(where, f"pattern {pattern!r} is not a regular expression: {error}.")
        common = {
            "pattern": pattern,
            "image_root": self._path(row, "image_root", where),
            "platemap": self._file(row, "platemap", where) if "platemap" in row else platemap,
            "cells": self._path(row, "cells", where),
            "acquired": self._acquired(row, where),
            "order": self._number(row, "order", where),
        }
        if "glob" in row:
            return self._matches(row, where, common)
        path = self._path(row, "path", where)
        if path is None:
            return []
        name = self._text(row, "name", where)
        return self._made(name or _own_name(path), path, name, where, common)

    def _matches(
        self, row: Mapping[str, Any], where: str, common: dict[str, Any]
    ) -> list[ScreenPlate]:
        pattern = self._text(row, "glob", where)
        if pattern is None:
            return []
        full = str(self._base / Path(pattern).expanduser())
        # Sorted as a person counts: P2 before P10.
        found = sorted(globbing.glob(full, recursive=True), key=natural_key)
        found = [one for one in found if not Path(one).name.startswith(".")]
        if not found:
            self._tell(where, f"nothing matches the glob {full}.")
        plates = []
        for one in found:
            plates += self._made(_matched_name(full, Path(one)), Path(one), None, where, common)
        return plates

    def _made(
        self, name: str, path: Path, chosen: str | None, where: str, common: dict[str, Any]
    ) -> list[ScreenPlate]:
        try:
            folder_name(name)
        except HcsQcError as error:
            self._tell(where, f"name {name!r} cannot be that of a folder: {error}")
            return []
        # A table tells the names of its plates itself.
        chosen = chosen if path.suffix.lower() in _TABLES else name
        return [ScreenPlate(name, path, chosen_name=chosen, **common)]

    # ---- values --------------------------------------------------------------------------

    def _tell(self, where: str, what: str) -> None:
        self._problems.append(Problem(where, what))

    def _known(self, data: Mapping[str, Any], table: str, where: str) -> None:
        for key in data:
            if key not in _KEYS[table]:
                named = f"{where}: {key}" if where else (f"{table}.{key}" if table else key)
                self._tell(named, unknown_setting(key, _KEYS[table]))

    def _table(self, data: Mapping[str, Any], key: str, *, check: bool = True) -> dict[str, Any]:
        table = data.get(key, {})
        if not isinstance(table, dict):
            self._tell(key, f"is {table!r}; a table [{key}] was expected.")
            return {}
        if check:
            self._known(table, key, "")
        return table

    def _text(self, data: Mapping[str, Any], key: str, where: str) -> str | None:
        value = data.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip():
            self._tell(f"{where} {key}".strip(), f"is {value!r}; a text in quotes was expected.")
            return None
        return value

    def _path(self, data: Mapping[str, Any], key: str, where: str) -> Path | None:
        text = self._text(data, key, where)
        return None if text is None else Path(self._base / Path(text).expanduser())

    def _file(self, data: Mapping[str, Any], key: str, where: str) -> Path | None:
        path = self._path(data, key, where)
        if path is not None and not path.is_file():
            self._tell(f"{where} {key}".strip(), f"{path} is not a file.")
        return path

    def _flag(self, data: Mapping[str, Any], key: str, where: str) -> bool:
        value = data.get(key, False)
        if not isinstance(value, bool):
            self._tell(f"{where}.{key}", f"is {value!r}; true or false was expected.")
        return value is True

    def _number(self, data: Mapping[str, Any], key: str, where: str) -> float | None:
        value = data.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            self._tell(f"{where} {key}", f"is {value!r}; a number was expected.")
            return None
        return float(value)

    def _acquired(self, data: Mapping[str, Any], where: str) -> dt.datetime | str | None:
        value = data.get("acquired")
        if value is None or value == FROM_FILES:
            return value
        try:
            if isinstance(value, str):
                value = dt.datetime.fromisoformat(value)
            if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
                value = dt.datetime.combine(value, dt.time())
        except ValueError:
            pass
        if not isinstance(value, dt.datetime):
            self._tell(
                f"{where} acquired",
                f'is {value!r}; a time such as 2026-02-03T09:30:00, or "files", was expected.',
            )
            return None
        return value

    def _channel(self, data: Mapping[str, Any]) -> str | int | None:
        value = data.get("channel")
        if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
            return value
        self._tell("cells.channel", f"is {value!r}; the name or number of a channel was expected.")
        return None

    def _projection(self, data: Mapping[str, Any]) -> Projection | None:
        value = data.get("z")
        is_plane = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        if value is None or value == "max" or is_plane:
            found: Projection | None = value
            return found
        self._tell("cells.z", f"is {value!r}; 'max' or the number of a plane was expected.")
        return None


def _own_name(path: Path) -> str:
    return path.stem if path.suffix.lower() in {*_TABLES, ".zarr"} else path.name


def _matched_name(pattern: str, path: Path) -> str:
    """Name a match by the part of its path that the wildcards stand for."""
    parts, wanted = path.parts, Path(pattern).parts
    first = next((i for i, one in enumerate(wanted) if _MAGIC.search(one)), len(wanted) - 1)
    n_after = next((i for i, one in enumerate(reversed(wanted)) if _MAGIC.search(one)), 0)
    middle = list(parts[first : len(parts) - n_after]) or [path.name]
    if n_after == 0:
        middle[-1] = _own_name(path)
    # Exports often repeat it: P1/P1/*.tif.
    return " ".join(one for i, one in enumerate(middle) if i == 0 or one != middle[i - 1])
