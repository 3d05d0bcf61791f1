"""What the project wants of its speed and memory, and one table of goal, figure, met or not.

    python -m benchmarks.goals

reads the figures of the last runs. A figure is not judged where other programs took more than
`MOST_OTHER_WORK` processors while it was measured, or where the interval of its median is wider
than `MOST_SPREAD` of it and the goal lies in it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from benchmarks.results import FOLDER

from napari_hcs_qc.study.ssl.pretrain_settings import METHOD_NAMES

MOST_OTHER_WORK = 0.3
MOST_SPREAD = 0.3


class Goal(NamedTuple):
    """A figure of a benchmark, and the most (or the least) that it should be."""

    text: str
    benchmark: str
    keys: tuple[str, ...]  # where it stands in the figures
    limit: float
    is_least: bool = False


_100, _2M = "100,000 cells, float32", "2,000,000 cells, float32"
_LINEAR, _KNN = "linear / product with anchors and directions", "knn / distances"
GOALS = (
    Goal("files to embeddings, of plain timm", "encoding", ("@ from disk", "of_plain"), 16, True),
    Goal("the same, of the bare backend", "encoding", ("@ from disk", "of_bare"), 0.95, True),
    Goal("weighted F1 against PyTorch", "encoding", ("decisions by @", "gain"), -0.003, True),
    Goal("cells whose class changes", "encoding", ("decisions by @", "changed"), 0.005),
    Goal("scoring 100,000 cells, s", "rescoring", (_100, "linear_s"), 0.05),
    Goal("scoring 2 million cells, s", "rescoring", (_2M, "linear_s"), 1.0),
    Goal("scoring 2 million cells, of the bare products", "rescoring", (_2M, _LINEAR), 1.5),
    Goal("the same, kNN", "rescoring", (_2M, _KNN), 1.5),
    Goal("scoring 2 million cells, peak MiB", "rescoring", (_2M, "peak_mib"), 2048),
    Goal("Retrain to recoloured, 100,000 cells, s", "desk", ("Retrain, s",), 0.5),
    Goal("the same, of the bare product", "desk", ("Retrain / bare product",), 4),
    Goal(
        "Retrain: window late beyond napari's repaint, ms",
        "desk",
        ("Retrain: event loop late beyond napari's repaint, ms",),
        50,
    ),
    Goal(
        "threshold: window late beyond napari's repaint, ms",
        "desk",
        ("threshold: event loop late beyond napari's repaint, ms",),
        50,
    ),
    Goal("open to usable, of napari's own start", "desk", ("start / napari",), 1.5),
    Goal("memory beyond napari's own, MiB", "desk", ("MiB beyond napari",), 400),
    Goal("key to painted, of napari's repaint", "live", ("260 cells a site", "ratio"), 1.5),
    Goal("the same, few cells on screen", "live", ("29 cells a site", "ratio"), 1.5),
    Goal("keys lost at ten a second", "live", ("260 cells a site", "keys_lost"), 0),
    Goal("nuclei, of a bare loop of the same calls", "nuclei", ("ours / same calls",), 1.0),
    Goal("run over sites: exponent of wall time", "flatness", ("exponent of wall_s",), 1.02),
    Goal("exponent of processor time", "flatness", ("exponent of cpu_s",), 1.02),
    Goal("peak of memory, 16 times over once", "flatness", ("peak at 16x over 1x",), 1.2),
    Goal("status again, 20 × 100,000 cells, s", "commands", ("status again", "wall_s"), 2),
    Goal("export of 2 million rows, peak MiB", "commands", ("export", "peak_mib"), 600),
    *(
        Goal(f"step of {method}, of the bare one", "ssl-step", (method, "step / bare"), 1.03)
        for method in METHOD_NAMES
    ),
    Goal("GPU: files to embeddings, of bare half precision", "gpu", ("of_bare_half",), 0.95, True),
    *(
        Goal(f"GPU: step of {method}", "gpu", (f"step of {method}", "step / bare"), 1.03)
        for method in METHOD_NAMES
    ),
)


def judged(goal: Goal, data: dict[str, Any] | None, since: datetime | None) -> tuple[str, str]:
    """Give a goal's figure and what to say of it."""
    if data is None:
        return "", "not measured"
    figures: Any = data["figures"]
    backend = str(figures.get("default", ""))
    *way, last = (key.replace("@", backend) for key in goal.keys)
    for key in way:
        figures = figures.get(key, {})
    value = figures.get(last)
    if value is None:
        return "", "not measured"
    least, most = figures.get(f"{last}, range", (value, value))
    text = f"{value:g}" + (f" ({least:g} to {most:g})" if least != most else "")
    others = data["machine"].get("other_work")
    if since is not None and datetime.fromisoformat(data["date"]) < since:
        return text, f"of an earlier run ({data['date'][:10]})"
    if others is None or others > MOST_OTHER_WORK:
        took = "an unknown number of" if others is None else f"{others:g}"
        return text, f"not judged: other programs took {took} processors"
    if least < goal.limit < most and most - least > MOST_SPREAD * abs(value):
        return text, "not judged: the turns differ too much"
    is_met = value >= goal.limit if goal.is_least else value <= goal.limit
    return text, "met" if is_met else "missed"


def goal_table(since: datetime | None = None) -> str:
    """Write all goals as one table; older results than `since` are not judged."""
    known: dict[str, dict[str, Any] | None] = {}
    lines = ["| figure | goal | measured | |", "|---|---|---|---|"]
    for goal in GOALS:
        if goal.benchmark not in known:
            path = FOLDER / f"{goal.benchmark}.json"
            known[goal.benchmark] = json.loads(path.read_text()) if path.is_file() else None
        value, verdict = judged(goal, known[goal.benchmark], since)
        sign = "≥" if goal.is_least else "≤"
        lines.append(f"| {goal.text} | {sign} {goal.limit:g} | {value} | {verdict} |")
    return "\n".join(lines)


def begun() -> datetime:
    """Give the time of now, to the minute as results have it."""
    return datetime.now(UTC).replace(second=0, microsecond=0)


if __name__ == "__main__":
    print(goal_table())
