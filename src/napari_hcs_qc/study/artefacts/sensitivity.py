"""Which artefacts, and how severe, the encoders of an assay miss: measured on its own cells."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc import __version__
from napari_hcs_qc.cells.recipe import DEFAULT_RECIPE, get_recipe
from napari_hcs_qc.encoders.registry import DEFAULT_ENCODER, load_encoder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.baseline import hand_features
from napari_hcs_qc.files import atomic_path, fingerprint, read_json, sha256_of, write_json
from napari_hcs_qc.heads.head_registry import FINE_TUNED, make_head
from napari_hcs_qc.heads.linear.scoring import NORMAL
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.study.artefacts.artefact_cells import ArtefactCells
from napari_hcs_qc.study.artefacts.artefact_kinds import get_kinds, spoil
from napari_hcs_qc.study.artefacts.measure import (
    Extra,
    detection_row,
    fit_folds,
    p_abnormal,
    weighted_f1,
    well_folds,
)
from napari_hcs_qc.study.artefacts.simulated_training import TRAIN_SEVERITY
from napari_hcs_qc.study.benchmark.benchmark_spec import BASELINE, EncoderSpec
from napari_hcs_qc.study.benchmark.sources import annotated_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.evaluation.splits import Split
    from napari_hcs_qc.heads.head_registry import Head
    from napari_hcs_qc.study.artefacts.artefact_kinds import ArtefactKind

DEFAULT_SEVERITIES = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
TRAINED = ("real", "simulated")
"""What heads are trained on: real annotated cells, or simulated ones as well."""

_VERSION = 1
_BATCH = 64


@dataclass(frozen=True)
class SensitivityOptions:
    """What is measured."""

    # Names, with a file of weights where one is needed
    encoders: tuple[EncoderSpec, ...] = (EncoderSpec(DEFAULT_ENCODER),)
    recipe: str = DEFAULT_RECIPE  # by name
    head: str = "linear"  # by name
    kinds: tuple[str, ...] | None = None  # artefacts by name; None takes all
    severities: tuple[float, ...] = DEFAULT_SEVERITIES  # in (0, 1]
    seeds: int = 1  # divisions into folds, each with artefacts drawn anew
    n_cells: int = 300  # normal cells that are spoiled at most, drawn from all annotated ones
    # Artefacts by name of which simulated cells are trained on as well, to be compared
    simulated: tuple[str, ...] = ()
    numerical_aperture: float = 0.5  # of the plates, see `ArtefactCells`
    pixel_size_um: float | None = None  # of the plates, see `ArtefactCells`
    device: str = "auto"  # ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``

    def __post_init__(self) -> None:
        get_recipe(self.recipe)
        make_head(self.head)
        get_kinds(self.kinds)
        if self.simulated:
            get_kinds(self.simulated)
        wrong = [value for value in self.severities if not 0 < value <= 1]
        if wrong or not self.severities:
            raise HcsQcError(
                f"The severities are {self.severities}; one or more numbers above 0, at most 1, "
                "were expected."
            )
        if self.seeds < 1 or self.n_cells < 1 or not self.encoders:
            raise HcsQcError(
                f"{len(self.encoders)} encoders, {self.seeds} seeds and {self.n_cells} cells were "
                "requested; at least 1 of each is needed."
            )
        if self.head in FINE_TUNED:
            raise HcsQcError(
                f"The head {self.head} trains an encoder for each fold, which takes hours here; "
                "choose linear, linear-paper, knn or forest."
            )
        if not 0.05 <= self.numerical_aperture < 1:
            raise HcsQcError(
                f"A numerical aperture of {self.numerical_aperture} was given; 0.05 to below 1 "
                "(an objective in air) was expected."
            )
        if self.pixel_size_um is not None and not 0.01 <= self.pixel_size_um <= 100:
            raise HcsQcError(
                f"A pixel size of {self.pixel_size_um} µm was given; 0.01 to 100 was expected."
            )


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """What was measured."""

    # Plates, cells, recipe, head, threshold, encoders with the hash of their weights, imaging
    provenance: dict[str, Any]
    results: list[dict[str, Any]]
    accuracy: list[dict[str, Any]]
    # Kind to pictures of one cell at severity 0 and every other, ``(n, side, side)`` uint8
    strips: dict[str, NDArray[np.uint8]]


def measure_sensitivity(
    assay: AssayFolder,
    options: SensitivityOptions,
    folder: Path,
    *,
    job: Job = NO_JOB,
) -> Sensitivity:
    """Spoil normal cells and count how many are called abnormal.

    The annotated cells are divided into folds by well. Each normal cell is spoiled and judged by
    the head of the fold in which its well was held out; the dead cells that are pasted come from
    held-out wells, too, so that no head has seen them. Heads know nothing of the plates but their
    training cells, so that encoders are compared alike.
    """
    cells = annotated_cells(assay, assay.path.name)
    # The diameter of the first plate for all, as a model has it.
    recipe = get_recipe(options.recipe).with_diameter(cells.states[0].found.diameter_px)
    made = ArtefactCells(cells, recipe, options.pixel_size_um, options.numerical_aperture)
    run = _Run(options, made, assay.threshold, folder, job)
    return run.measure(assay.path.name)


@dataclass(eq=False)
class _Run:
    options: SensitivityOptions
    made: ArtefactCells
    threshold: float
    folder: Path
    job: Job
    tested: NDArray[np.int64] = field(init=False)
    _encode: dict[str, Callable[[torch.Tensor], NDArray[np.float32]]] = field(
        init=False, default_factory=dict
    )
    _hashes: dict[str, str] = field(init=False, default_factory=dict)
    _clean: dict[str, NDArray[np.float32]] = field(init=False, default_factory=dict)
    _heads: dict[tuple[str, int, str], list[Head]] = field(init=False, default_factory=dict)
    _splits: dict[int, Split] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        normal = np.flatnonzero(self.made.cells.classes == NORMAL)
        chosen = np.random.default_rng(0).permutation(normal)[: self.options.n_cells]
        self.tested = np.sort(chosen)

    @property
    def trained(self) -> tuple[str, ...]:
        return TRAINED if self.options.simulated else TRAINED[:1]

    def measure(self, name: str) -> Sensitivity:
        kinds = get_kinds(self.options.kinds)
        accuracy = [self.accuracy_of(encoder) for encoder in self.options.encoders]
        results: dict[tuple[str, str], dict[str, Any]] = {}
        for number, kind in enumerate(kinds):
            paths = {
                encoder: self._path("cells", encoder, kind=kind.name)
                for encoder in self.options.encoders
            }
            missing = [encoder for encoder, path in paths.items() if not path.is_file()]
            if missing:
                self._fill(kind, missing, paths, (number, len(kinds)))
            for encoder, path in paths.items():
                results[encoder.name, kind.name] = read_json(path)
        ordered = [results[e.name, k.name] for e in self.options.encoders for k in kinds]
        provenance = self._provenance(name)
        provenance["encoders"] = {one["encoder"]: one["weights_sha256"] for one in ordered}
        return Sensitivity(provenance, ordered, accuracy, self._strips(kinds))

    def accuracy_of(self, encoder: EncoderSpec) -> dict[str, Any]:
        """Figures on real annotated cells, cross-validated by the same folds."""
        path = self._path("accuracy", encoder)
        if path.is_file():
            return read_json(path)
        found: dict[str, Any] = {"encoder": encoder.name}
        cells = self.made.cells
        for trained in self.trained:
            seeds = []
            for seed in range(self.options.seeds):
                heads = self._fitted(encoder, seed, trained)
                p = p_abnormal(heads, self._split(seed).fold, self._features(encoder))
                seeds.append(weighted_f1(cells.classes, p, self.threshold))
            found[trained] = {
                figure: {
                    "mean": float(np.mean([one[figure] for one in seeds])),
                    "per_seed": [one[figure] for one in seeds],
                }
                for figure in seeds[0]
            }
        write_json(path, found)
        return found

    def _fill(
        self,
        kind: ArtefactKind,
        encoders: Sequence[EncoderSpec],
        paths: dict[EncoderSpec, Path],
        place: tuple[int, int],
    ) -> None:
        """Measure one kind with several encoders: the spoiled crops are made once."""
        severities = (0.0, *sorted(set(self.options.severities)))
        seeds = range(self.options.seeds)
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
                features = self._spoiled(kind, severity, seed, encoders)
                for encoder in encoders:
                    for trained in self.trained:
                        heads = self._fitted(encoder, seed, trained)
                        p = p_abnormal(heads, fold, features[encoder.name])
                        called[encoder.name, trained][step, seed] = p >= self.threshold
        for encoder in encoders:
            rows = []
            for trained in self.trained:
                for step, severity in enumerate(severities):
                    amount = kind.amount(severity, self.made.imaging[0])
                    row = detection_row(
                        severity,
                        round(amount, 4) if math.isfinite(amount) else None,
                        called[encoder.name, trained][step],
                    )
                    rows.append({"trained": trained, **row})
            told = {"encoder": encoder.name, "kind": kind.name, "unit": kind.unit}
            told["weights_sha256"] = self._hashes[encoder.name]
            write_json(paths[encoder], {**told, "rows": rows})

    def _spoiled(
        self, kind: ArtefactKind, severity: float, seed: int, encoders: Sequence[EncoderSpec]
    ) -> dict[str, NDArray[np.float32]]:
        if severity == 0:
            return {encoder.name: self._features(encoder)[self.tested] for encoder in encoders}
        fold = self._split(seed).fold
        wanted = [(int(row), kind, severity) for row in self.tested]
        return self._embedded(wanted, seed, encoders, lambda row: fold == fold[row])

    def _embedded(
        self,
        wanted: Sequence[tuple[int, ArtefactKind, float]],
        seed: int,
        encoders: Sequence[EncoderSpec],
        donors_of: Callable[[int], NDArray[np.bool_]],
    ) -> dict[str, NDArray[np.float32]]:
        """Embed spoiled cells; `donors_of` says among which rows dead cells are looked for."""
        made = self.made
        parts: dict[str, list[NDArray[np.float32]]] = {one.name: [] for one in encoders}
        for start in range(0, len(wanted), _BATCH):
            scenes = []
            for row, kind, severity in wanted[start : start + _BATCH]:
                self.job.check()
                plate = made.plate_of(row)
                donors = []
                if kind.kind == "dead":
                    others = np.flatnonzero(donors_of(row))
                    donors = made.donors(others.tolist(), plate)
                scene = spoil(
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
                parts[encoder.name].append(self._encoder(encoder)(crops))
        return {name: np.concatenate(found) for name, found in parts.items()}

    def _fitted(self, encoder: EncoderSpec, seed: int, trained: str) -> list[Head]:
        key = (encoder.name, seed, trained)
        if key not in self._heads:
            self.job.check()
            extra = self._simulated(encoder, seed) if trained == "simulated" else None
            cells = self.made.cells
            head = "forest" if encoder.name == BASELINE else self.options.head
            split = self._split(seed)
            features = self._features(encoder)
            self._heads[key] = fit_folds(
                features, cells.classes, cells.groups, split, head, seed, extra
            )
        return self._heads[key]

    def _simulated(self, encoder: EncoderSpec, seed: int) -> dict[int, Extra]:
        """Embed the simulated cells that each fold is trained on, as many as it has abnormal."""
        cells, split = self.made.cells, self._split(seed)
        kinds = get_kinds(self.options.simulated)
        path = self._path("simulated", encoder, seed=seed).with_suffix(".npy")
        drawn: dict[int, list[tuple[int, ArtefactKind, float]]] = {}
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
            self._load_scenes(np.unique([one[0] for several in drawn.values() for one in several]))
            parts = []
            for fold, wanted in drawn.items():
                self.job.report(fold, len(drawn), f"Simulated cells to train {encoder.name} on")
                # Other noise and shapes than those of the tested cells.
                donors_of = partial(_always, split.fold != fold)
                found = self._embedded(wanted, 1000 + seed, [encoder], donors_of)
                parts.append(found[encoder.name])
            features = np.concatenate(parts)
            with atomic_path(path) as temporary:
                np.save(temporary, features)
        ends = np.cumsum([len(several) for several in drawn.values()])
        return {
            fold: Extra(
                features[end - len(wanted) : end], cells.groups[[row for row, *_ in wanted]]
            )
            for (fold, wanted), end in zip(drawn.items(), ends, strict=True)
        }

    def _load_scenes(self, rows: NDArray[np.int64] | None = None) -> None:
        dead = np.flatnonzero(self.made.kinds == "dead")
        wanted = np.concatenate([self.tested if rows is None else rows, dead])
        self.made.load(wanted.tolist(), self.job)

    def _split(self, seed: int) -> Split:
        if seed not in self._splits:
            cells = self.made.cells
            self._splits[seed] = well_folds(cells.classes, cells.groups, seed)
        return self._splits[seed]

    def _features(self, encoder: EncoderSpec) -> NDArray[np.float32]:
        if encoder.name not in self._clean:
            self._clean[encoder.name] = self._embedded_clean(encoder)
        return self._clean[encoder.name]

    def _embedded_clean(self, encoder: EncoderSpec) -> NDArray[np.float32]:
        """Embed the annotated cells as they are; kept in the folder."""
        cells, told = self.made.cells, self._told_encoder(encoder)
        path = self.folder / "features" / f"{fingerprint(told)}.npy"
        if path.is_file():
            kept: NDArray[np.float32] = np.load(path, allow_pickle=False)
            return kept
        parts, n_cells = [], len(cells.classes)
        for start in range(0, n_cells, _BATCH):
            self.job.check()
            self.job.report(start, n_cells, f"Embedding annotated cells by {encoder.name}")
            rows = np.arange(start, min(start + _BATCH, n_cells))
            parts.append(self._encoder(encoder)(cells.crops(self.made.recipe, rows)))
        features = np.concatenate(parts)
        with atomic_path(path) as temporary:
            np.save(temporary, features)
        return features

    def _told_encoder(self, encoder: EncoderSpec) -> dict[str, Any]:
        return {
            "version": _VERSION,
            "package": __version__,  # which says what weights of its own an encoder has
            "cells": self.made.cells.fingerprint,
            "encoder": encoder.name,
            "weights": "" if encoder.weights is None else sha256_of(encoder.weights),
            "recipe": self.made.sized(0).fingerprint,
        }

    def _encoder(self, spec: EncoderSpec) -> Callable[[torch.Tensor], NDArray[np.float32]]:
        if spec.name not in self._encode:
            self._encode[spec.name] = self._load(spec)
        return self._encode[spec.name]

    def _load(self, spec: EncoderSpec) -> Callable[[torch.Tensor], NDArray[np.float32]]:
        if spec.name == BASELINE:
            self._hashes[spec.name] = ""
            names = [channel.name for channel in self.made.cells.states[0].plate.channels]
            # A colour crop of one grey channel holds it three times; once is enough.
            group = self.made.recipe.channel_groups(names)[0]
            once = [place for place, channel in enumerate(group) if group.index(channel) == place]
            return lambda crops: hand_features(crops[:, :, once].numpy())[0]
        recipe = self.made.recipe
        network = load_encoder(
            spec.name,
            stages=recipe.stages,
            pooling=recipe.pooling,
            weights=spec.weights,
            device=self.options.device,
            job=self.job,
        )
        self._hashes[spec.name] = network.weights_sha256
        encode = partial(network.encode, job=self.job)
        return lambda crops: encode(crops.flatten(0, 1)).reshape(len(crops), -1).numpy()

    def _path(self, of: str, encoder: EncoderSpec, **more: object) -> Path:
        """Name the file of a result by all that it depends on."""
        options = self.options
        told: dict[str, Any] = {
            **self._told_encoder(encoder),
            "kinds": [str(kind) for kind in self.made.kinds],
            "simulated": list(options.simulated),
            "imaging": [repr(one) for one in self.made.imaging],
            **{name: str(value) for name, value in more.items()},
        }
        if of != "simulated":
            told |= {"head": options.head, "threshold": self.threshold, "seeds": options.seeds}
        if of == "cells":
            told |= {"severities": sorted(set(options.severities)), "n_cells": options.n_cells}
        return self.folder / of / f"{fingerprint(told)}.json"

    def _provenance(self, name: str) -> dict[str, Any]:
        options, made = self.options, self.made
        cells, imaging = made.cells, made.imaging[0]
        n_dead = int((made.kinds == "dead").sum())
        split = self._split(0)
        return {
            "assay": name,
            "plates": [state.plate.name for state in cells.states],
            "n_annotated": len(cells.classes),
            "n_abnormal": int((cells.classes != NORMAL).sum()),
            "n_wells": len(set(cells.groups.tolist())),
            "n_spoiled": len(self.tested),
            "n_dead": n_dead,
            "recipe": made.recipe.name,
            "recipe_fingerprint": made.recipe.fingerprint,
            "head": options.head,
            "threshold": self.threshold,
            "seeds": options.seeds,
            "n_folds": split.n_folds,
            "fold_note": split.note,
            "simulated": list(options.simulated),
            "diameter_px": imaging.diameter_px,
            "pixel_size_um": imaging.pixel_size_um,
            "pixel_size_from": self._pixel_size_from(),
            "numerical_aperture": imaging.numerical_aperture,
            "wavelengths_um": [one.wavelength_um for one in imaging.channels],
            "saturation": [one.full for one in imaging.channels],
            "version": __version__,
        }

    def _pixel_size_from(self) -> str:
        if self.options.pixel_size_um is not None:
            return "given"
        is_known = self.made.cells.states[0].plate.pixel_size_um is not None
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
            for severity in (0.0, *sorted(set(self.options.severities))):
                scene = spoil(made.scene(row), kind, severity, cell="shown", donors=dead)
                middle = scene.centre_px
                window = slice(middle - half, middle + half)
                shown = scene.scaled()[scene.imaging.nucleus_channel][window, window]
                # A gamma, so that dim surroundings are seen on the page as well.
                pictures.append(np.rint(255 * shown**0.7).astype(np.uint8))
            strips[kind.name] = np.stack(pictures)
        return strips


def _always(rows: NDArray[np.bool_], _row: int) -> NDArray[np.bool_]:
    """Say the same rows for every cell."""
    return rows
