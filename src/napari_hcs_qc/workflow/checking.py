"""Is everything in an assay as it was written? And what restores its journal."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from napari_hcs_qc.assay.annotations.journal import Journal
from napari_hcs_qc.assay.annotations.journal_integrity import JournalDamage, copies
from napari_hcs_qc.assay.annotations.journal_repair import repair_journal
from napari_hcs_qc.assay.embeddings.positions import POSITIONS, PositionStore
from napari_hcs_qc.assay.models.rule_model import RULE
from napari_hcs_qc.assay.scoring.saved_prediction import check_prediction
from napari_hcs_qc.assay.store.plate_cells import (
    CELLS,
    CONTENT,
    CellsDocument,
    ContentDocument,
    load_cells,
)
from napari_hcs_qc.assay.store.platemap import plates_of_platemap, read_platemap
from napari_hcs_qc.assay.store.saved_model import load_model, model_folders
from napari_hcs_qc.encoders.custom_encoder import MANIFEST, read_custom_encoder
from napari_hcs_qc.encoders.embed.embedding_store import ARRAY, JOURNAL, EmbeddingStore
from napari_hcs_qc.encoders.embed.embedding_store import MANIFEST as STORE
from napari_hcs_qc.encoders.weights import CUSTOM_WEIGHTS
from napari_hcs_qc.errors import DamagedError, HcsQcError
from napari_hcs_qc.files import sha256_of
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.text import a_few, count_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari_hcs_qc.assay.annotations.journal_repair import JournalRepair
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder

_EARLIER = "by an earlier version, without a checksum"


@dataclass(frozen=True)
class CheckedPart:
    """One part of an assay, and what was found of it."""

    name: str
    content: str  # how much was compared; empty where it is damaged
    damage: str = ""  # what is wrong, and which command mends it


@dataclass(frozen=True)
class AssayCheck:
    """All that an assay holds, compared with the checksums that were kept when it was written."""

    path: Path
    parts: tuple[CheckedPart, ...]

    @property
    def damaged(self) -> tuple[CheckedPart, ...]:
        """The parts that are not as they were written."""
        return tuple(part for part in self.parts if part.damage)


def check(assay: AssayFolder, *, job: Job = NO_JOB) -> AssayCheck:
    """Read every file of an assay and compare it with its checksum; nothing is changed."""
    parts = []
    checks = list(_checks(assay))
    for done, (name, look) in enumerate(checks):
        job.check()
        job.report(done, len(checks), f"Checking {name}")
        try:
            parts.append(CheckedPart(name, look()))
        except HcsQcError as error:
            parts.append(CheckedPart(name, "", str(error)))
    job.report(len(checks), len(checks), "Checked")
    return AssayCheck(assay.path, tuple(parts))


def repair(assay: AssayFolder, csv: Sequence[Path] = ()) -> JournalRepair:
    """Restore the journal, where it is damaged, from its copies and from exported journals."""
    with assay.lock():
        return repair_journal(assay.journal_path, csv)


def _checks(assay: AssayFolder) -> Iterator[tuple[str, Callable[[], str]]]:
    """Give the name of each part, and what reads it and says how much it was."""
    count = count_of(len(assay.plates), "plate")
    yield "assay.json", lambda: count  # read when the assay was opened
    yield "journal.sqlite", partial(_journal, assay)
    for copy in copies(assay.journal_path):
        yield f"copy {copy.name} of the journal", partial(_journal_copy, copy)
    if assay.platemap_path.exists() or assay.settings.platemap:
        yield "platemap.csv", partial(_platemap, assay)
    models = {folder.name for folder in model_folders(assay.models_folder)}
    models.update([assay.settings.model] if assay.settings.model else [])
    for entry in assay.plates:
        folder = assay.plate_folder(entry.name)
        predictions = _stems(assay.predictions_folder(entry.name))
        models.update(predictions)
        if predictions or _stems(folder):
            yield f"cells of plate {entry.name}", partial(_cells, assay, folder)
        if (folder / CONTENT).is_file():
            yield f"content of plate {entry.name}", partial(_content, folder / CONTENT)
        for model in predictions:
            name = f"prediction of plate {entry.name} by model {model}"
            yield name, partial(_prediction, assay, entry.name, model)
    for folder in _folders(assay.embeddings_folder, (STORE, ARRAY, JOURNAL)):
        yield f"embeddings {folder.name}", partial(_embeddings, folder)
    for path in sorted(assay.embeddings_folder.glob(f"{POSITIONS}/*.bin")):
        yield f"embeddings of positions {path.stem}", partial(_positions, path)
    for folder in _folders(assay.encoders_folder, (MANIFEST, CUSTOM_WEIGHTS)):
        yield f"encoder {folder.name}", partial(_encoder, folder)
    for model in sorted(models):
        yield f"model {model}", partial(_model, assay.models_folder / model)


def _stems(folder: Path) -> list[str]:
    """Names of what lies in a folder as a table beside a document, also where one is missing."""
    return sorted(
        {path.stem for kind in ("json", "parquet") for path in folder.glob(f"[!.]*.{kind}")}
    )


def _folders(parent: Path, names: Sequence[str]) -> list[Path]:
    """Folders that have at least one of the files."""
    return sorted({path.parent for name in names for path in parent.glob(f"*/{name}")})


def _journal(assay: AssayFolder) -> str:
    return count_of(assay.journal().check(), "action")


def _journal_copy(path: Path) -> str:
    try:
        return count_of(Journal(path).check(), "action")
    except HcsQcError as error:
        reason = str(error.problems[0]) if isinstance(error, JournalDamage) else str(error)
        raise DamagedError(
            f"{path} is damaged ({reason}). Delete it; a journal that is whole is copied again "
            "when it is opened."
        ) from error


def _platemap(assay: AssayFolder) -> str:
    path, sha256 = assay.platemap_path, assay.settings.platemap_sha256
    source = assay.settings.platemap or path.name
    if not path.exists():
        raise DamagedError(f"{path} does not exist. Give {source} again: hcs-qc new --platemap.")
    if sha256:
        remedy = f"If you changed it, give it again: hcs-qc new ASSAY PLATE --platemap {path}; else"
        _compare(path, sha256, f"{remedy} give {source} again.")
    plates = plates_of_platemap(path) or (None,)
    return count_of(sum(len(read_platemap(path, plate=plate)) for plate in plates), "well")


def _cells(assay: AssayFolder, folder: Path) -> str:
    if not (folder / CELLS).is_file():
        again = f"Find the cells again: hcs-qc cells {quote(str(assay.path))}."
        raise DamagedError(f"{folder / CELLS} does not exist. {again}")
    cells = load_cells(folder)
    has_checksum = CellsDocument.load(folder / CELLS).cells_sha256
    return _with_remark(count_of(len(cells.cells), "cell"), has_checksum)


def _content(path: Path) -> str:
    changed = ContentDocument.load(path).changed
    if changed:
        raise DamagedError(
            f"The images are not those in which the cells were found ({a_few(changed)}). Run "
            "hcs-qc cells."
        )
    return "dates of the images"


def _prediction(assay: AssayFolder, plate: str, model: str) -> str:
    n_cells, has_checksum = check_prediction(assay, plate, model)
    return _with_remark(count_of(n_cells, "cell"), has_checksum)


def _embeddings(folder: Path) -> str:
    store = EmbeddingStore.open(folder)
    n_cells, n_chunks = store.manifest.shape[0], store.manifest.n_chunks
    damaged = store.damaged_chunks() if store.is_whole else list(range(n_chunks))
    if not store.manifest.complete:
        return f"{n_chunks - len(damaged):,} of {count_of(n_chunks, 'chunk')}, not finished"
    if damaged:
        raise DamagedError(
            f"{folder} is damaged: {count_of(len(damaged), 'chunk')} of {n_chunks:,} "
            f"({a_few(damaged)}). The next hcs-qc train or predict computes them anew."
        )
    return count_of(n_cells, "cell")


def _positions(path: Path) -> str:
    store = PositionStore.of_file(path)
    n_whole, n_all = (0, int(path.stat().st_size > 0)) if store is None else store.count()
    if n_whole < n_all:
        readable = f"{n_whole:,} of {count_of(n_all, 'position')} can be read"
        what = readable if store else "its first position cannot be read"
        raise DamagedError(
            f"{path} is damaged: {what}. The next hcs-qc train computes the others anew."
        )
    return count_of(n_all, "position")


def _encoder(folder: Path) -> str:
    encoder = read_custom_encoder(folder)
    _compare(encoder.weights, encoder.weights_sha256, "Train it again, or import it again.")
    return "weights"


def _model(folder: Path) -> str:
    model = load_model(folder)
    encoder, rule = model.manifest.encoder, model.manifest.rule
    weights = Path(encoder.weights) if encoder.weights else None
    if weights is not None and weights.is_relative_to(folder.resolve().parents[1]):
        remedy = "Train again: hcs-qc train; or restore it from a copy."
        _compare(weights, encoder.weights_sha256, remedy)
        read_custom_encoder(weights.parent)
    if rule is not None:
        _compare(folder / RULE, rule.table_sha256, "Predict again: hcs-qc predict --rule.")
        return f"the rules in {Path(rule.source).name}"
    return f"head {model.manifest.head}"


def _compare(path: Path, sha256: str, remedy: str) -> None:
    if not path.is_file() or sha256_of(path) != sha256:
        raise DamagedError(f"{path} is damaged: it is not as it was written. {remedy}")


def _with_remark(content: str, has_checksum: str) -> str:
    return content if has_checksum else f"{content} ({_EARLIER})"
