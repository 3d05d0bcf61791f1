"""What leaves an assay: tables, columns on somebody's profiles, and the report."""

from __future__ import annotations

import hashlib
import shlex
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from napari_hcs_qc.assay.embeddings.artefact_maps import ArtefactMaps
from napari_hcs_qc.assay.embeddings.embed_plate import embed_plate
from napari_hcs_qc.assay.models.model_in_use import chosen_model, id_in_use
from napari_hcs_qc.assay.models.train_options import model_encoder
from napari_hcs_qc.assay.models.training import versions
from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate, score
from napari_hcs_qc.assay.scoring.prediction import with_novelty
from napari_hcs_qc.assay.scoring.saved_prediction import NoveltySummary, ShiftRecord
from napari_hcs_qc.assay.store.model_manifest import ModelManifest
from napari_hcs_qc.assay.views.model_card import model_card
from napari_hcs_qc.assay.views.report_pictures import well_pictures
from napari_hcs_qc.documents import Document, Part
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import sha256_of
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.qc.export.export_tables import (
    ExportOptions,
    cell_table,
    site_outliers,
    well_outliers,
    well_table,
)
from napari_hcs_qc.qc.export.join_profiles import OntoResult, join_onto
from napari_hcs_qc.qc.export.join_wells import is_of_wells, join_wells
from napari_hcs_qc.qc.export.write_geojson import write_geojson
from napari_hcs_qc.qc.export.write_tables import export_tables
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
    from collections.abc import Callable, Sequence

    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.assay.store.saved_model import Model
    from napari_hcs_qc.cells.imported.options import ImportOptions


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
    if scored is None:
        scored = score(assay, model=model, keep_kinds=keep_kinds)
    encoder = model_encoder(model.manifest, job=job)
    plates = []
    for plate in scored:
        rows = embed_plate(
            plate.state,
            model.recipe,
            encoder,
            assay.embeddings_folder,
            try_again=False,  # as they were when the cells were scored
            job=job,
        ).rows
        if not plate.prediction.is_novelty_measured:
            measured = with_novelty(plate.prediction, plate.state, model, rows, job)
            plate = plate.with_novelty(plate.state, measured)
        plates.append(plate.to_export(rows))
    options = ExportOptions(keep_kinds, exclude_unreviewed)
    made_of = provenance(assay, model, scored, options=options, onto=onto)
    source = made_of.plain()
    files = export_tables(plates, out, options=options, provenance=source, job=job)
    if geojson:
        files = (*files, *write_geojson(plates, out / "geojson", options=options, job=job))
    if labels or artefact_maps:

        def map_of(state: PlateState) -> ArtefactMaps:
            return ArtefactMaps(state, model.recipe, encoder)

        written = write_labels(
            scored,
            out / "labels",
            options=options,
            map_of=map_of if artefact_maps else None,
            job=job,
        )
        files = (*files, *written)
    if onto is None:
        return Exported(files)
    sites = {plate.state.plate.name: PlateSites.of(plate.state.plate) for plate in scored}
    joined_path = out / f"{onto.name.removesuffix('.gz').rpartition('.')[0]}_qc.parquet"
    source_table = open_profiles(onto)
    if is_of_wells(source_table):
        wells = pd.concat([well_table(plate, options) for plate in plates], ignore_index=True)
        of_wells = join_wells(wells, source_table, onto, joined_path, sites, job=job)
        return Exported((*files, of_wells.out), of_wells)
    tables = [cell_table(plate, options) for plate in plates]
    joined = join_onto(
        pd.concat(tables, ignore_index=True),
        onto,
        joined_path,
        diameter_px={
            plate.state.plate.name: plate.state.plate_cells.diameter_px for plate in scored
        },
        outlier_sites=[
            (plate.name, *site)
            for plate in plates
            for site, is_out in site_outliers(plate, options).items()
            if is_out
        ],
        outlier_wells=[
            (plate.name, well)
            for plate in plates
            for well, is_out in well_outliers(plate, options).items()
            if is_out
        ],
        plates=sites,
        importing=importing,
        job=job,
    )
    return Exported((*files, joined.out), joined)


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


def provenance(
    assay: AssayFolder,
    model: Model,
    scored: Sequence[ScoredPlate],
    *,
    options: ExportOptions,
    onto: Path | None = None,
) -> Provenance:
    """Say where predictions and flags come from, so that they can be made again."""
    annotations = annotations_csv(assay)
    platemap = assay.platemap_path
    verdicts = assay.journal().verdicts()
    names = [plate.state.plate.name for plate in scored]
    return Provenance(
        assay=str(assay.path.resolve()),
        model=model.id,
        model_manifest=model.manifest,
        model_warning=id_in_use(assay)[1],
        flag_rule=assay.flag_rule.to_dict(),
        flag_rule_in_words=assay.flag_rule.describe(),
        plates=tuple(
            PlateProvenance(
                name=plate.state.plate.name,
                source=str(plate.state.plate.source),
                format=plate.state.plate.format,
                fingerprint=plate.state.plate.fingerprint,
                cells_from=plate.state.plate_cells.origin,
                cells_file=_file_record(Path(plate.state.plate_cells.source)),
                channel=plate.state.plate_cells.channel,
                cells_check=plate.state.plate_cells.check,
                threshold=plate.threshold,
                compared_with=", ".join(filter(None, (plate.scores.reference, plate.scores.note))),
                unreadable=tuple(str(problem) for problem in plate.unreadable),
                warnings=plate.warnings,
                shift=plate.prediction.shift,
                novelty=plate.prediction.novelty,
            )
            for plate in scored
        ),
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
        verdicts=dict(zip(whole["well"], whole["verdict"], strict=True)),
        unreadable=scored.unreadable,
        warnings=scored.warnings,
        novelty="" if scored.prediction.novelty is None else scored.prediction.novelty.sentence,
        threshold=scored.threshold,
    )


def _pictures(scored: dict[str, ScoredPlate]) -> Callable[[str, str, int], WellPictures]:
    def pictures(plate: str, well: str, site: int) -> WellPictures:
        plate_scored = scored[plate]
        key = SiteKey(well, site)
        if key in plate_scored.state.plate_cells.unreadable:
            raise HcsQcError(plate_scored.state.plate_cells.unreadable[key])
        return well_pictures(plate_scored, key)

    return pictures
