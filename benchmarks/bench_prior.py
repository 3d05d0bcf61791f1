"""What a prior brings before the first click, and what is left of it with many.

Measured on BBBC022's plate 20585, which no prior has seen: crops that two readers centred and
labelled by hand (``labels.csv``), and objects as the product finds them (``found_labels.csv``).
With clicks: each draw divides the wells into 5 folds; of the cells of four of them some are
annotated, at random or as suggested, and the cells of the fifth are scored, so that each figure is
of all labelled cells out of fold. With and without the prior the same cells are annotated, but for
those that are suggested, which the model chooses.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from benchmarks.bench_plate import Found, decided_objects
from benchmarks.labelled_plate import BBBC039, embedded_plate
from sklearn.metrics import f1_score, recall_score, roc_auc_score

from napari_hcs_qc.assay.embeddings.plate_priors import prior_of_plate
from napari_hcs_qc.assay.views.first_cells import (
    N_STARTING,
    starting_cells,
    starting_cells_by_score,
)
from napari_hcs_qc.assay.views.gallery_order import suggest_next
from napari_hcs_qc.heads.linear.linear_head import LinearHead
from napari_hcs_qc.heads.prior.linear_prior import find_prior
from napari_hcs_qc.heads.prior.plate_prior import stricter

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.embeddings.training_set import AnnotatedCells
    from napari_hcs_qc.heads.linear.plate_directions import PlateDirections

    Floats = NDArray[np.float64]
    Rows = NDArray[np.int64]
    # Gives the rows of a pool in the order in which they are annotated.
    Order = Callable[[Rows, int], Rows]

SIZES = (10, 25, 50, 100)
SUGGESTED_SIZES = (10, 25, 50)
_N_FOLDS = 5
_RETRAIN_EVERY = 5  # clicks, in the simulation of a person
_UNKNOWN = 0.5


@dataclass(frozen=True, eq=False, kw_only=True)
class Labelled:
    """Labelled cells, with what is known of them and their plate without labels."""

    embeddings: NDArray[np.float32]
    is_abnormal: NDArray[np.bool_]
    wells: NDArray[np.str_]
    directions: PlateDirections | None
    scores: Floats  # of the prior
    line: float  # of the scores before any annotation


def labelled(cells: AnnotatedCells) -> Labelled:
    """Give annotated cells with the scores of their plate's prior."""
    assert cells.offset is not None and cells.priors is not None
    return Labelled(
        embeddings=cells.embeddings,
        is_abnormal=cells.classes == "abnormal",
        wells=cells.groups,
        directions=cells.plate,
        scores=-cells.offset,
        line=stricter(cells.priors.linear),
    )


def p_abnormal(cells: Labelled, known: Rows, judged: Rows, with_prior: bool) -> Floats:
    """P(abnormal) of some cells by what is known of others; without any, or of one class, less."""
    classes = np.where(cells.is_abnormal, "abnormal", "normal")
    if len(set(classes[known])) < 2:
        if with_prior:
            return 1 / (1 + np.exp(cells.line - cells.scores[judged]))
        return np.full(len(judged), cells.is_abnormal[known].mean() if len(known) else _UNKNOWN)
    head = LinearHead(plate=cells.directions)
    # Of the two classes in the order of the alphabet the offset is that of the second, normal.
    offset = -cells.scores if with_prior else np.zeros(len(classes))
    head.fit(
        cells.embeddings[known],
        classes[known],
        groups=cells.wells[known],
        offset=offset[known] if with_prior else None,
    )
    p: Floats = head.predict_proba(cells.embeddings[judged], offset[judged])[:, 0]
    return p


def at_random(pool: Rows, seed: int) -> Rows:
    """Annotate cells as they come."""
    return np.random.default_rng([seed, 1]).permutation(pool)


def as_suggested(cells: Labelled, n: int, with_prior: bool) -> Order:
    """Annotate what the product suggests, retraining after every few clicks."""

    def order_of(pool: Rows, seed: int) -> Rows:
        if with_prior:
            first = starting_cells_by_score(cells.scores[pool], seed=seed)
        else:
            first = starting_cells(cells.embeddings[pool], seed=seed, plate=cells.directions)
        is_annotated = np.zeros(len(pool), dtype=bool)
        p = np.full(len(pool), np.nan)
        order: list[int] = []
        sites = np.arange(len(pool))
        while len(order) < n:
            is_due = len(order) >= N_STARTING and (len(order) - N_STARTING) % _RETRAIN_EVERY == 0
            known = pool[order]
            if is_due and (with_prior or len(set(cells.is_abnormal[known])) == 2):
                p = p_abnormal(cells, known, pool, with_prior)
            chosen = suggest_next(p, is_annotated, sites, starting=first, seed=seed)
            assert chosen is not None
            is_annotated[chosen.row] = True
            order.append(chosen.row)
        return pool[order]

    return order_of


def out_of_fold(
    cells: Labelled, order_of: Order, sizes: tuple[int, ...], with_prior: bool, seed: int
) -> dict[int, Floats]:
    """P(abnormal) of every labelled cell by so many annotations of other wells; 0 for all."""
    wells = np.random.default_rng(seed).permutation(np.unique(cells.wells))
    p = {size: np.full(len(cells.wells), np.nan) for size in sizes}
    for fold in np.array_split(wells, _N_FOLDS):
        is_judged = np.isin(cells.wells, fold)
        pool, judged = np.flatnonzero(~is_judged), np.flatnonzero(is_judged)
        order = order_of(pool, seed)
        for size in sizes:
            p[size][judged] = p_abnormal(cells, order[: size or None], judged, with_prior)
    return p


def figures(cells: Labelled, p: Floats) -> tuple[float, float]:
    """Weighted F1 at 0.5, and AUC."""
    f1 = f1_score(cells.is_abnormal, p >= 0.5, average="weighted")
    return float(f1), float(roc_auc_score(cells.is_abnormal, p))


def print_clicks(cells: Labelled, way: str, sizes: tuple[int, ...], n_draws: int) -> None:
    """Print the rows of figures by the number of annotations."""
    of: dict[tuple[bool, int], list[tuple[float, float]]] = {}
    for seed in range(n_draws):
        for with_prior in (False, True):
            is_random = way == "random"
            order = at_random if is_random else as_suggested(cells, max(sizes), with_prior)
            for size, p in out_of_fold(cells, order, sizes, with_prior, seed).items():
                of.setdefault((with_prior, size), []).append(figures(cells, p))
    for size in sizes:
        without, with_it = np.array(of[False, size]), np.array(of[True, size])
        texts = (
            ", ".join(
                f"{mean:.3f} ± {sd:.3f}"
                for mean, sd in zip(values.mean(axis=0), values.std(axis=0, ddof=1), strict=True)
            )
            for values in (without, with_it)
        )
        gain = (with_it - without)[:, 0].mean()
        print(f"| {size or 'all'} | {way} | {' | '.join(texts)} | {gain:+.3f} |", flush=True)


def shares_of_kinds(given: NDArray[np.object_], named: NDArray[np.object_]) -> str:
    """Tell how often a kind that readers named is given, another one, and none."""
    is_named = np.array([isinstance(kind, str) for kind in named])
    given, named = given[is_named], named[is_named]
    is_right, is_unknown = given == named, np.equal(given, None)
    return (
        f"{len(named)} | {is_right.mean():.2f} | {(~is_right & ~is_unknown).mean():.2f} | "
        f"{is_unknown.mean():.2f}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="keep the assay here")
    parser.add_argument("--draws", type=int, default=20)
    options = parser.parse_args(arguments)
    if not BBBC039.is_dir():
        print(f"The real images are not at {BBBC039}; nothing was measured.")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        made = embedded_plate((options.folder or Path(temporary)) / "assay")
        objects = decided_objects(made.state, Found(made.state))
        rows = np.asarray(made.store.embeddings, dtype=np.float32)
        linear = find_prior(made.encoder, made.recipe)
        priors = [
            (name, used, prior_of_plate(made.state, made.recipe, made.encoder, made.stores, used))
            for name, used in (("the prior", linear), ("residual alone", None))
        ]
    is_cut = made.state.plate_cells.cells["is_cut"].to_numpy(bool)
    wells = made.state.plate_cells.cells["well"].to_numpy(str)
    annotated = made.annotated
    is_abnormal = annotated.classes == "abnormal"
    inner = objects[~objects["is_cut"] & ~objects["stratum"].str.startswith("border")]
    is_normal = (inner["stratum"] == "inside-normal") & ~inner["is_abnormal"]
    is_found = inner["is_abnormal"] & (inner["row"] >= 0)
    print(
        "Before any annotation. Plate 20585 of BBBC022, of which no prior has seen a cell.\n"
        f"Crops centred by hand: {len(is_abnormal)} of labels.csv, {is_abnormal.sum()} abnormal.\n"
        f"Objects as they are found: of found_labels.csv, {is_normal.sum()} inside-normal ones, "
        f"{is_found.sum()} abnormal ones that are found.\n"
    )
    print("| | hand-centred: AUC | weighted F1 at its line | recall | inside-normal called |"
          " recall of found | whole cells called |\n|---|---|---|---|---|---|---|")  # fmt: skip
    for name, used, prior in priors:
        assert prior is not None
        names = [group.rpartition("/")[2] for group in annotated.groups]
        scores = prior.score(annotated.embeddings, names) - stricter(used)
        of_plate = prior.score(rows, wells) - stricter(used)
        is_called = (inner["row"].to_numpy() >= 0) & (of_plate[inner["row"]] > 0)
        f1 = f1_score(is_abnormal, scores > 0, average="weighted")
        recall = recall_score(is_abnormal, scores > 0)
        print(
            f"| {name} ({prior.name}) | {roc_auc_score(is_abnormal, scores):.3f} | {f1:.3f} | "
            f"{recall:.3f} | {is_called[is_normal].sum()} of {is_normal.sum()} | "
            f"{is_called[is_found].mean():.2f} | {(of_plate[~is_cut] > 0).mean():.1%} |"
        )
        if used is not None:
            is_called_crop = is_abnormal & (scores > 0)
            of_crops = shares_of_kinds(
                prior.kinds(annotated.embeddings[is_called_crop]), annotated.kinds[is_called_crop]
            )
            called = inner[is_found & is_called]
            of_objects = shares_of_kinds(
                prior.kinds(rows[called["row"]]), called["kind"].to_numpy(object)
            )
    print("\n| kinds of abnormal ones that are called | n | right | wrong | unknown |")
    print("|---|---|---|---|---|")
    print(f"| crops of labels.csv | {of_crops} |\n| objects as they are found | {of_objects} |")
    cells = labelled(annotated)
    print(
        f"\nWith annotations of labels.csv (hand-centred crops), {options.draws} draws, mean ± sd"
    )
    print("| annotations | chosen | without the prior: F1, AUC | with it: F1, AUC | F1 gained |")
    print("|---|---|---|---|---|")
    print_clicks(cells, "random", (*SIZES, 0), options.draws)
    print_clicks(cells, "suggested", SUGGESTED_SIZES, options.draws)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
