"""The default head: regularised logistic regression, well beyond plain features."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
from scipy.linalg import eigh

from napari_hcs_qc.heads.check_annotated import Deciding, check_annotated, check_features
from napari_hcs_qc.heads.linear.calibration import Calibration, calibrate, log_loss
from napari_hcs_qc.heads.linear.folds import assign_folds
from napari_hcs_qc.heads.linear.plate_directions import PlateDirections, centre_and_scale
from napari_hcs_qc.heads.linear.solver import (
    INTERCEPT_PENALTY,
    Solution,
    probabilities,
    rotate,
    rotate_gram,
    share_of_cells,
    solve,
)
from napari_hcs_qc.heads.threads import one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from napari_hcs_qc.heads.linear.solver import Floats, Rotation

    _InputsOf = Callable[..., NDArray[Any]]

STRENGTHS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
"""L2 strengths tried, strongest first, in units of the mean squared norm of a cell's inputs."""

MAX_CELLS_FOR_PRODUCTS = 2000
"""Pair products cost the cube of the annotated cells; with more cells they are left out."""

_DEFAULT_STRENGTH = 0.01  # the likeliest before any annotation is seen
_DOUBT_DECADES = 1.0  # sd of the strength around it, in powers of ten
_LIMIT = 5.0  # standardised features stop here, so that a new kind of artefact cannot run away
_DEVIATION_SCALE = (1 - 2 / np.pi) ** -0.5  # 1 / sd(|z|) of a normal variable
_ROWS_AT_ONCE = 1024
_TOLERANCE = 0.02  # log-odds by which leaving directions out may move a decision: 0.005 of P
_TRIAL_ROWS = 64
_PLATE_WEIGHT = 0.25  # of the plate's directions, beside the features themselves
_FEW = 50  # annotations; fewer must not calibrate or shift away what an offset knows
_OFFSET_WEIGHT = 0.85  # of an offset: with 1 more normal cells of a plate are called abnormal
_MANY = 150  # annotations; with more an offset counts less: it costs recall on a plate otherwise
_INTERCEPT_SD = 0.3  # log-odds by which so few may move all cells


class Geometry(NamedTuple):
    """How features become inputs: ``clip(factor * (x - centre))``, then directions of the plate."""

    factor: Floats  # ``(n_features,)``, 0 for a constant feature
    limit: float  # where the features are cut off
    # ``(n_directions, n_features)`` and ``(n_directions,)``: ``clip(directions @ x - offset)``
    directions: Floats
    offset: Floats
    along_limit: float  # where these are cut off


class LinearHead(Deciding):
    """L2 logistic regression with its strength chosen by cross-validation grouped by well.

    It is linear in three sets of inputs, each scaled to count the same: the standardised
    features ``z``; with `deviations` their absolute values ``|z|``, because a cell can be
    abnormal by too much of something or too little; and with `products` all products of two
    features, because much is abnormal only in combination. The products are never formed: the
    scalar product of two cells' products is the square of that of the cells. With two classes
    the products' part is a quadratic form, of which only as many main directions are kept as
    the decisions need (to 0.02 of log-odds, which is 0.005 of a probability), so that a plate
    is scored sooner. On BBBC022's 288 labelled nuclei (944 features, folds by well) the three
    steps give a weighted F1 of 0.930, 0.942 and 0.952.

    Where the cells of the plate that nobody annotated are at hand, their main directions (see
    `plate_directions`) stand beside the features in all three sets, with a quarter of their
    weight. The main ones help where annotations are few: in BBBC022, classes drawn in equal parts,
    they brought +0.011, +0.007 and +0.002 of weighted F1 with 10, 25 and 50 annotations, and
    nothing from 100 on. Those of brightness and size, which are among them now, take that back
    (-0.004, -0.002 and +0.001), for the many: fewer healthy lobes of nuclei are called abnormal.
    See ``benchmarks/README.md``.

    Probabilities are calibrated on held-out decisions (see `calibration`).
    """

    def __init__(
        self,
        *,
        plate: PlateDirections | None = None,
        deviations: bool = True,
        products: bool = True,
        strengths: tuple[float, ...] = STRENGTHS,
        n_folds: int = 5,
        n_repeats: int = 3,
        balance: bool = True,
        calibrate: bool = True,
        random_state: int = 0,
    ) -> None:
        self.plate = plate
        self.deviations = deviations
        self.products = products
        self.strengths = strengths
        self.n_folds = n_folds
        self.n_repeats = n_repeats
        self.balance = balance
        self.calibrate = calibrate
        self.random_state = random_state

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        offset: ArrayLike | None = None,
    ) -> Self:
        """Fit on annotated cells.

        An `offset`, ``(n_cells,)``, is what is known of them without annotations: log-odds of the
        second of two classes, such as a prior's. The decision is the fitted one plus
        `offset_weight_` times the offset.
        """
        cells, self.classes_, codes = check_annotated(self, X, y, np.float64)
        n_classes = len(self.classes_)
        known = self._check_offset(offset, len(codes))
        if groups is not None and len(np.asarray(groups)) != len(codes):
            raise ValueError(f"{len(np.asarray(groups))} groups were given for {len(codes)} cells.")
        # Many small products: threads would cost more than they bring, on a busy machine by far.
        with one_blas_thread():
            self._fit(cells, codes, n_classes, groups, known)
        return self

    @classmethod
    def before_annotations(cls, n_features: int, classes: tuple[str, str]) -> Self:
        """Make a head that knows nothing: its decision is the offset."""
        head = cls(deviations=False, products=False)
        head.classes_, head.n_features_in_ = np.array(classes), n_features
        head.centre_, head.scale_ = np.zeros(n_features), np.ones(n_features)
        head.directions_, head.offset_ = np.empty((0, n_features)), np.empty(0)
        head.coef_, head.intercept_ = np.zeros((1, n_features)), np.zeros(1)
        head.deviation_coef_, head.anchor_coef_ = np.empty((1, 0)), np.empty((1, 0))
        head.anchors_ = np.empty((0, n_features), np.float32)
        head.strength_, head.folds_by_ = _DEFAULT_STRENGTH, "none"
        head.calibration_factor_ = head.offset_weight_ = 1.0
        return head

    def _check_offset(self, offset: ArrayLike | None, n_cells: int) -> Floats | None:
        if offset is None:
            return None
        if len(self.classes_) != 2:
            raise ValueError(f"An offset is for two classes; there are {len(self.classes_)}.")
        known = np.asarray(offset, dtype=np.float64)
        if known.shape != (n_cells,) or not np.isfinite(known).all():
            raise ValueError(
                f"The offset has the shape {known.shape}; one finite number was expected for each "
                f"of the {n_cells} cells."
            )
        return known

    def _fit(
        self,
        cells: Floats,
        codes: NDArray[np.int64],
        n_classes: int,
        groups: ArrayLike | None,
        offset: Floats | None,
    ) -> None:
        self.centre_, self.scale_ = centre_and_scale(cells)
        if self.plate is None:
            self.directions_, self.offset_ = np.empty((0, cells.shape[1])), np.empty(0)
        else:
            self.directions_, self.offset_ = self.plate.directions, self.plate.offset
        if self.directions_.shape[1] != cells.shape[1]:
            raise ValueError(
                f"The plate's directions have {self.directions_.shape[1]} features, the annotated "
                f"cells {cells.shape[1]}; use the same encoder and crop recipe for both."
            )
        z = self._make_inputs(cells.dtype)(cells)
        uses_products = self.products and len(z) <= MAX_CELLS_FOR_PRODUCTS
        rotation = self._rotate(z, uses_products)
        unit = max(float(rotation.spread.sum()) / len(codes), float(np.finfo(float).tiny))
        weight = 0.0 if offset is None else _offset_weight(len(codes))
        added = None if offset is None else weight * offset[:, np.newaxis]
        solution, calibration = self._choose_and_solve(
            rotation, codes, n_classes, unit, groups, added
        )
        self.calibration_factor_ = calibration.factor
        self.offset_weight_ = calibration.factor * weight
        shares = calibration.factor * share_of_cells(rotation, solution.weights[:, 0])
        n_inputs = z.shape[1]
        self.coef_ = shares.T @ z / n_inputs
        absolute = np.abs(z) * (_DEVIATION_SCALE**2 / n_inputs)
        self.deviation_coef_ = (shares.T @ absolute)[:, : n_inputs * self.deviations]
        anchors, self.anchor_coef_ = z, shares.T
        if not uses_products:
            anchors, self.anchor_coef_ = z[:0], shares.T[:, :0]
        elif n_classes == 2:
            anchors, self.anchor_coef_ = _main_directions(z, shares[:, 0])
        # float32, as embeddings are: half the memory, and scoring needs no conversion.
        self.anchors_ = anchors.astype(np.float32)
        # The fit saw centred inputs; their mean goes into the intercept.
        self.intercept_ = np.zeros(len(solution.intercepts[0]))
        centred = calibration.factor * solution.intercepts[0] + calibration.shift
        self.intercept_ = centred - self.decide(cells).mean(axis=0)

    def decision_function(self, X: ArrayLike, offset: ArrayLike | None = None) -> Floats:
        """Calibrated log-odds, ``(n_cells,)`` for two classes (of the second), else per class.

        A head that was fitted with an offset needs that of the cells.
        """
        decision = self._with_offset(self.decide(check_features(self, X)), offset)
        return decision[:, 0] if len(self.classes_) == 2 else decision

    def predict_proba(self, X: ArrayLike, offset: ArrayLike | None = None) -> Floats:
        """``(n_cells, n_classes)`` probabilities, columns as `classes_`."""
        return probabilities(self._with_offset(self.decide(check_features(self, X)), offset))

    def predict(self, X: ArrayLike, offset: ArrayLike | None = None) -> NDArray[Any]:
        """``(n_cells,)`` the most probable class (the first of `classes_` on a tie)."""
        p = self.predict_proba(X, offset)
        most: NDArray[Any] = self.classes_[p.argmax(axis=1)]
        return most

    def _with_offset(self, decision: Floats, offset: ArrayLike | None) -> Floats:
        if offset is None:
            if self.offset_weight_:
                raise ValueError("The head was fitted with an offset; give that of these cells.")
            return decision
        known = self._check_offset(offset, len(decision))
        assert known is not None
        return decision + self.offset_weight_ * known[:, np.newaxis]

    def decide(self, features: NDArray[Any]) -> Floats:
        """``(n_cells, n_outputs)`` log-odds in the precision of `features`, without checks.

        NaN stays NaN. Memory does not grow with the number of rows. Many cells have the same from
        `napari_hcs_qc.heads.linear.decisions.Decider` in half the time.
        """
        dtype, n_inputs = features.dtype, self.coef_.shape[1]
        anchors = (self.anchors_.astype(dtype) / dtype.type(n_inputs)).T
        anchor_coef = self.anchor_coef_.T.astype(dtype)
        coef, deviation_coef = self.coef_.T.astype(dtype), self.deviation_coef_.T.astype(dtype)
        inputs_of = self._make_inputs(dtype)
        decisions = np.empty((len(features), coef.shape[1]))
        block = np.empty((min(_ROWS_AT_ONCE, len(features)), n_inputs), dtype)
        for start in range(0, len(features), _ROWS_AT_ONCE):
            part = features[start : start + _ROWS_AT_ONCE]
            z = inputs_of(part, block[: len(part)])
            decision = z @ coef
            if len(self.anchors_):
                alike = z @ anchors
                alike *= alike
                decision += alike @ anchor_coef
            if self.deviations:
                decision += np.abs(z, out=z) @ deviation_coef
            decisions[start : start + len(z)] = decision
        return decisions + self.intercept_

    def geometry(self) -> Geometry:
        """How features become the inputs ``z``, see `Geometry`."""
        n_features, n_directions = len(self.centre_), len(self.offset_)
        weight = _PLATE_WEIGHT if n_directions else 0.0
        whole = (1 + weight) ** -0.5
        part = whole * (weight * n_features / max(1, n_directions)) ** 0.5
        return Geometry(
            whole / self.scale_,
            _LIMIT * whole,
            part * self.directions_,
            part * self.offset_,
            _LIMIT * part,
        )

    def _make_inputs(self, dtype: np.dtype[Any]) -> _InputsOf:
        """Make the function that gives ``z`` of some rows, maybe into memory that is at hand."""
        geometry = self.geometry()
        n_features, n_directions = len(self.centre_), len(self.offset_)
        centre, factor = self.centre_.astype(dtype), geometry.factor.astype(dtype)
        directions, offset = geometry.directions.astype(dtype).T, geometry.offset.astype(dtype)

        def inputs_of(rows: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
            if out is None:
                out = np.empty((len(rows), n_features + n_directions), dtype)
            z = np.subtract(rows, centre, out=out[:, :n_features])
            z *= factor
            np.clip(z, -geometry.limit, geometry.limit, out=z)
            if n_directions:
                along = np.subtract(rows @ directions, offset, out=out[:, n_features:])
                np.clip(along, -geometry.along_limit, geometry.along_limit, out=along)
            return out

        return inputs_of

    def _rotate(self, z: Floats, uses_products: bool) -> Rotation:
        """Coordinates of the cells in the span of their centred inputs."""
        n_inputs = z.shape[1]
        if not uses_products:
            inputs = [z, _DEVIATION_SCALE * np.abs(z)] if self.deviations else [z]
            stacked = np.hstack(inputs) / np.sqrt(n_inputs)
            return rotate(stacked - stacked.mean(axis=0))
        alike = z @ z.T / n_inputs
        gram = alike + alike**2
        if self.deviations:
            gram += np.abs(z) @ np.abs(z).T * (_DEVIATION_SCALE**2 / n_inputs)
        means = gram.mean(axis=0)
        return rotate_gram(gram - means - means[:, np.newaxis] + means.mean())

    def _choose_and_solve(
        self,
        rotation: Rotation,
        codes: NDArray[np.int64],
        n_classes: int,
        unit: float,
        groups: ArrayLike | None,
        offset: Floats | None,
    ) -> tuple[Solution, Calibration]:
        """Solve for all cells at the strength that held-out cells like best."""
        importance = np.ones(len(codes))
        if self.balance:
            importance = (len(codes) / (n_classes * np.bincount(codes)))[codes]
        held_out, self.folds_by_ = self._held_out(codes, groups)
        n_outputs = 1 if n_classes == 2 else n_classes
        as_it_is = Calibration(1.0, np.zeros(n_outputs), np.inf)
        everything = importance[:, np.newaxis]
        knows_little = offset is not None and len(codes) < _FEW
        fitted = partial(
            solve,
            offset=offset,
            intercept_penalty=_INTERCEPT_SD**-2 if knows_little else INTERCEPT_PENALTY,
        )
        if not held_out.any():
            self.strength_ = _DEFAULT_STRENGTH
            penalty = self.strength_ * unit
            return fitted(rotation, codes, n_classes, everything, penalty), as_it_is
        rows = np.nonzero(held_out)[0]
        tested = codes[rows]
        best, start, least = as_it_is, None, np.inf
        before: Solution | None = None
        path: Solution | None = None
        for strength in sorted(self.strengths, reverse=True):
            counts = everything * ~held_out
            penalty = strength * unit
            # Strengths are all but evenly spaced on a log scale: the solution goes on as it went.
            ahead = path if before is None or path is None else _continued(before, path)
            before = path
            path = fitted(rotation, codes, n_classes, counts, penalty, ahead, tolerance=1e-3)
            decisions = path.decisions(rotation.cells)[held_out]
            if offset is not None:
                decisions += offset[rows]
            if self.calibrate and not knows_little:
                calibration = calibrate(decisions, tested, len(codes))
            else:
                calibration = as_it_is._replace(log_loss=log_loss(decisions, tested))
            # As in `calibrate`: few annotations cannot run away with it.
            away = np.log10(strength / _DEFAULT_STRENGTH) / _DOUBT_DECADES
            cost = calibration.log_loss + 0.5 * away**2 / len(codes)
            if start is None or cost < least:
                best, self.strength_, least = calibration, strength, cost
                start = Solution(path.weights[:, :1], path.intercepts[:1])
        penalty = self.strength_ * unit
        exact = fitted(rotation, codes, n_classes, everything, penalty, start, tolerance=1e-8)
        return exact, best

    def _held_out(
        self, codes: NDArray[np.int64], groups: ArrayLike | None
    ) -> tuple[NDArray[np.bool_], Literal["well", "cell", "none"]]:
        """``(n_cells, 1 + n_fits)``: who is held out; the first column is the fit on all."""
        columns = [np.zeros(len(codes), bool)]
        by: Literal["well", "cell", "none"] = "none"
        for repeat in range(self.n_repeats):
            folds = assign_folds(codes, groups, self.n_folds, self.random_state + repeat)
            by = folds.by if folds.n_folds else "none"
            columns += [folds.fold == number for number in range(folds.n_folds)]
        return np.stack(columns, axis=1), by


def _offset_weight(n_cells: int) -> float:
    return _OFFSET_WEIGHT * min(1.0, _MANY / n_cells)


def _continued(before: Solution, now: Solution) -> Solution:
    weights = 2 * now.weights - before.weights
    return Solution(weights, 2 * now.intercepts - before.intercepts)


def _main_directions(z: Floats, shares: Floats) -> tuple[Floats, Floats]:
    """Write ``sum(share * (z_cell @ z / n_features) ** 2)`` with as few squares as do."""
    n_features = z.shape[1]
    # In the coordinates of the cells' own span, of which there are few; see `rotate_gram`.
    cells, spread = rotate(z)
    values, vectors = eigh((cells.T * shares) @ cells)
    order = np.argsort(-np.abs(values), kind="stable")
    values, vectors = values[order], vectors[:, order]
    in_cells = (cells / spread) @ vectors  # the directions are in_cells.T @ z
    random = np.random.default_rng(0).normal(size=(_TRIAL_ROWS, n_features))
    random = (z.std(axis=0) * np.clip(random, -_LIMIT, _LIMIT)) @ z.T @ in_cells
    parts = (np.vstack([cells @ vectors, random]) / n_features) ** 2 * values
    # Column k: what is missing when the first k are kept.
    missing = np.abs(np.cumsum(parts[:, ::-1], axis=1)[:, ::-1]).max(axis=0)
    n_kept = int(np.append(0, np.flatnonzero(missing > _TOLERANCE) + 1).max())
    scaled = in_cells[:, :n_kept] * np.sqrt(np.abs(values[:n_kept]))
    return scaled.T @ z, np.sign(values[np.newaxis, :n_kept])
