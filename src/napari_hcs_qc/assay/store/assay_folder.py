"""An assay on disk: one folder with its plates' cells, annotations, models and predictions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from shlex import quote
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.assay.annotations.annotation import checked_text
from napari_hcs_qc.assay.annotations.journal import Journal
from napari_hcs_qc.assay.annotations.kinds import BUILT_IN_KINDS, new_kind
from napari_hcs_qc.assay.store.assay_document import AssayDocument, AssaySettings
from napari_hcs_qc.assay.store.folder_lock import AssayBusyError, locked
from napari_hcs_qc.assay.store.plate_entry import PlateEntry, folder_name, same_name
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import explained_writes
from napari_hcs_qc.plates.remote import as_location
from napari_hcs_qc.plugins import BUILT_IN_DETECTOR
from napari_hcs_qc.qc.rule import FlagRule
from napari_hcs_qc.text import a_few, count_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from napari_hcs_qc.assay.annotations.kinds import Kind
    from napari_hcs_qc.plates.plate import Plate

__all__ = ["DEFAULT_THRESHOLD", "AssayBusyError", "AssayFolder", "PlateEntry"]

DEFAULT_THRESHOLD = 0.5
"""P(abnormal) from which a cell counts as abnormal, while nothing else is set."""

_MANIFEST = "assay.json"
# What an assay whose making was interrupted may hold; anything else is somebody's folder.
_OWN = frozenset(["journal.sqlite", "journal.sqlite-journal", "assay.lock", "assay.lock.json"])


class AssayFolder:
    """One assay; made by `create`, `open` or `open_or_create`.

    ::

        assay.json                      what is below here stands on: plates, settings, version
        journal.sqlite                  annotations and verdicts
        platemap.csv                    the plate map, where one was given
        plates/<plate>/                 cells, intensity ranges, image quality of one plate
        embeddings/                     stores, named by their fingerprint
        encoders/<encoder>/             encoders trained on this assay's cells, or imported
        models/<model>/                 heads with their manifests
        predictions/<plate>/<model>...  scores of the cells of a plate
        status.json                     what `hcs-qc status` printed last
        presence/                       who has the assay open in a window

    Everything but ``assay.json``, the journal and the plate map can be computed again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Plates that were opened, by name, where each is to be opened once: during one command.
        self.opened: dict[str, Plate] | None = None
        self._read()

    # ---- making and opening --------------------------------------------------------------

    @classmethod
    def create(cls, path: Path) -> AssayFolder:
        """Make an assay in a new or empty folder; its parents are made too."""
        if (path / _MANIFEST).exists():
            raise HcsQcError(f"{path} is an assay already; use it, or choose another folder.")
        if path.exists() and not path.is_dir():
            raise HcsQcError(f"{path} is a file; a new or empty folder was expected.")
        foreign = sorted(entry.name for entry in path.iterdir()) if path.exists() else []
        foreign = [name for name in foreign if name not in _OWN and not _is_temporary(name)]
        if foreign:
            raise HcsQcError(
                f"{path} is not empty and not an assay: it holds {', '.join(foreign[:3])}"
                f"{' and more' if len(foreign) > 3 else ''}. Choose a new or empty folder."
            )
        with explained_writes(path):
            path.mkdir(parents=True, exist_ok=True)
        with locked(path):
            if not (path / _MANIFEST).exists():  # another process may have been quicker
                Journal.open(path / "journal.sqlite")
                created = datetime.now(UTC).isoformat(timespec="seconds")
                # Last: a folder without it is no assay yet.
                AssayDocument(created=created).save(path / _MANIFEST)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> AssayFolder:
        """Open an assay; a read-only one too."""
        if not (path / _MANIFEST).is_file():
            what = "is not an assay: it has no assay.json" if path.exists() else "does not exist"
            raise HcsQcError(
                f"{path} {what}. Make an assay with: hcs-qc new {quote(str(path))} PLATE."
            )
        return cls(path)

    @classmethod
    def open_or_create(cls, path: Path) -> AssayFolder:
        """Open the assay at `path`, or make it when there is none."""
        return cls.open(path) if (path / _MANIFEST).exists() else cls.create(path)

    def lock(self, *, timeout_s: float = 1.0) -> AbstractContextManager[None]:
        """Keep other processes from working in this assay, see `folder_lock.locked`.

        Annotating needs no lock: the journal takes several writers.
        """
        return locked(self.path, timeout_s=timeout_s)

    # ---- plates --------------------------------------------------------------------------

    @property
    def plates(self) -> tuple[PlateEntry, ...]:
        """The plates, in the order in which they were added."""
        return self._plates

    def plate(self, name: str) -> PlateEntry:
        """Find a plate by its name."""
        for entry in self._plates:
            if same_name(entry.name, name):
                return entry
        there = a_few([entry.name for entry in self._plates], 20) or "none yet"
        raise HcsQcError(f"The assay {self.path} has no plate {name}; its plates: {there}.")

    def plates_called(self, name: str) -> list[PlateEntry]:
        """Find a plate, or all time points of a series, by its name."""
        series = [entry for entry in self._plates if same_name(entry.series or "", name)]
        return series or [self.plate(name)]

    def whole_plate(self, name: str) -> PlateEntry:
        """Find a plate by its name; for a series or one of its time points the whole of it."""
        return self.plates_called(name)[0].whole()

    def add_plate(
        self,
        name: str,
        source: Path,
        *,
        pattern: str | None = None,
        image_root: Path | None = None,
        plate_shape: str | None = None,
        time: int | None = None,
        series: str | None = None,
        allow_remote: bool = False,
        fingerprint: str = "",
    ) -> PlateEntry:
        """Add a plate; the same plate again changes nothing, so that a command can be repeated."""
        folder_name(name)  # refuses a name that can name no folder
        checked_text(str(source), "path of the plate")
        root = None if image_root is None else as_location(image_root).resolve()
        new = PlateEntry(
            name=name,
            source=as_location(source).resolve(),
            pattern=pattern,
            image_root=root,
            plate_shape=plate_shape,
            time=time,
            series=series,
            allow_remote=allow_remote,
            fingerprint=fingerprint,
        )
        with self.lock():
            self.reload()
            for entry in self._plates:
                if same_name(entry.name, series or "") or same_name(entry.series or "", name):
                    whole, part = (entry, new) if new.series else (new, entry)
                    raise HcsQcError(
                        f"The plate {whole.name} and its time point {part.name} cannot be in one "
                        "assay, in which cells would count twice; remove what is there first: "
                        f"hcs-qc remove ASSAY {quote(entry.plate_name)}."
                    )
                if not same_name(entry.name, name):
                    continue
                requested = replace(
                    new,
                    pattern=new.pattern or entry.pattern,
                    image_root=new.image_root or entry.image_root,
                    plate_shape=new.plate_shape or entry.plate_shape,
                    time=entry.time if new.time is None else new.time,
                    allow_remote=entry.allow_remote,
                    fingerprint=entry.fingerprint,
                )
                if requested == entry:
                    if new.allow_remote and not entry.allow_remote:
                        allowed = replace(entry, allow_remote=True)
                        self._replace(entry, allowed)
                        return allowed
                    return entry
                raise HcsQcError(_clash(entry, new))
            self._write(plates=(*self._plates, new))
        return new

    def relocate_plate(
        self,
        name: str,
        source: Path,
        *,
        image_root: Path | None = None,
        allow_remote: bool = False,
    ) -> PlateEntry:
        """Tell the assay where a plate lies now. Its cells and embeddings stay.

        Of a time series all time points move.
        """
        with self.lock():
            self.reload()
            old = self.whole_plate(name)
            root = old.image_root if image_root is None else as_location(image_root).resolve()
            changes: dict[str, Any] = {
                "source": as_location(source).resolve(),
                "image_root": root,
                "allow_remote": allow_remote or old.allow_remote,
            }
            if not changes["source"].exists():
                raise HcsQcError(
                    f"{source} does not exist; the plate {old.name} stays at {old.source}."
                )
            moved = {id(entry) for entry in self.plates_called(old.name)}
            self._write(
                plates=tuple(
                    replace(entry, **changes) if id(entry) in moved else entry
                    for entry in self._plates
                )
            )
        return replace(old, **changes)

    def _replace(self, old: PlateEntry, new: PlateEntry) -> None:
        self._write(plates=tuple(new if entry is old else entry for entry in self._plates))

    def remove_plate(self, name: str) -> PlateEntry:
        """Take a plate out; its images, and what people said about it, stay where they are.

        Of a time series a time point, or by the name of the series all of them.
        """
        with self.lock():
            self.reload()
            entries = self.plates_called(name)
            gone = {id(entry) for entry in entries}
            self._write(plates=tuple(entry for entry in self._plates if id(entry) not in gone))
        return entries[0].whole() if same_name(entries[0].series or "", name) else entries[0]

    # ---- settings ------------------------------------------------------------------------

    @property
    def created(self) -> str:
        """When it was made, ISO 8601 in UTC."""
        return self._document.created

    @property
    def settings(self) -> AssaySettings:
        """What people chose for the assay."""
        return self._document.settings

    @property
    def threshold(self) -> float:
        """P(abnormal) from which a cell counts as abnormal; `DEFAULT_THRESHOLD` if unset."""
        value = self.settings.threshold
        return DEFAULT_THRESHOLD if value is None else value

    @property
    def flag_rule(self) -> FlagRule:
        """The flag rule: the assay's thresholds over the defaults."""
        return FlagRule.from_dict(self.settings.flag_rule)

    @property
    def include_cut(self) -> bool:
        """Whether cells that the image border cuts are trained on and counted as others are."""
        return bool(self.settings.include_cut)

    @property
    def detector(self) -> str:
        """What finds nuclei on its plates, see `nuclei_finder`."""
        return self.settings.detector or BUILT_IN_DETECTOR

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Kinds of abnormal cells: those of every assay, then those that people added."""
        return (*BUILT_IN_KINDS, *self.settings.kinds)

    def add_kind(self, name: str, colour: str | None = None, key: str | None = None) -> Kind:
        """Add a kind, see `new_kind`; one that people added before gets the colour and key."""
        with self.lock():
            self.reload()
            added = {kind.name: kind for kind in self.settings.kinds}
            before = added.get(name.strip().casefold())
            if before is None:
                kind = new_kind(self.kinds, name, colour, key)
            elif colour is None and key is None:
                return before
            else:
                others = [kind for kind in self.kinds if kind is not before]
                kind = new_kind(others, name, colour, key or before.key)
                if colour is None:
                    kind = kind.model_copy(update={"colour": before.colour})
            self._set_kinds({**added, kind.name: kind})
        return kind

    def remove_kind(self, name: str) -> Kind:
        """Remove a kind that people added; one that annotations have stays."""
        with self.lock():
            self.reload()
            added = {kind.name: kind for kind in self.settings.kinds}
            kind = added.pop(name.strip().casefold(), None)
            if kind is None:
                there = ", ".join(added) or "none"
                raise HcsQcError(
                    f"The kind {name!r} cannot be removed: it is not one of those added to this "
                    f"assay ({there})."
                )
            n_used = int((self.journal().annotations()["kind"] == kind.name).sum())
            if n_used:
                raise HcsQcError(
                    f"The kind {kind.name!r} cannot be removed: {count_of(n_used, 'annotation')} "
                    f"{'has' if n_used == 1 else 'have'} it. Annotate these cells otherwise first."
                )
            self._set_kinds(added)
        return kind

    def _set_kinds(self, kinds: dict[str, Kind]) -> None:
        self._write(settings=self.settings.model_copy(update={"kinds": tuple(kinds.values())}))

    def update_settings(self, **changes: object) -> None:
        """Change settings; a value None removes one."""
        with self.lock():
            self.reload()
            values = {**self.settings.model_dump(mode="json"), **changes}
            kept = {name: value for name, value in values.items() if value is not None}
            data = {**self._document.plain(), "settings": kept}
            checked = AssayDocument.parse(data, self.path / _MANIFEST)
            self._write(settings=checked.settings)

    def reload(self) -> None:
        """Read again what another process may have changed."""
        self._read()

    # ---- where things are ----------------------------------------------------------------

    def journal(self) -> Journal:
        """Open the journal of annotations and verdicts."""
        return Journal.open(self.journal_path, create=False)

    @property
    def journal_path(self) -> Path:
        """File of the journal."""
        return self.path / "journal.sqlite"

    @property
    def platemap_path(self) -> Path:
        """File of the plate map, which need not exist."""
        return self.path / "platemap.csv"

    def plate_folder(self, plate: str) -> Path:
        """Folder of what was found on a plate."""
        return self.path / "plates" / folder_name(self.plate(plate).name)

    @property
    def embeddings_folder(self) -> Path:
        """Folder of the embedding stores of all plates."""
        return self.path / "embeddings"

    @property
    def encoders_folder(self) -> Path:
        """Folder of the encoders that were trained on this assay's cells, or imported."""
        return self.path / "encoders"

    @property
    def models_folder(self) -> Path:
        """Folder of the models."""
        return self.path / "models"

    def predictions_folder(self, plate: str) -> Path:
        """Folder of the predictions on a plate, of all models."""
        return self.path / "predictions" / folder_name(self.plate(plate).name)

    # ---- inside --------------------------------------------------------------------------

    def _read(self) -> None:
        self._document = AssayDocument.load(self.path / _MANIFEST)
        self._plates = tuple(
            PlateEntry.from_record(record, self.path) for record in self._document.plates
        )

    def _write(
        self, *, plates: tuple[PlateEntry, ...] | None = None, settings: AssaySettings | None = None
    ) -> None:
        plates = self._plates if plates is None else plates
        records = tuple(entry.to_record(self.path) for entry in plates)
        settings = self.settings if settings is None else settings
        changes = {"plates": records, "settings": settings}
        self._document.model_copy(update=changes).save(self.path / _MANIFEST)
        self._read()


def _clash(entry: PlateEntry, new: PlateEntry) -> str:
    if entry.source != new.source:
        return (
            f"The assay already has a plate {entry.name}, from {entry.source}; {new.source} cannot "
            "have the same name. Give it another (--plate-name), or if the plate has moved: "
            f"hcs-qc relocate ASSAY {quote(entry.name)} {quote(str(new.source))}."
        )
    if entry.name != new.name:
        return (
            f"The assay already has the plate {entry.name}, which differs only in upper and "
            "lower case."
        )
    return (
        f"The plate {entry.name} is in the assay with {_options(entry)}, but {_options(new)} were "
        "given. Omit them, or create another assay."
    )


def _options(entry: PlateEntry) -> str:
    shape = f", plate shape {entry.plate_shape}" if entry.plate_shape else ""
    time = f", time point {entry.time}" if entry.time is not None else ""
    series = f" of {entry.series}" if entry.series else ""
    return f"pattern {entry.pattern} and image root {entry.image_root}{shape}{time}{series}"


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and ".tmp" in name
