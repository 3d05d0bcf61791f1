"""A whole screen on Snakemake's local executor: failures, kills, a full disk, and restarts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from napari_hcs_qc.assay.models.train_options import TrainOptions
from napari_hcs_qc.study.simulation.synthetic import SimulatedPlate, SyntheticSpec, simulate_plate
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.name != "posix", reason="process groups of POSIX"),
]
pytest.importorskip("snakemake", reason="the extra [screen] is not installed")

PLATES = [f"P{number}" for number in range(1, 9)]
WELLS = tuple(f"{row}{column:02d}" for row in "AB" for column in range(1, 5))


@dataclass
class Screen:
    root: Path

    @property
    def out(self) -> Path:
        return self.root / "out"

    def start(self, *more: str, preface: str = "") -> subprocess.Popen[str]:
        code = f"{preface}\nimport sys; from napari_hcs_qc.cli import main; sys.exit(main())"
        return subprocess.Popen(
            [sys.executable, "-c", code, "screen", str(self.root / "screen.toml"), "--out",
             str(self.out), "--cores", "2", "--threads", "1", "--json", "--quiet", *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def run(self, *more: str) -> dict[str, Any]:
        process = self.start(*more)
        told, complaint = process.communicate()
        assert process.returncode in (0, 1), complaint
        found: dict[str, Any] = json.loads(told)
        assert process.returncode == bool(found["failed"])
        return found

    def done(self) -> dict[str, int]:
        paths = self.out.glob("plates/*/done.json")
        return {path.parent.name: path.stat().st_mtime_ns for path in paths}

    def jobs(self) -> dict[str, int]:
        """Process of each plate's job that runs in this folder."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes().decode().split("\0")
                folder = (entry / "cwd").resolve()
            except OSError:
                continue
            is_job = words[1:4] == ["-m", "napari_hcs_qc.cli.screen_job", "plate"]
            if is_job and folder == self.out.resolve():
                found[words[5]] = int(entry.name)
        return found


def wait_for(what: Callable[[], Any], seconds: float = 300) -> Any:
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def real_plate() -> Path | None:
    """The real plate, where it lies beside the checkout."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "bbbc039" / "20585"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, real_plate: Path | None) -> Path:
    """Eight plates, the fifth no image at all, the real one, and an assay with a model."""
    root = tmp_path_factory.mktemp("screen")
    common: dict[str, Any] = {
        "wells": WELLS, "sites_per_well": 1, "shape_px": (160, 200), "channels": ("DNA",),
        "nucleus_diameter_um": 14.0, "cells_per_mm2": 1500.0, "artefact_share": 0.0,
        "abnormal_share": 0.15, "n_labels": 60,
    }  # fmt: skip

    def simulate(folder: Path, name: str, seed: int) -> SimulatedPlate:
        plate = simulate_plate(folder, SyntheticSpec(name=name, seed=seed, **common))
        for names in plate.plate_dir.rglob("*.HTD"):
            names.unlink()  # the real plate has none, so that its channel is called w1
        return plate

    train = simulate(root / "train", "TRAIN", 50)
    steps.run(
        root / "assay",
        steps.PlateSource(train.plate_dir),
        train.labels,
        root / "trained",
        annotator="tester",
        train_options=TrainOptions(n_seeds=1),
    )
    for seed, name in enumerate(PLATES):
        simulate(root / "raw" / name, name, seed)
    for image in (root / "raw" / "P5").rglob("*.tif"):
        image.write_bytes(image.read_bytes()[:200])
    plates = 'assay = "assay"\n[[plate]]\nglob = "raw/*/P*"\n'
    if real_plate is not None:
        plates += f'[[plate]]\npath = "{real_plate}"\n'
    (root / "screen.toml").write_text(plates)
    return root


@pytest.mark.skipif(sys.platform != "linux", reason="looks for jobs in /proc")
def test_kills_and_a_corrupt_plate_are_survived(made: Path, real_plate: Path | None) -> None:
    screen = Screen(made)
    whole = set(PLATES) - {"P5"} | ({real_plate.name} if real_plate else set())
    driver = screen.start()
    # A job is killed in the middle: the others go on.
    name, victim = wait_for(lambda: list(screen.jobs().items()))[0]
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: len(screen.done()) >= 2)
    # Then the driver: its engine and its jobs end with it.
    wait_for(screen.jobs)
    driver.kill()
    driver.communicate()
    wait_for(lambda: not screen.jobs(), 60)
    before = screen.done()
    assert name not in before
    assert 2 <= len(before) < len(whole)
    found = screen.run()
    assert [one["plate"] for one in found["failed"]] == ["P5"]
    assert "can be read" in found["failed"][0]["why"]
    after = screen.done()
    assert set(after) == whole
    assert {name: after[name] for name in before} == before  # nothing was done twice
    assert found["n_done_now"] == len(after) - len(before)
    # A plate that is put right, and one that has changed, are all that is done then.
    for path in (made / "raw" / "P4" / "P4").glob("*.tif"):
        shutil.copyfile(path, made / "raw" / "P5" / "P5" / path.name.replace("P4", "P5"))
    os.utime(next((made / "raw" / "P2").rglob("*.tif")))
    found = screen.run()
    assert not found["failed"]
    assert found["n_done_now"] == 2
    last = screen.done()
    assert {name for name in last if last[name] != after.get(name)} == {"P2", "P5"}
    assert screen.run()["n_done_now"] == 0
    assert screen.done() == last


def test_a_full_disk_is_told_and_survived(made: Path, tmp_path: Path) -> None:
    """No file may grow beyond 16 KiB: embeddings cannot be kept, messages can."""
    screen = Screen(tmp_path)
    shutil.copytree(made / "assay", tmp_path / "assay")
    (tmp_path / "screen.toml").write_text(
        f'assay = "assay"\n[[plate]]\npath = "{made}/raw/P1/P1"\n[[plate]]\n'
        f'path = "{made}/raw/P2/P2"\n'
    )
    limited = screen.start(
        preface="import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (16384, resource.RLIM_INFINITY))"
    )
    _, complaint = limited.communicate()
    assert limited.returncode != 0
    assert "Traceback" not in complaint
    assert not screen.done()
    found = screen.run()
    assert not found["failed"]
    assert set(screen.done()) == {"P1", "P2"}
