"""Fine-tuning against the linear head, paired, at 10 ... all annotations.

On BBBC022's labelled nuclei, with the embedded encoder: 70 % of the wells for training, all else
never touched; half of each class, or all as they come. What is done is kept in --folder.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from benchmarks.bench_clicks import SIZES, balanced, divisions, load, told
from benchmarks.labelled_plate import SHARED
from sklearn.metrics import f1_score, roc_auc_score

from napari_hcs_qc.cells.recipe import get_recipe
from napari_hcs_qc.encoders.registry import load_architecture
from napari_hcs_qc.encoders.trainable import TrainableEncoder
from napari_hcs_qc.files import fingerprint
from napari_hcs_qc.heads.finetune import PRESETS, fine_tune
from napari_hcs_qc.heads.linear.linear_head import LinearHead
from napari_hcs_qc.study.benchmark.benchmark_spec import BenchmarkSpec, SourceSpec
from napari_hcs_qc.study.benchmark.sources import open_sources

if TYPE_CHECKING:
    from benchmarks.bench_clicks import Cells
    from numpy.typing import NDArray


def rows_of(
    cells: Cells, train: NDArray[np.bool_], number: int, size: int | str
) -> NDArray[np.int64]:
    """Draw training cells just as `bench_clicks` does."""
    if size == "all":
        return np.random.default_rng([number, 1]).permutation(np.flatnonzero(train))
    return balanced(cells, train, int(size), np.random.default_rng([number, 0]))


def figures(truth: NDArray[np.str_], p_abnormal: NDArray[np.float64]) -> dict[str, float]:
    said = np.where(p_abnormal >= 0.5, "abnormal", "normal")
    return {
        "f1": float(f1_score(truth, said, average="weighted")),
        "auc": float(roc_auc_score(truth == "abnormal", p_abnormal)),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="keep the assay and the results here")
    parser.add_argument("--divisions", type=int, default=10)
    parser.add_argument("--heads", default="finetune")
    parser.add_argument("--sizes", default=",".join(map(str, (*SIZES, "all"))))
    options = parser.parse_args(arguments)
    if not SHARED.is_dir():
        print(f"The real images are not at {SHARED}; nothing was measured.")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        cells = load(folder)
        source = SourceSpec(name="labels", kind="assay", path=folder / "assay")
        crops_of = open_sources(BenchmarkSpec(sources=(source,)), folder)["labels"]
        recipe = get_recipe("nucleus")
        crops = crops_of.crops(recipe, np.arange(len(cells.classes)))
        assert (crops_of.classes == cells.classes).all()
        found: dict[tuple[str, str], list[dict[str, float]]] = {}
        for number, train in divisions(cells, options.divisions):
            for size in (int(one) if one != "all" else one for one in options.sizes.split(",")):
                rows, truth = rows_of(cells, train, number, size), cells.classes[~train]
                known = cells.classes[rows]
                head = LinearHead(plate=cells.directions)
                head.fit(cells.embeddings[rows], known, groups=cells.wells[rows])
                column = head.classes_.tolist().index("abnormal")
                p = head.predict_proba(cells.embeddings[~train])[:, column]
                found.setdefault((str(size), "linear"), []).append(figures(truth, p))
                for name in options.heads.split(","):
                    told_by = {"rows": rows.tolist(), "preset": asdict(PRESETS[name])}
                    kept = folder / "finetune" / f"{fingerprint(told_by)}.json"
                    if not kept.is_file():
                        began = time.perf_counter()
                        network = TrainableEncoder(
                            "efficientnet-lite0", load_architecture()[0], recipe
                        )
                        tuned = fine_tune(
                            network,
                            crops[torch.from_numpy(rows)],
                            known,
                            cells.wells[rows],
                            PRESETS[name],
                            sides=recipe.scales,
                            seed=number,
                        )
                        tested = crops[torch.from_numpy(np.flatnonzero(~train))]
                        features = tuned.encoder.encode(tested.flatten(0, 1)).view(len(tested), -1)
                        p = tuned.head.predict_proba(features.numpy())[:, column]
                        told_now = figures(truth, p) | {"seconds": time.perf_counter() - began}
                        kept.parent.mkdir(parents=True, exist_ok=True)
                        kept.write_text(json.dumps(told_now))
                        print(number, size, name, told_now, found[str(size), "linear"][-1])
                    found.setdefault((str(size), name), []).append(json.loads(kept.read_text()))
    print(f"Weighted F1 (and AUC), {options.divisions} divisions, mean ± sd (paired gain)")
    print("| annotations | head | weighted F1 | AUC | seconds |")
    print("|---|---|---|---|---|")
    for (size, name), measured in found.items():
        peer = None if name == "linear" else [one["f1"] for one in found[size, "linear"]]
        peer_auc = None if name == "linear" else [one["auc"] for one in found[size, "linear"]]
        f1 = told([one["f1"] for one in measured], peer)
        auc = told([one["auc"] for one in measured], peer_auc)
        seconds = "" if peer is None else f"{np.mean([one['seconds'] for one in measured]):.0f}"
        print(f"| {size} | {name} | {f1} | {auc} | {seconds} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
