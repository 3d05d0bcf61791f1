"""Two gloo ranks do what one process does with the whole batch."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.study.ssl.distributed import (
    World,
    by_each_batch_alone,
    join_world,
    over_all_ranks,
)
from napari_hcs_qc.study.ssl.pretrain_settings import METHOD_NAMES

if TYPE_CHECKING:
    from torch import Tensor

_SCRIPT = Path(__file__).with_name("ranks_in_child.py")


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Results of rank 0 of two; one start for all methods."""
    path = tmp_path_factory.mktemp("ranks") / "results.pt"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1",
    }
    ranks = [
        subprocess.Popen(
            [sys.executable, str(_SCRIPT), str(path)],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [rank.communicate(timeout=240)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(said)
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def alone() -> dict[str, Tensor]:
    spec = importlib.util.spec_from_file_location("ranks_in_child", _SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # As the ranks do; and threads that wait for each other are slow on a busy machine.
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with join_world(on_gpu=False) as world:
            assert world == World()
            return module.train_all(world)
    finally:
        torch.set_num_threads(n_threads)


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_two_ranks_are_one_process(
    method: str, two_ranks: dict[str, Tensor], alone: dict[str, Tensor]
) -> None:
    keys = [key for key in alone if key.startswith(f"{method} ")]
    assert keys == [key for key in two_ranks if key.startswith(f"{method} ")]
    assert sum("gradient of" in key for key in keys) > 40
    for key in keys:
        # In single precision only the first step: rounding grows from there on.
        if " double " in key or " single 0.0 " in key:
            ours, expected = two_ranks[key].double(), alone[key].double()
            scale = max([1.0, *expected.abs().flatten().tolist()])
            worst = float((ours - expected).abs().max()) if expected.numel() else 0.0
            # k-means computes in single precision.
            exact = " double " in key and method != "deepclusterv2"
            assert worst <= (1e-10 if exact else 1e-5) * scale, key


def test_what_was_trained_is_not_trivial(alone: dict[str, Tensor]) -> None:
    """Gradients that reach the encoder, a queue in use, clusters from the first epoch on."""
    for method in METHOD_NAMES:
        assert alone[f"{method} double 0.0 gradient of 0.weight"].abs().max() > 1e-4
    assert alone["swav double 0.1 queue"] == 0
    assert alone["swav double 1.0 queue"] == 1
    assert alone["deepclusterv2 double 0 targets"] == 1
    assert alone["deepclusterv2 double 1 used_prototypes"] == 1
    frozen = {key for key in alone if key.startswith("swav") and "gradient of prototypes" in key}
    assert not any(key.startswith("swav double 0") for key in frozen)
    assert "swav double 1.0 gradient of prototypes" in frozen


def test_ranks_agree(two_ranks: dict[str, Tensor]) -> None:
    assert two_ranks["stop"].item() is True


def test_batch_normalisation_of_all_ranks_keeps_the_tensors() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm2d(3)))
    before = dict(network.named_parameters())
    state = {key: value.clone() for key, value in network.state_dict().items()}
    over_all_ranks(network, World(0, 2))
    assert all(one is before[key] for key, one in network.named_parameters())
    assert network.state_dict().keys() == state.keys()
    network.eval()
    images = torch.randn(2, 1, 5, 5)
    plain = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm2d(3)))
    plain.load_state_dict(state)
    torch.testing.assert_close(network(images), plain.eval()(images))


def test_one_process_keeps_its_layers() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3))
    assert over_all_ranks(network, World()) is network
    assert type(network[0]) is nn.BatchNorm2d


def test_an_unknown_batch_normalisation_is_named() -> None:
    class OwnNorm(nn.BatchNorm2d):
        pass

    with pytest.raises(HcsQcError, match="a layer OwnNorm, which several processes cannot"):
        over_all_ranks(nn.Sequential(OwnNorm(3)), World(0, 2))


@pytest.mark.parametrize("world", [World(), World(1, 2)])
def test_each_batch_alone_changes_nothing(world: World) -> None:
    layer = over_all_ranks(nn.BatchNorm1d(4), world).eval()
    state = {key: value.clone() for key, value in layer.state_dict().items()}
    rows = torch.randn(30, 4) * 3 + 5
    with by_each_batch_alone(layer):
        found = layer(rows)
    torch.testing.assert_close(found.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std(0, correction=0), torch.ones(4), atol=1e-4, rtol=0)
    assert not layer.training
    assert layer.state_dict().keys() == state.keys()
    for key, value in layer.state_dict().items():
        torch.testing.assert_close(value, state[key])
    torch.testing.assert_close(layer(rows), rows, rtol=1e-4, atol=1e-4)
