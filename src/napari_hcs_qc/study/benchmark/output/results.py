"""What was measured: one file a draw, and a cell of the tables as the draws it is made of."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.evaluation.crossval import bootstrap_ci
from napari_hcs_qc.evaluation.metrics import METRIC_NAMES
from napari_hcs_qc.files import read_json
from napari_hcs_qc.study.benchmark.protocol import interval

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_hcs_qc.study.benchmark.table_cells import Planned, TableCell

DIRECTIONS_NOTE = (
    "The head linear knows the main directions of the plates trained on, from a sample of cells "
    "that nobody annotated, as it does in an assay."
)


def draw_path(folder: Path, key: str, seed: int) -> Path:
    """Where the result of one draw of a cell is kept, as soon as it is measured."""
    return folder / "cells" / key / f"seed-{seed}.json"


def missing_seeds(folder: Path, key: str, seeds: Iterable[int]) -> tuple[int, ...]:
    """Give the draws of a cell that are not measured yet."""
    return tuple(seed for seed in seeds if not draw_path(folder, key, seed).is_file())


def read_result(folder: Path, key: str, cell: TableCell) -> dict[str, Any]:
    """Put the result of a cell together from its draws."""
    draws = [read_json(draw_path(folder, key, seed)) for seed in cell.seeds]
    split = str(draws[0]["protocol"]).format(draws=_count(len(draws), "draw"))
    return {
        "cell": cell.to_dict(),
        "summary": _summary(draws),
        "seeds": draws,
        "split": split,
        "protocol": f"{split} {DIRECTIONS_NOTE}" if cell.directions else split,
        "seconds": round(sum(float(one["seconds"]) for one in draws), 2),
    }


def read_results(folder: Path, planned: Iterable[Planned]) -> dict[str, dict[str, Any]]:
    """Read the results of the cells that are done, by key."""
    done = {one.key: one for one in planned if one.state == "done"}
    return {key: read_result(folder, key, one.cell) for key, one in sorted(done.items())}


def _summary(draws: list[dict[str, Any]]) -> dict[str, Any]:
    drawn = _by_groups(draws[0]) if "groups" in draws[0] else {}
    overlap = float(np.mean([one["test_per_train"] for one in draws]))
    told: dict[str, Any] = {}
    for name in METRIC_NAMES:
        # An AUC that could not be said is None in JSON, NaN here.
        values = np.array([one["metrics"][name] for one in draws], dtype=np.float64)
        is_known = bool(np.isfinite(values).all())
        bounds = drawn.get(name) or interval(values, overlap)
        told[name] = {
            "mean": float(values.mean()) if is_known else None,
            "sd": float(values.std(ddof=1)) if is_known and len(values) > 1 else None,
            "interval": None if bounds is None or math.isnan(bounds[0]) else list(bounds),
        }
    return told


def _by_groups(draw: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Give intervals of a single draw, from its tested wells or plates drawn anew."""
    return bootstrap_ci(
        np.array(draw["is_abnormal"], dtype=bool), np.array([draw["p_abnormal"]]), draw["groups"]
    )


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
