"""What leaves an assay: tables, columns on somebody's profiles, and the report."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_hcs_qc.assay.embeddings.embed_plate import embed_plate
from napari_hcs_qc.assay.models.model_in_use import chosen_model, model_in_use
from napari_hcs_qc.assay.models.training import trained_with, versions
from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate, flag_rule, score
from napari_hcs_qc.assay.scoring.prediction import with_novelty
from napari_hcs_qc.cells.crops import cut_squares
from napari_hcs_qc.encoders.registry import cached_encoder
from napari_hcs_qc.errors import HcsQcError, UnreadableSiteError
from napari_hcs_qc.evaluation.reliability import Reliability
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.qc.export.export_tables import (
    ExportOptions,
    cell_table,
    site_outliers,
    well_outliers,
)
from napari_hcs_qc.qc.export.join_profiles import OntoResult, join_onto
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

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.saved_model import Model

_SHOWN_CELLS = 8  # of each class in a well's montage
_CROP_DIAMETERS = 2.5  # a cell with a little of what is around it
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
    onto: Path | None = None,
    scored: Sequence[ScoredPlate] | None = None,
    job: Job = NO_JOB,
) -> Exported:
    """Write the tables of all plates of an assay, see `export_tables`."""
    model = _model_of(assay, scored)
    if scored is None:
        scored = score(assay, model=model, keep_kinds=keep_kinds)
    encoder = cached_encoder(**trained_with(model.manifest), job=job)
    plates = []
    for one in scored:
        rows = embed_plate(
            one.state,
            model.recipe,
            encoder,
            assay.embeddings_folder,
            try_again=False,  # as they were when the cells were scored
            job=job,
        ).rows
        if not one.prediction.is_novelty_measured:
            measured = with_novelty(one.prediction, one.state, model, rows, job)
            one = one.with_novelty(one.state, measured)
        plates.append(one.to_export(rows))
    options = ExportOptions(keep_kinds, exclude_unreviewed)
    files = export_tables(
        plates,
        out,
        options=options,
        provenance=provenance(assay, model, scored),
        job=job,
    )
    if onto is None:
        return Exported(files)
    tables = [cell_table(plate, options) for plate in plates]
    joined = join_onto(
        pd.concat(tables, ignore_index=True),
        onto,
        out / f"{onto.stem}_qc.parquet",
        diameter_px={one.state.plate.name: one.state.found.diameter_px for one in scored},
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
        job=job,
    )
    return Exported((*files, joined.out), joined)


def _model_of(assay: AssayFolder, scored: Sequence[ScoredPlate] | None) -> Model:
    """Give the model that judged, which need not be the one in use any more."""
    return chosen_model(assay, scored[0].prediction.model if scored else None)


def provenance(assay: AssayFolder, model: Model, scored: Sequence[ScoredPlate]) -> dict[str, Any]:
    """Say where predictions and flags come from, as plain data."""
    return {
        "assay": str(assay.path.resolve()),
        "model": model.id,
        "model_manifest": {
            key: model.manifest[key] for key in model.manifest if key != "training_cells"
        },
        "model_warning": model_in_use(assay)[1],
        "flag_rule": flag_rule(assay).to_dict(),
        "flag_rule_in_words": list(flag_rule(assay).describe()),
        "plates": [
            {
                "name": one.state.plate.name,
                "source": str(one.state.plate.source),
                "format": one.state.plate.format,
                "fingerprint": one.state.plate.fingerprint,
                "threshold": one.threshold,
                "compared_with": one.scores.reference,
                "unreadable": [str(problem) for problem in one.unreadable],
                "warnings": list(one.warnings),
                "shift": one.prediction.shift,
                "novelty": one.prediction.novelty,
            }
            for one in scored
        ],
        "versions": versions(),
    }


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
        plates=[_report_plate(one) for one in scored],
        rule=flag_rule(assay),
        model=model_card(model),
        pictures=_pictures({one.state.plate.name: one for one in scored}),
    )
    return write_report(data, out, job=job)


def model_card(model: Model) -> ModelCard:
    """Say in words what a model is."""
    manifest = model.manifest
    recipe, validation = model.recipe, manifest["cross_validation"]
    sides = " and ".join(str(side) for side in recipe.sides_px)
    diameters = ""
    if recipe.unit == "diameter":
        scales = " and ".join(f"{scale:g}" for scale in recipe.scales)
        diameters = f" ({scales} nucleus diameters)"
    facts = [
        ("Trained on", ", ".join(plate["name"] for plate in manifest["training_plates"])),
        ("Annotated wells", str(manifest["n_wells"])),
        ("Trained at", str(manifest["created"])),
    ]
    if validation is None:
        facts.append(("Cross-validation", "not yet cross-validated"))
    if manifest.get("note"):
        facts.append(("Note", str(manifest["note"])))
    if manifest["n_conflicts"]:
        facts.append(("Left out: annotators disagree", str(manifest["n_conflicts"])))
    if manifest["n_unreadable"]:
        facts.append(("Left out: site not readable", str(manifest["n_unreadable"])))
    return ModelCard(
        name=model.id,
        encoder=f"{manifest['encoder']['name']} ({manifest['encoder']['architecture']}), "
        f"stages {', '.join(manifest['encoder']['pooled'])}, pooled by {recipe.pooling}",
        weights_sha256=str(manifest["encoder"]["weights_sha256"]),
        recipe=f"{recipe.name}: crops of {sides} px{diameters}, shown at {recipe.input_px} px",
        head=str(manifest["head"]),
        seed=int(manifest["seed"]),
        n_annotated=manifest["n_annotated"],
        n_kinds=manifest["n_kinds"],
        cross_validation=[
            CrossValidated(figure["name"], figure["mean"], figure["sd"], *figure["ci95"])
            for figure in (validation or {}).get("figures", ())
            if figure["mean"] is not None
        ],
        validation="not yet cross-validated" if validation is None else validation["sentence"],
        reliability=_reliability(validation),
        versions=manifest["versions"],
        facts=facts,
    )


def _reliability(
    validation: Mapping[str, Any] | None,
) -> list[tuple[float, float, float, float, int]]:
    """Give the bins that a manifest has; none where it is of an earlier version."""
    found = (validation or {}).get("reliability")
    if found is None:
        return []
    try:
        bins = Reliability.from_dict(found)
    except HcsQcError:  # a damaged drawing is no reason to do without the report
        return []
    return list(zip(bins.mean_p, bins.share, bins.low, bins.high, bins.n, strict=True))


def _report_plate(scored: ScoredPlate) -> ReportPlate:
    whole = scored.verdicts[scored.verdicts["site"].isna()]
    return ReportPlate(
        name=scored.state.plate.name,
        source=str(scored.state.plate.source),
        shape=scored.state.plate.shape,
        sites=scored.scores.sites,
        wells=scored.scores.wells,
        reference=scored.scores.reference,
        p_abnormal=scored.predictions["p_abnormal"].to_numpy(dtype=np.float32),
        verdicts=dict(zip(whole["well"], whole["verdict"], strict=True)),
        unreadable=scored.unreadable,
        warnings=scored.warnings,
        novelty=str(scored.prediction.novelty.get("sentence", "")),
        threshold=scored.threshold,
    )


def _pictures(scored: dict[str, ScoredPlate]) -> Callable[[str, str, int], WellPictures]:
    def pictures(plate: str, well: str, site: int) -> WellPictures:
        one = scored[plate]
        key = SiteKey(well, site)
        if key in one.state.found.unreadable:
            raise HcsQcError(one.state.found.unreadable[key])
        return well_pictures(one, key)

    return pictures


def well_pictures(scored: ScoredPlate, worst: SiteKey) -> WellPictures:
    """Cut the pictures of a flagged well: its worst site, and cells from all of its sites.

    Grey values are scaled by the plate's intensity range, never by the picture's own.
    """
    state = scored.state
    channel = state.plate.channel_index(state.found.channel)
    cells, p_abnormal = state.cells, scored.predictions["p_abnormal"].to_numpy(dtype=np.float64)
    rows = np.flatnonzero((cells["well"] == worst.well).to_numpy() & np.isfinite(p_abnormal))
    order = rows[np.argsort(-p_abnormal[rows], kind="stable")]
    abnormal = [row for row in order[:_SHOWN_CELLS] if p_abnormal[row] >= scored.threshold]
    normal = [row for row in order[::-1][:_SHOWN_CELLS] if p_abnormal[row] < scored.threshold]
    side_px = max(16, round(_CROP_DIAMETERS * state.found.diameter_px))
    crops: dict[int, Picture] = {}
    thumbnail = None
    for site in [key for key in state.plate.sites if key.well == worst.well]:
        mine = [
            int(row) for row in (*abnormal, *normal) if int(cells["site"].iloc[row]) == site.site
        ]
        if not mine and site != worst:
            continue
        try:
            raw = state.plate.read_site(site, [channel], projection=state.found.projection)
        except UnreadableSiteError:
            if site == worst:
                raise
            continue
        grey = state.found.ranges.scale(raw, [channel])
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
