"""What a sensitivity analysis found: one file an encoder and kind, and one an encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from napari_hcs_qc.documents import Document, Part
from napari_hcs_qc.study.artefacts.artefact_kinds import KINDS
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

Trained: TypeAlias = Literal["real", "simulated"]
"""What a head is trained on: real annotated cells, or simulated ones as well."""

_REMEDY = "Delete it; the same analysis measures it again."


class Detection(Part):
    """Share of cells called abnormal at one severity."""

    trained: Trained
    severity: float
    amount: float | None  # in the unit of the kind; None is no limit
    n_cells: int
    called_abnormal: float
    low: float  # Wilson 95 % interval
    high: float
    per_seed: tuple[float, ...]

    @property
    def percent(self) -> str:
        """The share as text."""
        return f"{100 * self.called_abnormal:.0f}"

    @property
    def interval(self) -> str:
        """Its interval as text."""
        return f"{100 * self.low:.0f}–{100 * self.high:.0f}"


class KindResult(Document):
    """How one encoder detects one kind of artefact."""

    remedy: ClassVar[str] = _REMEDY

    format: Literal["napari-hcs-qc sensitivity"] = "napari-hcs-qc sensitivity"
    format_version: Literal[1] = 1
    encoder: str
    kind: str
    unit: str
    weights_sha256: str
    rows: tuple[Detection, ...]


class SeedMean(Part):
    """A figure as the mean over the seeds."""

    mean: float
    per_seed: tuple[float, ...]


class Accuracy(Document):
    """How one encoder does on real annotated cells."""

    remedy: ClassVar[str] = _REMEDY

    format: Literal["napari-hcs-qc sensitivity accuracy"] = "napari-hcs-qc sensitivity accuracy"
    format_version: Literal[1] = 1
    encoder: str
    real: dict[str, SeedMean]  # by `measure.FIGURES`
    simulated: dict[str, SeedMean] | None = None  # trained on simulated cells as well


@dataclass(frozen=True, eq=False)
class Curve:
    """How one encoder with one training detects one kind of artefact."""

    encoder: str
    kind: str
    rows: Sequence[Detection]  # by severity, the untouched cells first

    @property
    def trained(self) -> Trained:
        """What its head was trained on."""
        return self.rows[0].trained

    @property
    def untouched(self) -> Detection:
        """The cells without an artefact."""
        return next(row for row in self.rows if row.severity == 0)

    @property
    def modified(self) -> list[Detection]:
        """The cells with an artefact, by severity."""
        return sorted((row for row in self.rows if row.severity > 0), key=lambda r: r.severity)

    @property
    def half_at(self) -> float | None:
        """Severity from which on half of the cells is detected; None where it never is."""
        return severity_at(self.rows, 0.5)

    @property
    def half(self) -> str:
        """That severity as text."""
        return "never" if self.half_at is None else f"{self.half_at:.2f}"

    @property
    def amounts(self) -> list[str]:
        """Give the severities in the unit of the kind."""
        unit = KINDS[self.kind].unit
        return [_amount(row.amount, unit) for row in self.modified]


def curves_of(results: Iterable[KindResult]) -> list[Curve]:
    """Give a curve for each kind, encoder and training, in the order of the kinds."""
    curves = [
        Curve(result.encoder, result.kind, [row for row in result.rows if row.trained == trained])
        for result in results
        for trained in dict.fromkeys(row.trained for row in result.rows)
    ]
    return sorted(curves, key=lambda curve: list(KINDS).index(curve.kind))


def severity_at(rows: Iterable[Detection], share: float) -> float | None:
    """Severity from which on at least `share` of the cells is called abnormal, by interpolation.

    From there on for good: a curve that falls below again counts from where it last rises. None
    where the highest severity is not called that often.
    """
    reached: float | None = None
    previous: tuple[float, float] | None = None
    for severity, value in sorted((row.severity, row.called_abnormal) for row in rows):
        if value < share:
            reached = None
        elif reached is None:
            reached = severity
            if previous is not None:
                s0, v0 = previous
                reached = s0 + (severity - s0) * (share - v0) / (value - v0)
        previous = (severity, value)
    return reached


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where the figures come from and how they were measured."""

    assay: str
    plates: list[str]
    n_annotated: int
    n_abnormal: int
    n_wells: int
    n_spoiled: int  # normal cells that were changed
    n_dead: int
    recipe: str
    recipe_fingerprint: str
    head: str
    threshold: float
    seeds: int
    n_folds: int
    fold_note: str
    simulated: list[str]
    diameter_px: float
    pixel_size_um: float
    pixel_size_from: str
    numerical_aperture: float
    wavelengths_um: list[float]
    saturation: list[float]
    version: str
    encoders: dict[str, str]  # SHA-256 of their weights, empty for the random forest

    @property
    def lines(self) -> list[str]:
        """Describe it."""
        weights = ", ".join(
            f"{name} (SHA-256 of its weights {digest[:12]}…)"
            if digest
            else f"{name} (random forest)"
            for name, digest in self.encoders.items()
        )
        donors = (
            f"{self.n_dead} annotated dead cells are the ones pasted, for each cell only those of "
            "held-out wells; where there are none, condensed nuclei are drawn"
            if self.n_dead
            else "no cell is annotated dead, so the dead ones are drawn"
        )
        seeds = f"0 to {self.seeds - 1}" if self.seeds > 1 else "0"
        lines = [
            f"Plates {', '.join(self.plates)}: {self.n_annotated} annotated cells "
            f"({self.n_abnormal} abnormal) in {self.n_wells} wells; {self.n_spoiled} normal ones "
            "have simulated artefacts.",
            f"Encoders: {weights}. Recipe {self.recipe} ({self.recipe_fingerprint}), head "
            f"{self.head}, abnormal from P = {self.threshold:g} on.",
            f"{self.n_folds} folds by well, {count_of(self.seeds, 'seed')} ({seeds}); no well is "
            "both trained on and tested. Intervals are Wilson's at 95 % over the cells.",
            "Artefacts are made on the camera's grey values around each cell, before any resize; "
            f"{donors}.",
            f"Nucleus diameter {self.diameter_px:.1f} px, pixel {self.pixel_size_um:.3g} µm "
            f"({self.pixel_size_from}), numerical aperture {self.numerical_aperture:g}, light of "
            f"{_listed(self.wavelengths_um)} µm, saturation at {_listed(self.saturation)}. "
            f"napari-hcs-qc {self.version}.",
        ]
        if self.fold_note:
            lines.append(self.fold_note)
        if self.simulated:
            lines.append(
                "Trained on simulated cells as well: to the training cells of each fold as many "
                f"were added as it has abnormal ones, of {', '.join(self.simulated)}, severity 0.5 "
                "to 1."
            )
        return lines


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """What was measured."""

    provenance: Provenance
    results: list[KindResult]
    accuracy: list[Accuracy]
    # Kind to pictures of one cell at severity 0 and every other, ``(n, side, side)`` uint8
    strips: dict[str, NDArray[np.uint8]]


def _listed(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _amount(amount: float | None, unit: str) -> str:
    if amount is None:
        return "none"
    return f"{100 * amount:.3g} % {unit}" if unit.startswith("of ") else f"{amount:.3g} {unit}"
