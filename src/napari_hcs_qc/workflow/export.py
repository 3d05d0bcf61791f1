"""What leaves an assay: tables, columns on somebody's profiles, and the report."""

from __future__ import annotations

import hashlib
import shlex
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
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
from napari_hcs_qc.assay.views.montage import CROP_DIAMETERS
from napari_hcs_qc.cells.crops import cut_squares
from napari_hcs_qc.documents import Document, Part
from napari_hcs_qc.errors import HcsQcError, UnreadableSiteError
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
    CrossValidated,
    ModelCard,
    Picture,
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

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.assay.store.saved_model import Model
    from napari_hcs_qc.cells.imported.options import ImportOptions

_SHOWN_CELLS = 8  # of each class in a well's montage
_THUMBNAIL_PX = 360  # longer side of a site's picture


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
    model = _model_of(assay, scored)
    if scored is None:
        scored = score(assay, model=model, keep_kinds=keep_kinds)
    data = ReportData(
        title=assay.path.resolve().name,
        created=datetime.now(UTC).astimezone().isoformat(sep=" ", timespec="minutes"),
        plates=[_report_plate(plate) for plate in scored],
        rule=assay.flag_rule,
        model=model_card(model, assay.threshold),
        pictures=_pictures({plate.state.plate.name: plate for plate in scored}),
        rates=scored[0].rates if scored else None,
    )
    return write_report(data, out, job=job)


def model_card(model: Model, threshold: float) -> ModelCard:
    """Describe a model for the report, with its figures at a threshold."""
    manifest, recipe, encoder = model.manifest, model.recipe, model.encoder
    recorded = manifest.cross_validation
    figures = None if recorded is None else recorded.at(threshold)
    sides = " and ".join(str(side) for side in recipe.sides_px)
    diameters = ""
    if recipe.unit == "diameter":
        scales = " and ".join(f"{scale:g}" for scale in recipe.scales)
        diameters = f" ({scales} nucleus diameters)"
    facts = [
        ("Plates", ", ".join(manifest.plate_names)),
        ("Annotated wells", str(manifest.n_wells)),
        ("Made at", manifest.created),
    ]
    if manifest.origin:
        facts.append(("Rests on", manifest.origin))
    if figures is None and not manifest.is_before_annotations:
        facts.append(("Cross-validation", "not yet cross-validated"))
    if manifest.note:
        facts.append(("Note", manifest.note))
    if manifest.n_conflicts:
        facts.append(("Left out: annotators disagree", str(manifest.n_conflicts)))
    if manifest.n_cut:
        facts.append(("Left out: cut by the image border", str(manifest.n_cut)))
    if manifest.n_unreadable:
        facts.append(("Left out: site not readable", str(manifest.n_unreadable)))
    bins = None if figures is None else figures.reliability
    return ModelCard(
        name=model.id,
        encoder=f"{encoder.name} ({encoder.architecture}), stages {', '.join(encoder.pooled)}, "
        f"pooled by {recipe.pooling}",
        weights_sha256=encoder.weights_sha256,
        recipe=f"{recipe.name}: crops of {sides} px{diameters}, shown at {recipe.input_px} px",
        head=manifest.head,
        seed=manifest.seed,
        n_annotated=manifest.n_annotated,
        n_kinds=manifest.n_kinds,
        cross_validation=[
            CrossValidated(
                name=figure.name,
                mean=figure.mean,
                sd=figure.sd,
                interval=figure.interval_text(),
            )
            for figure in (() if figures is None else figures.figures)
            if figure.mean is not None
        ],
        validation="not yet cross-validated" if figures is None else figures.explained(),
        reliability=[]
        if bins is None
        else list(zip(bins.mean_p, bins.share, bins.low, bins.high, bins.n, strict=True)),
        versions=manifest.versions,
        facts=facts,
    )


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


def well_pictures(scored: ScoredPlate, worst: SiteKey) -> WellPictures:
    """Cut the pictures of a flagged well: its worst site, and cells from all of its sites.

    Grey values are scaled by the plate's intensity range, never by the picture's own.
    """
    state = scored.state
    channel = state.plate.channel_index(state.plate_cells.channel)
    cells, p_abnormal = state.cells, scored.counted_p
    rows = np.flatnonzero((cells["well"] == worst.well).to_numpy() & np.isfinite(p_abnormal))
    order = rows[np.argsort(-p_abnormal[rows], kind="stable")]
    abnormal = [row for row in order[:_SHOWN_CELLS] if p_abnormal[row] >= scored.threshold]
    normal = [row for row in order[::-1][:_SHOWN_CELLS] if p_abnormal[row] < scored.threshold]
    side_px = max(16, round(CROP_DIAMETERS * state.plate_cells.diameter_px))
    crops: dict[int, Picture] = {}
    thumbnail = None
    for site in [key for key in state.plate.sites if key.well == worst.well]:
        mine = [
            int(row) for row in (*abnormal, *normal) if int(cells["site"].iloc[row]) == site.site
        ]
        if not mine and site != worst:
            continue
        try:
            raw = state.plate.read_site(site, [channel], projection=state.plate_cells.projection)
        except UnreadableSiteError:
            if site == worst:
                raise
            continue
        grey = state.plate_cells.ranges.scale(raw, [channel])
        if site == worst:
            thumbnail = Picture(_shrunk(_as_uint8(grey[0]), _THUMBNAIL_PX), str(site))
        y_px, x_px = cells["y_px"].to_numpy()[mine], cells["x_px"].to_numpy()[mine]
        for row, crop in zip(mine, cut_squares(grey, y_px, x_px, side_px), strict=True):
            crops[row] = Picture(_as_uint8(crop[0]), f"{p_abnormal[row]:.2f}")
    return WellPictures(
        thumbnail,
        [crops[row] for row in abnormal if row in crops],
        [crops[row] for row in normal if row in crops],
    )


def _as_uint8(grey: NDArray[np.float32]) -> NDArray[np.uint8]:
    # A square root lets dim debris be seen beside bright nuclei.
    shown: NDArray[np.uint8] = np.rint(255 * np.sqrt(grey)).astype(np.uint8)
    return shown


def _shrunk(image: NDArray[np.uint8], longer_px: int) -> NDArray[np.uint8]:
    step = max(1, -(-max(image.shape) // longer_px))
    height, width = (side // step * step for side in image.shape)
    blocks = image[:height, :width].reshape(height // step, step, width // step, step)
    shrunk: NDArray[np.uint8] = np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)
    return shrunk
