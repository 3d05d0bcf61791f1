"""Training in processes of their own: killed and taken up again, and two that train together."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from tests.unit.study.ssl.conftest import quick, trained, trained_in_double

HERE = Path(__file__).parent


def command(sites, method, weights, checkpoint="", slow_s=0.0, launcher=(), preset="default"):
    script = HERE / "pretrain_in_child.py"
    rest = (HERE / "conftest.py", sites, method, preset, weights, checkpoint, slow_s)
    return [sys.executable, *launcher, *(str(one) for one in (script, *rest))]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["swav", "deepclusterv2"])
def test_killed_again_and_again_it_ends_with_the_same_weights(sites, tmp_path, method) -> None:
    weights, checkpoint = tmp_path / "weights.safetensors", tmp_path / "pretraining.ckpt"
    rng = random.Random(5)
    for _ in range(3):
        child = subprocess.Popen(command(sites, method, weights, checkpoint, 0.05))
        try:
            before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
            while child.poll() is None and (
                not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before
            ):
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, 0.1))
            assert child.poll() is None, "the child ended before it could be killed"
        finally:
            child.kill()
            child.wait()
    assert not weights.exists()
    subprocess.run(command(sites, method, weights, checkpoint), check=True)
    assert weights.read_bytes() == trained(sites, quick(method)).weights


@pytest.mark.slow
@pytest.mark.parametrize("method", ["simclr", "swav"])
def test_two_processes_train_what_one_does(sites, tmp_path, method) -> None:
    weights = tmp_path / "weights.safetensors"
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    subprocess.run(
        command(sites, method, weights, launcher=torchrun, preset="paper"),
        check=True,
        timeout=280,
    )
    found = safetensors.torch.load(weights.read_bytes())
    alone = safetensors.torch.load(trained_in_double(sites, quick(method, "paper")).weights)
    assert set(found) == set(alone)
    for name, one in alone.items():
        torch.testing.assert_close(found[name], one, atol=1e-9, rtol=1e-9, msg=name)
