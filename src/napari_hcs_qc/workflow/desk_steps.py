"""The steps for a person at a desk: inputs frozen when they start, plates kept open.

What takes seconds to import (PyTorch, scikit-learn, anndata) is imported by the step that needs it,
in the thread of its job: the window opens without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.assay.embeddings.embed_plate import fill_store, stored_plate
from napari_hcs_qc.assay.models.model_in_use import chosen_model
from napari_hcs_qc.assay.models.train_options import requested_encoder
from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate, score
from napari_hcs_qc.assay.scoring.review_queue import well_entries
from napari_hcs_qc.assay.scoring.saved_prediction import load_prediction
from napari_hcs_qc.assay.store.plate_state import open_assay_plate
from napari_hcs_qc.assay.store.platemap import with_platemap
from napari_hcs_qc.assay.store.platemap_match import check_platemap, keep_platemap
from napari_hcs_qc.assay.views.open_assay import OpenPlate, load_open_plate
from napari_hcs_qc.assay.views.plate_look import PlateLook, look_at
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.heads.prior.linear_prior import find_prior
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates.first_look import looked_at
from napari_hcs_qc.plates.remote import RemoteImagesError
from napari_hcs_qc.workflow import steps
from napari_hcs_qc.workflow.cell_options import CellOptions, nuclear_channel
from napari_hcs_qc.workflow.labels_in_out import LabelsImported, write_annotations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.annotations.annotation_cache import AnnotationCache
    from napari_hcs_qc.assay.models.train_options import TrainOptions
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.assay.store.saved_model import Model
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.encoder import Encoder
    from napari_hcs_qc.plates.plate import SiteKey
    from napari_hcs_qc.workflow.crop_export import CropsWritten, Source
    from napari_hcs_qc.workflow.model_history import Comparison
    from napari_hcs_qc.workflow.training import Trained


@dataclass(frozen=True, eq=False, kw_only=True)
class Frozen:
    """What a job works on; nobody changes it while the job runs."""

    folder: AssayFolder  # the assay
    states: dict[str, PlateState]  # its plates whose cells are known, by name
    annotations: pd.DataFrame  # as `Journal.annotations`, at the moment the job was started
    options: TrainOptions  # encoder, recipe and head
    threshold: float  # P(abnormal) from which a cell counts as abnormal

    @property
    def include_cut(self) -> bool:
        """Whether cells that the image border cuts count as others do."""
        return any(state.include_cut for state in self.states.values())

    def joined(self) -> dict[str, PlateState]:
        """Plates with these annotations joined to their cells."""
        return {
            name: state.with_annotations(self.annotations) for name, state in self.states.items()
        }


def find_cells(
    folder: AssayFolder,
    plate: str,
    annotations: AnnotationCache,
    options: CellOptions | None = None,
    *,
    job: Job = NO_JOB,
) -> OpenPlate:
    """Find the cells of a plate and load it with them."""
    steps.cells(folder, options, [plate], job=job)
    return load_open_plate(folder, plate, annotations, None, job)


def embed(frozen: Frozen, *, job: Job = NO_JOB) -> dict[str, NDArray[np.floating[Any]]]:
    """Embed the found cells of all plates, or find the embeddings on disk."""
    if not frozen.states:
        raise HcsQcError("No cells have been found yet; find the cells of the plate first.")
    encoder, recipe = _ready(frozen, job)
    rows = {}
    for name, state in frozen.states.items():
        job.check()
        store = fill_store(state, recipe, encoder, frozen.folder.embeddings_folder, job=job)
        n_sites = len(state.plate_cells.cells[["well", "site"]].drop_duplicates())
        if n_sites and len(store.unreadable) >= n_sites:
            raise HcsQcError(
                f"No site of plate {name} can be read ({store.unreadable[0].what}), so its cells "
                "have no embeddings. Restore the images, or set their new path: hcs-qc relocate "
                f"{frozen.folder.path} {name} PATH."
            )
        rows[name] = store.embeddings
    _know_plates(frozen, encoder, recipe, rows, job)
    return rows


def find_embeddings(frozen: Frozen, *, job: Job = NO_JOB) -> dict[str, NDArray[np.floating[Any]]]:
    """Find the embeddings that are complete on disk, as `embed` gives them; compute none."""
    encoder, recipe = _ready(frozen, job)
    rows = {}
    for name, state in frozen.states.items():
        store = stored_plate(state, recipe, encoder, frozen.folder.embeddings_folder)
        if store is not None:
            rows[name] = store.embeddings
    if len(rows) == len(frozen.states):
        _know_plates(frozen, encoder, recipe, rows, job)
    return rows


def _know_plates(
    frozen: Frozen,
    encoder: Encoder,
    recipe: CropRecipe,
    rows: Mapping[str, NDArray[np.floating[Any]]],
    job: Job,
) -> None:
    """Find what is known of the plates without annotations now, so that Retrain need not."""
    from napari_hcs_qc.assay.embeddings.plate_priors import prior_offsets
    from napari_hcs_qc.assay.embeddings.plate_sample import sampled_directions
    from napari_hcs_qc.heads.head_names import WITH_PRIOR

    states, stores = frozen.joined(), frozen.folder.embeddings_folder
    used = [state for state in states.values() if len(state.training)]
    sampled_directions(used or list(states.values()), recipe, encoder, stores)
    if frozen.options.head == WITH_PRIOR:
        linear = find_prior(encoder, recipe)
        for name, state in states.items():
            found = rows[name][: len(state.plate_cells.cells)]
            prior_offsets(state, found, recipe, encoder, stores, linear, job)


def _ready(frozen: Frozen, job: Job) -> tuple[Encoder, CropRecipe]:
    """Give the encoder, and the recipe for the nuclei of the assay's first plate."""
    from napari_hcs_qc.assay.models.training import sized_recipe

    encoder = requested_encoder(frozen.options, job=job)
    return encoder, sized_recipe(frozen.folder, frozen.options, [*frozen.states.values()])


def devices(*, job: Job = NO_JOB) -> dict[str, str]:
    """List the devices of this machine on which encoders can run, and what they are called."""
    job.report(0, 0, "Looking for devices")
    import torch

    from napari_hcs_qc.encoders.encoder import choose_device

    found = {"auto": f"auto ({choose_device('auto').type})", "cpu": "cpu"}
    if torch.cuda.is_available():
        found["cuda"] = "cuda"
    if torch.backends.mps.is_available():
        found["mps"] = "mps"
    return found


def artefact_map(
    frozen: Frozen, plate: str, site: SiteKey, *, job: Job = NO_JOB
) -> NDArray[np.float32]:
    """Show where on a site something lies that is unlike its plate."""
    from napari_hcs_qc.assay.embeddings.artefact_maps import ArtefactMaps

    encoder, recipe = _ready(frozen, job)
    return ArtefactMaps(frozen.states[plate], recipe, encoder).of_site(site, job=job)


def train_and_score(frozen: Frozen, note: str = "", *, job: Job = NO_JOB) -> Trained:
    """Fit a head on all annotations and score every plate with it; its figures follow."""
    return _trained(frozen, note=note, job=job)


def score_before_annotations(frozen: Frozen, *, job: Job = NO_JOB) -> Trained:
    """Score every plate by what is known without annotations."""
    return _trained(frozen, before_annotations=True, job=job)


def _trained(
    frozen: Frozen, *, note: str = "", before_annotations: bool = False, job: Job
) -> Trained:
    from napari_hcs_qc.workflow.training import train

    trained = train(
        frozen.folder,
        frozen.options,
        states=frozen.joined(),
        before_annotations=before_annotations,
        figures=False,
        scores=True,
        note=note,
        job=job,
    )
    well_entries(trained.scored.values())  # kept with the plates
    return trained


def measure_model(frozen: Frozen, model: str, *, job: Job = NO_JOB) -> Model:
    """Cross-validate a model that was trained on just these annotations; figures are kept."""
    from napari_hcs_qc.workflow.measuring import add_figures

    return add_figures(frozen.folder, model, frozen.joined(), frozen.options, job=job)


def measure_curve(frozen: Frozen, model: str, *, job: Job = NO_JOB) -> Model:
    """Measure how the figures of that model grow with the annotations; the curve is kept."""
    from napari_hcs_qc.workflow.measuring import add_learning_curve

    return add_learning_curve(frozen.folder, model, frozen.joined(), frozen.options, job=job)


def measure_novelty(
    frozen: Frozen, model: Model, scored: Mapping[str, ScoredPlate], *, job: Job = NO_JOB
) -> dict[str, ScoredPlate]:
    """Measure the novelty of the cells of scored plates, and keep it."""
    from napari_hcs_qc.workflow.measuring import add_novelty

    return add_novelty(frozen.folder, model, scored, device=frozen.options.device, job=job)


def restore_model(
    frozen: Frozen, model: str, *, job: Job = NO_JOB
) -> tuple[Model, dict[str, ScoredPlate]]:
    """Use an older model again, until the next retraining."""
    from napari_hcs_qc.assay.scoring.prediction import predict
    from napari_hcs_qc.workflow import model_history

    folder, states = frozen.folder, frozen.joined()
    restored = chosen_model(folder, model)
    # Plates and cells that were added since it was trained, it has not scored yet.
    missing = [
        name
        for name, state in states.items()
        if load_prediction(folder, state, restored.id) is None
    ]
    if missing:
        predict(folder, missing, restored, device=frozen.options.device, states=states, job=job)
    scored = _score_all(frozen, restored, states, job)
    job.check()
    model_history.restore(folder, model)  # last: what fails before leaves the other one in use
    return restored, scored


def compare_models(frozen: Frozen, older: str, newer: str, *, job: Job = NO_JOB) -> Comparison:
    """Compare two models and what they predict for the plates."""
    from napari_hcs_qc.workflow import model_history

    return model_history.compare(frozen.folder, frozen.joined(), older, newer, job=job)


def score_again(
    frozen: Frozen, scored: Mapping[str, ScoredPlate], *, job: Job = NO_JOB
) -> dict[str, ScoredPlate]:
    """Score all plates anew with what was frozen, nothing read from the disk."""
    again = {}
    for done, (name, plate) in enumerate(scored.items()):
        job.check()
        job.report(done, len(scored), f"Scoring {name}")
        again[name] = plate.with_annotations(
            frozen.annotations, frozen.threshold, include_cut=frozen.include_cut
        )
    well_entries(again.values())  # kept with the plates
    return again


def _score_all(
    frozen: Frozen, model: Model, states: dict[str, PlateState], job: Job
) -> dict[str, ScoredPlate]:
    scored = {}
    for done, name in enumerate(states):
        job.check()
        job.report(done, len(states), f"Scoring {name}")
        (scored[name],) = score(
            frozen.folder,
            [name],
            model=model,
            states=states,
            threshold=frozen.threshold,
            partial=True,  # a click on empty ground makes a cell, which the next model scores
        )
    return scored


def write_results(
    frozen: Frozen,
    scored: Mapping[str, ScoredPlate],
    out: Path,
    *,
    exclude_unreviewed: bool = False,
    job: Job = NO_JOB,
) -> tuple[Path, ...]:
    """Write the tables and the report of all plates, scored as `score_again` does."""
    from napari_hcs_qc.workflow.export import export, report

    # Another window, or a command, may have decided on wells meanwhile.
    verdicts = frozen.folder.journal().verdicts()
    plates = [
        plate.with_verdicts(verdicts) for plate in score_again(frozen, scored, job=job).values()
    ]
    exported = export(
        frozen.folder, out, scored=plates, exclude_unreviewed=exclude_unreviewed, job=job
    )
    page = report(frozen.folder, out / "report.html", scored=plates, job=job)
    return (*exported.files, page)


@dataclass(frozen=True, kw_only=True)
class NewAssay:
    """What an assay is made of, or the plate that is added to one."""

    source: steps.PlateSource
    folder: Path
    platemap: Path | None = None
    detector: str | None = None  # ours by default
    nuclear_channel: str | None = None  # its name; by default that of a nuclear stain


def look_at_plate(source: steps.PlateSource, *, job: Job = NO_JOB) -> PlateLook | RemoteImagesError:
    """Open a plate and read a picture of each channel.

    An error where nothing was read since a person has to allow it first.
    """
    job.report(0, 0, f"Reading {source.path}")
    try:
        return look_at(looked_at(source.open()[0]), job=job)
    except RemoteImagesError as error:
        return error


def new_assay(request: NewAssay, *, job: Job = NO_JOB) -> str:
    """Make an assay of a plate, or add the plate to the assay that is there; gives its name."""
    source = request.source
    job.report(0, 0, f"Reading {source.path}")
    job.check()
    folder, opened = steps.new(
        request.folder, [source], platemap=request.platemap, detector=request.detector
    )
    if request.nuclear_channel is not None:
        index = opened[0].channel_index(request.nuclear_channel)
        if index != nuclear_channel(opened[0], folder.settings):
            folder.update_settings(nuclear_channel=request.nuclear_channel)
    return opened[0].name


def set_platemap(folder: AssayFolder, path: Path, *, job: Job = NO_JOB) -> None:
    """Keep another plate map with an assay, once it fits all plates that can be opened."""
    names = [entry.plate_name for entry in folder.plates]
    opened = []
    for done, entry in enumerate(folder.plates):
        job.check()
        job.report(done, len(names), f"Comparing the map with {entry.name}")
        if entry.source.exists():
            opened.append(open_assay_plate(folder, entry.name))
            with_platemap(opened[-1], path, names)
    check_platemap(opened, path, names)
    keep_platemap(folder, path)


def relocate(folder: AssayFolder, plate: str, source: Path, *, job: Job = NO_JOB) -> bool:
    """Tell an assay where a plate lies now; gives whether its files are as they were."""
    job.report(0, 0, f"Reading {source}")
    _, is_same = steps.relocate(folder, plate, source)
    return is_same


def import_annotations(
    folder: AssayFolder, path: Path, annotator: str, *, job: Job = NO_JOB
) -> LabelsImported:
    """Add the annotated cells of a file to the journal."""
    job.report(0, 0, f"Reading {path.name}")
    job.check()
    return steps.annotate(folder, path, annotator)


def export_annotations(folder: AssayFolder, path: Path, *, job: Job = NO_JOB) -> int:
    """Write what everybody annotated as a CSV; gives how many annotations."""
    job.report(0, 0, f"Writing {path.name}")
    job.check()
    write_annotations(folder, path)
    return len(folder.journal().annotations())


def export_crops(
    scored: Sequence[ScoredPlate], out: Path, source: Source, *, job: Job = NO_JOB
) -> CropsWritten:
    """Write crops of cells by class, with pictures of their sites."""
    from napari_hcs_qc.workflow.crop_export import write_crops

    return write_crops(scored, out, source=source, overlays=True, job=job)
