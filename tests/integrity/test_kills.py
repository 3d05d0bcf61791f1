"""A command that is killed anywhere goes on, and leaves what an undisturbed one leaves."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from tests.unit.study.conftest import bbbc_made, bbbc_server  # noqa: F401

from napari_hcs_qc import Assay

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from tests.unit.study.conftest import BbbcServer

    from napari_hcs_qc.study.simulation.synthetic import SimulatedPlate

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(os.name != "posix", reason="SIGKILL"),
]

N_KILLS = int(os.environ.get("HCS_QC_KILLS", "15"))


def _run(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "napari_hcs_qc", *arguments, "--quiet"]


def _killed(command: list[str], after_s: float) -> None:
    """Kill a command and all that it has started, as a machine that stops does."""
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            process.wait(timeout=after_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def _leftovers(folder: Path) -> list[str]:
    names = (".*.tmp*", "*.partial", "*.part")
    return sorted(path.name for name in names for path in folder.rglob(name))


@pytest.mark.parametrize(
    "verb", ["annotate", "cells", "predict", "train", "export", "report", "crops"]
)
def test_a_killed_command_goes_on(
    verb: str, assay: Path, made: SimulatedPlate, tmp_path: Path
) -> None:
    path = tmp_path / "assay"
    shutil.copytree(assay, path)
    out = tmp_path / "out"
    arguments = {
        "annotate": ("--from", str(made.labels), "--annotator", "Ben"),
        "cells": ("--again",),
        "train": ("--seeds", "1", "--head", "knn"),
        "export": (str(out),),
        "report": (str(out / "report.html"),),
        "crops": (str(tmp_path / "crops"),),
    }.get(verb, ())
    n_before = len(Assay.open(path).annotations())
    rng = random.Random(verb)
    command = _run(verb, str(path), *arguments)
    for _ in range(N_KILLS):
        shutil.rmtree(tmp_path / "crops", ignore_errors=True)
        _killed(command, rng.uniform(0.5, 12.0))
        assert len(Assay.open(path).annotations()) >= n_before
    shutil.rmtree(tmp_path / "crops", ignore_errors=True)
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    assert _leftovers(path) == [] and _leftovers(tmp_path) == []
    assert Assay.open(path).check().damaged == ()
    if verb != "train":
        subprocess.run(_run("export", str(path), str(out)), check=True, capture_output=True)
        expected = pd.read_parquet(assay.parent / "out" / "cells.parquet")
        exported = pd.read_parquet(out / "cells.parquet")
        pd.testing.assert_series_equal(
            exported["p_abnormal"], expected["p_abnormal"], atol=1e-5, rtol=1e-5
        )


def _tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).digest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _images(folder: Path) -> dict[str, bytes]:
    return {name: digest for name, digest in _tree(folder).items() if name.endswith(".tif")}


def _weights(folder: Path) -> dict[str, NDArray[Any]]:
    return load_file(folder / "assay" / "encoders" / "mine" / "encoder.safetensors")


def _draws(folder: Path) -> dict[str, object]:
    """Give the figures of a benchmark by what was measured; not how long it took."""
    draws = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("cells/*/*.json")]
    return {json.dumps([draw["cells"], draw["seed"]]): draw["metrics"] for draw in draws}


def _wells(folder: Path) -> dict[str, list[object]]:
    numbers = pd.read_parquet(folder / "wells.parquet").select_dtypes("number")
    return {str(name): column.round(5).tolist() for name, column in numbers.items()}


_LONGEST_S = {"convert": 6.0, "fetch": 6.0, "pretrain": 20.0, "benchmark": 20.0, "screen": 25.0}
_RESULTS: dict[str, Callable[[Path], Mapping[str, Any]]] = {
    "convert": _tree,
    "fetch": _images,
    "pretrain": _weights,
    "benchmark": _draws,
    "screen": _wells,
}


@pytest.mark.parametrize("verb", _RESULTS)
def test_a_killed_command_that_makes_a_folder_goes_on(
    verb: str,
    assay: Path,
    made: SimulatedPlate,
    tmp_path: Path,
    bbbc_server: BbbcServer,  # noqa: F811
) -> None:
    screen = tmp_path / "SCREEN.toml"
    screen.write_text(f'assay = "{assay}"\n[[plate]]\npath = "{made.plate_dir}"\nname = "B"\n')

    def command(out: Path) -> list[str]:
        if verb == "pretrain" and not (out / "assay").exists():
            shutil.copytree(assay, out / "assay")
        arguments = {
            "convert": (str(made.plate_dir), str(out)),
            "fetch": ("bbbc022", "--plate", "20585", "--channels", "w1,w2", "--out", str(out),
                      "--base-url", bbbc_server.url),
            "pretrain": (str(out / "assay"), "--method", "simclr", "--epochs", "2", "--cells", "64",
                         "--batch-size", "16", "--input-px", "32", "--no-compare", "--name",
                         "mine", "--device", "cpu"),
            "benchmark": ("--assay", str(assay), "--out", str(out), "--head", "knn", "--sizes",
                          "all", "--seeds", "1", "--no-baseline"),
            "screen": (str(screen), "--out", str(out), "--cores", "1"),
        }[verb]  # fmt: skip
        return _run(verb, *arguments)

    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    subprocess.run(command(undisturbed), check=True, capture_output=True, timeout=900)
    expected = _RESULTS[verb](undisturbed)
    assert expected
    rng = random.Random(verb)
    for _ in range(max(1, N_KILLS // 3)):
        _killed(command(out), rng.uniform(0.5, _LONGEST_S[verb]))
    subprocess.run(command(out), check=True, capture_output=True, timeout=900)
    result = _RESULTS[verb](out)
    assert result.keys() == expected.keys()
    for name, value in expected.items():
        if verb == "pretrain":
            np.testing.assert_allclose(result[name], value, atol=1e-4)
        else:
            assert result[name] == value, name
    assert _leftovers(out) == []
