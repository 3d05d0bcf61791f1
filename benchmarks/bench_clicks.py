"""How good few clicks are: learning curves of the default head, and of what it suggests to click.

On BBBC022's labelled nuclei: 70 % of the wells for training, all else never touched. Embeddings of
the annotated cells and of the whole plate are computed once (some minutes) and kept in --folder.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from benchmarks.labelled_plate import SHARED, embedded_plate
from sklearn.metrics import f1_score

from napari_hcs_qc.assay.views.first_cells import N_STARTING, starting_cells
from napari_hcs_qc.assay.views.gallery_order import suggest_next
from napari_hcs_qc.heads.linear.linear_head import LinearHead

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_hcs_qc.heads.linear.plate_directions import PlateDirections

SIZES = (10, 25, 50, 100)
_SHARE = 0.7  # of the wells for training
_RETRAIN_EVERY = 5  # clicks, in the simulation of a person


@dataclass(frozen=True, eq=False)
class Cells:
    """Labelled cells, and what is known of their plate without labels."""

    embeddings: NDArray[np.float32]
    classes: NDArray[np.str_]
    wells: NDArray[np.str_]
    directions: PlateDirections | None


def load(folder: Path) -> Cells:
    """Embed, or find what was embedded."""
    found = embedded_plate(folder / "assay").annotated
    return Cells(found.embeddings, found.classes, found.groups, found.plate)


def divisions(cells: Cells, n: int) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Choose the training wells, n times; gives which cells are in them."""
    wells = np.unique(cells.wells)
    for number in range(n):
        rng = np.random.default_rng(number)
        chosen = rng.choice(wells, round(_SHARE * len(wells)), replace=False)
        yield number, np.isin(cells.wells, chosen)


def scored(
    cells: Cells, rows: NDArray[np.int64], test: NDArray[np.bool_], plate: PlateDirections | None
) -> float:
    """Weighted F1 on the test cells of a head fitted on some rows."""
    truth, known = cells.classes[test], cells.classes[rows]
    if len(set(known)) < 2:  # nothing can be fitted: all are called what is known
        said = np.full(len(truth), known[0])
    else:
        head = LinearHead(plate=plate)
        head.fit(cells.embeddings[rows], known, groups=cells.wells[rows])
        said = head.predict(cells.embeddings[test])
    return float(f1_score(truth, said, average="weighted"))


def balanced(
    cells: Cells, train: NDArray[np.bool_], n: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw n training cells, half of each class."""
    rows = rng.permutation(np.flatnonzero(train))
    is_abnormal = cells.classes[rows] == "abnormal"
    return np.concatenate([rows[is_abnormal][: n // 2], rows[~is_abnormal][: n - n // 2]])


def suggested(cells: Cells, train: NDArray[np.bool_], n: int, seed: int) -> NDArray[np.int64]:
    """Click n training cells as the desk suggests them, and retrain after every few."""
    pool = np.flatnonzero(train)
    along = cells.embeddings[pool]
    starting = starting_cells(along, seed=seed, plate=cells.directions)
    is_annotated = np.zeros(len(pool), dtype=bool)
    p_abnormal = np.full(len(pool), np.nan)
    order: list[int] = []
    sites = np.arange(len(pool))
    while len(order) < n:
        known = pool[order]
        is_due = len(order) >= N_STARTING and (len(order) - N_STARTING) % _RETRAIN_EVERY == 0
        if is_due and len(set(cells.classes[known])) == 2:
            head = LinearHead(plate=cells.directions)
            head.fit(cells.embeddings[known], cells.classes[known], groups=cells.wells[known])
            column = head.classes_.tolist().index("abnormal")
            p_abnormal = head.predict_proba(along)[:, column]
        row = suggest_next(p_abnormal, is_annotated, sites, starting=starting, seed=seed)
        assert row is not None
        is_annotated[row] = True
        order.append(row)
    return pool[order]


def told(values: list[float], peer: list[float] | None = None) -> str:
    """Say mean and sd, and the paired difference from a peer with its 95 % interval."""
    text = f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}"
    if peer is None:
        return text
    gain = np.subtract(values, peer)
    half = 1.96 * gain.std(ddof=1) / np.sqrt(len(gain))
    return f"{text} ({gain.mean():+.4f} ± {half:.4f})"


def main(arguments: list[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="keep the assay here")
    parser.add_argument("--divisions", type=int, default=50)
    options = parser.parse_args(arguments)
    if not SHARED.is_dir():
        print(f"The real images are not at {SHARED}; nothing was measured.")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        cells = load(options.folder or Path(temporary))
    variants = {"with the plate's directions": cells.directions, "without": None}
    drawn: dict[tuple[str, str, int | str], list[float]] = {}
    clicked: dict[tuple[str, int], list[float]] = {}
    for number, train in divisions(cells, options.divisions):
        for size in (*SIZES, "all"):
            everything = np.random.default_rng([number, 1]).permutation(np.flatnonzero(train))
            rng = np.random.default_rng([number, 0])
            ways = (
                {"all": everything}
                if size == "all"
                else {
                    "half of each class": balanced(cells, train, int(size), rng),
                    "as they come": everything[: int(size)],
                }
            )
            for way, rows in ways.items():
                for variant, plate in variants.items():
                    found = scored(cells, rows, ~train, plate)
                    drawn.setdefault((way, variant, size), []).append(found)
        asked = suggested(cells, train, SIZES[-1], number)
        for size in SIZES:
            clicked.setdefault(("suggested", size), []).append(
                scored(cells, asked[:size], ~train, cells.directions)
            )
            clicked.setdefault(("random", size), []).append(
                drawn["as they come", "with the plate's directions", size][-1]
            )
    print(f"Weighted F1, {options.divisions} divisions of the wells, mean ± sd (paired gain)")
    print("| annotations | drawn | without the plate | with its directions |")
    print("|---|---|---|---|")
    for way, size in dict.fromkeys((way, size) for way, _, size in drawn):
        without = drawn[way, "without", size]
        with_plate = drawn[way, "with the plate's directions", size]
        print(f"| {size} | {way} | {told(without)} | {told(with_plate, without)} |")
    print("\n| annotations | random | suggested |\n|---|---|---|")
    for size in SIZES:
        random = clicked["random", size]
        print(f"| {size} | {told(random)} | {told(clicked['suggested', size], random)} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
