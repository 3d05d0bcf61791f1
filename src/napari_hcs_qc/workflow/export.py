"""What leaves an assay: tables, columns on somebody's profiles, and the report."""

from __future__ import annotations

import hashlib
import shlex
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from napari_hcs_qc.assay.embeddings.embed_plate import embed_plate, stored_rows
from napari_hcs_qc.assay.models.model_in_use import chosen_model, id_in_use
from napari_hcs_qc.assay.models.train_options import model_encoder
from napari_hcs_qc.assay.models.versions import versions
from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate, Scoring, score
from napari_hcs_qc.assay.scoring.saved_prediction import NoveltySummary, ShiftRecord
from napari_hcs_qc.assay.store.model_manifest import ModelManifest
from napari_hcs_qc.assay.store.plate_cells import has_object_numbers
from napari_hcs_qc.assay.store.plate_state import chosen_plates
from napari_hcs_qc.documents import Document, Part
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import sha256_of
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.qc.export.export_tables import (
    ExportOptions,
    ExportPlate,
    site_outliers,
    well_outliers,
    well_table,
)
from napari_hcs_qc.qc.export.join_profiles import OntoResult, join_onto
from napari_hcs_qc.qc.export.join_wells import is_of_wells, join_wells
from napari_hcs_qc.qc.export.write_geojson import write_geojson
from napari_hcs_qc.qc.export.write_tables import (
    Extra,
    Outline,
    export_tables,
    exported_cells,
)
from napari_hcs_qc.qc.reports.plate_report import (
    ReportData,
    ReportPlate,
    WellPictures,
    write_report,
)
from napari_hcs_qc.tables.plate_sites import PlateSites
from napari_hcs_qc.tables.profiles import open_profiles
from napari_hcs_qc.text_columns import rows_of
from napari_hcs_qc.workflow.export_labels import write_labels
from napari_hcs_qc.workflow.labels_in_out import annotations_csv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.embeddings.artefact_maps import ArtefactMaps
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.assay.store.saved_model import Model
    from napari_hcs_qc.cells.imported.options import ImportOptions
    from napari_hcs_qc.encoders.encoder import Encoder


@dataclass(frozen=True)
class Exported:
    """What an export wrote."""

    files: tuple[Path, ...]  # the files
    onto: OntoResult | None = None  # what joining onto profiles found; None when none were given


def export(
    assay: AssayFolder,
    out: Path,
    *,
    keep_kinds: tuple[str, ...] = (),
    exclude_unreviewed: bool = False,
    geojson: bool = False,
    labels: bool = False,
    artefact_maps: bool = False,
    onto: Path | None = None,
    importing: ImportOptions | None = None,
    scored: Sequence[ScoredPlate] | None = None,
    job: Job = NO_JOB,
) -> Exported:
    """Write the tables of all plates of an assay, see `export_tables`."""
    model = _model_of(assay, scored)
    plates = _Plates(assay, model, scored, keep_kinds, job)
    options = ExportOptions(keep_kinds, exclude_unreviewed)
    records: list[PlateProvenance] = []
    matching = _Matching(options)

    def noted(plate: ScoredPlate) -> ExportPlate:
        records.append(_plate_provenance(plate))
        exported = plates.to_export(plate)
        if onto is not None:
            matching.add(plate, exported)
        return exported

    files = export_tables(
        map(noted, plates.scored()),
        out,
        outline=plates.outline,
        options=options,
        provenance=lambda: provenance(assay, model, records, options=options, onto=onto).plain(),
        job=job,
    )
    if geojson:
        again = map(plates.to_export, plates.scored())
        files = (*files, *write_geojson(again, out / "geojson", options=options, job=job))
    if labels or artefact_maps:
        written = write_labels(
            plates.scored(),
            out / "labels",
            options=options,
            map_of=plates.artefact_maps if artefact_maps else None,
            job=job,
        )
        files = (*files, *written)
    if onto is None:
        return Exported(files)
    joined = matching.join(onto, out, importing, job)
    return Exported((*files, joined.out), joined)


class _Plates:
    """The plates of an export, each scored when it is its turn: none is kept."""

    def __init__(
        self,
        assay: AssayFolder,
        model: Model,
        scored: Sequence[ScoredPlate] | None,
        keep_kinds: tuple[str, ...],
        job: Job,
    ) -> None:
        self._assay, self._model, self._job = assay, model, job
        self._given = scored
        self._names: list[str] = []
        if scored is None:
            self._scoring = Scoring.of(assay, model=model, keep_kinds=keep_kinds)
            self._names = chosen_plates(assay, None)
            self._scoring.check(self._names)

    @property
    def outline(self) -> Outline:
        """What is known of them before they are opened."""
        extras: set[Extra] = {"embeddings"}
        if self._given is not None:
            given = Outline.of([plate.to_export() for plate in self._given])
            return Outline(given.n_plates, given.extras | extras)
        extras.add("image quality")
        entries = [self._assay.plate(name) for name in self._names]
        if any(entry.series and entry.time is not None for entry in entries):
            extras.add("time points")
        if any(has_object_numbers(self._assay.plate_folder(name)) for name in self._names):
            extras.add("object numbers")
        return Outline(len(entries), frozenset(extras))

    def scored(self) -> Iterator[ScoredPlate]:
        """Give them one after the other, the same each time."""
        if self._given is not None:
            return iter(self._given)
        return map(self._scoring.plate, self._names)

    def to_export(self, plate: ScoredPlate) -> ExportPlate:
        """Give what the export takes, with the embeddings and the novelty of each cell."""
        rows = self._rows(plate.state)
        if not plate.prediction.is_novelty_measured:
            from napari_hcs_qc.assay.scoring.prediction import with_novelty

            measured = with_novelty(plate.prediction, plate.state, self._model, rows, self._job)
            plate = plate.with_novelty(plate.state, measured)
        return plate.to_export(rows)

    def _rows(self, state: PlateState) -> NDArray[np.floating[Any]]:
        """Find the embeddings of a plate, as they were when its cells were scored."""
        recipe, record = self._model.recipe, self._model.encoder
        folder = self._assay.embeddings_folder
        # Most are there, and to load the network takes longer, and more memory, than a plate.
        rows = stored_rows(state, recipe, record, folder)
        if rows is None:
            encoder = self._encoder
            rows = embed_plate(state, recipe, encoder, folder, try_again=False, job=self._job).rows
        return rows

    @cached_property
    def _encoder(self) -> Encoder:
        return model_encoder(self._model.manifest, job=self._job)

    def artefact_maps(self, state: PlateState) -> ArtefactMaps:
        """Give the maps of a plate."""
        from napari_hcs_qc.assay.embeddings.artefact_maps import ArtefactMaps

        return ArtefactMaps(state, self._model.recipe, self._encoder)


class _Matching:
    """What is kept of each plate to join its cells or wells onto profiles."""

    def __init__(self, options: ExportOptions) -> None:
        self._options = options
        self._sites: dict[str, PlateSites] = {}
        self._diameter_px: dict[str, float] = {}
        self._wells: list[pd.DataFrame] = []
        self._outlier_sites: list[tuple[str, str, int]] = []
        self._outlier_wells: list[tuple[str, str]] = []

    def add(self, scored: ScoredPlate, plate: ExportPlate) -> None:
        """Keep what is needed of a plate; its cells are read from the table of all."""
        name = plate.name
        self._sites[name] = PlateSites.of(scored.state.plate)
        self._diameter_px[name] = scored.state.plate_cells.diameter_px
        self._wells.append(well_table(plate, self._options))
        sites = site_outliers(plate, self._options).items()
        self._outlier_sites += [(name, *site) for site, is_out in sites if is_out]
        wells = well_outliers(plate, self._options).items()
        self._outlier_wells += [(name, well) for well, is_out in wells if is_out]

    def join(self, onto: Path, out: Path, importing: ImportOptions | None, job: Job) -> OntoResult:
        """Join the exported table of cells, or the wells, onto profiles."""
        path = out / f"{onto.name.removesuffix('.gz').rpartition('.')[0]}_qc.parquet"
        profiles = open_profiles(onto)
        if is_of_wells(profiles):
            wells = pd.concat(self._wells, ignore_index=True)
            return join_wells(wells, profiles, onto, path, self._sites, job=job)
        return join_onto(
            exported_cells(out),
            onto,
            path,
            diameter_px=self._diameter_px,
            outlier_sites=self._outlier_sites,
            outlier_wells=self._outlier_wells,
            plates=self._sites,
            importing=importing,
            job=job,
        )


def _model_of(assay: AssayFolder, scored: Sequence[ScoredPlate] | None) -> Model:
    """Give the model that scored, which need not be the one in use any more."""
    return chosen_model(assay, scored[0].prediction.model if scored else None)


class FileRecord(Part):
    """A file that the result depends on."""

    path: str
    sha256: str


class PlateProvenance(Part):
    """Where the predictions and flags of one plate come from."""

    name: str
    source: str
    format: str
    fingerprint: str
    cells_from: str
    cells_file: FileRecord | None = None
    """That they were imported from, where that is one file, as it is now."""
    threshold: float
    compared_with: str
    channel: str = ""
    cells_check: str = ""
    """Of imported cells: how many lie on a nucleus."""
    unreadable: tuple[str, ...]
    warnings: tuple[str, ...]
    shift: ShiftRecord | None
    novelty: NoveltySummary | None


class VerdictRecord(Part):
    """A person's decision on a well, or on one site of it."""

    plate: str
    well: str
    site: int | None
    verdict: str
    reviewer: str
    note: str | None


class Provenance(Document):
    """The file `provenance.json` of an export."""

    format: Literal["napari-hcs-qc provenance"] = "napari-hcs-qc provenance"
    format_version: Literal[2] = 2
    assay: str
    model: str
    model_manifest: ModelManifest
    """Without the cells that it was trained on."""
    model_warning: str
    flag_rule: dict[str, float]
    flag_rule_in_words: tuple[str, ...]
    plates: tuple[PlateProvenance, ...]
    versions: dict[str, str]
    command: str = ""
    """As it was started."""
    keep_kinds: tuple[str, ...] = ()
    exclude_unreviewed: bool = False
    include_cut: bool = False
    onto: FileRecord | None = None
    """Table that our columns were added to."""
    n_annotations: int = 0
    annotations_sha256: str = ""
    """Of what ``hcs-qc annotations ASSAY --export`` writes."""
    platemap: FileRecord | None = None
    verdicts: tuple[VerdictRecord, ...] = ()

    def plain(self) -> dict[str, Any]:
        """Give plain data, without the training cells."""
        return self.model_dump(mode="json", exclude={"model_manifest": {"training_cells"}})


def _file_record(path: Path) -> FileRecord | None:
    """Name a file with its content; None where there is none."""
    return FileRecord(path=str(path.resolve()), sha256=sha256_of(path)) if path.is_file() else None


def _plate_provenance(plate: ScoredPlate) -> PlateProvenance:
    state = plate.state
    return PlateProvenance(
        name=state.plate.name,
        source=str(state.plate.source),
        format=state.plate.format,
        fingerprint=state.plate.fingerprint,
        cells_from=state.plate_cells.origin,
        cells_file=_file_record(Path(state.plate_cells.source)),
        channel=state.plate_cells.channel,
        cells_check=state.plate_cells.check,
        threshold=plate.threshold,
        compared_with=", ".join(filter(None, (plate.scores.reference, plate.scores.note))),
        unreadable=tuple(str(problem) for problem in plate.unreadable),
        warnings=plate.warnings,
        shift=plate.prediction.shift,
        novelty=plate.prediction.novelty,
    )


def provenance(
    assay: AssayFolder,
    model: Model,
    plates: Sequence[PlateProvenance],
    *,
    options: ExportOptions,
    onto: Path | None = None,
) -> Provenance:
    """Say where predictions and flags come from, so that they can be made again."""
    annotations = annotations_csv(assay)
    platemap = assay.platemap_path
    verdicts = assay.journal().verdicts()
    names = {plate.name for plate in plates}
    return Provenance(
        assay=str(assay.path.resolve()),
        model=model.id,
        model_manifest=model.manifest,
        model_warning=id_in_use(assay)[1],
        flag_rule=assay.flag_rule.to_dict(),
        flag_rule_in_words=assay.flag_rule.describe(),
        plates=tuple(plates),
        versions=versions(),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        n_annotations=annotations.count("\n") - 1,
        annotations_sha256=hashlib.sha256(annotations.encode("utf-8-sig")).hexdigest(),
        platemap=_file_record(platemap),
        keep_kinds=options.keep_kinds,
        exclude_unreviewed=options.exclude_unreviewed,
        include_cut=assay.include_cut,
        onto=None if onto is None else _file_record(onto),
        verdicts=tuple(
            VerdictRecord(
                plate=plate,
                well=well,
                site=None if site is None else int(site),
                verdict=verdict,
                reviewer=reviewer,
                note=note,
            )
            for plate, well, site, verdict, reviewer, note in rows_of(
                verdicts, ["plate", "well", "site", "verdict", "reviewer", "note"]
            )
            if plate in names
        ),
    )


def report(
    assay: AssayFolder,
    out: Path,
    *,
    keep_kinds: tuple[str, ...] = (),
    scored: Sequence[ScoredPlate] | None = None,
    job: Job = NO_JOB,
) -> Path:
    """Write the report on all plates of an assay, see `write_report`."""
    # Here, since these import PyTorch, which tables are written without.
    from napari_hcs_qc.assay.views.model_card import model_card

    job.report(0, 0, "Gathering what the report shows")
    model = _model_of(assay, scored)
    if scored is None:
        scored = score(assay, model=model, keep_kinds=keep_kinds)
    data = ReportData(
        title=assay.path.resolve().name,
        created=datetime.now(UTC).astimezone().isoformat(sep=" ", timespec="minutes"),
        plates=[_report_plate(plate) for plate in scored],
        rule=assay.flag_rule,
        model=model_card(model, assay.threshold, {p.state.plate.name: p.state for p in scored}),
        pictures=_pictures({plate.state.plate.name: plate for plate in scored}),
        rates=scored[0].rates if scored else None,
    )
    return write_report(data, out, job=job)


def _report_plate(scored: ScoredPlate) -> ReportPlate:
    whole = scored.verdicts[scored.verdicts["site"].isna()]
    return ReportPlate(
        name=scored.state.plate.name,
        source=str(scored.state.plate.source),
        shape=scored.state.plate.shape,
        sites=scored.scores.sites,
        wells=scored.scores.wells,
        reference=scored.scores.reference,
        reference_note=scored.scores.note,
        p_abnormal=scored.counted_p,
        n_of_kind=scored.n_of_kind,
        verdicts=dict(zip(whole["well"], whole["verdict"], strict=True)),
        unreadable=scored.unreadable,
        warnings=scored.warnings,
        novelty="" if scored.prediction.novelty is None else scored.prediction.novelty.sentence,
        threshold=scored.threshold,
    )


def _pictures(scored: dict[str, ScoredPlate]) -> Callable[[str, str, int], WellPictures]:
    from napari_hcs_qc.assay.views.report_pictures import well_pictures

    def pictures(plate: str, well: str, site: int) -> WellPictures:
        plate_scored = scored[plate]
        key = SiteKey(well, site)
        if key in plate_scored.state.plate_cells.unreadable:
            raise HcsQcError(plate_scored.state.plate_cells.unreadable[key])
        return well_pictures(plate_scored, key)

    return pictures
