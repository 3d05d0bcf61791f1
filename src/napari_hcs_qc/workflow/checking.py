"""Is everything in an assay as it was written? And what restores its journal."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from napari_hcs_qc.assay.annotations.journal_integrity import copies
from napari_hcs_qc.assay.annotations.journal_repair import repair_journal
from napari_hcs_qc.assay.scoring.saved_prediction import check_prediction
from napari_hcs_qc.assay.store.plate_cells import CELLS, CellsDocument, load_cells
from napari_hcs_qc.assay.store.platemap import plates_of_platemap, read_platemap
from napari_hcs_qc.assay.store.saved_model import OWN_WEIGHTS, load_model, model_folders
from napari_hcs_qc.encoders.custom_encoder import MANIFEST, read_custom_encoder
from napari_hcs_qc.encoders.embed.embedding_store import EmbeddingStore
from napari_hcs_qc.errors import DamagedError, HcsQcError
from napari_hcs_qc.files import read_json, sha256_of
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.text import a_few, count_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

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
    if assay.platemap_path.exists():
        yield "platemap.csv", partial(_platemap, assay)
    for entry in assay.plates:
        folder = assay.plate_folder(entry.name)
        if (folder / CELLS).is_file():
            yield f"cells of plate {entry.name}", partial(_cells, folder)
        predictions = assay.predictions_folder(entry.name)
        for path in sorted(predictions.glob("*.json")):
            name = f"prediction of plate {entry.name} by model {path.stem}"
            yield name, partial(_prediction, assay, entry.name, path.stem)
    for folder in _folders(assay.embeddings_folder, "manifest.json"):
        yield f"embeddings {folder.name}", partial(_embeddings, folder)
    for folder in _folders(assay.encoders_folder, MANIFEST):
        yield f"encoder {folder.name}", partial(_encoder, folder)
    for folder in model_folders(assay.models_folder):
        yield f"model {folder.name}", partial(_model, folder)


def _folders(parent: Path, manifest: str) -> list[Path]:
    return sorted(path.parent for path in parent.glob(f"*/{manifest}"))


def _journal(assay: AssayFolder) -> str:
    actions = count_of(assay.journal().check(), "action")
    return f"{actions}; {count_of(len(copies(assay.journal_path)), 'copy', 'copies')}"


def _platemap(assay: AssayFolder) -> str:
    path, sha256 = assay.platemap_path, assay.settings.platemap_sha256
    if sha256:
        source = assay.settings.platemap or path.name
        remedy = f"If you changed it, give it again: hcs-qc new ASSAY PLATE --platemap {path}; else"
        _compare(path, sha256, f"{remedy} give {source} again.")
    plates = plates_of_platemap(path) or (None,)
    return count_of(sum(len(read_platemap(path, plate=plate)) for plate in plates), "well")


def _cells(folder: Path) -> str:
    cells = load_cells(folder)
    has_checksum = CellsDocument.load(folder / CELLS).cells_sha256
    return _with_remark(count_of(len(cells.cells), "cell"), has_checksum)


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


def _encoder(folder: Path) -> str:
    encoder = read_custom_encoder(folder)
    _compare(encoder.weights, encoder.weights_sha256, "Train it again, or import it again.")
    return "weights"


def _model(folder: Path) -> str:
    model = load_model(folder)
    if (folder / OWN_WEIGHTS).is_file():
        weights_sha256 = str(read_json(folder / MANIFEST).get("weights_sha256", ""))
        _compare(folder / OWN_WEIGHTS, weights_sha256, "Train again: hcs-qc train.")
    return f"head {model.manifest.head}"


def _compare(path: Path, sha256: str, remedy: str) -> None:
    if not path.is_file() or sha256_of(path) != sha256:
        raise DamagedError(f"{path} is damaged: it is not as it was written. {remedy}")


def _with_remark(content: str, has_checksum: str) -> str:
    return content if has_checksum else f"{content} ({_EARLIER})"
