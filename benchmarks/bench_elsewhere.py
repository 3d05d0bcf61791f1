"""The default head on images that nothing was tuned on: MitoCheck and BBBC006.

The settings are those that ship. MitoCheck: OutOfFocus and Apoptosis against the rest, split by
plate. BBBC006: nuclei of fields in focus against those of fields some 32 µm out of it, by well.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from benchmarks.bench_clicks import SIZES
from benchmarks.labelled_plate import MITOCHECK, SHARED
from skimage.io import imread

from napari_hcs_qc.assay.embeddings.embed_plate import fill_store
from napari_hcs_qc.assay.embeddings.plate_sample import sampled_directions
from napari_hcs_qc.assay.models.train_options import TrainOptions, requested_recipe
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.cells.recipe import DEFAULT_RECIPE
from napari_hcs_qc.encoders.registry import load_encoder
from napari_hcs_qc.evaluation.metrics import classification_metrics
from napari_hcs_qc.heads.linear.linear_head import LinearHead
from napari_hcs_qc.job import NO_JOB
from napari_hcs_qc.study.benchmark.benchmark_spec import EncoderSpec
from napari_hcs_qc.study.benchmark.features import feature_file
from napari_hcs_qc.study.benchmark.labelled import open_crops
from napari_hcs_qc.study.benchmark.protocol import grouped_draw
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.heads.linear.plate_directions import PlateDirections

_HARD = ("Polylobed", "Large", "SmallIrregular")
_CELLS_PER_FIELD = 12  # as many as a person would click


def mitocheck(
    folder: Path,
) -> tuple[NDArray[np.float32], NDArray[np.str_], NDArray[np.str_], NDArray[np.str_]]:
    """Features, classes, plates, and the expert's class of each nucleus."""
    cells = open_crops(MITOCHECK)
    encoder = EncoderSpec("efficientnet-lite0")
    features = np.load(feature_file(cells, encoder, DEFAULT_RECIPE, folder, NO_JOB))
    kinds = np.array([one.partition("/")[0] for one in cells.ids])
    return features, cells.classes, cells.groups, kinds


def bbbc006(
    folder: Path,
) -> tuple[NDArray[np.float32], NDArray[np.str_], NDArray[np.str_], PlateDirections | None]:
    """Features, classes and wells of some nuclei of each field, and the plate's directions."""
    plate_folder = folder / "BBBC006"
    plate_folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((SHARED / "data" / "bbbc006_focus").glob("*/*.*")):
        match = re.search(r"_([a-p]\d\d)_", path.name)
        assert match is not None, path
        site = 1 if path.parent.name == "in_focus" else 2
        target = plate_folder / f"BBBC006_{match[1].upper()}_s{site}_w1.tif"
        if not target.exists():
            tifffile.imwrite(target, imread(path))
    assay, (plate, *_) = steps.new(folder / "assay", [steps.PlateSource(plate_folder)])
    steps.cells(assay)
    state = load_plate(assay, plate.name)
    recipe = requested_recipe(TrainOptions()).with_diameter(state.plate_cells.diameter_px)
    encoder = load_encoder(stages=recipe.stages, pooling=recipe.pooling)
    store = fill_store(state, recipe, encoder, assay.embeddings_folder)
    cells = state.plate_cells.cells
    rng = np.random.default_rng(0)
    rows = np.concatenate(
        [
            rng.permutation(here)[:_CELLS_PER_FIELD]
            for here in cells.groupby(["well", "site"]).indices.values()
        ]
    )
    classes = np.where(cells["site"].to_numpy()[rows] == 1, "normal", "abnormal")
    wells = cells["well"].to_numpy(dtype=str)[rows]
    directions = sampled_directions([state], recipe, encoder, assay.embeddings_folder)
    return np.asarray(store.embeddings)[rows], classes, wells, directions


def measured(
    features: NDArray[np.float32],
    classes: NDArray[np.str_],
    groups: NDArray[np.str_],
    size: int,
    n_draws: int,
    plate: PlateDirections | None = None,
    kinds: NDArray[np.str_] | None = None,
) -> tuple[dict[str, NDArray[np.float64]], dict[str, float]]:
    """Figures of each draw; and of hard normal classes the share called abnormal."""
    found: dict[str, list[float]] = {}
    alarms: dict[str, list[float]] = {}
    for seed in range(n_draws):
        draw = grouped_draw(classes, groups, seed)
        rows = draw.train[:size] if size else draw.train
        head = LinearHead(plate=plate, random_state=seed)
        head.fit(features[rows], classes[rows], groups=groups[rows])
        column = head.classes_.tolist().index("abnormal")
        p = head.predict_proba(features[draw.test])[:, column]
        figures = classification_metrics(classes[draw.test], p).to_dict()
        for name in ("f1_weighted", "auc", "recall_abnormal", "precision_abnormal"):
            found.setdefault(name, []).append(float(figures[name]))
        for kind in _HARD if kinds is not None else ():
            here = p[kinds[draw.test] == kind]
            if len(here):
                alarms.setdefault(kind, []).append(float((here >= 0.5).mean()))
    return (
        {name: np.array(values) for name, values in found.items()},
        {kind: float(np.mean(values)) for kind, values in alarms.items()},
    )


def main(arguments: list[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="keep what was computed here")
    parser.add_argument("--draws", type=int, default=20)
    options = parser.parse_args(arguments)
    if not SHARED.is_dir():
        print(f"The real images are not at {SHARED}; nothing was measured.")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        features, classes, plates, kinds = mitocheck(folder / "mitocheck")
        focus = bbbc006(folder / "bbbc006")
    head = "| annotations | weighted F1 | AUC | recall | precision |"
    print(f"MitoCheck, {len(classes)} nuclei of {len(set(plates))} plates, {options.draws} draws")
    print(f"{head} called abnormal of {', '.join(_HARD)} |\n|---|---|---|---|---|---|")
    for size in (*SIZES, 0):
        found, alarms = measured(features, classes, plates, size, options.draws, kinds=kinds)
        print(f"| {size or 'all'} | {_row(found)} | "
              f"{', '.join(f'{alarms[kind]:.2f}' for kind in _HARD)} |")  # fmt: skip
    n_wells = len(set(focus[2]))
    print(f"\nBBBC006, {len(focus[1])} nuclei of {n_wells} wells, {options.draws} draws")
    print(f"{head}\n|---|---|---|---|---|")
    for size in (*SIZES, 0):
        found, _ = measured(*focus[:3], size, options.draws, plate=focus[3])
        print(f"| {size or 'all'} | {_row(found)} |")
    return 0


def _row(found: dict[str, NDArray[np.float64]]) -> str:
    return " | ".join(
        f"{values.mean():.3f} ± {values.std(ddof=1):.3f}" for values in found.values()
    )


if __name__ == "__main__":
    raise SystemExit(main())
