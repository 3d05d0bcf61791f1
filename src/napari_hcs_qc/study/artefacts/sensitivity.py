"""Which artefacts, and how severe, the encoders of an assay miss: measured on its own cells."""

from __future__ import annotations

import math
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_hcs_qc import __version__
from napari_hcs_qc.assay.embeddings.training_set import MoreCells
from napari_hcs_qc.cells.recipe import get_recipe
from napari_hcs_qc.files import atomic_path, fingerprint
from napari_hcs_qc.heads.linear.scoring import ABNORMAL, NORMAL
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.study.artefacts.artefact_cells import ArtefactCells
from napari_hcs_qc.study.artefacts.artefact_kinds import apply_artefact, get_kinds
from napari_hcs_qc.study.artefacts.measure import (
    FIGURES,
    detection_row,
    fit_folds,
    p_abnormal,
    weighted_f1,
    well_folds,
)
from napari_hcs_qc.study.artefacts.sensitivity_results import (
    Accuracy,
    KindResult,
    Provenance,
    SeedMean,
    Sensitivity,
)
from napari_hcs_qc.study.artefacts.simulated_training import TRAIN_SEVERITY
from napari_hcs_qc.study.benchmark.benchmark_spec import BASELINE
from napari_hcs_qc.study.benchmark.features import (
    Embedder,
    feature_inputs,
    make_embedder,
    write_features,
)
from napari_hcs_qc.study.benchmark.sources import annotated_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.heads.head_registry import Head
    from napari_hcs_qc.study.artefacts.artefact_kinds import ArtefactKind
    from napari_hcs_qc.study.artefacts.sensitivity_options import SensitivityOptions
    from napari_hcs_qc.study.artefacts.sensitivity_results import Trained
    from napari_hcs_qc.study.benchmark.benchmark_spec import EncoderSpec

_Change: TypeAlias = "tuple[int, ArtefactKind, float]"
"""Row of a cell, and the artefact and severity that are applied to it."""

_VERSION = 1
_BATCH = 64


def measure_sensitivity(
    assay: AssayFolder, options: SensitivityOptions, folder: Path, *, job: Job = NO_JOB
) -> Sensitivity:
    """Apply artefacts to normal cells and count how many are called abnormal.

    The annotated cells are divided into folds by well. Each normal cell is changed and scored by
    the head of the fold in which its well was held out; the dead cells that are pasted come from
    held-out wells, too, so that no head has seen them. Heads know nothing of the plates but their
    training cells, so that encoders are compared alike.
    """
    cells = annotated_cells(assay, assay.path.name)
    # The diameter of the first plate for all, as a model has it.
    recipe = get_recipe(options.recipe).with_diameter(cells.states[0].plate_cells.diameter_px)
    made = ArtefactCells(cells, recipe, options.pixel_size_um, options.numerical_aperture)
    return _Run(options, made, assay.threshold, folder, job).measure(assay.path.name)


class _Run:
    """One analysis; made and used by `measure_sensitivity`."""

    def __init__(
        self,
        options: SensitivityOptions,
        made: ArtefactCells,
        threshold: float,
        folder: Path,
        job: Job,
    ) -> None:
        self.options, self.made, self.cells = options, made, made.cells
        self.threshold, self.folder, self.job = threshold, folder, job
        normal = np.flatnonzero(self.cells.classes == NORMAL)
        self.tested = np.sort(np.random.default_rng(0).permutation(normal)[: options.n_cells])
        self.severities = (0.0, *sorted(set(options.severities)))  # the untouched cells first
        self.trained: list[Trained] = ["real"]
        if options.simulated:
            self.trained.append("simulated")
        # Each is computed once.
        self._split = cache(partial(well_folds, self.cells.classes, self.cells.groups))
        self._embedder = cache(self._make_embedder)
        self._features = cache(self._features_of)
        self._heads = cache(self._fitted)

    def measure(self, name: str) -> Sensitivity:
        kinds, encoders = get_kinds(self.options.kinds), self.options.encoders
        accuracy = [self.accuracy_of(encoder) for encoder in encoders]
        paths = {
            (encoder, kind.name): self._path("cells", encoder, kind=kind.name)
            for encoder in encoders
            for kind in kinds
        }
        for number, kind in enumerate(kinds):
            missing = {
                encoder: paths[encoder, kind.name]
                for encoder in encoders
                if not paths[encoder, kind.name].is_file()
            }
            if missing:
                self._fill(kind, missing, (number, len(kinds)))
        results = [KindResult.load(path) for path in paths.values()]
        weights = {result.encoder: result.weights_sha256 for result in results}
        return Sensitivity(self._provenance(name, weights), results, accuracy, self._strips(kinds))

    def accuracy_of(self, encoder: EncoderSpec) -> Accuracy:
        """Figures on real annotated cells, cross-validated by the same folds."""
        path = self._path("accuracy", encoder)
        if not path.is_file():
            figures = {trained: self._accuracy(encoder, trained) for trained in self.trained}
            simulated = figures.get("simulated")
            Accuracy(encoder=encoder.name, real=figures["real"], simulated=simulated).save(path)
        return Accuracy.load(path)

    def _accuracy(self, encoder: EncoderSpec, trained: Trained) -> dict[str, SeedMean]:
        seeds = []
        for seed in range(self.options.seeds):
            heads = self._heads(encoder, seed, trained)
            p = p_abnormal(heads, self._split(seed).fold, self._features(encoder))
            seeds.append(weighted_f1(self.cells.classes, p, self.threshold))
        figures = {name: tuple(seed[name] for seed in seeds) for name in FIGURES}
        return {
            name: SeedMean(mean=float(np.mean(values)), per_seed=values)
            for name, values in figures.items()
        }

    def _fill(
        self, kind: ArtefactKind, paths: Mapping[EncoderSpec, Path], place: tuple[int, int]
    ) -> None:
        """Measure one kind with several encoders: the changed crops are made once."""
        encoders = list(paths)
        severities, seeds = self.severities, range(self.options.seeds)
        total = len(seeds) * len(severities)
        called = {
            (encoder.name, trained): np.zeros((len(severities), len(seeds), len(self.tested)), bool)
            for encoder in encoders
            for trained in self.trained
        }
        self._load_scenes()
        for seed in seeds:
            fold = self._split(seed).fold[self.tested]
            for step, severity in enumerate(severities):
                self.job.report(
                    (place[0] * total + seed * len(severities) + step),
                    place[1] * total,
                    f"{kind.name} at severity {severity:g}",
                )
                features = self._changed(kind, severity, seed, encoders)
                for encoder in encoders:
                    for trained in self.trained:
                        heads = self._heads(encoder, seed, trained)
                        p = p_abnormal(heads, fold, features[encoder.name])
                        called[encoder.name, trained][step, seed] = p >= self.threshold
        amounts = [kind.amount(severity, self.made.imaging[0]) for severity in severities]
        for encoder, path in paths.items():
            KindResult(
                encoder=encoder.name,
                kind=kind.name,
                unit=kind.unit,
                weights_sha256=self._embedder(encoder).weights_sha256,
                rows=tuple(
                    detection_row(
                        trained,
                        severity,
                        round(amount, 4) if math.isfinite(amount) else None,
                        called[encoder.name, trained][step],
                    )
                    for trained in self.trained
                    for step, (severity, amount) in enumerate(zip(severities, amounts, strict=True))
                ),
            ).save(path)

    def _changed(
        self, kind: ArtefactKind, severity: float, seed: int, encoders: Sequence[EncoderSpec]
    ) -> dict[str, NDArray[np.float32]]:
        if severity == 0:
            return {encoder.name: self._features(encoder)[self.tested] for encoder in encoders}
        fold = self._split(seed).fold
        changes = [(int(row), kind, severity) for row in self.tested]
        return self._embedded(changes, seed, encoders, lambda row: fold == fold[row])

    def _embedded(
        self,
        changes: Sequence[_Change],
        seed: int,
        encoders: Sequence[EncoderSpec],
        donors_of: Callable[[int], NDArray[np.bool_]],
    ) -> dict[str, NDArray[np.float32]]:
        """Embed changed cells; `donors_of` gives among which rows dead cells are looked for."""
        made = self.made
        parts: dict[str, list[NDArray[np.float32]]] = {encoder.name: [] for encoder in encoders}
        for start in range(0, len(changes), _BATCH):
            scenes = []
            for row, kind, severity in changes[start : start + _BATCH]:
                self.job.check()
                plate = made.plate_of(row)
                donors = []
                if kind.kind == "dead":
                    others = np.flatnonzero(donors_of(row))
                    donors = made.donors(others.tolist(), plate)
                scene = apply_artefact(
                    made.scene(row),
                    kind,
                    severity,
                    seed=seed,
                    cell=str(made.cells.ids[row]),
                    donors=donors,
                )
                scenes.append((plate, scene))
            crops = made.crops(scenes)
            for encoder in encoders:
                parts[encoder.name].append(self._embedder(encoder).embed(crops))
        return {name: np.concatenate(features) for name, features in parts.items()}

    def _fitted(self, encoder: EncoderSpec, seed: int, trained: str) -> list[Head]:
        self.job.check()
        return fit_folds(
            self._features(encoder),
            self.cells.classes,
            self.cells.groups,
            self._split(seed),
            "forest" if encoder.name == BASELINE else self.options.head,
            seed,
            self._simulated(encoder, seed) if trained == "simulated" else None,
        )

    def _simulated(self, encoder: EncoderSpec, seed: int) -> dict[int, MoreCells]:
        """Embed the simulated cells that each fold is trained on, as many as it has abnormal."""
        cells, split = self.cells, self._split(seed)
        kinds = get_kinds(self.options.simulated)
        path = self._path("simulated", encoder, seed=seed).with_suffix(".npy")
        drawn: dict[int, list[_Change]] = {}
        for fold, (train, _test) in enumerate(split):
            rng = np.random.default_rng([seed, fold, 1])
            normal = train[cells.classes[train] == NORMAL]
            n = len(train) - len(normal)
            rows = rng.choice(normal, n, replace=n > len(normal))
            severities = rng.uniform(*TRAIN_SEVERITY, n)
            drawn[fold] = [
                (int(row), kinds[int(number)], float(severity))
                for row, number, severity in zip(
                    rows, rng.integers(len(kinds), size=n), severities, strict=True
                )
            ]
        if path.is_file():
            features: NDArray[np.float32] = np.load(path, allow_pickle=False)
        else:
            self._load_scenes(np.unique([row for changes in drawn.values() for row, *_ in changes]))
            parts = []
            for fold, changes in drawn.items():
                self.job.report(fold, len(drawn), f"Simulated cells to train {encoder.name} on")
                # Other noise and shapes than those of the tested cells.
                donors_of = partial(_always, split.fold != fold)
                embedded = self._embedded(changes, 1000 + seed, [encoder], donors_of)
                parts.append(embedded[encoder.name])
            features = np.concatenate(parts)
            with atomic_path(path) as temporary:
                np.save(temporary, features)
        ends = np.cumsum([len(changes) for changes in drawn.values()])
        return {
            fold: MoreCells(
                features[end - len(changes) : end],
                np.full(len(changes), ABNORMAL),
                cells.groups[[row for row, *_ in changes]],
            )
            for (fold, changes), end in zip(drawn.items(), ends, strict=True)
        }

    def _load_scenes(self, rows: NDArray[np.int64] | None = None) -> None:
        dead = np.flatnonzero(self.made.kinds == "dead")
        changes = np.concatenate([self.tested if rows is None else rows, dead])
        self.made.load(changes.tolist(), self.job)

    def _features_of(self, encoder: EncoderSpec) -> NDArray[np.float32]:
        """Give the features of the annotated cells as they are; kept in the folder."""
        path = self.folder / "features" / f"{fingerprint(self._inputs(encoder))}.npy"
        if not path.is_file():
            message = f"Embedding annotated cells by {encoder.name}"
            embedder = self._embedder(encoder)
            write_features(path, self.cells, self.made.recipe, embedder, self.job, message)
        features: NDArray[np.float32] = np.load(path, allow_pickle=False)
        return features

    def _make_embedder(self, encoder: EncoderSpec) -> Embedder:
        recipe, device = self.made.recipe, self.options.device
        return make_embedder(self.cells, encoder, recipe, self.job, device)

    def _inputs(self, encoder: EncoderSpec) -> dict[str, Any]:
        inputs = feature_inputs(self.cells, encoder, self.made.sized(0))
        return {**inputs, "sensitivity": _VERSION}

    def _path(self, of: str, encoder: EncoderSpec, **more: object) -> Path:
        """Name the file of a result by all that it depends on."""
        options = self.options
        inputs: dict[str, Any] = {
            **self._inputs(encoder),
            "kinds": [str(kind) for kind in self.made.kinds],
            "simulated": list(options.simulated),
            "imaging": [repr(imaging) for imaging in self.made.imaging],
            **{name: str(value) for name, value in more.items()},
        }
        if of != "simulated":
            inputs |= {"head": options.head, "threshold": self.threshold, "seeds": options.seeds}
        if of == "cells":
            inputs |= {"severities": list(self.severities[1:]), "n_cells": options.n_cells}
        return self.folder / of / f"{fingerprint(inputs)}.json"

    def _provenance(self, name: str, weights: dict[str, str]) -> Provenance:
        options, made = self.options, self.made
        cells, imaging = made.cells, made.imaging[0]
        split = self._split(0)
        return Provenance(
            assay=name,
            plates=[state.plate.name for state in cells.states],
            n_annotated=len(cells.classes),
            n_abnormal=int((cells.classes != NORMAL).sum()),
            n_wells=len(set(cells.groups.tolist())),
            n_spoiled=len(self.tested),
            n_dead=int((made.kinds == "dead").sum()),
            recipe=made.recipe.name,
            recipe_fingerprint=made.recipe.fingerprint,
            head=options.head,
            threshold=self.threshold,
            seeds=options.seeds,
            n_folds=split.n_folds,
            fold_note=split.note,
            simulated=list(options.simulated),
            diameter_px=imaging.diameter_px,
            pixel_size_um=imaging.pixel_size_um,
            pixel_size_from=self._pixel_size_from(),
            numerical_aperture=imaging.numerical_aperture,
            wavelengths_um=[channel.wavelength_um for channel in imaging.channels],
            saturation=[channel.full for channel in imaging.channels],
            version=__version__,
            encoders=weights,
        )

    def _pixel_size_from(self) -> str:
        if self.options.pixel_size_um is not None:
            return "given"
        is_known = self.cells.states[0].plate.pixel_size_um is not None
        return "of the plate" if is_known else "guessed by nuclei of 15 µm; give --pixel-size"

    def _strips(self, kinds: Sequence[ArtefactKind]) -> dict[str, NDArray[np.uint8]]:
        """Draw what each kind does to one cell, as an encoder is shown its widest crop."""
        self._load_scenes(self.tested)
        row = int(self.tested[len(self.tested) // 2])
        made, plate = self.made, self.made.plate_of(row)
        dead = made.donors(np.flatnonzero(made.kinds == "dead").tolist(), plate)
        half = max(made.sized(plate).sides_px) // 2
        strips = {}
        for kind in kinds:
            pictures = []
            for severity in self.severities:
                scene = apply_artefact(made.scene(row), kind, severity, cell="shown", donors=dead)
                middle = scene.centre_px
                window = slice(middle - half, middle + half)
                shown = scene.scaled()[scene.imaging.nucleus_channel][window, window]
                # A gamma, so that dim surroundings are seen on the page as well.
                pictures.append(np.rint(255 * shown**0.7).astype(np.uint8))
            strips[kind.name] = np.stack(pictures)
        return strips


def _always(rows: NDArray[np.bool_], _row: int) -> NDArray[np.bool_]:
    """Give the same rows for every cell."""
    return rows
