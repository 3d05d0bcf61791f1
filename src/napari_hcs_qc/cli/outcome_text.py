"""Outcomes in lines that a person reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate
    from napari_hcs_qc.assay.scoring.prediction_files import NoveltySummary
    from napari_hcs_qc.assay.store.saved_model import Model


def figures(model: Model) -> list[str]:
    """Tell the cross-validated figures of a model, with their intervals."""
    validation = model.manifest.cross_validation
    if validation is None:
        return ["Cross-validation: not yet cross-validated"]
    lines = [f"Cross-validation: {validation.sentence}"]
    for figure in validation.figures:
        low, high = figure.ci95
        spread = "" if figure.sd is None else f" ± {figure.sd:.3f}"
        mean = figure.mean
        if mean is None:
            lines.append(f"  {figure.name}: not defined")
            continue
        limits = "" if low is None else f" (95 % interval {low:.3f}–{high:.3f})"
        perfect = figure.perfect
        usual = "" if perfect is None else f"; right probabilities would give {perfect:.3f}"
        lines.append(f"  {figure.name}: {mean:.3f}{spread}{limits}{usual}")
    return lines


def scored_lines(scored: Sequence[ScoredPlate]) -> list[str]:
    """Tell how many cells and wells were found wanting, and each flagged well with its reason."""
    lines = []
    for one in scored:
        wells = one.scores.wells
        flagged = wells[wells["is_flagged"]].sort_values("severity", ascending=False)
        n_abnormal = int(wells["n_abnormal"].sum())
        lines.append(
            f"Plate {one.state.plate.name}: {len(one.state.cells):,} cells, {n_abnormal:,} "
            f"abnormal; {len(flagged)} of {len(wells)} wells flagged"
        )
        lines.extend(
            f"  {well}: {reason}"
            for well, reason in zip(flagged["well"], flagged["flag_reason"], strict=True)
        )
        lines.extend(f"  Warning: {warning}" for warning in one.warnings)
        lines.extend(novelty_lines(one.prediction.novelty))
        lines.extend(f"  Not read: {problem}" for problem in one.unreadable)
    return lines


def novelty_lines(found: NoveltySummary | None) -> list[str]:
    """Tell which cells are unlike anything annotated, where that is no warning already."""
    if found is None or found.is_much or not found.sentence:
        return []
    return [f"  {found.sentence}"]


def shown_path(path: Path) -> str:
    """Give a path that can be pasted: absolute."""
    return str(Path(path).resolve())
