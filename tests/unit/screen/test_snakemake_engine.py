"""The engine without Snakemake: what stands in for it starts one job and waits."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

import napari_hcs_qc
from napari_hcs_qc.screen.running import RunOptions
from napari_hcs_qc.screen.snakemake_engine import BUSY, LOCK

pytestmark = pytest.mark.skipif(os.name != "posix", reason="process groups of POSIX")

STAND_IN = """
import subprocess, sys, time
def main(options):
    job = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    open(options[0], "w").write(str(job.pid))
    sys.exit(job.wait() and 7)
"""


@pytest.fixture
def start(tmp_path: Path) -> subprocess.Popen[bytes]:
    package = tmp_path / "lib" / "snakemake"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "cli.py").write_text(STAND_IN)
    source = Path(napari_hcs_qc.__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, "-m", "napari_hcs_qc.screen.snakemake_engine", str(tmp_path),
         str(tmp_path / "pid")],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": f"{package.parent}{os.pathsep}{source}"},
        start_new_session=True,
    )  # fmt: skip


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_it_ends_with_its_parent_and_its_jobs_with_it(
    start: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    until = time.monotonic() + 60
    pid = tmp_path / "pid"
    while not (pid.is_file() and pid.read_text()):
        assert time.monotonic() < until
        time.sleep(0.05)
    job = int(pid.read_text())
    assert is_alive(job)
    busy = subprocess.run(
        [sys.executable, "-m", "napari_hcs_qc.screen.snakemake_engine", str(tmp_path)],
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert busy.returncode == BUSY
    assert start.stdin is not None
    start.stdin.close()  # as a parent that is killed does
    assert start.wait(30) != 0
    while is_alive(job):
        assert time.monotonic() < until
        time.sleep(0.05)
    with FileLock(tmp_path / LOCK, timeout=1):
        pass  # nothing is left to be unlocked


def test_arguments_leave_to_a_profile_what_is_its_own(tmp_path: Path) -> None:
    local = RunOptions(cores=3, more=("--retries", "2")).arguments(tmp_path)
    assert local[local.index("--cores") + 1] == "3"
    assert local[-2:] == ["--retries", "2"]
    assert {"--keep-going", "--rerun-incomplete", "--nolock"} <= set(local)
    profiled = RunOptions(profile="slurm").arguments(tmp_path)
    assert not {"--cores", "--jobs"} & set(profiled)
    assert profiled[profiled.index("--profile") + 1] == "slurm"
    on_cluster = RunOptions(executor="slurm").arguments(tmp_path)
    assert on_cluster[on_cluster.index("--jobs") + 1] == "50"
    assert RunOptions(threads=6).threads_of_a_job == 6
    assert RunOptions(executor="slurm").threads_of_a_job == 4
