"""A command that is killed anywhere goes on, and leaves what an undisturbed one leaves."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from napari_hcs_qc import Assay

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.study.simulation.synthetic import SimulatedPlate

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(os.name != "posix", reason="SIGKILL"),
]

N_KILLS = int(os.environ.get("HCS_QC_KILLS", "15"))


def _run(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "napari_hcs_qc", *arguments, "--quiet"]


def _killed(command: list[str], after_s: float) -> bool:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            process.wait(timeout=after_s)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            return True
    return False


def _leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob(".*.tmp*"))


@pytest.mark.parametrize("verb", ["annotate", "cells", "predict", "train", "export", "report"])
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
    }.get(verb, ())
    n_before = len(Assay.open(path).annotations())
    rng = random.Random(verb)
    command = _run(verb, str(path), *arguments)
    for _ in range(N_KILLS):
        _killed(command, rng.uniform(0.5, 12.0))
        assert len(Assay.open(path).annotations()) >= n_before
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
