"""Whether a plate map is of the plate that it is given for: how many of its wells were imaged."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_hcs_qc.assay.store.platemap import plates_of_platemap, read_platemap
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import atomic_path, sha256_of
from napari_hcs_qc.plates.wells import parse_well, well_name
from napari_hcs_qc.read_table import encoding_note
from napari_hcs_qc.text import a_few, count_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.plates.plate import Plate

_FEW, _HALF, _MOST = 0.1, 0.5, 0.9
_READINGS = {
    "rows and columns exchanged": (True, 0, 0, "Exchange them in the map"),
    "rows and columns counted from 0": (False, 1, 1, "Add 1 to both"),
    "columns counted from 0": (False, 0, 1, "Add 1 to the columns"),
    "rows counted from 0": (False, 1, 0, "Add 1 to the rows"),
}
"""How the wells of a map may be meant (exchanged, and moved by rows and columns), and the remedy.
"""


@dataclass(frozen=True, kw_only=True)
class PlatemapMatch:
    """What a plate map has for one plate."""

    plate: str
    file: str  # name of the map
    wells: tuple[str, ...]  # of the plate in the map
    imaged: tuple[str, ...]
    roles: Mapping[str, int] = field(default_factory=dict)  # imaged wells in the map by role
    named: tuple[str, ...] = ()  # plates that the map names, where this one is not among them
    note: str = ""

    @property
    def n_matched(self) -> int:
        """Number of imaged wells that are in the map."""
        return len({*self.wells} & {*self.imaged})

    @property
    def sentence(self) -> str:
        """Say what matched."""
        roles = ", ".join(f"{n} {role}" for role, n in self.roles.items())
        parts = [
            f"{self.file}: {self.n_matched} of {count_of(len(self.imaged), 'imaged well')}"
            + (f" ({roles})" if roles else "")
        ]
        if self.wells and self.named:
            parts.append(f"its plate is called {self.named[0]}, here it is {self.plate}")
        better = self._better()
        if better and self._share(self.n_matched) < _MOST:
            parts.append(f"with {better[0]}, {better[1]} would be: check the map")
        return "; ".join(filter(None, [*parts, self.note]))

    def _share(self, n: int) -> float:
        return n / max(1, min(len(self.wells), len(self.imaged)))

    def _better(self) -> tuple[str, int, str] | None:
        """Give another reading by which clearly more wells match, their number, and the remedy."""
        counts = []
        for name, (is_exchanged, down, right, remedy) in _READINGS.items():
            moved = set()
            for well in self.wells:
                row, column = parse_well(well)[:: -1 if is_exchanged else 1]
                try:
                    moved.add(well_name(row + down, column + right))
                except HcsQcError:  # beyond every plate
                    continue
            counts.append((len(moved & {*self.imaged}), name, remedy))
        n, name, remedy = max(counts, key=lambda count: count[0])
        is_better = n > self.n_matched and self._share(n) >= _MOST
        return (name, n, remedy) if is_better else None

    def check(self, path: Path) -> None:
        """Refuse a map that is hardly of this plate, naming the likely cause."""
        share = self._share(self.n_matched)
        better = self._better()
        if not share < (_HALF if better else _FEW):
            return
        if not self.wells:
            raise HcsQcError(
                f"{path} has {'the plate' if len(self.named) == 1 else 'the plates'} "
                f"{a_few(self.named)}, not {self.plate}. Give the plate its name there "
                "(--plate-name), or rename it in the map."
            )
        what = (
            f"{path} is hardly of plate {self.plate}: {self.n_matched} of its "
            f"{count_of(len(self.wells), 'well')} ({a_few(self.wells)}) "
            f"{'was' if self.n_matched == 1 else 'were'} imaged ({a_few(self.imaged)})."
        )
        if better:
            raise HcsQcError(f"{what} With {better[0]}, {better[1]} would be. {better[2]}.")
        of = f"Its plate is called {self.named[0]}. " if self.named else ""
        raise HcsQcError(f"{what} {of}It may be of another plate; give the map of this one.")


def match_platemap(
    plate: Plate, path: Path, *, name: str = "", plates: Collection[str] = ()
) -> PlatemapMatch:
    """Compare a plate map with the imaged wells of a plate; `plates` are all of the assay."""
    table = read_platemap(path, plate=plate.plate_name, plates=plates)
    named = plates_of_platemap(path)
    is_imaged = table["well"].isin(plate.wells)
    return PlatemapMatch(
        plate=plate.plate_name,
        file=name or path.name,
        wells=tuple(table["well"]),
        imaged=plate.wells,
        roles=dict(Counter(sorted(table.loc[is_imaged, "role"]))),
        named=() if plate.plate_name in named else named,
        note=encoding_note(path),
    )


def check_platemap(plates: Sequence[Plate], path: Path, known: Collection[str]) -> None:
    """Refuse a plate map that is of none of these plates, or does not fit one that it has."""
    names = {*known, *(plate.plate_name for plate in plates)}
    matches = [match_platemap(plate, path, plates=names) for plate in plates]
    for match in [match for match in matches if match.wells] or matches[:1]:
        match.check(path)


def assay_platemap(assay: AssayFolder, plate: Plate) -> PlatemapMatch | None:
    """Compare the plate map of an assay with one of its plates; None without a map."""
    path = assay.platemap_path
    if not path.is_file():
        return None
    names = [entry.plate_name for entry in assay.plates]
    return match_platemap(plate, path, name=assay.settings.platemap or "", plates=names)


def keep_platemap(assay: AssayFolder, path: Path) -> None:
    """Copy a plate map into an assay."""
    if path.resolve() != assay.platemap_path.resolve():
        with atomic_path(assay.platemap_path) as temporary:
            shutil.copyfile(path, temporary)
        name = path.name
    else:
        name = assay.settings.platemap or path.name
    assay.update_settings(platemap=name, platemap_sha256=sha256_of(assay.platemap_path))


def check_replaced(assay: AssayFolder, path: Path, plates: Collection[str]) -> None:
    """Refuse a map that would replace, for other plates than those it is given for, theirs."""
    others = list(dict.fromkeys(e.plate_name for e in assay.plates if e.plate_name not in plates))
    before = assay.platemap_path
    if not others or not before.is_file() or sha256_of(before) == sha256_of(path):
        return
    if not set(others) <= {*plates_of_platemap(path)}:
        raise HcsQcError(
            f"The assay {assay.path} has the plate map {assay.settings.platemap or before.name}, "
            f"which is of {a_few(others)} too; {path.name} would replace it. Write all plates into "
            "one map with a column plate, or name all plates of the assay beside it."
        )
