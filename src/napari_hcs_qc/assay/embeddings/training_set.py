"""The annotated cells that a model is trained on, with their embeddings."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_hcs_qc.assay.embeddings.embed_plate import embed_annotated
from napari_hcs_qc.assay.embeddings.found_cells import found_cells_at
from napari_hcs_qc.assay.embeddings.plate_sample import sampled_directions
from napari_hcs_qc.assay.embeddings.positions import position_keys
from napari_hcs_qc.assay.store.model_manifest import TrainingCell
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.qc.intervals import MIN_ANNOTATED
from napari_hcs_qc.text_columns import none_if_missing, rows_of, with_texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.embeddings.plate_priors import PlatePriors
    from napari_hcs_qc.assay.store.model_manifest import ModelManifest
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.encoder import Encoder
    from napari_hcs_qc.heads.linear.plate_directions import PlateDirections


@dataclass(frozen=True, eq=False)
class MoreCells:
    """Cells that are trained on beside the annotated ones, and never judged."""

    embeddings: NDArray[np.float32]  # (n_cells, n_features) float32
    classes: NDArray[np.str_]  # ``normal`` or ``abnormal``
    groups: NDArray[np.str_]  # well of the annotated cell that each comes from, as ``plate/A01``
    offset: NDArray[np.float64] | None = None  # as that of `AnnotatedCells`

    def __add__(self, other: MoreCells | None) -> MoreCells:
        """Pool the cells of two."""
        if other is None:
            return self
        return MoreCells(
            np.concatenate([self.embeddings, other.embeddings]),
            np.concatenate([self.classes, other.classes]),
            np.concatenate([self.groups, other.groups]),
            None
            if self.offset is None or other.offset is None
            else np.concatenate([self.offset, other.offset]),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class AnnotatedCells:
    """The annotated cells of an assay with their embeddings."""

    embeddings: NDArray[np.float32]  # (n_cells, n_features) float32
    classes: NDArray[np.str_]  # ``normal`` or ``abnormal``
    kinds: NDArray[np.object_]  # kind of each abnormal cell, None where none was given
    groups: NDArray[np.str_]  # well of each cell, as ``plate/A01``
    chosen: NDArray[np.object_]  # how each came to be annotated, see `Annotation.chosen`
    n_unreadable: int  # annotated cells left out because their site cannot be read
    found: MoreCells  # the found cells that they are on, where these have other centres
    rows: NDArray[np.int64]  # which of the annotated cells they are, as `training_cells` lists them
    # Main directions of their plates, see `sampled_directions`
    plate: PlateDirections | None = None
    # What is known of them without annotations; None where that has no part in the model
    priors: PlatePriors | None = None
    offset: NDArray[np.float64] | None = None  # of each for a head, see `PlatePriors.offsets`


def no_annotated_cells(n_features: int, priors: PlatePriors) -> AnnotatedCells:
    """Give what there is before the first annotation."""
    embeddings, texts = np.empty((0, n_features), np.float32), np.empty(0, "U8")
    nothing = np.empty(0, dtype=object)
    return AnnotatedCells(
        embeddings=embeddings,
        classes=texts,
        kinds=nothing,
        groups=texts,
        chosen=nothing,
        n_unreadable=0,
        found=MoreCells(embeddings, texts, texts),
        rows=np.empty(0, np.int64),
        priors=priors,
    )


def collect(
    states: Iterable[PlateState],
    recipe: CropRecipe,
    encoder: Encoder,
    stores: Path,
    priors: PlatePriors | None = None,
    job: Job = NO_JOB,
) -> AnnotatedCells:
    """Embed the annotated cells, each where the person clicked it, and the found cells there.

    Figures are of what was clicked: of touching dead nuclei or debris beside a nucleus the found
    cell may be another object. A model that judges found cells learns from both. No plate has to be
    embedded before a model can be trained.
    """
    positions = [(state, state.training) for state in states]
    return _embedded(positions, recipe, encoder, stores, priors, job)


def collect_again(
    manifest: ModelManifest,
    states: Mapping[str, PlateState],
    encoder: Encoder,
    stores: Path,
    priors: PlatePriors | None = None,
    job: Job = NO_JOB,
) -> AnnotatedCells:
    """Embed the very cells that a model was trained on, whatever people have annotated since."""
    positions = positions_again(manifest, states)
    return _embedded(positions, manifest.recipe, encoder, stores, priors, job)


def positions_again(
    manifest: ModelManifest, states: Mapping[str, PlateState]
) -> list[tuple[PlateState, pd.DataFrame]]:
    """Give the very cells that a model was trained on, plate by plate."""
    columns = ["plate", "well", "site", "y_px", "x_px", "class", "kind", "chosen"]
    cells = pd.DataFrame(manifest.training_cells, columns=columns)
    cells = with_texts(cells, cells[["class", "kind", "chosen"]])
    positions = []
    for name, here in cells.groupby("plate", sort=False):
        if name not in states:
            raise HcsQcError(
                f"The model was trained on cells of plate {name}, which is not open; there are "
                f"{', '.join(states) or 'none'}. Open it (hcs-qc relocate if it has moved)."
            )
        state = states[str(name)]
        positions.append((state, here.assign(cell_id=_found_at(here, state.plate_cells.cells))))
    return positions


def _found_at(positions: pd.DataFrame, cells: pd.DataFrame) -> NDArray[np.int64]:
    """Row of the found cell whose centre is at each position to 0.01 px; -1 where there is none."""
    row_of = {key.tobytes(): row for row, key in enumerate(position_keys(cells))}
    rows = [row_of.get(key.tobytes(), -1) for key in position_keys(positions)]
    return np.array(rows, dtype=np.int64)


def training_cells(states: Iterable[PlateState]) -> tuple[TrainingCell, ...]:
    """List the annotated cells of plates that a model is trained on."""
    names = ["well", "site", "y_px", "x_px", "class", "kind", "chosen"]
    return tuple(
        TrainingCell(
            plate=state.plate.name,
            well=str(well),
            site=int(site),
            y_px=round(float(y_px), 2),
            x_px=round(float(x_px), 2),
            cls=str(cls),
            kind=kind or None,
            chosen=chosen,
        )
        for state in states
        for well, site, y_px, x_px, cls, kind, chosen in rows_of(state.training, names)
    )


def check_classes(states: Iterable[PlateState]) -> None:
    """Refuse to train on a single class."""
    states = list(states)
    counts = Counter(cls for state in states for cls in state.training["class"].tolist())
    missing = [cls for cls in ("normal", "abnormal") if not counts[cls]]
    if missing:
        have = ", ".join(f"{counts[cls]} {cls}" for cls in ("normal", "abnormal"))
        n_cut = sum(state.n_cut_annotated for state in states)
        cut = f" ({n_cut} cut by the image border left out)" if n_cut else ""
        raise HcsQcError(
            f"The assay has {have} cells annotated{cut}; both classes are needed. Annotate some "
            f"{' and '.join(missing)} cells first."
        )


def counted(chosen: NDArray[np.object_], classes: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Choose the cells whose figures count: all but those that a model was unsure of.

    Of these hardly any is easy, so figures of them are too low. All count where the others do not
    say enough.
    """
    others = chosen != "suggested"
    n_of_class = Counter(classes[others].tolist())
    enough = len(n_of_class) > 1 and min(n_of_class.values()) >= MIN_ANNOTATED
    return others if enough else np.ones(len(chosen), dtype=bool)


def _embedded(
    positions: list[tuple[PlateState, pd.DataFrame]],
    recipe: CropRecipe,
    encoder: Encoder,
    stores: Path,
    priors: PlatePriors | None,
    job: Job,
) -> AnnotatedCells:
    rows, classes, kinds, chosen, groups, offsets = [], [], [], [], [], []
    found: list[MoreCells] = []
    for state, table in positions:
        embedded = embed_annotated(state, table, recipe, encoder, stores, job=job)
        rows.append(embedded)
        if priors is not None:
            names = [state.plate.name] * len(table)
            offsets.append(priors.offsets(embedded, names, table["well"]))
        classes.append(table["class"].to_numpy(dtype=str))
        kinds.append(none_if_missing(table["kind"]))
        chosen.append(none_if_missing(table["chosen"]))
        groups.append(state.groups(table["well"]))
        found.append(_found_cells(state, table, recipe, encoder, stores, priors, job))
    embeddings = np.concatenate(rows)
    usable = np.asarray(np.isfinite(embeddings).all(axis=1))
    if not usable.any():
        raise HcsQcError(
            f"None of the {len(usable)} annotated cells can be read; see 'hcs-qc status'."
        )
    return AnnotatedCells(
        embeddings=embeddings[usable],
        classes=np.concatenate(classes)[usable],
        kinds=np.concatenate(kinds)[usable],
        groups=np.concatenate(groups)[usable],
        chosen=np.concatenate(chosen)[usable],
        n_unreadable=int((~usable).sum()),
        found=reduce(MoreCells.__add__, found),
        rows=np.flatnonzero(usable),
        plate=sampled_directions([state for state, _ in positions], recipe, encoder, stores),
        priors=priors,
        offset=np.concatenate(offsets)[usable] if offsets else None,
    )


def _found_cells(
    state: PlateState,
    positions: pd.DataFrame,
    recipe: CropRecipe,
    encoder: Encoder,
    stores: Path,
    priors: PlatePriors | None,
    job: Job,
) -> MoreCells:
    cells = found_cells_at(state, positions, stores, job)
    embeddings = embed_annotated(state, cells, recipe, encoder, stores, job=job)
    usable = np.flatnonzero(np.isfinite(embeddings).all(axis=1))
    embeddings, cells = embeddings[usable], cells.iloc[usable]
    names = [state.plate.name] * len(cells)
    return MoreCells(
        embeddings,
        cells["class"].to_numpy(dtype=str),
        state.groups(cells["well"]),
        None if priors is None else priors.offsets(embeddings, names, cells["well"]),
    )
