"""Make the prior of an encoder and recipe from public images, and say how good it is.

    python -m benchmarks.make_prior [--encoder NAME] [--recipe NAME] [--out FOLDER]

Writes ``NAME.json`` and ``NAME.safetensors``; without ``--out`` into the package, which finds a
prior there by encoder and recipe. The same images, versions and seed give the same weights to the
rounding of float32. What was tried is in ``README.md``.
"""

from __future__ import annotations

import argparse
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from benchmarks.prior_sources import (
    ARTEFACTS,
    DATA,
    DRAWN,
    EXPERT_ABNORMAL,
    EXPERT_MITOTIC,
    all_nuclei,
    defocused_nuclei,
)
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from napari_hcs_qc.cells.recipe import DEFAULT_RECIPE, get_recipe
from napari_hcs_qc.encoders.registry import DEFAULT_ENCODER, load_encoder
from napari_hcs_qc.heads.prior.linear_prior import (
    SHIPPED,
    KindWeights,
    LinearPrior,
    PriorDocument,
    PriorSource,
    prior_inputs,
    save_prior,
    unsized,
)
from napari_hcs_qc.heads.prior.plate_statistics import plate_statistics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.prior_sources import ExpertNuclei, Nuclei
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_STRENGTH = 1e-3  # C of the logistic regression
_KIND_STRENGTH = 6e-3  # of that of the kinds
_NO_KIND = "~"  # normal ones, of any sort; behind all kinds in the order of the classes
_EXPERT_KINDS = {"OutOfFocus": "blur", "Apoptosis": "dead"}
_OUTLYING = 0.05  # of the nuclei of a plate are left out: what lies there may be abnormal
# What tells mitoses from artefacts counts most: most false alarms were mitoses.
_WEIGHTS = {"abnormal": 20.0, "mitotic": 200.0, "other": 1.0}
_MITOTIC, _SEEN_MITOTIC, _DRAWN = 4.0, 6.0, 2.0
_SEED = 0
_RECALL = 0.9

_IMAGES = {
    "bbbc006": (
        "BBBC006, in focus",
        "CC0",
        "Broad Bioimage Benchmark Collection; Ljosa et al. 2012",
    ),
    "bbbc038": (
        "BBBC038 (Data Science Bowl 2018), fluorescence",
        "CC0",
        "Broad Bioimage Benchmark Collection; Caicedo et al. 2019",
    ),
    "cell-painting": ("Cell Painting, one field", "CC0", "Bray et al. 2017"),
}


def weights_of(
    plates: Mapping[str, Nuclei], expert: ExpertNuclei | None, seed: int = _SEED
) -> Floats:
    """Fit the weights; a group of n nuclei counts as √n."""
    inputs, targets, counts = [], [], []

    def add(z: Floats, is_abnormal: bool, weight: float = 1.0) -> None:
        if not len(z):
            return
        inputs.append(prior_inputs(z))
        targets.append(np.full(len(z), is_abnormal))
        counts.append(np.full(len(z), weight / np.sqrt(len(z))))

    for nuclei in plates.values():
        statistics = plate_statistics(nuclei.cells)
        z = statistics.standardised(nuclei.cells)
        add(_usual(z), is_abnormal=False)
        add(statistics.standardised(nuclei.mitotic), is_abnormal=False, weight=_MITOTIC)
        seen = statistics.standardised(nuclei.seen_mitotic)
        add(seen, is_abnormal=False, weight=_SEEN_MITOTIC)
        add(statistics.standardised(nuclei.abnormal), is_abnormal=True)
        for rows in nuclei.drawn.values():
            add(statistics.standardised(rows), is_abnormal=True, weight=_DRAWN)
    if expert is not None:
        groups = group_of(expert)
        # At two exposures, as plates differ in theirs.
        for cells in (expert.cells, expert.brightened):
            z = expert_z(expert, cells)
            for group, weight in _WEIGHTS.items():
                add(z[groups == group], group == "abnormal", weight / 2)
    model = LogisticRegression(C=_STRENGTH, max_iter=1000, random_state=seed)
    model.fit(np.concatenate(inputs), np.concatenate(targets), np.concatenate(counts))
    coef: Floats = model.coef_[0]
    return coef


def kind_weights(
    plates: Mapping[str, Nuclei], expert: ExpertNuclei
) -> tuple[tuple[str, ...], KindWeights]:
    """Fit what tells kinds of abnormal nuclei apart, and from normal ones."""
    inputs, names, counts = [], [], []

    def add(z: Floats, kinds: NDArray[np.str_] | str) -> None:
        inputs.append(prior_inputs(z))
        names.append(np.broadcast_to(kinds, len(z)))
        _, number, sizes = np.unique(names[-1], return_inverse=True, return_counts=True)
        counts.append(1 / np.sqrt(sizes[number]))

    for nuclei in plates.values():
        standardised = plate_statistics(nuclei.cells).standardised
        add(_usual(standardised(nuclei.cells)), _NO_KIND)
        add(standardised(nuclei.mitotic), _NO_KIND)
        add(standardised(nuclei.seen_mitotic), _NO_KIND)
        add(standardised(nuclei.abnormal), nuclei.kinds)
        add(standardised(nuclei.further), nuclei.further_kinds)
        for drawn, rows in nuclei.drawn.items():
            add(standardised(rows), DRAWN[drawn])
    z, groups = expert_z(expert, expert.cells), group_of(expert)
    kinds = np.array([_EXPERT_KINDS.get(name, _NO_KIND) for name in expert.classes])
    for group in _WEIGHTS:
        add(z[groups == group], kinds[groups == group])
    model = LogisticRegression(C=_KIND_STRENGTH, max_iter=1000, random_state=_SEED)
    model.fit(np.concatenate(inputs), np.concatenate(names), np.concatenate(counts))
    known = [str(name) for name in model.classes_]
    assert known[-1] == _NO_KIND
    return tuple(known[:-1]), KindWeights(model.coef_, model.intercept_)


def _usual(z: Floats) -> Floats:
    """Leave the most outlying nuclei of a plate out."""
    how_odd = (z**2).mean(axis=1)
    return z[how_odd <= np.quantile(how_odd, 1 - _OUTLYING)]


def group_of(expert: ExpertNuclei) -> NDArray[np.str_]:
    """Give the group of each class that the experts know."""
    is_mitotic = np.isin(expert.classes, EXPERT_MITOTIC)
    is_abnormal = np.isin(expert.classes, EXPERT_ABNORMAL)
    return np.where(is_abnormal, "abnormal", np.where(is_mitotic, "mitotic", "other"))


def expert_z(expert: ExpertNuclei, cells: NDArray[np.float32]) -> Floats:
    """Standardise by the nuclei that make up a plate: neither abnormal nor mitotic."""
    usual = cells[group_of(expert) == "other"]
    return plate_statistics(usual).standardised(cells)


def alarms(scores: Floats, groups: NDArray[np.str_]) -> str:
    """Tell what is called of each normal group where 90 % of the abnormal ones are."""
    is_abnormal = groups == "abnormal"
    line = np.quantile(scores[is_abnormal], 1 - _RECALL)
    shares = (
        f"{group} {(scores[groups == group] >= line).mean():.1%}" for group in ("mitotic", "other")
    )
    return f"AUC {roc_auc_score(is_abnormal, scores):.3f}, called {', '.join(shares)}"


def without_sources(
    plates: Mapping[str, Nuclei],
    expert: ExpertNuclei,
    both: tuple[NDArray[np.float32], NDArray[np.bool_]],
) -> list[tuple[str, str]]:
    """Leave sources out and test on them."""
    groups, z = group_of(expert), prior_inputs(expert_z(expert, expert.cells))
    unseen = alarms(z @ weights_of(plates, None), groups)
    # Half of its plates at a time, so that every nucleus has a score of a prior of other plates.
    names = np.random.default_rng(_SEED).permutation(np.unique(expert.plates))
    halves = [np.isin(expert.plates, part) for part in np.array_split(names, 2)]
    scores = np.full(len(groups), np.nan)
    for half in halves:
        rest = type(expert)(
            cells=expert.cells[~half],
            brightened=expert.brightened[~half],
            classes=expert.classes[~half],
            plates=expert.plates[~half],
        )
        scores[half] = z[half] @ weights_of(plates, rest)
    cells, is_blurred = both
    blurred = plate_statistics(cells[~is_blurred]).standardised(cells)
    rest_of = {name: nuclei for name, nuclei in plates.items() if name != "bbbc006"}
    by_others = prior_inputs(blurred) @ weights_of(rest_of, expert)
    return [
        ("MitoCheck, by a prior that never saw it", unseen),
        ("MitoCheck, by a prior of the other half of its plates", alarms(scores, groups)),
        (
            f"BBBC006, {is_blurred.sum()} nuclei of fields 32 µm out of focus against "
            f"{(~is_blurred).sum()} in focus, by a prior that never saw BBBC006",
            f"AUC {roc_auc_score(is_blurred, by_others):.3f}",
        ),
    ]


def sources_of(plates: Mapping[str, Nuclei], expert: ExpertNuclei) -> tuple[PriorSource, ...]:
    """Describe where the nuclei come from."""
    sources = []
    for prefix, (name, licence, origin) in _IMAGES.items():
        here = [nuclei for plate, nuclei in plates.items() if plate.startswith(prefix)]
        sources.append(
            PriorSource(
                name=name,
                licence=licence,
                origin=origin,
                n_normal=sum(len(nuclei.cells) + len(nuclei.mitotic) for nuclei in here),
                n_abnormal=sum(
                    len(rows)
                    for nuclei in here
                    for rows in (nuclei.abnormal, *nuclei.drawn.values())
                ),
            )
        )
    n_abnormal = int((group_of(expert) == "abnormal").sum())
    mitocheck = PriorSource(
        name="MitoCheck, labelled nuclei",
        licence="CC BY 4.0",
        origin="Neumann et al. 2010, by WayScience/phenotypic_profiling",
        n_normal=len(expert.classes) - n_abnormal,
        n_abnormal=n_abnormal,
    )
    return (*sources, mitocheck)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the prior."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default=DEFAULT_ENCODER)
    parser.add_argument("--recipe", default=DEFAULT_RECIPE)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    parser.add_argument("--folder", type=Path, help="keep the plates and their embeddings here")
    options = parser.parse_args(arguments)
    if not DATA.is_dir():
        print(f"The real images are not at {DATA}; no prior was made.")
        return 0
    recipe = get_recipe(options.recipe)
    encoder = load_encoder(options.encoder, stages=recipe.stages, pooling=recipe.pooling)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        plates, expert = all_nuclei(recipe, encoder, folder, _SEED)
        both = defocused_nuclei(recipe, encoder, folder)
    coef = weights_of(plates, expert)
    kinds, of_kinds = kind_weights(plates, expert)
    name = f"{encoder.name.replace(':', '-').replace('/', '-')}-{recipe.name}"
    document = PriorDocument(
        name=name,
        encoder=encoder.name,
        encoder_fingerprint=encoder.network_fingerprint,
        recipe=recipe.name,
        recipe_fingerprint=unsized(recipe),
        n_features=len(coef) // 2,
        artefacts=(*ARTEFACTS, *DRAWN),
        kinds=kinds,
        sources=sources_of(plates, expert),
        seed=_SEED,
        made_with={package: version(package) for package in ("napari-hcs-qc", "scikit-learn")},
        weights_sha256="",
    )
    path = save_prior(options.out, LinearPrior(document, coef, of_kinds))
    print(f"\nWrote {path}\n\n| sources left out | |\n|---|---|")
    for source, figures in without_sources(plates, expert, both):
        print(f"| {source} | {figures} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
