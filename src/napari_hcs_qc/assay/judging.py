"""Judge: from predictions and image quality to scored, flagged sites and wells of an assay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from napari_hcs_qc.assay.plate_state import PlateState, chosen_plates, load_plate
from napari_hcs_qc.assay.platemap import read_platemap
from napari_hcs_qc.assay.prediction import chosen_model, load_prediction
from napari_hcs_qc.errors import HcsQcError, Problem
from napari_hcs_qc.qc.flags import PlateScores, judge_plate
from napari_hcs_qc.qc.rule import FlagRule
from napari_hcs_qc.qc.tables import JudgedPlate
from napari_hcs_qc.qc.treatments import flags_by_treatment, treatment_warnings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.folder import AssayFolder
    from napari_hcs_qc.assay.model import Model
    from napari_hcs_qc.assay.prediction import Prediction
    from napari_hcs_qc.plates.plate import SiteKey


@dataclass(frozen=True, eq=False)
class Judged:
    """One plate of an assay, judged.

    Parameters
    ----------
    state
        The plate with its cells and annotations.
    prediction
        The model's word on its cells.
    predictions
        Row i is cell i: the table of `prediction` with ``annotated_class, annotated_kind``.
    scores
        Sites and wells, scored and flagged.
    verdicts
        What people decided on its wells and sites.
    warnings
        Sentences to see first.
    unreadable
        What could not be read or was not understood, sites and files.
    """

    state: PlateState
    prediction: Prediction
    predictions: pd.DataFrame
    scores: PlateScores
    verdicts: pd.DataFrame
    warnings: tuple[str, ...]
    unreadable: tuple[Problem, ...]

    def to_export(self, embeddings: NDArray[np.float32] | None = None) -> JudgedPlate:
        """Give what the export takes."""
        return JudgedPlate(
            self.state.plate.name,
            self.state.cells,
            self.predictions,
            self.scores.sites,
            self.scores.wells,
            self.verdicts,
            self.state.found.quality,
            embeddings,
        )


def flag_rule(assay: AssayFolder) -> FlagRule:
    """Give the flag rule of an assay: its settings, over the defaults."""
    return FlagRule.from_dict(assay.settings.get("flag_rule", {}))


def judge(
    assay: AssayFolder,
    plates: Sequence[str] | None = None,
    *,
    model: Model | None = None,
    exclude_kinds: tuple[str, ...] = (),
) -> list[Judged]:
    """Judge plates that were predicted; quick, nothing is computed from pixels.

    Parameters
    ----------
    assay
        The assay.
    plates
        Names; all by default.
    model
        The latest by default.
    exclude_kinds
        Kinds that are biology in this assay and do not count as abnormal.

    Raises
    ------
    HcsQcError
        When there is no model, or a plate was not predicted with it yet.
    """
    model = model or chosen_model(assay)
    journal = assay.journal()
    annotations, verdicts = journal.annotations(), journal.verdicts()
    rule = flag_rule(assay)
    return [
        _judge(assay, name, model, annotations, verdicts, rule, exclude_kinds)
        for name in chosen_plates(assay, plates)
    ]


def _judge(
    assay: AssayFolder,
    name: str,
    model: Model,
    annotations: pd.DataFrame,
    verdicts: pd.DataFrame,
    rule: FlagRule,
    exclude_kinds: tuple[str, ...],
) -> Judged:
    state = load_plate(assay, name, annotations)
    prediction = load_prediction(assay, state, model)
    if prediction is None:
        raise HcsQcError(
            f"Plate {name} was not predicted with model {model.id} since its cells last changed; "
            f"run: hcs-qc predict {assay.path}."
        )
    predictions = pd.concat([prediction.table, state.annotated], axis=1)
    platemap = None
    control_wells: tuple[str, ...] = ()
    empty_wells: tuple[str, ...] = ()
    if assay.platemap_path.is_file():
        platemap = read_platemap(assay.platemap_path, shape=state.plate.shape)
        control_wells = tuple(platemap.loc[platemap["role"] == "control", "well"])
        empty_wells = tuple(platemap.loc[platemap["role"] == "empty", "well"])
    scores = judge_plate(
        state.plate.sites,
        state.cells,
        predictions,
        state.found.quality,
        rule=rule,
        nuclear_channel=state.found.channel,
        unreadable=state.found.unreadable | _unread_sites(state, prediction),
        control_wells=control_wells,
        empty_wells=empty_wells,
        exclude_kinds=exclude_kinds,
    )
    warnings = list(prediction.warnings)
    if not len(state.found.cells):
        warnings.append(
            f"No cell was found on plate {name} (channel {state.found.channel}), so its wells are "
            "not compared by their cells; look at the images, or choose another channel."
        )
    if platemap is not None:
        table = flags_by_treatment(scores.wells, platemap)
        warnings.extend(treatment_warnings(table))
    mine = verdicts[verdicts["plate"] == state.plate.name].reset_index(drop=True)
    return Judged(
        state,
        prediction,
        predictions,
        scores,
        mine,
        tuple(warnings),
        unreadable_of(state, prediction),
    )


def unreadable_of(state: PlateState, prediction: Prediction | None = None) -> tuple[Problem, ...]:
    """List what could not be read or was not understood on a plate."""
    sites = {str(site): why for site, why in state.found.unreadable.items()}
    if prediction is not None:
        sites |= dict(prediction.unreadable)
    listed = tuple(Problem(where, why) for where, why in sites.items())
    return (*listed, *state.found.problems, *state.plate.problems)


def _unread_sites(state: PlateState, prediction: Prediction) -> dict[SiteKey, str]:
    """Sites that could be read when cells were found, and not when they were embedded."""
    by_name = {str(site): site for site in state.plate.sites}
    return {by_name[where]: why for where, why in prediction.unreadable if where in by_name}
