"""The steps from images to a report, as the command line and the widgets call them.

What takes long to import (PyTorch, scikit-learn) is imported by the steps that need it: making an
assay, annotating and reviewing do not.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.assay.annotations.kinds import kind_parts, listed_kinds
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_cells import (
    CELLS,
    NUCLEI,
    CellsDocument,
    has_cells,
    load_cells,
)
from napari_hcs_qc.assay.store.plate_state import (
    as_known,
    chosen_plates,
    open_assay_plate,
)
from napari_hcs_qc.assay.store.platemap import with_platemap
from napari_hcs_qc.assay.store.platemap_match import (
    check_platemap,
    check_replaced,
    keep_platemap,
)
from napari_hcs_qc.assay.store.saved_model import model_folders
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates import open_plate
from napari_hcs_qc.plates.first_look import looked_at
from napari_hcs_qc.plates.open import (
    TimePoint,
    at_time_point,
    each_time_point,
    time_point_name,
)
from napari_hcs_qc.plates.wells import parse_well
from napari_hcs_qc.workflow.cell_options import CellOptions, nuclear_channel, settings_differ

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_hcs_qc.assay.annotations.labels_csv import LabelOptions
    from napari_hcs_qc.assay.models.train_options import TrainOptions
    from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate
    from napari_hcs_qc.assay.scoring.saved_prediction import Prediction
    from napari_hcs_qc.assay.store.plate_cells import PlateCells
    from napari_hcs_qc.assay.store.plate_entry import PlateEntry
    from napari_hcs_qc.assay.store.saved_model import Model
    from napari_hcs_qc.plates.plate import Plate
    from napari_hcs_qc.workflow.export import Exported
    from napari_hcs_qc.workflow.labels_in_out import LabelsImported


@dataclass(frozen=True, kw_only=True)
class PlateSource:
    """Where a plate lies and how it is read, see `napari_hcs_qc.plates.open_plate`."""

    path: Path = field(kw_only=False)
    pattern: str | None = None
    image_root: Path | None = None
    name: str | None = None
    plate_shape: str | None = None
    time: TimePoint | None = None
    is_of_series: bool = False  # whether the one time point is named as `all` names it
    allow_remote: bool = False

    def options(self, plate: Plate) -> dict[str, Any]:
        """Give how a plate of it is read, which the assay keeps."""
        is_one = plate.series or self.time is not None
        return {
            **self._reading,
            "time": plate.time_points[0] if is_one else None,
            "series": plate.series or None,
        }

    @property
    def _reading(self) -> dict[str, Any]:
        names = ("pattern", "image_root", "plate_shape", "allow_remote")
        return {name: getattr(self, name) for name in names}

    def open(self) -> list[Plate]:
        """Open it: one plate, or where all time points are wanted one for each."""
        if self.time != "all" and not self.is_of_series:
            return [open_plate(self.path, name=self.name, time=self.time, **self._reading)]
        plate = open_plate(self.path, name=self.name, **self._reading)
        if self.time is None or self.time == "all":
            return each_time_point(plate)
        return [at_time_point(plate, self.time, time_point_name(plate.name, self.time))]


@dataclass(frozen=True, eq=False, kw_only=True)
class RunResult:
    """What `run` made."""

    assay: AssayFolder
    labels: LabelsImported
    model: Model
    scored: list[ScoredPlate]
    exported: Exported
    report: Path


def new(
    path: Path,
    plates: Sequence[PlateSource],
    *,
    platemap: Path | None = None,
    include_cut: bool | None = None,
    detector: str | None = None,
    channels: Sequence[str] = (),
) -> tuple[AssayFolder, list[Plate]]:
    """Make an assay, or go on with it; a plate that is in it already stays as it is.

    With all time points of a source each is a plate of the assay.

    Where `channels` are the names that the plates have by their files, headers do not count.
    """
    if detector is not None:
        from napari_hcs_qc.cells.detectors.detector import check_detector

        check_detector(detector)
    of_source = [(source, plate) for source in plates for plate in source.open()]
    opened = [plate.named_like(channels) for _, plate in of_source]
    known: dict[str, str] = {}
    named: set[str] = {plate.plate_name for plate in opened}
    if (path / "assay.json").is_file():
        entries = AssayFolder.open(path).plates
        known = {entry.name: entry.fingerprint for entry in entries}
        named |= {entry.plate_name for entry in entries}
        opened = [plate.as_added(known.get(plate.name, "")) for plate in opened]
    names = [plate.name for plate in opened]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise HcsQcError(
            f"Two of the plates are called {twice[0]}; add them one by one with different names "
            "(--plate-name)."
        )
    if platemap is not None:
        check_platemap(opened, platemap, named)
        opened = [with_platemap(plate, platemap, named) for plate in opened]
    first = None
    if (path / "assay.json").is_file():
        existing = AssayFolder.open(path)
        existing.opened = {plate.name: plate for plate in opened}
        first = _first_plate(existing)
        if platemap is not None:
            check_replaced(existing, platemap, {plate.plate_name for plate in opened})
    for number, plate in enumerate(opened):
        opened[number] = looked_at(_checked_channels(plate, first))
        first = first or opened[number]
    assay = AssayFolder.open_or_create(path)
    for (source, _), plate in zip(of_source, opened, strict=True):
        options = source.options(plate)
        assay.add_plate(plate.name, source.path, **options, fingerprint=plate.fingerprint)
    if platemap is not None:
        keep_platemap(assay, platemap)
    if include_cut is not None and include_cut != assay.include_cut:
        assay.update_settings(include_cut=include_cut)
    if detector is not None and detector != assay.detector:
        assay.update_settings(detector=detector)
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

    Detector, channel and z that are named are the assay's from then on.
    """
    from napari_hcs_qc.assay.store.detection import detect

    options = options or CellOptions()
    _set_options(assay, options, chosen_plates(assay, plates))
    by_plate = {}
    for name in chosen_plates(assay, plates):
        plate = open_assay_plate(assay, name)
        folder = assay.plate_folder(name)
        source = options.source
        with assay.lock():
            known = None
            try:
                if not again and has_cells(folder, plate):
                    known = load_cells(folder)
            except HcsQcError:
                if again is False:
                    raise
                # Damaged: as they were made before, where that can still be read.
                before = CellsDocument.load_if_valid(folder / CELLS)
                if before is not None and before.source != NUCLEI and source is None:
                    source = Path(before.source)
            if known is not None:
                # What the assay is set to holds for what was found, not for what was imported.
                is_other = settings_differ(assay.settings, known)
                if again is False or not (is_other or options.differ_from(plate, known)):
                    by_plate[name] = known
                    continue
            channel, projection = options.channel, options.projection
            if projection is None:
                projection = assay.settings.projection
            by_plate[name] = detect(
                plate,
                folder,
                channel=nuclear_channel(plate, assay.settings) if channel is None else channel,
                source=None if source is None else source.resolve(),
                detector=assay.detector,
                projection="max" if projection is None else projection,
                importing=options.importing,
                job=job,
            )
    return by_plate


def _set_options(assay: AssayFolder, options: CellOptions, plates: Sequence[str]) -> None:
    """Keep with the assay how cells are found, after a look at whether they can be."""
    changes: dict[str, object] = {}
    if options.detector is not None:
        if options.source is not None:
            raise HcsQcError(
                f"Both the file {options.source} to import cells from and the detector "
                f"{options.detector} to find them with were given; give one of the two."
            )
        from napari_hcs_qc.cells.detectors.detector import check_detector

        check_detector(options.detector)
        if options.detector != assay.detector:
            changes["detector"] = options.detector
    if options.channel is not None and plates:
        plate = open_assay_plate(assay, plates[0])
        index = plate.channel_index(options.channel)
        if index != nuclear_channel(plate, assay.settings):
            changes["nuclear_channel"] = plate.channels[index].name
    if options.projection not in (None, assay.settings.projection or "max"):
        changes["projection"] = options.projection
    if changes:
        assay.update_settings(**changes)


def add_kinds(assay: AssayFolder, texts: Iterable[str]) -> None:
    """Add kinds of abnormal cells, each given as ``NAME[:KEY][:COLOUR]``."""
    for parts in [kind_parts(text) for text in ([texts] if isinstance(texts, str) else texts)]:
        assay.add_kind(*parts)


def annotate(
    assay: AssayFolder,
    labels: Path | None,
    annotator: str,
    *,
    plate: str | None = None,
    add_kind: Iterable[str] = (),
    any_kind: bool = False,
    label_options: LabelOptions | None = None,
    accept_positions: bool = False,
) -> LabelsImported:
    """Import a CSV of annotated cells; the same file again adds nothing.

    With `any_kind` the assay need not list the kinds: one that no person opens.
    """
    if labels is None and not add_kind:
        raise HcsQcError(
            "There is nothing to annotate: a CSV of annotated cells (--from), or a kind to add "
            "(--add-kind) was expected."
        )
    from napari_hcs_qc.assay.annotations.labels_csv import LabelOptions, names_plates
    from napari_hcs_qc.workflow.labels_in_out import LabelsImported, import_labels

    add_kinds(assay, add_kind)
    if labels is None:
        return LabelsImported(0, 0)
    names = chosen_plates(assay, None)
    if plate is not None and not names_plates(labels):
        names = chosen_plates(assay, [plate])
    return import_labels(
        assay,
        labels,
        annotator,
        names,
        kinds=None if any_kind else assay.kinds,
        options=label_options or LabelOptions(),
        accept_positions=accept_positions,
        channel_of=lambda plate: nuclear_channel(plate, assay.settings),
    )


def predict_plates(
    assay: AssayFolder,
    plates: Sequence[str] | None = None,
    *,
    model: str | None = None,
    device: str = "auto",
    job: Job = NO_JOB,
) -> list[Prediction]:
    """Score the cells of plates with a model, the latest by default; cells are found first.

    Before the first training by what is known without annotations.
    """
    from napari_hcs_qc.assay.models.model_in_use import chosen_model
    from napari_hcs_qc.assay.scoring.prediction import predict
    from napari_hcs_qc.workflow.training import train_before_annotations

    names = chosen_plates(assay, plates)
    if model is None and not model_folders(assay.models_folder):
        cells(assay, plates=names, again=False, job=job)
        train_before_annotations(assay, names, device=device, job=job)
    loaded = chosen_model(assay, model)
    options = _options_of(assay, loaded)
    cells(assay, options, names, again=False, job=job)
    return predict(assay, names, loaded, device=device, job=job)


def _options_of(assay: AssayFolder, model: Model) -> CellOptions:
    """Find cells on a further plate as they were found on the plate that the model is from."""
    first = model.manifest.plate_names[0]
    plate_cells = load_cells(assay.plate_folder(first))
    return CellOptions(channel=plate_cells.channel, projection=plate_cells.projection)


def add_plate(assay: AssayFolder, source: PlateSource) -> list[PlateEntry]:
    """Add a further plate, or all its time points; it needs no annotations of its own."""
    first = _first_plate(assay)
    entries = []
    for plate in [_checked_channels(plate, first) for plate in source.open()]:
        if assay.opened is not None:
            assay.opened[plate.name] = plate
        options = source.options(plate)
        entries.append(
            assay.add_plate(plate.name, source.path, **options, fingerprint=plate.fingerprint)
        )
    return entries


def _first_plate(assay: AssayFolder) -> Plate | None:
    """Open the plate that says which channels the assay has; the first whose files are there."""
    for entry in assay.plates:
        if entry.source.exists():
            return open_assay_plate(assay, entry.name)
    return None


def _checked_channels(plate: Plate, first: Plate | None) -> Plate:
    """Refuse a plate whose channels are not those of the first."""
    if first is None:
        return plate
    expected = [channel.name for channel in first.channels]
    plate = plate.named_like(expected)
    have = [channel.name for channel in plate.channels]
    if have != expected:
        raise HcsQcError(
            f"Plate {plate.name} has the channels {', '.join(have)}; the assay's plate "
            f"{first.name} has {', '.join(expected)}. One assay needs the same channels in the "
            "same order; create another assay for this plate."
        )
    return plate


def relocate(
    assay: AssayFolder,
    name: str,
    source: Path,
    *,
    image_root: Path | None = None,
    allow_remote: bool = False,
) -> tuple[PlateEntry, bool]:
    """Tell an assay where a plate lies now, after making sure that it can be opened there.

    Of a time series all time points move.
    """
    is_same = True
    for old in assay.plates_called(assay.whole_plate(name).name):
        there = replace(
            old,
            source=source,
            image_root=image_root or old.image_root,
            allow_remote=allow_remote or old.allow_remote,
        )
        moved = as_known(assay, there.open().as_added(old.fingerprint))
        folder = assay.plate_folder(old.name)
        is_same &= not (folder / "cells.json").is_file() or has_cells(folder, moved)
    entry = assay.relocate_plate(name, source, image_root=image_root, allow_remote=allow_remote)
    return entry, is_same


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
    """Record a person's verdict on a well or site; None removes it."""
    names = chosen_plates(assay, None if plate is None else [plate])
    if len(names) > 1:
        raise HcsQcError(f"The assay has the plates {', '.join(names)}; choose one (--plate).")
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
    labels: Path | None,
    out: Path,
    *,
    annotator: str,
    platemap: Path | None = None,
    include_cut: bool | None = None,
    cell_options: CellOptions | None = None,
    train_options: TrainOptions | None = None,
    add_kind: Iterable[str] = (),
    keep_kinds: Iterable[str] = (),
    exclude_unreviewed: bool = False,
    label_options: LabelOptions | None = None,
    accept_positions: bool = False,
    job: Job = NO_JOB,
) -> RunResult:
    """Do all steps on one plate; started again after a kill, it goes on where it was.

    Without any annotation in the assay its plates are judged by the prior alone.
    """
    from napari_hcs_qc.assay.models.train_options import TrainOptions
    from napari_hcs_qc.assay.scoring.plate_scores import score
    from napari_hcs_qc.assay.scoring.prediction import predict
    from napari_hcs_qc.workflow.export import export, report
    from napari_hcs_qc.workflow.labels_in_out import LabelsImported
    from napari_hcs_qc.workflow.training import train, train_before_annotations

    if out.exists() and not out.is_dir():  # told now, not after the hours of work
        raise HcsQcError(f"{out} is a file; a folder for the tables and the report was expected.")
    assay, opened = new(path, [plate], platemap=platemap, include_cut=include_cut)
    assay.opened = {each.name: each for each in opened}
    add_kinds(assay, add_kind)
    kept_kinds = listed_kinds(keep_kinds, assay.kinds)
    # Before the hours of work: a mistake in the file is told at once, and the clicks are safe.
    added = LabelsImported(0, 0)
    if labels is not None:
        added = annotate(
            assay,
            labels,
            annotator,
            plate=opened[0].name if len(opened) == 1 else None,
            label_options=label_options,
            accept_positions=accept_positions,
        )
    # What is said of this plate (masks, say) holds for no other that the assay may have.
    cells(assay, cell_options, [each.name for each in opened], job=job)
    cells(assay, job=job)
    plates = chosen_plates(assay, None)
    options = train_options or TrainOptions()
    if len(assay.journal().annotations()):
        # All is embedded anyway.
        model = train(assay, options, reuse=True, embed_first=True, job=job).model
    else:
        model = train_before_annotations(assay, plates, options, job=job)
    predict(assay, plates, model, device=options.device, job=job)
    scored = score(assay, model=model, keep_kinds=kept_kinds)
    exported = export(
        assay,
        out,
        keep_kinds=kept_kinds,
        scored=scored,
        exclude_unreviewed=exclude_unreviewed,
        job=job,
    )
    written = report(
        assay,
        out / "report.html",
        keep_kinds=kept_kinds,
        scored=scored,
        job=job,
    )
    assay.opened = None
    return RunResult(
        assay=assay, labels=added, model=model, scored=scored, exported=exported, report=written
    )
