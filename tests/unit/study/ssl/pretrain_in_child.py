"""Run by test_training_processes.py in processes of their own, by `torchrun` or to be killed.

Arguments: the conftest, folder of the plate, method, preset, file for the weights, checkpoint,
seconds that every step is slowed down by.
"""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path

import torch

from napari_hcs_qc.job import Job
from napari_hcs_qc.study.ssl.distributed import join_world

if __name__ == "__main__":
    conftest, plate, method, preset, weights, checkpoint, slow_s = sys.argv[1:]
    torch.set_num_threads(1)
    shared = runpy.run_path(conftest)

    def on_progress(_done: int, _total: int, _message: str) -> None:
        time.sleep(float(slow_s))

    with join_world(on_gpu=False) as world:
        made = shared["trained_in_double" if preset == "paper" else "trained"](
            Path(plate),
            shared["quick"](method, preset),
            world=world,
            checkpoint=Path(checkpoint) if checkpoint else None,
            checkpoint_s=0.0,
            job=Job(on_progress),
        )
        if world.first:
            Path(weights).write_bytes(made.weights)
