"""Self-supervised encoders: the step against the bare network; five methods on real nuclei.

Without options: the step of the training loop, augmentation and optimiser included, against forward
and backward of encoder, projector and loss on views that are ready, in turns. With ``--table``:
every method and preset trained on BBBC022's nuclei (64 px, 4,000 cells, 5 epochs) and its frozen
embeddings held against untrained networks on the labelled cells, by well. What is done is kept in
``--folder``: run it again to go on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import torch
from benchmarks.labelled_plate import SHARED, labelled_assay
from benchmarks.results import write_results
from sklearn.metrics import f1_score

from napari_hcs_qc.assay.embeddings.training_crops import annotated_crops
from napari_hcs_qc.assay.models.custom_encoders import (
    COMPARED_HEADS,
    UNTRAINED_SEEDS,
    assay_encoder,
    head_figures,
    hold_against,
    note_comparison,
)
from napari_hcs_qc.cells.recipe import get_recipe
from napari_hcs_qc.encoders.architecture import random_architecture
from napari_hcs_qc.encoders.embed.crop_reader import CropSource
from napari_hcs_qc.encoders.registry import load_architecture
from napari_hcs_qc.encoders.trainable import TrainableEncoder
from napari_hcs_qc.files import read_json, write_json
from napari_hcs_qc.heads.finetune import PRESETS, fine_tune
from napari_hcs_qc.heads.linear.folds import assign_folds
from napari_hcs_qc.heads.linear.scoring import abnormal_column
from napari_hcs_qc.job import NO_JOB, Job, duration
from napari_hcs_qc.study.ssl.crop_stream import CropStream
from napari_hcs_qc.study.ssl.distributed import World
from napari_hcs_qc.study.ssl.methods.deepclusterv2 import DeepClusterV2
from napari_hcs_qc.study.ssl.methods.method_registry import make_method
from napari_hcs_qc.study.ssl.pretrain_assay import pretrain_encoder
from napari_hcs_qc.study.ssl.pretrain_settings import (
    METHOD_NAMES,
    PRESET_NAMES,
    PretrainOptions,
    preset,
)
from napari_hcs_qc.study.ssl.start_weights import SCRATCH
from napari_hcs_qc.study.ssl.train_encoder import Training
from napari_hcs_qc.study.ssl.training_step import Stepper

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_hcs_qc.assay.embeddings.training_crops import AnnotatedCrops
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.architecture import Architecture

FLOOR = 1.05
INPUT_PX, N_CELLS, EPOCHS = 64, 4000, 5
SEEDS = (0, 1, 2, 3, 4)
FINE_TUNE_FOLDS = 2  # a fit takes half a minute on 2 cores
FINE_TUNED = "fine-tuned"


class Enough(Exception):
    """Ends a training that has been measured."""


def step_ratio(
    state: PlateState, method: str, name: str, batch_size: int, turns: int
) -> dict[str, float]:
    """Print and give what a step costs beside the bare network; the two take turns."""
    found = state.plate_cells
    recipe = get_recipe("nucleus-mean").with_diameter(found.diameter_px)
    recipe = type(recipe)(
        **{**recipe.to_dict(), "input_px": INPUT_PX, "stages": "last", "pooling": "mean"}
    )
    settings = preset(method, name, batch_size=batch_size)
    source = CropSource(state.plate, found.cells, found.ranges, recipe, found.projection, 1)
    stream = CropStream([source], batch_size=batch_size)
    bare_network = TrainableEncoder("bare", random_architecture(*SCRATCH, 0), recipe)
    bare_network.set_training(batch_statistics=True)
    made = make_method(method, bare_network.n_features, settings, stream.n_cells, World(), 0)
    made.begin_epoch(settings.epochs, lambda: iter(()))
    if isinstance(made, DeepClusterV2):
        # Without clusters its gradients are zeros, with which a processor is some 7 % faster.
        made.assignments.random_(0, made.prototypes.shape[1])
    bare = Stepper(bare_network, made.to(bare_network.device), settings, World(), NO_JOB, print)
    side = (2, stream.batch_size, 1, INPUT_PX, INPUT_PX)
    views = torch.rand(side, generator=torch.Generator().manual_seed(0)).to(bare.device)
    rows = torch.arange(stream.batch_size, device=bare.device)
    steps: list[tuple[float, float]] = []
    bares: list[tuple[float, float]] = []
    begun = (0.0, 0.0)
    last = -1

    def waited() -> tuple[float, float]:
        """Wall clock, and time of this thread on the processor: others may be busy with it, too."""
        if bare.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter(), time.thread_time()

    def since(start: tuple[float, float]) -> tuple[float, float]:
        now = waited()
        return now[0] - start[0], now[1] - start[1]

    def on_progress(done: int, _total: int, text: str) -> None:
        nonlocal begun, last
        if done == 0 or done == last or "loss" not in text:
            begun = waited()
            return
        last = done
        steps.append(since(begun))
        for parameter in bare.parameters:
            parameter.grad = None
        start = waited()
        with bare.autocast():
            features = bare_network.features(views.flatten(0, 1)[:, None])
        loss, _ = made.loss(features.view(2, stream.batch_size, -1), rows, settings.epochs, 0)
        torch.autograd.backward(loss)
        bares.append(since(start))
        if len(steps) > turns:
            raise Enough
        begun = waited()

    network = TrainableEncoder("step", random_architecture(*SCRATCH, 0), recipe)
    with contextlib.suppress(Enough):
        Training(stream, network, settings, job=Job(on_progress)).run()
    plan = stream.plan(0)[: 4 * stream.batch_size]
    chunks = [(k, plan[k * stream.batch_size : (k + 1) * stream.batch_size]) for k in range(4)]
    start = time.perf_counter()
    n_read = sum(len(batch.rows) for batch in stream.batches(chunks))
    read = (time.perf_counter() - start) / n_read * stream.batch_size
    # The first turn warms up.
    step, alone = (median(one for one, _ in some[1:]) for some in (steps, bares))
    # Of neighbours in time, so that a processor that becomes slower for a minute hits both.
    wall, busy = (
        median(ours[kind] / peer[kind] for ours, peer in zip(steps[1:], bares[1:], strict=True))
        for kind in (0, 1)
    )
    # With several threads one thread's time says little.
    ratio = busy if torch.get_num_threads() == 1 else wall
    print(
        f"| {method} | {name} | {stream.batch_size} | {2 * stream.batch_size / step:.1f} | "
        f"{2 * stream.batch_size / alone:.1f} | {wall:.3f} | {busy:.3f} | "
        f"{ratio:.3f} {'' if ratio <= FLOOR else '(!)'} | "
        f"{read / step:.1%} |",
        flush=True,
    )
    return {
        "batch": stream.batch_size,
        "crops_per_s": round(2 * stream.batch_size / step, 1),
        "bare_crops_per_s": round(2 * stream.batch_size / alone, 1),
        "wall clock": round(wall, 3),
        "thread time": round(busy, 3),
        "step / bare": round(ratio, 3),
        "reading, share of the step": round(read / step, 4),
    }


def fine_tuned(
    load: Callable[[], Architecture], cells: AnnotatedCrops, recipe: CropRecipe
) -> float:
    """Weighted F1 of the fine-tuned head, every cell judged once by one that saw not its well."""
    p_abnormal = np.zeros(len(cells.classes))
    codes = (cells.classes == "abnormal").astype(np.int64)
    folds = assign_folds(codes, cells.groups, FINE_TUNE_FOLDS, 0).fold
    for fold in range(FINE_TUNE_FOLDS):
        kept, scored = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        tuned = fine_tune(
            TrainableEncoder("compared", load(), recipe),
            cells.crops[torch.from_numpy(kept)],
            cells.classes[kept],
            cells.groups[kept],
            PRESETS["finetune"],
            sides=cells.sides,
        )
        crops = cells.crops[torch.from_numpy(scored)]
        rows = tuned.encoder.encode(crops.flatten(0, 1)).view(len(scored), -1).numpy()
        p_abnormal[scored] = tuned.head.predict_proba(rows)[:, abnormal_column(tuned.head)]
    said = np.where(p_abnormal >= 0.5, "abnormal", "normal")
    return {"f1": float(f1_score(cells.classes, said, average="weighted"))}


def table(folder: Path, methods: list[str], presets: list[str], started: str | None) -> None:
    """Train what is missing, measure it, and print the table."""
    assay, state = labelled_assay(folder / "assay")
    recipe = get_recipe("nucleus").with_diameter(state.plate_cells.diameter_px)
    cells = annotated_crops([(state, state.training)], recipe)

    def kept(name: str, measure: object) -> dict[str, object]:
        path = folder / "cells" / f"{name}.json"
        if not path.is_file():
            write_json(path, measure())  # type: ignore[operator]
            print(f"{name}: {json.dumps(read_json(path))}", flush=True)
        return read_json(path)

    untrained = [
        kept(
            f"untrained-{seed}",
            lambda seed=seed: head_figures(
                random_architecture(*SCRATCH, seed, INPUT_PX), cells, recipe, seeds=SEEDS
            ),
        )
        for seed in UNTRAINED_SEEDS
    ]
    tuned = {
        "untrained": lambda: random_architecture(*SCRATCH, 0, INPUT_PX),
        "efficientnet-lite0": lambda: load_architecture()[0],
    }
    imagenet = kept(
        "efficientnet-lite0",
        lambda: head_figures(load_architecture()[0], cells, recipe, seeds=SEEDS),
    )
    lines = []
    for method in methods:
        for name in presets:
            title = f"{method}-{name}" + (f"-from-{started}" if started else "")

            def measure(method: str = method, name: str = name, title: str = title) -> dict:  # type: ignore[type-arg]
                options = PretrainOptions(
                    method,
                    name,
                    {"epochs": EPOCHS},
                    name=title,
                    n_cells=N_CELLS,
                    input_px=INPUT_PX,
                    start_from=started,
                )
                shown = [0.0]

                def on_progress(_done: int, _total: int, text: str) -> None:
                    if time.monotonic() - shown[0] > 60:
                        shown[0] = time.monotonic()
                        print(f"  {title}: {text}", flush=True)

                own = pretrain_encoder(assay, options, job=Job(on_progress))
                figures = head_figures(own.load(), cells, recipe, seeds=SEEDS)
                against = hold_against(figures, untrained, len(cells.classes), recipe)  # type: ignore[arg-type]
                note_comparison(own, against)
                history = own.manifest["history"]
                return {
                    **against,
                    "seconds": history["seconds"],
                    "crops_per_s": history["crops_per_s"],
                    "losses": [one["loss"] for one in history["epochs"]],
                    "rank": [one["rank"] for one in history["epochs"]],
                    "warnings": history["warnings"],
                }

            lines.append((method, name, kept(title, measure)))
            tuned[title] = assay_encoder(assay, title).load
    by_tuning = {
        name: kept(f"{name}-{FINE_TUNED}", partial(fine_tuned, load, cells, recipe))
        for name, load in tuned.items()
    }
    print(
        f"\nWeighted F1, {len(cells.classes)} labelled nuclei, 5 folds by well, 5 divisions; "
        f"{FINE_TUNED}: {FINE_TUNE_FOLDS} folds, 1 division"
    )
    columns = [*COMPARED_HEADS, FINE_TUNED]
    print("| encoder | preset | " + " | ".join(columns) + " | better | training |")
    print("|---|---|" + "---|" * len(columns) + "---|---|")
    first = lines[0][2]["heads"] if lines else {}
    print(
        "| untrained ResNet18, 95 % interval | – | "
        + " | ".join(
            f"{first[head]['untrained']:.3f} ({first[head]['interval'][0]:.3f}–"  # type: ignore[index]
            f"{first[head]['interval'][1]:.3f})"  # type: ignore[index]
            for head in COMPARED_HEADS
        )
        + f" | {by_tuning['untrained']['f1']:.3f} | – | – |"
    )
    print(
        "| efficientnet-lite0 (ImageNet, 128 px) | – | "
        + " | ".join(f"{imagenet[head]:.3f}" for head in COMPARED_HEADS)
        + f" | {by_tuning['efficientnet-lite0']['f1']:.3f} | – | – |"
    )
    for method, name, told in lines:
        title = f"{method}-{name}" + (f"-from-{started}" if started else "")
        figures = " | ".join(f"{told['heads'][head]['trained']:.3f}" for head in COMPARED_HEADS)  # type: ignore[index]
        figures += f" | {by_tuning[title]['f1']:.3f}"
        print(
            f"| {method} | {name} | {figures} | {'yes' if told['is_better'] else 'no'} | "
            f"{duration(told['seconds'])} |"  # type: ignore[arg-type]
        )


def main(arguments: list[str] | None = None) -> int:
    """Measure the step, or fill the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="keep assay, encoders and results here")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--methods", default=",".join(METHOD_NAMES))
    parser.add_argument("--presets", default=",".join(PRESET_NAMES))
    parser.add_argument("--start-from", help="an encoder, instead of random weights")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args(arguments)
    if not SHARED.is_dir():
        print(f"The real images are not at {SHARED}; nothing was measured.")
        return 0
    methods, presets = options.methods.split(","), options.presets.split(",")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if options.table:
            table(folder, methods, presets, options.start_from)
            return 0
        _, state = labelled_assay(folder / "assay")
        print(
            "| method | preset | batch | crops/s | bare crops/s | wall clock | thread time | "
            f"step / bare (≤ {FLOOR}) | reading |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
        found = {
            method: step_ratio(state, method, presets[0], options.batch_size, options.turns)
            for method in methods
        }
        name = "ssl-step" if options.batch_size >= 128 else "ssl-step-quick"
        write_results(name, {"threads": torch.get_num_threads(), **found})
        return 0 if all(one["step / bare"] <= FLOOR for one in found.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
