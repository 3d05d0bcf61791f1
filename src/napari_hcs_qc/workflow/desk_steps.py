"""The verbs of the loop for a person at a desk: inputs frozen when they start, plates kept open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.assay.embeddings.embed_plate import fill_store
from napari_hcs_qc.assay.embeddings.plate_sample import sampled_directions
from napari_hcs_qc.assay.models.training import asked_recipe
from napari_hcs_qc.assay.scoring.plate_scores import Judged, judge
from napari_hcs_qc.assay.scoring.prediction import chosen_model, load_prediction, predict
from napari_hcs_qc.assay.views.open_assay import OpenPlate, load_open_plate
from napari_hcs_qc.encoders.embed.embed_cells import store_fingerprint
from napari_hcs_qc.encoders.embed.embedding_store import MANIFEST, EmbeddingStore
from napari_hcs_qc.encoders.registry import DEFAULT_ENCODER, cached_encoder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import OnProgress, ShouldStop, check_stop, never_stop, no_progress
from napari_hcs_qc.workflow import model_history, steps
from napari_hcs_qc.workflow.export import export, report
from napari_hcs_qc.workflow.retraining import Retrained, add_figures, add_unlike, retrain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.annotations.annotation_cache import LiveAnnotations
    from napari_hcs_qc.assay.models.training import TrainOptions
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.assay.store.saved_model import Model
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.encoder import Encoder
    from napari_hcs_qc.workflow.model_history import Comparison, ModelLine


@dataclass(frozen=True, eq=False)
class Frozen:
    """What a job works on; nobody changes it while the job runs."""

    folder: AssayFolder  # the assay
    states: dict[str, PlateState]  # its plates whose cells are known, by name
    annotations: pd.DataFrame  # as `Journal.annotations`, at the moment the job was started
    options: TrainOptions  # encoder, recipe and head
    threshold: float  # P(abnormal) from which a cell counts as abnormal

    def joined(self) -> dict[str, PlateState]:
        """Plates with these annotations joined to their cells."""
        return {
            name: state.with_annotations(self.annotations) for name, state in self.states.items()
        }


def find_cells(
    folder: AssayFolder,
    plate: str,
    live: LiveAnnotations,
    *,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> OpenPlate:
    """Find the cells of a plate and load it with them."""
    steps.cells(folder, plates=[plate], on_progress=on_progress, should_stop=should_stop)
    return load_open_plate(folder, plate, live, None, should_stop)


def encoder_of(
    options: TrainOptions,
    *,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> tuple[Encoder, CropRecipe]:
    """Load the encoder that was chosen, or give the one that is loaded; and its recipe."""
    recipe = asked_recipe(options)
    encoder = cached_encoder(
        name=options.encoder or DEFAULT_ENCODER,
        stages=recipe.stages,
        pooling=recipe.pooling,
        weights=options.weights,
        device=options.device,
        backend=options.backend,
        on_progress=on_progress,
        should_stop=should_stop,
    )
    return encoder, recipe


def embed(
    frozen: Frozen,
    *,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> dict[str, NDArray[np.floating[Any]]]:
    """Embed the found cells of all plates, or find the embeddings on disk."""
    if not frozen.states:
        raise HcsQcError("No cells have been found yet; find the cells of the plate first.")
    encoder, recipe = _ready(frozen, on_progress, should_stop)
    rows = {}
    for name, state in frozen.states.items():
        check_stop(should_stop)
        store = fill_store(
            state,
            recipe,
            encoder,
            frozen.folder.embeddings_folder,
            on_progress=on_progress,
            should_stop=should_stop,
        )
        n_sites = len(state.found.cells[["well", "site"]].drop_duplicates())
        if n_sites and len(store.unreadable) >= n_sites:
            raise HcsQcError(
                f"No site of plate {name} can be read ({store.unreadable[0].what}), so its cells "
                "have no embeddings. Bring the images back, or tell where they are now: "
                f"hcs-qc relocate {frozen.folder.path} {name} PATH."
            )
        rows[name] = store.embeddings
    _know_plates(frozen, encoder, recipe)
    return rows


def find_embeddings(
    frozen: Frozen,
    *,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> dict[str, NDArray[np.floating[Any]]]:
    """Find the embeddings that are complete on disk, as `embed` gives them; compute none."""
    encoder, recipe = _ready(frozen, on_progress, should_stop)
    rows = {}
    for name, state in frozen.states.items():
        found = state.found
        fingerprint = store_fingerprint(
            state.plate, found.cells, found.ranges, recipe, encoder, projection=found.projection
        )
        folder = frozen.folder.embeddings_folder / fingerprint
        if (folder / MANIFEST).is_file() and (store := EmbeddingStore.open(folder)).complete:
            rows[name] = store.embeddings
    if len(rows) == len(frozen.states):
        _know_plates(frozen, encoder, recipe)
    return rows


def _know_plates(frozen: Frozen, encoder: Encoder, recipe: CropRecipe) -> None:
    """Find the main directions of the plates now, so that the first Retrain need not."""
    states = list(frozen.joined().values())
    used = [state for state in states if len(state.training)]
    sampled_directions(used or states, recipe, encoder, frozen.folder.embeddings_folder)


def _ready(
    frozen: Frozen, on_progress: OnProgress, should_stop: ShouldStop
) -> tuple[Encoder, CropRecipe]:
    """Give the encoder, and the recipe for the nuclei of the assay's first plate."""
    encoder, recipe = encoder_of(frozen.options, on_progress=on_progress, should_stop=should_stop)
    first = next(iter(frozen.states.values()))
    return encoder, recipe.with_diameter(first.found.diameter_px)


def train_and_judge(
    frozen: Frozen,
    note: str = "",
    *,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> Retrained:
    """Fit a head on all annotations and judge every plate with it."""
    encoder, _ = encoder_of(frozen.options, on_progress=on_progress, should_stop=should_stop)
    return retrain(
        frozen.folder,
        frozen.joined(),
        frozen.options,
        encoder=encoder,
        note=note,
        on_progress=on_progress,
        should_stop=should_stop,
    )


def measure_model(
    frozen: Frozen,
    model: str,
    *,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> Model:
    """Cross-validate a model that was trained on just these annotations; figures are kept."""
    encoder, _ = encoder_of(frozen.options, on_progress=on_progress, should_stop=should_stop)
    return add_figures(
        frozen.folder,
        model,
        frozen.joined(),
        frozen.options,
        encoder=encoder,
        on_progress=on_progress,
        should_stop=should_stop,
    )


def measure_unlike(
    frozen: Frozen,
    model: Model,
    judged: Mapping[str, Judged],
    *,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> dict[str, Judged]:
    """Measure how unlike the annotated cells each cell is, where that was not done yet."""
    encoder, _ = encoder_of(frozen.options, on_progress=on_progress, should_stop=should_stop)
    return add_unlike(
        frozen.folder,
        model,
        judged,
        encoder=encoder,
        on_progress=on_progress,
        should_stop=should_stop,
    )


def restore_model(
    frozen: Frozen,
    model: str,
    *,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> tuple[Model, dict[str, Judged]]:
    """Use an older model again, until the next retraining."""
    folder, states = frozen.folder, frozen.joined()
    restored = chosen_model(folder, model)
    # Plates and cells that were added since it was trained, it has not judged yet.
    missing = [
        name for name, state in states.items() if load_prediction(folder, state, restored) is None
    ]
    if missing:
        predict(
            folder,
            missing,
            restored,
            device=frozen.options.device,
            states=states,
            on_progress=on_progress,
            should_stop=should_stop,
        )
    judged = _judge_all(frozen, restored, states, on_progress, should_stop)
    check_stop(should_stop)
    model_history.restore(folder, model)  # last: what fails before leaves the other one in use
    return restored, judged


def list_models(
    folder: AssayFolder,
    *,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> tuple[ModelLine, ...]:
    """List the models of an assay, newest first; with hundreds it takes a moment."""
    check_stop(should_stop)
    on_progress(0, 0, "Reading the models")
    return model_history.list_models(folder)


def note_model(
    folder: AssayFolder,
    model: str,
    note: str,
    *,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> None:
    """Keep a person's note with a model."""
    check_stop(should_stop)
    on_progress(0, 0, f"Noting it with model {model}")
    model_history.set_note(folder, model, note)


def compare_models(
    frozen: Frozen,
    older: str,
    newer: str,
    *,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> Comparison:
    """Compare the figures of two models and what they say of the plates."""
    return model_history.compare(
        frozen.folder,
        frozen.joined(),
        older,
        newer,
        on_progress=on_progress,
        should_stop=should_stop,
    )


def judge_again(
    frozen: Frozen,
    judged: Mapping[str, Judged],
    *,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> dict[str, Judged]:
    """Judge all plates anew at the threshold and annotations of now, nothing read from the disk."""
    found = {}
    for done, (name, one) in enumerate(judged.items()):
        check_stop(should_stop)
        on_progress(done, len(judged), f"Judging {name}")
        found[name] = one.with_annotations(frozen.annotations, frozen.threshold)
    return found


def _judge_all(
    frozen: Frozen,
    model: Model,
    states: dict[str, PlateState],
    on_progress: OnProgress,
    should_stop: ShouldStop,
) -> dict[str, Judged]:
    judged = {}
    for done, name in enumerate(states):
        check_stop(should_stop)
        on_progress(done, len(states), f"Judging {name}")
        (judged[name],) = judge(
            frozen.folder,
            [name],
            model=model,
            states=states,
            threshold=frozen.threshold,
            partial=True,  # a click on empty ground makes a cell, which the next model judges
        )
    return judged


def write_results(
    frozen: Frozen,
    judged: Mapping[str, Judged],
    out: Path,
    *,
    exclude_unreviewed: bool = False,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> tuple[Path, ...]:
    """Write the tables and the report of all plates, judged as `judge_again` does."""
    found = judge_again(frozen, judged, on_progress=on_progress, should_stop=should_stop)
    # Another window, or a command, may have decided on wells meanwhile.
    verdicts = frozen.folder.journal().verdicts()
    found = {name: one.with_verdicts(verdicts) for name, one in found.items()}
    exported = export(
        frozen.folder,
        out,
        judged=list(found.values()),
        exclude_unreviewed=exclude_unreviewed,
        on_progress=on_progress,
        should_stop=should_stop,
    )
    page = report(
        frozen.folder,
        out / "report.html",
        judged=list(found.values()),
        on_progress=on_progress,
        should_stop=should_stop,
    )
    return (*exported.files, page)


def new_assay(
    source: steps.PlateSource,
    folder: Path,
    *,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> str:
    """Make an assay of a plate, or add the plate to the assay that is there."""
    on_progress(0, 0, f"Looking at {source.path}")
    check_stop(should_stop)
    _, opened = steps.new(folder, [source])
    return opened[0].name
