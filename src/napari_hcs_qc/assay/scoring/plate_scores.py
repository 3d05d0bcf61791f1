"""Score: from predictions and image quality to scored, flagged sites and wells of an assay."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from shlex import quote
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_hcs_qc.assay.models.model_in_use import id_in_use
from napari_hcs_qc.assay.scoring.saved_prediction import (
    COLUMN,
    added_places,
    classes_of,
    load_prediction,
    prediction_path,
    realigned,
)
from napari_hcs_qc.assay.store.assay_folder import DEFAULT_THRESHOLD
from napari_hcs_qc.assay.store.plate_state import PlateState, chosen_plates, load_plate
from napari_hcs_qc.assay.store.platemap import read_platemap
from napari_hcs_qc.assay.store.saved_model import read_manifest
from napari_hcs_qc.errors import HcsQcError, Problem
from napari_hcs_qc.qc.export.export_tables import ExportPlate
from napari_hcs_qc.qc.flags import PlateScores, score_plate
from napari_hcs_qc.qc.plate_level.treatments import flags_by_treatment, treatment_warnings
from napari_hcs_qc.qc.rule import FlagRule
from napari_hcs_qc.qc.scores import MIN_REFERENCE, abnormal_cells, count_kinds
from napari_hcs_qc.text_columns import none_if_missing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_hcs_qc.assay.scoring.saved_prediction import Prediction
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.figures import Figures
    from napari_hcs_qc.assay.store.saved_model import Model
    from napari_hcs_qc.plates.plate import Plate, SiteKey
    from napari_hcs_qc.qc.intervals import Rates


@dataclass(frozen=True, eq=False)
class WellRoles:
    """What the plate map tells of the wells of one plate."""

    control: tuple[str, ...] = ()  # wells to compare with
    empty: tuple[str, ...] = ()  # wells that are meant to hold no cells
    platemap: pd.DataFrame | None = None  # the plate map, see `read_platemap`


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoredPlate:
    """One plate of an assay, scored."""

    state: PlateState  # the plate with its cells and annotations
    prediction: Prediction  # what the model predicts for its cells
    predictions: pd.DataFrame
    scores: PlateScores  # sites and wells, scored and flagged
    verdicts: pd.DataFrame  # what people decided on its wells and sites
    warnings: tuple[str, ...]  # sentences to see first
    unreadable: tuple[Problem, ...]  # what could not be read or was not understood, sites and files
    threshold: float = DEFAULT_THRESHOLD  # P(abnormal) from which a cell was counted as abnormal
    rule: FlagRule = field(default_factory=FlagRule)  # what it was scored with, see `score_state`
    roles: WellRoles = field(default_factory=WellRoles)  # what it was scored with
    keep_kinds: tuple[str, ...] = ()  # what it was scored with, see `score_state`
    figures: Figures | None = None  # of the model, as far as they are known

    @property
    def rates(self) -> Rates | None:
        """How often the model is wrong on annotated cells at the threshold, if that is known."""
        return _rates(self.figures, self.threshold, self.keep_kinds)

    @property
    def n_counted(self) -> int:
        """Number of cells that count: classified or annotated, and not left out as cut."""
        return int(self.scores.wells["n_scored"].sum())

    @property
    def n_abnormal(self) -> int:
        """How many of them are abnormal: the one count, which every text and table gives."""
        return int(self.scores.wells["n_abnormal"].sum())

    @cached_property
    def n_of_kind(self) -> dict[str, int]:
        """How many of them are of each kind, see `count_kinds`."""
        abnormal = abnormal_cells(self.predictions, self.keep_kinds, self.state.is_cut)
        return count_kinds(self.predictions, abnormal == 1)

    @cached_property
    def counted_p(self) -> NDArray[np.float32]:
        """P(abnormal) of each cell that counts; NaN where it was left out or not judged."""
        p = self.predictions["p_abnormal"].to_numpy(np.float32, copy=True)
        p[self.state.is_left_out] = np.nan
        return p

    @cached_property
    def decided_p(self) -> NDArray[np.float32]:
        """The same, but 0 and 1 for cells that people annotated, which count as annotated."""
        p = self.counted_p.copy()
        annotated = self.predictions["annotated_class"]
        p[(annotated == "normal").to_numpy(bool)] = 0.0
        p[(annotated == "abnormal").to_numpy(bool)] = 1.0
        return p

    def with_annotations(
        self, annotations: pd.DataFrame, threshold: float, *, include_cut: bool | None = None
    ) -> ScoredPlate:
        """Score with the annotations and settings of now, without the disk.

        A cell that somebody has added since the model last scored counts by its annotation alone;
        the model has no prediction for it.
        """
        state = self.state.with_annotations(annotations, include_cut)
        before = added_places(self.state.matched.added)
        table = realigned(self.prediction.table, before, state)
        return score_state(
            state,
            replace(self.prediction, table=table),
            verdicts=self.verdicts,
            rule=self.rule,
            roles=self.roles,
            threshold=threshold,
            keep_kinds=self.keep_kinds,
            figures=self.figures,
        )

    def with_novelty(self, state: PlateState, measured: Prediction) -> ScoredPlate:
        """Give the same with the novelty of each cell."""
        table = realigned(measured.table, added_places(state.matched.added), self.state)
        ratio = table[COLUMN].to_numpy(np.float32)
        new = [text for text in measured.warnings if text not in self.prediction.warnings]
        prediction = replace(
            self.prediction,
            table=self.prediction.table.assign(**{COLUMN: ratio}),
            warnings=(*self.prediction.warnings, *new),
            novelty=measured.novelty,
        )
        predictions = self.predictions.assign(**{COLUMN: ratio})
        warnings = (*self.warnings, *new)
        return replace(self, prediction=prediction, predictions=predictions, warnings=warnings)

    def with_verdicts(self, verdicts: pd.DataFrame) -> ScoredPlate:
        """Give the same with other verdicts, `Journal.verdicts` of all plates."""
        mine = verdicts[verdicts["plate"] == self.state.plate.name].reset_index(drop=True)
        if mine.equals(self.verdicts):
            return self  # with what was made of it
        return replace(self, verdicts=mine)

    def to_export(self, embeddings: NDArray[np.float32] | None = None) -> ExportPlate:
        """Give what the export takes."""
        return ExportPlate(
            name=self.state.plate.name,
            series=self.state.plate.series,
            time=self.state.plate.time_points[0] if self.state.plate.series else None,
            cells=self.state.cells,
            predictions=self.predictions,
            sites=self.scores.sites,
            wells=self.scores.wells,
            verdicts=self.verdicts,
            quality=self.state.plate_cells.quality,
            embeddings=embeddings,
            include_cut=self.state.include_cut,
        )


def well_roles(assay: AssayFolder, plate: Plate) -> WellRoles:
    """Read what the assay's plate map tells of wells; nothing without one."""
    if not assay.platemap_path.is_file():
        return WellRoles()
    platemap = read_platemap(
        assay.platemap_path,
        shape=plate.shape,
        plate=plate.plate_name,
        plates=[entry.plate_name for entry in assay.plates],
    )
    return WellRoles(
        tuple(platemap.loc[platemap["role"] == "control", "well"]),
        tuple(platemap.loc[platemap["role"] == "empty", "well"]),
        platemap,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class Scoring:
    """What the plates of an assay are scored with, read once so that all are scored alike."""

    assay: AssayFolder
    model: str  # its id
    figures: Figures | None  # of the model, as far as they are known
    verdicts: pd.DataFrame  # `Journal.verdicts` of all plates
    threshold: float
    rule: FlagRule
    keep_kinds: tuple[str, ...] = ()
    partial: bool = False  # whether cells that were added since the model scored may be among them

    @classmethod
    def of(
        cls,
        assay: AssayFolder,
        *,
        model: Model | None = None,
        keep_kinds: tuple[str, ...] = (),
        threshold: float | None = None,
        partial: bool = False,
    ) -> Scoring:
        """Read it, for a model and a threshold, which are those in use by default."""
        model_id = model.id if model else id_in_use(assay)[0]
        manifest = model.manifest if model else read_manifest(assay.models_folder / model_id)
        return cls(
            assay=assay,
            model=model_id,
            figures=manifest.cross_validation,
            verdicts=assay.journal().verdicts(),
            threshold=assay.threshold if threshold is None else threshold,
            rule=assay.flag_rule,
            keep_kinds=keep_kinds,
            partial=partial,
        )

    @cached_property
    def annotations(self) -> pd.DataFrame:
        """Annotations of all plates."""
        return self.assay.journal().annotations()

    def plate(self, name: str, state: PlateState | None = None) -> ScoredPlate:
        """Score a plate, which is opened when no `state` of it is given; nothing is kept of it."""
        if state is None:
            state = load_plate(self.assay, name, self.annotations)
        prediction = load_prediction(self.assay, state, self.model, partial=self.partial)
        if prediction is None:
            raise HcsQcError(
                f"Plate {name} was not predicted with model {self.model} since its cells last "
                f"changed; run: hcs-qc predict {quote(str(self.assay.path))}."
            )
        return score_state(
            state,
            prediction,
            verdicts=self.verdicts,
            rule=self.rule,
            roles=well_roles(self.assay, state.plate),
            threshold=self.threshold,
            keep_kinds=self.keep_kinds,
            figures=self.figures,
        )

    def check(self, names: Iterable[str]) -> None:
        """Refuse plates that were never predicted, before work on the others."""
        for name in names:
            if not prediction_path(self.assay, name, self.model).is_file():
                self.plate(name)  # says why it has none


def score(
    assay: AssayFolder,
    plates: Sequence[str] | None = None,
    *,
    model: Model | None = None,
    keep_kinds: tuple[str, ...] = (),
    states: Mapping[str, PlateState] | None = None,
    threshold: float | None = None,
    partial: bool = False,
) -> list[ScoredPlate]:
    """Score plates that were predicted; quick, nothing is computed from pixels."""
    scoring = Scoring.of(
        assay, model=model, keep_kinds=keep_kinds, threshold=threshold, partial=partial
    )
    known = states or {}
    return [scoring.plate(name, known.get(name)) for name in chosen_plates(assay, plates)]


def score_state(
    state: PlateState,
    prediction: Prediction,
    *,
    verdicts: pd.DataFrame,
    rule: FlagRule,
    roles: WellRoles,
    threshold: float,
    keep_kinds: tuple[str, ...] = (),
    figures: Figures | None = None,
) -> ScoredPlate:
    """Score a plate that is loaded, from nothing but its arguments."""
    if not 0 <= threshold <= 1:
        raise HcsQcError(
            f"The threshold is {threshold}; a number from 0 to 1 was expected, from which "
            "the score of a cell on it is abnormal."
        )
    if len(prediction.table) != len(state.cells):
        raise HcsQcError(
            f"Plate {state.plate.name} has {len(state.cells)} cells, but {len(prediction.table)} "
            f"were scored by model {prediction.model}: some were added or removed since. "
            "Retrain, or predict the plate again."
        )
    predictions = _predictions(prediction.table, threshold, state.annotated)
    scores = score_plate(
        state.plate.sites,
        state.cells,
        predictions,
        state.plate_cells.quality,
        rule=rule,
        nuclear_channel=state.plate_cells.channel,
        unreadable=state.plate_cells.unreadable | _unread_sites(state, prediction),
        control_wells=roles.control,
        empty_wells=roles.empty,
        keep_kinds=keep_kinds,
        include_cut=state.include_cut,
        by_site=state.by_site.with_added(state.matched.added),
        rates=_rates(figures, threshold, keep_kinds),
    )
    warnings = list(prediction.warnings)
    if not len(state.plate_cells.cells):
        warnings.append(
            f"No cell was found on plate {state.plate.name} (channel {state.plate_cells.channel}), "
            "so its wells are not compared by their cells; look at the images, or choose another "
            "channel."
        )
    if scores.note:
        warnings.append(
            f"Plate {state.plate.name} has {scores.note} that could be read, and at least "
            f"{MIN_REFERENCE} are needed: its wells are compared with the whole plate."
        )
    if roles.platemap is not None:
        table = flags_by_treatment(scores.wells, roles.platemap)
        warnings.extend(treatment_warnings(table))
    mine = verdicts[verdicts["plate"] == state.plate.name].reset_index(drop=True)
    return ScoredPlate(
        state=state,
        prediction=prediction,
        predictions=predictions,
        scores=scores,
        verdicts=mine,
        warnings=tuple(warnings),
        unreadable=unreadable_of(state, prediction),
        threshold=float(threshold),
        rule=rule,
        roles=roles,
        keep_kinds=tuple(keep_kinds),
        figures=figures,
    )


def _rates(figures: Figures | None, threshold: float, keep_kinds: Collection[str]) -> Rates | None:
    """Count the errors on annotated cells; of some kinds only they are not known."""
    return None if figures is None or keep_kinds else figures.rates(threshold)


def classes_at(p_abnormal: ArrayLike, threshold: float) -> NDArray[np.object_]:
    """Class of each cell: abnormal from the threshold on, None where p is NaN.

    Compared as float32, which is what p is stored in: 0.7 of ten neighbours is not below 0.7.
    """
    return classes_of(np.asarray(p_abnormal, dtype=np.float32), threshold)


def _predictions(table: pd.DataFrame, threshold: float, annotated: pd.DataFrame) -> pd.DataFrame:
    """Give a prediction with classes at a threshold and kinds of the abnormal, and annotations."""
    classes = classes_at(table["p_abnormal"], threshold)
    kinds = none_if_missing(table["predicted_kind"])
    kinds[classes != "abnormal"] = None
    texts = {"predicted_class": classes, "predicted_kind": kinds}
    # Column by column, so that a table of millions of cells is not there several times meanwhile.
    predictions = pd.DataFrame(index=table.index)
    for name in table:
        predictions[name] = (
            pd.Series(texts[name], index=table.index, dtype=object)
            if name in texts
            else table[name]
        )
    for name in annotated:
        predictions[name] = annotated[name]
    return predictions


def unreadable_of(state: PlateState, prediction: Prediction | None = None) -> tuple[Problem, ...]:
    """List what could not be read or was not understood on a plate."""
    sites = {str(site): why for site, why in state.plate_cells.unreadable.items()}
    if prediction is not None:
        sites |= dict(prediction.unreadable)
    listed = tuple(Problem(where, why) for where, why in sites.items())
    return (*listed, *state.plate_cells.problems, *state.plate.problems)


def _unread_sites(state: PlateState, prediction: Prediction) -> dict[SiteKey, str]:
    """Sites that could be read when cells were found, and not when they were embedded."""
    by_name = {str(site): site for site in state.plate.sites}
    return {by_name[where]: why for where, why in prediction.unreadable if where in by_name}
