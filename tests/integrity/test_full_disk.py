"""On a full disk every command that writes ends in a line, and goes on once there is room."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from safetensors.torch import save_file

from napari_hcs_qc import Assay
from napari_hcs_qc.encoders.architecture import build_architecture

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.study.simulation.synthetic import SimulatedPlate

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare to mount"),
]

# A small file system with the assay in it, of which all but some kB are taken; then not any more.
_ON_A_FULL_DISK = """
disk=$1; assay=$2; shift 2
size=$(( $(du -sk "$assay" | cut -f1) + 4000 ))
mount -t tmpfs -o size=${size}k tmpfs "$disk" || exit 77
cp -r "$assay" "$disk/assay"
left=$(( $(df --output=avail "$disk" | tail -1) - 8 ))
dd if=/dev/zero of="$disk/filler" bs=1024 count=$left status=none
"$@"; echo "exit $?" >&2
rm "$disk/filler"
mount -o remount,size=$(( size + 400000 ))k "$disk"
"$@"; echo "exit $?" >&2
rm -rf "$assay"; cp -r "$disk/assay" "$assay"
"""


@pytest.mark.parametrize(
    "verb",
    [
        "new",
        "cells",
        "annotate",
        "verdict",
        "train",
        "train finetune",
        "predict",
        "export",
        "report",
        "crops",
        "run",
        "screen",
        "convert",
        "simulate",
        "pretrain",
        "benchmark",
    ],
)
def test_a_full_disk_is_a_line_and_the_command_goes_on_when_there_is_room(
    verb: str, assay: Path, made: SimulatedPlate, tmp_path: Path
) -> None:
    disk, copy = tmp_path / "disk", tmp_path / "assay"
    disk.mkdir()
    shutil.copytree(assay, copy)
    on_disk = str(disk / "assay")
    screen, weights = tmp_path / "SCREEN.toml", tmp_path / "weights.safetensors"
    screen.write_text(f'assay = "{copy}"\n[[plate]]\npath = "{made.plate_dir}"\nname = "B"\n')
    arguments: dict[str, tuple[str, ...]] = {
        "new": (str(disk / "other"), str(made.plate_dir), "--platemap", str(made.platemap)),
        "cells": (on_disk, "--again"),
        "annotate": (on_disk, "--from", str(made.labels), "--annotator", "Ben"),
        "train": (on_disk, "--seeds", "1", "--head", "knn", "--device", "cpu"),
        "train finetune": (on_disk, "--seeds", "1", "--head", "finetune", "--device", "cpu",
                           "--encoder", "timm:test_resnet", "--weights", str(weights)),
        "predict": (on_disk, "--device", "cpu"),
        "export": (on_disk, str(disk / "out")),
        "report": (on_disk, str(disk / "out.html")),
        "verdict": (on_disk, "A01", "keep", "--annotator", "Ben"),
        "crops": (on_disk, str(disk / "crops")),
        "run": (on_disk, str(made.plate_dir), "--out", str(disk / "out"), "--seeds", "1"),
        "screen": (str(screen), "--out", str(disk / "screen"), "--cores", "1"),
        "convert": (str(made.plate_dir), str(disk / "plate.zarr")),
        "simulate": (str(disk / "simulated"), "--wells", "4", "--sites", "1"),
        "benchmark": ("--assay", str(copy), "--out", str(disk / "benchmark"), "--head", "knn",
                      "--sizes", "all", "--seeds", "1", "--no-baseline"),
        "pretrain": (on_disk, "--method", "simclr", "--epochs", "1", "--cells", "64",
                     "--batch-size", "16", "--input-px", "32", "--no-compare", "--device", "cpu"),
    }  # fmt: skip
    if verb == "train finetune":  # of a small network: six of the default one take an hour
        save_file(build_architecture("timm", "test_resnet").module.state_dict(), weights)
    if verb == "predict":
        shutil.rmtree(copy / "predictions")
        shutil.rmtree(copy / "embeddings")
    command = [sys.executable, "-m", "napari_hcs_qc", verb.split()[0], *arguments[verb], "--quiet"]
    ran = subprocess.run(
        ["unshare", "-m", "sh", "-c", _ON_A_FULL_DISK, "sh", str(disk), str(copy), *command],
        capture_output=True,
        text=True,
        timeout=900,
    )
    if ran.returncode == 77:
        pytest.skip("this machine lets nobody mount")
    assert "Traceback" not in ran.stderr
    full, _, later = ran.stderr.partition("exit 2\n")
    assert "disk is full" in full or "quota is full" in full, ran.stderr
    assert len([line for line in full.splitlines() if "error" in line]) == 1, full
    assert later.splitlines()[-1:] == ["exit 0"], ran.stderr
    assert Assay.open(copy).check().damaged == ()
