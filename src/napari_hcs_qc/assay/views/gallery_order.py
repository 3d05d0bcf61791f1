"""The order in which a person is shown cells, and the cell to be annotated next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

Order: TypeAlias = Literal[
    "random", "uncertain", "abnormal", "normal", "novelty", "similar", "disagreement", "diverse"
]
"""Ways to order cells, see `order_cells`."""

ORDERS: tuple[Order, ...] = get_args(Order)

RANDOM_EVERY = 5
"""One in so many suggested cells is a random one."""

_CHUNK_ROWS = 1024  # of embeddings looked at together: some MB, which stay in the cache
_SCALE_ROWS = 4096  # of embeddings that mean and spread are measured on
_DIVERSE_CELLS = 5000  # that the diverse ones are chosen from
_DIVERSE_LIMIT = 500


def order_cells(
    order: Order,
    *,
    p_abnormal: NDArray[np.floating[Any]],
    annotated_class: NDArray[np.object_],
    novelty: NDArray[np.floating[Any]] | None = None,
    embeddings: NDArray[np.floating[Any]] | None = None,
    chosen: Sequence[int] | NDArray[np.integer[Any]] = (),
    threshold: float = 0.5,
    seed: int = 0,
    among: NDArray[np.integer[Any]] | None = None,
    last: NDArray[np.bool_] | None = None,
    limit: int | None = None,
    job: Job = NO_JOB,
) -> NDArray[np.int64]:
    """Order the cells of a plate for a person to look through.

    Cells that are equal in what is asked keep the order of the table. Without a probability, or
    an embedding, they come last, and so do those marked in `last`, but for the random order.

    ``random``
        Shuffled.
    ``uncertain``
        Probability nearest to the threshold first.
    ``abnormal``, ``normal``
        Highest, or lowest, probability first.
    ``novelty``
        Farthest from every annotated cell first, see `napari_hcs_qc.evaluation.novelty.Novelty`.
    ``similar``
        Cosine of the embedding with the mean of those of the chosen cells, highest first, after
        every feature was brought to mean 0 and standard deviation 1.
    ``disagreement``
        Only cells annotated normal or abnormal: first those where the model says the opposite,
        the one farthest beyond the threshold at the head; then those where it agrees, the
        surest last.
    ``diverse``
        Each as far as can be, in the embedding, from all annotated and all before it: the greedy
        k-centre of Gonzalez (1985), https://doi.org/10.1016/0304-3975(85)90224-5, used to choose
        what to annotate by Sener & Savarese (2018), https://arxiv.org/abs/1708.00489. Taken from
        a sample of at most 5,000 cells.
    """
    if order not in ORDERS:
        raise HcsQcError(f"Unknown order {order!r}; one of {', '.join(ORDERS)} was expected.")
    n_cells = len(p_abnormal)
    if len(annotated_class) != n_cells:
        raise HcsQcError(
            f"There are {n_cells} probabilities but {len(annotated_class)} annotated classes; one "
            "of each per cell was expected."
        )
    if among is None:
        rows = np.arange(n_cells, dtype=np.int64)
    else:
        rows = np.unique(np.asarray(among, dtype=np.int64))
    _check_rows(rows, n_cells)
    job.check()
    if order == "diverse" and last is not None:
        rows = rows[~last[rows]]
    if order == "random":
        rows = np.random.default_rng(seed).permutation(rows)
    elif order == "novelty":
        if novelty is None or len(novelty) != n_cells:
            raise HcsQcError(
                "The novelty of the cells was not computed yet; retrain, or predict the plate "
                "again."
            )
        rows = rows[np.argsort(-np.asarray(novelty, dtype=np.float64)[rows], kind="stable")]
    elif order in ("similar", "diverse"):
        if embeddings is None or len(embeddings) != n_cells:
            have = "none are" if embeddings is None else f"those of {len(embeddings)} cells are"
            raise HcsQcError(
                f"To order cells by {order!r} the embeddings of all {n_cells} cells are needed; "
                f"{have} available. Compute the embeddings of this plate first."
            )
        if order == "similar":
            near = np.unique(np.asarray(chosen, dtype=np.int64))
            _check_rows(near, n_cells)
            rows = _similar(embeddings, near, rows, job)
        else:
            annotated = np.flatnonzero(_is_annotated(annotated_class)).astype(np.int64)
            limit = _DIVERSE_LIMIT if limit is None else limit
            rows = _diverse(embeddings, annotated, rows, limit, seed, job)
    else:
        if order == "disagreement":
            rows = rows[_is_annotated(annotated_class[rows])]
        p = np.asarray(p_abnormal, dtype=np.float64)[rows]
        key = {"uncertain": np.abs(p - threshold), "abnormal": -p, "normal": p}.get(order)
        if key is None:  # how far the model is on the side of the person, negative if against
            key = np.where(annotated_class[rows] == "abnormal", p - threshold, threshold - p)
        rows = rows[np.argsort(key, kind="stable")]  # NaN last
    if last is not None and order != "random":
        rows = rows[np.argsort(last[rows], kind="stable")]
    return rows if limit is None else rows[:limit]


class Suggestion(NamedTuple):
    """A cell to be annotated next."""

    row: int
    chosen: Literal["first", "random", "suggested"]  # how, as `Annotation.chosen` records it


def suggest_next(
    p_abnormal: NDArray[np.floating[Any]],
    is_annotated: NDArray[np.bool_],
    sites: NDArray[np.integer[Any]],
    *,
    seen: Sequence[int] | NDArray[np.integer[Any]] = (),
    starting: Sequence[int] | NDArray[np.integer[Any]] = (),
    left_out: NDArray[np.bool_] | None = None,
    threshold: float = 0.5,
    seed: int = 0,
) -> Suggestion | None:
    """Choose the cell that a person should annotate next.

    The starting cells come first, until as many cells as these were annotated or seen, or they
    are used up: what a model doubts that knows few cells teaches less.

    Then, of the cells neither annotated nor seen, the one that the model is least certain of; but
    one a site, then the next round: neighbours look alike, and ten uncertain cells of one spoilt
    site teach less than one each of ten. Cells that the model has not judged come when no other is
    left, in random order; so before the first model the choice is random.

    Every `RANDOM_EVERY`-th is drawn at random from all that the model has judged, whatever it
    thinks of them: it may be sure and wrong. What is `left_out` is never suggested.
    """
    n_cells = len(p_abnormal)
    before = np.asarray(seen, dtype=np.int64)
    _check_rows(before, n_cells)
    is_open = ~np.asarray(is_annotated, dtype=bool)
    is_open[before] = False
    n_done = n_cells - int(is_open.sum())
    if left_out is not None:
        is_open &= ~left_out
    first = np.asarray(starting, dtype=np.int64)
    _check_rows(first, n_cells)
    if n_done < len(first):
        for row in first[is_open[first]]:
            return Suggestion(int(row), "first")
    rows = np.flatnonzero(is_open)
    is_scored = np.isfinite(p_abnormal[rows])
    if is_scored.any():
        rows = rows[is_scored]
    if not len(rows):
        return None
    n_after_start = max(0, n_done - len(first))
    if is_scored.any() and n_after_start % RANDOM_EVERY == RANDOM_EVERY - 1:
        return Suggestion(_random_one(rows, n_cells, seed), "random")
    n_seen = np.bincount(sites[before], minlength=int(sites.max()) + 1)
    rounds = n_seen[sites[rows]]
    rows = rows[rounds == rounds.min()]
    if not is_scored.any():
        return Suggestion(_random_one(rows, n_cells, seed), "random")
    return Suggestion(int(rows[np.argmin(np.abs(p_abnormal[rows] - threshold))]), "suggested")


def _random_one(rows: NDArray[np.int64], n_cells: int, seed: int) -> int:
    # By random numbers of all cells, so that the choice does not hang on what was seen.
    return int(rows[np.argmin(np.random.default_rng(seed).random(n_cells)[rows])])


def _is_annotated(annotated_class: NDArray[np.object_]) -> NDArray[np.bool_]:
    return np.asarray((annotated_class == "normal") | (annotated_class == "abnormal"))


def _check_rows(rows: NDArray[np.int64], n_cells: int) -> None:
    wrong = rows[(rows < 0) | (rows >= n_cells)]
    if len(wrong):
        raise HcsQcError(f"There is no cell {wrong[0]}: there are {n_cells}, counted from 0.")


def _similar(
    embeddings: NDArray[np.floating[Any]],
    chosen: NDArray[np.int64],
    rows: NDArray[np.int64],
    job: Job,
) -> NDArray[np.int64]:
    goals = _finite(np.asarray(embeddings[chosen], dtype=np.float32))
    if not len(goals):
        have = f"the {len(chosen)} selected have none" if len(chosen) else "none was selected"
        raise HcsQcError(
            "To order cells by similarity, select at least one cell that has an embedding; "
            f"{have}. Select a cell of a site that can be read."
        )
    scale = _Scale(embeddings)
    goal = scale(goals).mean(axis=0)
    # Products of float32 and this are float32, and the length of the goal changes no order.
    goal /= max(float(np.linalg.norm(goal)), np.finfo(np.float32).tiny)
    cosines = np.empty(len(rows), dtype=np.float32)
    for part in _chunks(len(rows), job):
        scaled = scale(_rows_of(embeddings, rows[part]))
        with np.errstate(invalid="ignore"):  # an embedding may hold Inf
            lengths = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))
            cosines[part] = (scaled @ goal) / np.maximum(lengths, np.finfo(np.float32).tiny)
    return rows[np.argsort(-cosines, kind="stable")]  # NaN last


def _diverse(
    embeddings: NDArray[np.floating[Any]],
    annotated: NDArray[np.int64],
    rows: NDArray[np.int64],
    limit: int,
    seed: int,
    job: Job,
) -> NDArray[np.int64]:
    if len(rows) > _DIVERSE_CELLS:
        rng = np.random.default_rng(seed)
        rows = np.sort(rng.choice(rows, _DIVERSE_CELLS, replace=False))
    scale = _Scale(embeddings)
    directions = np.empty((len(rows), embeddings.shape[1]), dtype=np.float32)
    for part in _chunks(len(rows), job.silent()):
        directions[part] = scale(_rows_of(embeddings, rows[part]))
    has_one = np.isfinite(directions).all(axis=1)
    rows, directions = rows[has_one], directions[has_one]
    squares = np.einsum("ij,ij->i", directions, directions)
    nearest = np.full(len(rows), np.inf, dtype=np.float32)
    for part in _chunks(len(annotated), job.silent(), step=64):
        known = _finite(scale(_rows_of(embeddings, annotated[part])))
        if len(known):
            lengths = np.einsum("ij,ij->i", known, known)
            distances = squares[:, None] - 2 * (directions @ known.T) + lengths
            np.minimum(nearest, distances.min(axis=1), out=nearest)
    n = min(limit, len(rows))
    picked = np.empty(n, dtype=np.int64)
    for number in range(n):
        job.check()
        job.report(number, n, "Choosing diverse cells")
        # Where nothing is known yet the most typical cell begins.
        first = number == 0 and not np.isfinite(nearest).any()
        next_one = int(np.argmin(squares) if first else np.argmax(nearest))
        picked[number] = next_one
        distances = squares - 2 * (directions @ directions[next_one]) + squares[next_one]
        np.minimum(nearest, distances, out=nearest)
        nearest[picked[: number + 1]] = -np.inf
    job.report(n, n, "Chose diverse cells")
    return rows[picked]


class _Scale:
    """Brings every feature to mean 0 and standard deviation 1, as measured on a sample.

    Called with float32 rows, which it may change.
    """

    def __init__(self, embeddings: NDArray[np.floating[Any]]) -> None:
        # Evenly spread rows rather than random ones: memory-mapped files are read in order.
        spread = np.linspace(0, len(embeddings) - 1, min(len(embeddings), _SCALE_ROWS))
        sample = _finite(np.asarray(embeddings[spread.astype(np.int64)], dtype=np.float32))
        if not len(sample):
            sample = np.zeros((1, embeddings.shape[1]), dtype=np.float32)
        self._mean = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
        spread_of = sample.std(axis=0, dtype=np.float64)
        # A feature that is the same everywhere tells nothing.
        self._factor = np.where(spread_of > 1e-12, 1 / np.maximum(spread_of, 1e-12), 0).astype(
            np.float32
        )

    def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        rows -= self._mean
        rows *= self._factor
        return rows


def _rows_of(embeddings: NDArray[np.floating[Any]], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Copy ascending rows, as float32; a slice where they follow one another, as that is quick."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        return np.array(embeddings[int(rows[0]) : int(rows[-1]) + 1], dtype=np.float32)
    return np.array(embeddings[rows], dtype=np.float32)


def _finite(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows[np.isfinite(rows).all(axis=1)]


def _chunks(n: int, job: Job, *, step: int = _CHUNK_ROWS) -> Iterator[slice]:
    for start in range(0, n, step):
        job.check()
        job.report(start, n, "Reading embeddings")
        yield slice(start, min(start + step, n))
    job.report(n, n, "Reading embeddings")
