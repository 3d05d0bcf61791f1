"""The verbs of the loop, as the command line and the widgets call them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_hcs_qc.assay.annotations.labels_csv import read_labels, site_shapes
from napari_hcs_qc.assay.models.train_options import TrainOptions
from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate, score
from napari_hcs_qc.assay.scoring.prediction import chosen_model, predict
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.detection import PlateCells, detect, has_cells, load_cells
from napari_hcs_qc.assay.store.plate_state import chosen_plates, open_assay_plate
from napari_hcs_qc.assay.store.platemap import read_platemap
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import atomic_path
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates import open_plate
from napari_hcs_qc.plates.wells import parse_well
from napari_hcs_qc.read_table import read_table
from napari_hcs_qc.workflow.export import Exported, export, report
from napari_hcs_qc.workflow.training import train

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_hcs_qc.assay.annotations.journal import LabelsAdded
    from napari_hcs_qc.assay.scoring.prediction_files import NoveltySummary, Prediction
    from napari_hcs_qc.assay.store.plate_entry import PlateEntry
    from napari_hcs_qc.assay.store.saved_model import Model
    from napari_hcs_qc.plates.plate import Plate, Projection


@dataclass(frozen=True)
class PlateSource:
    """Where a plate lies and how it is read, see `napari_hcs_qc.plates.open_plate`."""

    path: Path
    pattern: str | None = None
    image_root: Path | None = None
    name: str | None = None

    def open(self) -> Plate:
        """Open it.

        Raises
        ------
        HcsQcError
            When there is no plate there.
        """
        return open_plate(
            self.path, pattern=self.pattern, image_root=self.image_root, name=self.name
        )


@dataclass(frozen=True)
class CellOptions:
    """How cells are found.

    Parameters
    ----------
    source
        Masks or positions to import; None finds nuclei.
    channel
        Channel of the nuclei by name or index; None takes the one named like a nuclear stain,
        else the first.
    projection
        How z stacks are read; None takes the maximum.
    """

    source: Path | None = None
    channel: str | int | None = None
    projection: Projection | None = None

    def differ_from(self, plate: Plate, found: PlateCells) -> bool:
        """Tell whether something is asked for that is not how the cells `found` were found.

        Raises
        ------
        HcsQcError
            When the plate has no such channel.
        """
        channel = found.channel
        if self.channel is not None:
            channel = plate.channels[plate.channel_index(self.channel)].name
        return (
            (self.source is not None and str(self.source.resolve()) != found.source)
            or channel != found.channel
            or (self.projection is not None and self.projection != found.projection)
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class RunResult:
    """What `run` made."""

    assay: AssayFolder
    labels: LabelsAdded
    model: Model
    scored: list[ScoredPlate]
    exported: Exported
    report: Path


@dataclass(frozen=True, kw_only=True)
class PlateStatus:
    """Where one plate of an assay stands; counts are None before the step that makes them."""

    name: str
    source: str
    n_wells: int | None = None
    n_sites: int | None = None
    n_cells: int | None = None
    n_flagged: int | None = None
    predicted_with: str | None = None
    novelty: NoveltySummary | None = None
    problems: tuple[str, ...] = ()


def nuclear_channel(plate: Plate) -> int:
    """Choose the channel of the nuclei: the first that is named like a nuclear stain, else 0."""
    words = ("dna", "dapi", "hoechst", "draq", "nucle", "sytox", "h2b")
    for index, channel in enumerate(plate.channels):
        if any(word in channel.name.casefold() for word in words):
            return index
    return 0


def new(
    path: Path, plates: Sequence[PlateSource], *, platemap: Path | None = None
) -> tuple[AssayFolder, list[Plate]]:
    """Make an assay, or go on with it; a plate that is in it already stays as it is.

    Parameters
    ----------
    path
        Folder of the assay.
    plates
        Its plates; each is opened before anything is written.
    platemap
        Plate map of all of them, see `read_platemap`.

    Returns
    -------
    The assay, and the plates just opened.

    Raises
    ------
    HcsQcError
        When a plate or the plate map cannot be read, two plates have one name, or their channels
        differ.
    WriteError
        When the folder cannot be written.
    """
    opened = [source.open() for source in plates]
    names = [plate.name for plate in opened]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise HcsQcError(
            f"Two of the plates are called {twice[0]}; name them apart (--plate-name), one at a "
            "time."
        )
    if platemap is not None:
        for plate in opened:
            read_platemap(platemap, shape=plate.shape)
    first = _first_plate(AssayFolder.open(path)) if (path / "assay.json").is_file() else None
    for plate in opened:
        first = _checked_channels(plate, first)
    assay = AssayFolder.open_or_create(path)
    for source, plate in zip(plates, opened, strict=True):
        assay.add_plate(
            plate.name,
            source.path,
            pattern=source.pattern,
            image_root=source.image_root,
            fingerprint=plate.fingerprint,
        )
    if platemap is not None and platemap.resolve() != assay.platemap_path.resolve():
        with atomic_path(assay.platemap_path) as temporary:
            shutil.copyfile(platemap, temporary)
    return assay, opened


def cells(
    assay: AssayFolder,
    options: CellOptions | None = None,
    plates: Sequence[str] | None = None,
    *,
    again: bool | None = None,
    job: Job = NO_JOB,
) -> dict[str, PlateCells]:
    """Find or import the cells of an assay's plates, and measure the image quality of each site.

    Parameters
    ----------
    assay
        The assay.
    options
        How cells are found.
    plates
        Names; all by default.
    again
        What becomes of a plate whose cells are known: by default it is done again where `options`
        ask for another source, channel or projection; True always does, False never.
    job
        Reports progress and cancels, see `Job`.

    Raises
    ------
    HcsQcError
        When a plate's files are gone or none of its sites can be read.
    WriteError
        When the disk is full or read-only.
    Cancelled
        When `job` was cancelled; the next call goes on from there.
    """
    options = options or CellOptions()
    found = {}
    for name in chosen_plates(assay, plates):
        plate = open_assay_plate(assay, name)
        folder = assay.plate_folder(name)
        with assay.lock():
            if not again and has_cells(folder, plate):
                known = load_cells(folder)
                if again is False or not options.differ_from(plate, known):
                    found[name] = known
                    continue
            channel = options.channel
            found[name] = detect(
                plate,
                folder,
                channel=nuclear_channel(plate) if channel is None else channel,
                source=None if options.source is None else options.source.resolve(),
                projection="max" if options.projection is None else options.projection,
                job=job,
            )
    return found


def annotate(
    assay: AssayFolder, labels: Path, annotator: str, *, plate: str | None = None
) -> LabelsAdded:
    """Take in a CSV of annotated cells; the same file again adds nothing.

    Parameters
    ----------
    assay
        The assay.
    labels
        The file, see `napari_hcs_qc.assay.annotations.labels_csv.read_labels`.
    annotator
        Whose word a row is that names nobody.
    plate
        The plate that a file without a column ``plate`` is about; needed with several plates.

    Raises
    ------
    HcsQcError
        When the file cannot be read, or the assay has no plate.
    ProblemsError
        When rows of it are not valid; then none is taken in.
    WriteError
        When the journal cannot be written.
    """
    names = chosen_plates(assay, None)
    if plate is not None and "plate" not in map(str.casefold, read_table(labels).columns):
        names = [assay.plate(plate).name]
    shapes = {name: site_shapes(open_assay_plate(assay, name)) for name in names}
    table = read_labels(labels, shapes, annotator=annotator)
    return assay.journal().add_labels(table, source=labels.name)


def predict_plates(
    assay: AssayFolder,
    plates: Sequence[str] | None = None,
    *,
    model: str | None = None,
    device: str = "auto",
    job: Job = NO_JOB,
) -> list[Prediction]:
    """Judge the cells of plates with a model, the latest by default; cells are found first.

    Raises
    ------
    HcsQcError, WriteError, Cancelled
        As `cells` and `napari_hcs_qc.assay.scoring.prediction.predict`.
    """
    names = chosen_plates(assay, plates)
    loaded = chosen_model(assay, model)
    options = _options_of(assay, loaded)
    cells(assay, options, names, again=False, job=job)
    return predict(assay, names, loaded, device=device, job=job)


def _options_of(assay: AssayFolder, model: Model) -> CellOptions:
    """Find cells on a further plate as they were found on the plate that the model is from."""
    first = model.manifest.plate_names[0]
    found = load_cells(assay.plate_folder(first))
    return CellOptions(None, found.channel, found.projection)


def add_plate(assay: AssayFolder, source: PlateSource) -> PlateEntry:
    """Add a further plate; it needs no annotations of its own.

    Raises
    ------
    HcsQcError
        When it cannot be opened, or its channels are not those of the assay's first plate.
    """
    plate = source.open()
    _checked_channels(plate, _first_plate(assay))
    return assay.add_plate(
        plate.name,
        source.path,
        pattern=source.pattern,
        image_root=source.image_root,
        fingerprint=plate.fingerprint,
    )


def _first_plate(assay: AssayFolder) -> Plate | None:
    """Open the plate that says which channels the assay has; the first whose files are there."""
    for entry in assay.plates:
        if entry.source.exists():
            return open_assay_plate(assay, entry.name)
    return None


def _checked_channels(plate: Plate, first: Plate | None) -> Plate:
    """Refuse a plate whose channels are not those of the first; give the first.

    Raises
    ------
    HcsQcError
        Naming the channels of both.
    """
    if first is None:
        return plate
    have = [channel.name for channel in plate.channels]
    expected = [channel.name for channel in first.channels]
    if have != expected:
        raise HcsQcError(
            f"Plate {plate.name} has the channels {', '.join(have)}; the assay's plate "
            f"{first.name} has {', '.join(expected)}. One assay needs the same channels in "
            "the same order; make another assay for this plate."
        )
    return first


def relocate(
    assay: AssayFolder, name: str, source: Path, *, image_root: Path | None = None
) -> tuple[PlateEntry, bool]:
    """Tell an assay where a plate lies now, after making sure that it can be opened there.

    Returns
    -------
    The plate's entry, and whether the files are those that its cells were found on (True as well
    where none were found yet).

    Raises
    ------
    HcsQcError
        When there is no such plate, or none can be opened at the new place; then nothing changes.
    WriteError
        When the assay cannot be written.
    """
    old = assay.plate(name)
    moved = PlateSource(source, old.pattern, image_root or old.image_root, old.name).open()
    folder = assay.plate_folder(name)
    is_same = not (folder / "cells.json").is_file() or has_cells(folder, moved)
    return assay.relocate_plate(name, source, image_root=image_root), is_same


def set_verdict(
    assay: AssayFolder,
    well: str,
    verdict: str | None,
    *,
    reviewer: str,
    plate: str | None = None,
    site: int | None = None,
    note: str | None = None,
) -> str:
    """Record a person's word on a well or site; None takes it back.

    Raises
    ------
    HcsQcError
        When there is no such plate, well or site.
    WriteError
        When the journal cannot be written.
    """
    names = chosen_plates(assay, None if plate is None else [plate])
    if len(names) > 1:
        raise HcsQcError(f"The assay has the plates {', '.join(names)}; say which one (--plate).")
    opened = open_assay_plate(assay, names[0])
    name = str(parse_well(well))
    sites = [key.site for key in opened.sites if key.well == name]
    if not sites:
        raise HcsQcError(f"The plate {names[0]} has no images of well {name}.")
    if site is not None and site not in sites:
        listed = ", ".join(str(number) for number in sites)
        raise HcsQcError(f"The well {name} has no site {site}; it has {listed}.")
    return assay.journal().verdict(names[0], name, verdict, reviewer=reviewer, site=site, note=note)


def run(
    path: Path,
    plate: PlateSource,
    labels: Path,
    out: Path,
    *,
    annotator: str,
    platemap: Path | None = None,
    cell_options: CellOptions | None = None,
    train_options: TrainOptions | None = None,
    exclude_kinds: tuple[str, ...] = (),
    exclude_unreviewed: bool = False,
    job: Job = NO_JOB,
) -> RunResult:
    """Do the whole loop on one plate; started again after a kill, it goes on where it was.

    Parameters
    ----------
    path
        Folder of the assay; made when there is none.
    plate
        The plate.
    labels
        CSV of annotated cells.
    out
        Folder for the tables and ``report.html``.
    annotator
        Whose word a row of `labels` is that names nobody.
    platemap, cell_options, train_options, exclude_kinds, exclude_unreviewed
        See `new`, `cells`, `train` and `export`.
    job
        Reports progress and cancels, see `Job`.

    Raises
    ------
    HcsQcError, WriteError, Cancelled
        As the verbs it calls.
    """
    if out.exists() and not out.is_dir():  # told now, not after the hours of work
        raise HcsQcError(f"{out} is a file; a folder for the tables and the report was expected.")
    assay, opened = new(path, [plate], platemap=platemap)
    # Before the hours of work: a mistake in the file is told at once, and the clicks are safe.
    added = annotate(assay, labels, annotator, plate=opened[0].name)
    # What is said of this plate (masks, say) holds for no other that the assay may have.
    mine = [assay.plate(opened[0].name).name]
    cells(assay, cell_options, mine, job=job)
    cells(assay, job=job)
    model = train(
        assay,
        train_options,
        reuse=True,
        embed_first=True,  # all is embedded anyway
        job=job,
    ).model
    device = (train_options or TrainOptions()).device
    predict(
        assay,
        chosen_plates(assay, None),
        model,
        device=device,
        job=job,
    )
    scored = score(assay, model=model, exclude_kinds=exclude_kinds)
    exported = export(
        assay,
        out,
        exclude_kinds=exclude_kinds,
        scored=scored,
        exclude_unreviewed=exclude_unreviewed,
        job=job,
    )
    written = report(
        assay,
        out / "report.html",
        exclude_kinds=exclude_kinds,
        scored=scored,
        job=job,
    )
    return RunResult(
        assay=assay, labels=added, model=model, scored=scored, exported=exported, report=written
    )


def plate_status(assay: AssayFolder, name: str) -> PlateStatus:
    """Tell where a plate stands; what is wrong with it is told, not raised."""
    entry = assay.plate(name)
    try:
        plate = open_assay_plate(assay, name)
    except HcsQcError as error:
        return PlateStatus(name=entry.name, source=str(entry.source), problems=(str(error),))
    opened = PlateStatus(
        name=entry.name,
        source=str(entry.source),
        n_wells=len(plate.wells),
        n_sites=len(plate.sites),
        problems=tuple(str(problem) for problem in plate.problems),
    )
    if not has_cells(assay.plate_folder(name), plate):
        return opened
    try:
        scored = score(assay, [name])[0]
    except HcsQcError:  # not predicted yet
        found = load_cells(assay.plate_folder(name))
        unread = tuple(f"{site}: {reason}" for site, reason in found.unreadable.items())
        imported = tuple(str(problem) for problem in found.problems)
        problems = (*unread, *imported, *opened.problems)
        return replace(opened, n_cells=len(found.cells), problems=problems)
    return replace(
        opened,
        n_cells=len(scored.state.cells),
        n_flagged=int(scored.scores.wells["is_flagged"].sum()),
        predicted_with=scored.prediction.model,
        novelty=scored.prediction.novelty,
        problems=tuple(str(problem) for problem in scored.unreadable) + scored.warnings,
    )
