"""Fill the cells of the tables; each result is kept, so that nothing is computed twice."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_hcs_qc import __version__
from napari_hcs_qc.cells.recipe import get_recipe
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.baseline import baseline_head
from napari_hcs_qc.evaluation.benchmark.features import features_of
from napari_hcs_qc.evaluation.benchmark.plan import Planned, TableCell, plan, result_path
from napari_hcs_qc.evaluation.benchmark.protocol import (
    TEST_SHARE,
    Draw,
    grouped_draw,
    interval,
    paper_draw,
    transfer_train,
)
from napari_hcs_qc.evaluation.benchmark.spec import BASELINE, CROP_HEADS, EncoderSpec
from napari_hcs_qc.evaluation.metrics import METRIC_NAMES, classification_metrics, confusion
from napari_hcs_qc.files import read_json, write_json
from napari_hcs_qc.heads.registry import make_head
from napari_hcs_qc.heads.scoring import abnormal_column
from napari_hcs_qc.jobs import OnProgress, ShouldStop, check_stop, never_stop, no_progress

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from napari_hcs_qc.evaluation.benchmark.labelled import LabelledCells
    from napari_hcs_qc.evaluation.benchmark.spec import BenchmarkSpec

CropHead: TypeAlias = Callable[
    [
        "torch.Tensor",
        "NDArray[np.str_]",
        "NDArray[np.str_] | None",
        "torch.Tensor",
        EncoderSpec,
        str,
        int,
        ShouldStop,
    ],
    "NDArray[np.float64]",
]
"""Fit on crops, judge crops: ``(train_crops, classes, wells, test_crops, encoder, recipe's name,
seed, should_stop)`` to P(abnormal) of the tested; crops are ``(n, n_views, channels, side, side)``.
"""


def run(
    spec: BenchmarkSpec,
    sources: Mapping[str, LabelledCells],
    folder: Path,
    *,
    crop_heads: Mapping[str, CropHead] | None = None,
    on_cell: Callable[[Planned, dict[str, Any]], None] | None = None,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> list[Planned]:
    """Fill every cell that can run and is not done.

    Parameters
    ----------
    spec
        What is compared.
    sources
        The labelled cells, by name.
    folder
        Results and features are kept here.
    crop_heads
        Heads that are fitted on crops, by name; a cell without its head stays empty.
    on_cell
        Called with each cell that was filled, and its result.
    on_progress, should_stop
        See `napari_hcs_qc.jobs`.

    Returns
    -------
    list of Planned
        All cells, as they stand now.

    Raises
    ------
    HcsQcError
        When a source or an encoder cannot be used.
    Cancelled
        When `should_stop` answers true; what was filled stays.
    """
    runners = dict(crop_heads or {})
    planned = plan(spec, sources, folder, runners)
    encoders = {one.name: one for one in spec.encoders}
    seen: set[str] = set()
    for number, one in enumerate(planned):
        check_stop(should_stop)
        cell = one.cell
        on_progress(number, len(planned), f"{cell.train}: {cell.encoder}, {cell.head}")
        if one.state != "to do" or one.key in seen:
            continue
        seen.add(one.key)
        encoder = encoders.get(cell.encoder, EncoderSpec(BASELINE))
        result = _measure(cell, encoder, sources, folder, runners, on_progress, should_stop)
        write_json(result_path(folder, one.key), result)
        if on_cell is not None:
            on_cell(one, result)
    on_progress(len(planned), len(planned), "benchmark")
    return plan(spec, sources, folder, runners)


def read_results(folder: Path, planned: list[Planned]) -> dict[str, dict[str, Any]]:
    """Read the results of the cells that are done, by key.

    Raises
    ------
    HcsQcError
        When one is damaged.
    """
    keys = {one.key for one in planned if one.state == "done"}
    return {key: read_json(result_path(folder, key)) for key in sorted(keys)}


def display_crops(
    cells: LabelledCells, ids: list[str], recipe_name: str = "nucleus"
) -> NDArray[np.float32]:
    """Crops of given cells for display, ``(n, side, side)``: the widest view, first channel.

    Raises
    ------
    HcsQcError
        When an id is not among the cells.
    """
    row_of = {name: row for row, name in enumerate(cells.ids.tolist())}
    missing = [name for name in ids if name not in row_of]
    if missing:
        raise HcsQcError(f"The source has no cell {missing[0]!r}; its labels may have changed.")
    recipe = get_recipe(recipe_name)
    rows = np.array([row_of[name] for name in ids], dtype=np.int64)
    crops = cells.crops(recipe, rows)
    per_scale = crops.shape[1] // len(recipe.scales)
    widest = int(np.argmax(recipe.scales)) * per_scale
    shown: NDArray[np.float32] = crops[:, widest, 0].numpy()
    return shown


def draw_of(cell: TableCell, sources: Mapping[str, LabelledCells], seed: int) -> Draw:
    """Give the training cells (in their order, all that there are) and test cells of a seed.

    Raises
    ------
    HcsQcError
        When the wells cannot be split.
    """
    train = sources[cell.train]
    is_paper = cell.protocol == "paper"
    if cell.train != cell.test:
        order = transfer_train(train.classes, seed, paper=is_paper)
        return Draw(order, np.arange(len(sources[cell.test].classes)))
    if is_paper:
        return paper_draw(train.classes, seed)
    return grouped_draw(train.classes, train.groups, seed)


def _measure(
    cell: TableCell,
    encoder: EncoderSpec,
    sources: Mapping[str, LabelledCells],
    folder: Path,
    crop_heads: Mapping[str, CropHead],
    on_progress: OnProgress,
    should_stop: ShouldStop,
) -> dict[str, Any]:
    started = time.perf_counter()
    train, test = sources[cell.train], sources[cell.test]
    per_seed, ratios = [], []
    for seed in cell.seeds:
        check_stop(should_stop)
        draw = draw_of(cell, sources, seed)
        ratios.append(len(draw.test) / len(draw.train) if cell.train == cell.test else 0.0)
        rows = draw.train[: cell.n_train] if cell.n_train else draw.train
        if cell.head in CROP_HEADS:
            recipe = get_recipe(cell.recipe)
            p = crop_heads[cell.head](
                train.crops(recipe, rows),
                train.classes[rows],
                None if cell.protocol == "paper" else train.groups[rows],
                test.crops(recipe, draw.test),
                encoder,
                cell.recipe,
                seed,
                should_stop,
            )
        else:
            ours, theirs = (
                features_of(one, encoder, cell.recipe, folder, on_progress, should_stop)
                for one in (train, test)
            )
            if ours.shape[1] != theirs.shape[1]:
                raise HcsQcError(
                    f"{cell.train} and {cell.test} have other channels; a model of one cannot "
                    "judge the other."
                )
            p = _judge(cell, ours[rows], train, rows, theirs[draw.test], seed)
        classes = test.classes[draw.test]
        counts = confusion(classes == "abnormal", p >= 0.5)
        per_seed.append(
            {
                "seed": seed,
                "n_train": len(rows),
                "metrics": classification_metrics(classes, p).to_dict(),
                "confusion": dict(
                    zip(("hits", "alarms", "misses", "passed"), counts.tolist(), strict=True)
                ),
                "cells": test.ids[draw.test].tolist(),
                "is_abnormal": (classes == "abnormal").tolist(),
                "p_abnormal": [round(float(one), 6) for one in p],
            }
        )
    return {
        "cell": cell.to_dict(),
        "summary": _summary(per_seed, float(np.mean(ratios))),
        "seeds": per_seed,
        "protocol": protocol_words(cell, train, test),
        "seconds": round(time.perf_counter() - started, 2),
        "versions": {"napari-hcs-qc": __version__, "numpy": np.__version__},
    }


def _judge(
    cell: TableCell,
    features: NDArray[np.float32],
    train: LabelledCells,
    rows: NDArray[np.int64],
    tested: NDArray[np.float32],
    seed: int,
) -> NDArray[np.float64]:
    head = baseline_head(seed) if cell.encoder == BASELINE else make_head(cell.head, seed)
    groups = None if cell.protocol == "paper" else train.groups[rows]
    head.fit(features, train.classes[rows], groups)
    p: NDArray[np.float64] = head.predict_proba(tested)[:, abnormal_column(head)]
    return p


def _summary(per_seed: list[dict[str, Any]], test_per_train: float) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name in METRIC_NAMES:
        values = np.array([one["metrics"][name] for one in per_seed], dtype=np.float64)
        is_known = bool(np.isfinite(values).all())
        bounds = interval(values, test_per_train)
        told[name] = {
            "mean": float(values.mean()) if is_known else None,
            "sd": float(values.std(ddof=1)) if is_known and len(values) > 1 else None,
            "interval": None if bounds is None or math.isnan(bounds[0]) else list(bounds),
        }
    return told


def protocol_words(cell: TableCell, train: LabelledCells, test: LabelledCells) -> str:
    """Say how a cell was measured."""
    n_seeds = f"{len(cell.seeds)} draws"
    if cell.train != cell.test:
        balanced = "balanced" if cell.protocol == "paper" or cell.n_train else "all"
        how = (
            f"Trained on {balanced} cells of {cell.train}, tested on all "
            f"{len(test.classes)} of {cell.test}: a substitute for the paper's second screen"
        )
    elif cell.protocol == "paper":
        how = "Split BY CELL as the paper does (a well can be on both sides), balanced"
    else:
        how = (
            f"Split by well or plate ({TEST_SHARE:.0%} of them test, none on both sides); "
            "training cells taken in turn, normal and abnormal"
        )
    notes = " ".join(dict.fromkeys(one.note for one in (train, test)))
    return f"{how}; {n_seeds}. {notes}."
