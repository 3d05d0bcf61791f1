"""How good few clicks are: learning curves of the default head, and of what it suggests to click.

On BBBC022's labelled nuclei, on two things that differ:

- end to end on the plate, as `bench_plate` measures it: the cells that the product finds, each
  judged by a model with so many annotations, none from its well (5 folds by well), weighted by
  stratum;
- crops that people centred by hand, which is easier: 70 % of the wells for training, tested on the
  labelled cells of the others.

Embeddings of the annotated cells and of the whole plate are computed once (some minutes) and kept
in --folder.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd
from benchmarks.bench_plate import (
    Found,
    counted_objects,
    end_to_end,
    offset_of_found,
    scores,
    share,
    well_folds,
)
from benchmarks.bench_prior import as_suggested, labelled
from benchmarks.labelled_plate import SHARED, Embedded, embedded_plate
from sklearn.metrics import f1_score

from napari_hcs_qc.assay.store.assay_folder import DEFAULT_THRESHOLD
from napari_hcs_qc.heads.linear.linear_head import LinearHead
from napari_hcs_qc.heads.prior.plate_prior import stricter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.embeddings.training_set import AnnotatedCells
    from napari_hcs_qc.heads.linear.plate_directions import PlateDirections

Key: TypeAlias = tuple[str, int | str]  # how annotations are drawn, and how many
Drawn: TypeAlias = "dict[Key, NDArray[np.int64]]"

SIZES = (10, 25, 50, 100)
N_FOLDS = 5
_SHARE = 0.7  # of the wells for training


def divisions(cells: AnnotatedCells, n: int) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Choose the training wells, n times; gives which cells are in them."""
    wells = np.unique(cells.groups)
    for number in range(n):
        rng = np.random.default_rng(number)
        chosen = rng.choice(wells, round(_SHARE * len(wells)), replace=False)
        yield number, np.isin(cells.groups, chosen)


def scored(
    cells: AnnotatedCells,
    rows: NDArray[np.int64],
    test: NDArray[np.bool_],
    plate: PlateDirections | None,
) -> float:
    """Weighted F1 on the test cells of a head fitted on some rows."""
    truth, known = cells.classes[test], cells.classes[rows]
    if len(set(known)) < 2:  # nothing can be fitted: all are called what is known
        said = np.full(len(truth), known[0])
    else:
        head = LinearHead(plate=plate)
        head.fit(cells.embeddings[rows], known, groups=cells.groups[rows])
        said = head.predict(cells.embeddings[test])
    return float(f1_score(truth, said, average="weighted"))


def balanced(
    cells: AnnotatedCells, train: NDArray[np.bool_], n: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw n training cells, half of each class."""
    rows = rng.permutation(np.flatnonzero(train))
    is_abnormal = cells.classes[rows] == "abnormal"
    return np.concatenate([rows[is_abnormal][: n // 2], rows[~is_abnormal][: n - n // 2]])


def suggested(
    cells: AnnotatedCells, train: NDArray[np.bool_], n: int, seed: int
) -> NDArray[np.int64]:
    """Click n training cells as the desk suggests them, and retrain after every few."""
    order = as_suggested(labelled(cells), n, with_prior=True)
    return order(np.flatnonzero(train), seed)


def drawn_of(cells: AnnotatedCells, train: NDArray[np.bool_], seed: int) -> Drawn:
    """Draw annotations among those to train on: all, and so many at random and as suggested."""
    shuffled = np.random.default_rng([seed, 1]).permutation(np.flatnonzero(train))
    clicks = suggested(cells, train, SIZES[-1], seed)
    ways = {"at random": shuffled, "suggested": clicks}
    drawn: Drawn = {(way, size): rows[:size] for way, rows in ways.items() for size in SIZES}
    return {**drawn, ("all", "all"): shuffled}


def calls(
    cells: AnnotatedCells,
    fit_on: NDArray[np.int64],
    rows: NDArray[np.floating],
    offset: NDArray[np.float64],
    seed: int,
) -> NDArray[np.bool_]:
    """Whether each of some cells is called abnormal by a model with some annotations."""
    if len(set(cells.classes[fit_on])) < 2:  # nothing can be fitted: the prior alone calls
        assert cells.priors is not None
        return offset + stricter(cells.priors.linear) < 0
    return scores(cells, fit_on, rows, offset, seed) >= DEFAULT_THRESHOLD


def figures_on_plate(
    plate: Embedded, objects: pd.DataFrame, seed: int
) -> dict[Key, dict[str, float]]:
    """Figures end to end of one draw, and of the same models on crops of their held-out wells."""
    cells, rows = plate.annotated, plate.store.embeddings
    offset = offset_of_found(plate.state, cells, rows)
    assert offset is not None and cells.offset is not None
    called: dict[Key, NDArray[np.bool_]] = {}
    crops: dict[Key, NDArray[np.bool_]] = {}
    for is_out, judged in well_folds(plate.state, cells, seed, N_FOLDS):
        for key, fit_on in drawn_of(cells, ~is_out, seed).items():
            on_plate = called.setdefault(key, np.zeros(len(rows), dtype=bool))
            on_crops = crops.setdefault(key, np.zeros(len(is_out), dtype=bool))
            on_plate[judged] = calls(cells, fit_on, rows[judged], offset[judged], seed)
            crops_of, known = cells.embeddings[is_out], cells.offset[is_out]
            on_crops[is_out] = calls(cells, fit_on, crops_of, known, seed)
    truth = cells.classes == "abnormal"
    return {
        key: end_to_end(called[key], objects)
        | {"crops": float(f1_score(truth, crops[key], average="weighted"))}
        for key in called
    }


def print_on_plate(plate: Embedded, n_draws: int) -> None:
    """Print the table of the plate."""
    objects = counted_objects(plate.state, Found(plate.state))
    draws = [figures_on_plate(plate, objects, seed) for seed in range(n_draws)]
    abnormal = share(objects["is_abnormal"], objects)
    print(f"End to end on the plate: {abnormal:.1%} of the objects are abnormal by the readers;")
    print(f"mean ± sd of {n_draws} draws; beside it the weighted F1 of the same models on crops")
    print("that people centred by hand, of held-out wells")
    print("| annotations | drawn | called | precision | recall | hand-centred crops: F1 |")
    print("|---|---|---|---|---|---|")
    for way, size in draws[0]:
        figures = pd.DataFrame([draw[way, size] for draw in draws])
        mean, sd, n_none = figures.mean(), figures.std(), int(figures["precision"].isna().sum())
        none = f" (without {n_none} that call nothing)" if n_none else ""
        print(
            f"| {size} | {way} | {mean['called']:.1%} ± {sd['called']:.1%} "
            f"| {mean['precision']:.2f} ± {sd['precision']:.2f}{none} "
            f"| {mean['recall']:.2f} ± {sd['recall']:.2f} "
            f"| {mean['crops']:.3f} ± {sd['crops']:.3f} |",
            flush=True,
        )


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
    parser.add_argument("--draws", type=int, default=20, help="of the figures on the plate")
    options = parser.parse_args(arguments)
    if not SHARED.is_dir():
        print(f"The real images are not at {SHARED}; nothing was measured.")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        plate = embedded_plate((options.folder or Path(temporary)) / "assay")
        print_on_plate(plate, options.draws)
    cells = plate.annotated
    variants = {"with the plate's directions": cells.plate, "without": None}
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
                for variant, directions in variants.items():
                    found = scored(cells, rows, ~train, directions)
                    drawn.setdefault((way, variant, size), []).append(found)
        asked = suggested(cells, train, SIZES[-1], number)
        for size in SIZES:
            clicked.setdefault(("suggested", size), []).append(
                scored(cells, asked[:size], ~train, cells.plate)
            )
            clicked.setdefault(("random", size), []).append(
                drawn["as they come", "with the plate's directions", size][-1]
            )
    print("\nCrops centred by hand, not the plate: weighted F1,", end=" ")
    print(f"{options.divisions} divisions of the wells, mean ± sd (paired gain)")
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
