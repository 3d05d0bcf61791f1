"""Where an assay stands: its plates, annotations, verdicts and models; nothing is computed."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.assay.scoring.plate_scores import Scoring
from napari_hcs_qc.assay.store.plate_cells import has_cells, load_cells
from napari_hcs_qc.assay.store.plate_state import changed_images, joined_state, open_assay_plate
from napari_hcs_qc.assay.store.platemap_match import assay_platemap
from napari_hcs_qc.assay.store.saved_model import model_folders, read_manifest
from napari_hcs_qc.assay.views.label_issues_list import LabelIssue, label_issues
from napari_hcs_qc.errors import DamagedError, HcsQcError
from napari_hcs_qc.plates.remote import is_remote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd

    from napari_hcs_qc.assay.scoring.saved_prediction import NoveltySummary
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.plate_entry import PlateEntry
    from napari_hcs_qc.plates.plate import Plate


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
    platemap: str = ""  # how many of its wells are in the plate map, and their roles
    problems: tuple[str, ...] = ()  # what could not be read
    warnings: tuple[str, ...] = ()  # what its figures lack, such as controls
    damage: tuple[str, ...] = ()  # files that are not as they were written, and what mends them
    # Where its files lie: a folder with all below it ends with the separator, one without is meant
    # with its own files. None where that cannot be told, as on a server.
    places: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class ModelStatus:
    """One model of an assay."""

    id: str
    created: str
    encoder: str
    recipe: str
    head: str
    backend: str
    rule: str = ""  # table of a rule of another program that predicts instead of the head


@dataclass(frozen=True, kw_only=True)
class AssayStatus:
    """Where an assay stands."""

    path: Path
    created: str
    plates: tuple[PlateStatus, ...]
    annotations: Mapping[str, int]  # cells of each class
    n_conflicts: int  # cells that people annotated differently
    label_issues: tuple[LabelIssue, ...]  # annotations that the latest model contradicts
    n_verdicts: int
    models: tuple[ModelStatus, ...]  # the oldest first


def assay_status(assay: AssayFolder) -> AssayStatus:
    """Tell where an assay stands."""
    journal = assay.journal()
    annotations = journal.annotations()
    consensus = journal.consensus(annotations)
    folders = model_folders(assay.models_folder)
    manifests = [read_manifest(folder) for folder in folders]
    scoring = cache(partial(Scoring.of, assay))  # what is wrong with it is told of each plate
    return AssayStatus(
        path=assay.path,
        created=assay.created,
        plates=tuple(_plate_status(assay, entry, annotations, scoring) for entry in assay.plates),
        annotations={str(name): n for name, n in consensus["class"].value_counts().items()},
        n_conflicts=int(consensus["is_conflict"].sum()),
        label_issues=label_issues(manifests[-1], annotations) if manifests else (),
        n_verdicts=len(journal.verdicts()),
        models=tuple(
            ModelStatus(
                id=folder.name,
                created=manifest.created,
                encoder=manifest.encoder.name,
                recipe=manifest.recipe.name,
                head=manifest.head,
                backend=manifest.encoder.backend,
                rule="" if manifest.rule is None else Path(manifest.rule.source).name,
            )
            for folder, manifest in zip(folders, manifests, strict=True)
        ),
    )


def _plate_status(
    assay: AssayFolder,
    entry: PlateEntry,
    annotations: pd.DataFrame,
    scoring: Callable[[], Scoring],
) -> PlateStatus:
    """Tell where a plate stands; what is wrong with it is told, not raised."""
    source = str(entry.source)
    try:
        plate = open_assay_plate(assay, entry.name)
        platemap = assay_platemap(assay, plate)
    except HcsQcError as error:
        return PlateStatus(name=entry.name, source=source, problems=(str(error),))
    opened = PlateStatus(
        name=entry.name,
        source=source,
        n_wells=len(plate.wells),
        n_sites=len(plate.sites),
        platemap="" if platemap is None else platemap.sentence,
        problems=tuple(str(problem) for problem in plate.problems),
        places=_places(plate, entry),
    )
    try:
        if not has_cells(assay.plate_folder(entry.name), plate):
            changed = changed_images(assay, plate)
            return replace(opened, problems=(*opened.problems, *([changed] if changed else [])))
        cells = load_cells(assay.plate_folder(entry.name))
    except HcsQcError as error:
        return replace(opened, damage=(str(error),))
    try:
        state = joined_state(plate, cells, annotations, include_cut=assay.include_cut)
        scored = scoring().plate(entry.name, state)
    except HcsQcError as error:  # not predicted yet
        damage = (str(error),) if isinstance(error, DamagedError) else ()
        unreadable = tuple(f"{site}: {reason}" for site, reason in cells.unreadable.items())
        imported = tuple(str(problem) for problem in cells.problems)
        problems = (*unreadable, *imported, *opened.problems)
        return replace(opened, n_cells=len(cells.cells), problems=problems, damage=damage)
    return replace(
        opened,
        n_cells=len(scored.state.cells),
        n_flagged=int(scored.scores.wells["is_flagged"].sum()),
        predicted_with=scored.prediction.model,
        novelty=scored.prediction.novelty,
        problems=tuple(str(problem) for problem in scored.unreadable),
        warnings=scored.warnings,
    )


def _places(plate: Plate, entry: PlateEntry) -> tuple[str, ...] | None:
    source, paths = entry.source, plate.planes["path"].unique()
    if is_remote(source) or any(map(is_remote, paths)):
        return None
    folders = {os.path.dirname(path) for path in paths}
    if plate.format == "loaddata":
        root = () if entry.image_root is None else (os.path.join(entry.image_root, ""),)
        return str(source), *sorted(folders), *root
    if source.is_file() and not all(map(os.path.isdir, folders)):
        return (str(source),)  # an archive
    # Microscopes also put what describes a plate beside the folder of its images.
    folder = source if source.is_dir() else source.parent
    return os.path.join(folder, ""), str(folder.parent)
