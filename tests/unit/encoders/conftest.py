"""A tiny plate, an encoder that costs nothing, and a weights server on this machine."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch

from napari_hcs_qc.cells.intensity import ChannelRange, IntensityRanges
from napari_hcs_qc.cells.recipe import CropRecipe
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates.open import open_plate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari_hcs_qc.plates.plate import Plate

SIDE_PX = 48
MAX_GREY = 4095


class FakeEncoder:
    """Averages of the crop's four quarters: exact, independent of the batch, and instant."""

    name = "fake"
    stages = "last"
    pooling = "mean"
    n_features = 4
    fingerprint = "fake-encoder-1"

    def __init__(self, s_per_crop: float = 0.0, log: Path | None = None) -> None:
        self.s_per_crop, self.log = s_per_crop, log
        self.calls: list[int] = []

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "fingerprint": self.fingerprint}

    def encode(self, crops: torch.Tensor, *, job: Job = NO_JOB) -> torch.Tensor:
        self.calls.append(len(crops))
        if self.log is not None:
            with self.log.open("a") as handle:
                handle.write(f"{len(crops)}\n")
                handle.flush()
                os.fsync(handle.fileno())
        if self.s_per_crop:
            for _ in range(len(crops)):
                job.check()
                time.sleep(self.s_per_crop)
        half = crops.shape[-1] // 2
        grey = crops.mean(dim=1)
        quarters = (
            grey[:, :half, :half],
            grey[:, :half, half:],
            grey[:, half:, :half],
            grey[:, half:, half:],
        )
        return torch.stack([quarter.mean(dim=(1, 2)) for quarter in quarters], dim=1)


@dataclass
class Inputs:
    """What `embed_cells` takes, but for the encoder and the folder."""

    plate: Plate
    cells: pd.DataFrame
    ranges: IntensityRanges
    recipe: CropRecipe


def write_plate(folder: Path, n_sites: int = 6, n_channels: int = 2, seed: int = 0) -> Path:
    """Write sites of noise under ImageXpress names."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for site in range(n_sites):
        well, number = f"A{site // 2 + 1:02d}", site % 2 + 1
        for channel in range(1, n_channels + 1):
            pixels = rng.integers(0, MAX_GREY, (SIDE_PX, SIDE_PX), dtype=np.uint16)
            tifffile.imwrite(folder / f"tiny_{well}_s{number}_w{channel}.tif", pixels)
    return folder


def open_inputs(folder: Path, seed: int = 0) -> Inputs:
    """Open such a plate; every site gets between 0 and 40 cells anywhere, borders included."""
    plate = open_plate(folder)
    rng = np.random.default_rng(seed)
    counts = [7, 40, 0, 1, 23, 18, 31, 5]
    tables = []
    for index, key in enumerate(plate.sites):
        n = counts[index % len(counts)]
        y_px, x_px = rng.uniform(0, SIDE_PX - 1, (2, n)).astype(np.float32)
        tables.append(
            pd.DataFrame({"well": key.well, "site": key.site, "y_px": y_px, "x_px": x_px})
        )
    ranges = IntensityRanges(
        tuple(
            ChannelRange(
                channel=channel.name,
                low=0.0,
                high=float(MAX_GREY),
                saturation_level=None,
                background=0.0,
                dtype="uint16",
            )
            for channel in plate.channels
        )
    )
    recipe = CropRecipe(name="test", scales=(8.0, 20.0), unit="px", input_px=16, stages="last")
    return Inputs(plate, pd.concat(tables, ignore_index=True), ranges, recipe)


@pytest.fixture
def fake_encoder() -> type[FakeEncoder]:
    return FakeEncoder


@pytest.fixture
def plate_folder(tmp_path: Path) -> Path:
    return write_plate(tmp_path / "plate with ü")


@pytest.fixture
def inputs(plate_folder: Path) -> Inputs:
    return open_inputs(plate_folder)


@pytest.fixture
def reopen() -> Callable[[Path], Inputs]:
    """Open a plate's folder anew, with the same cells."""
    return open_inputs


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """The tests share the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass
class WeightsServer:
    """Serves `files` by path, as a hub does; `cuts` are lengths of the next bodies."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    stalled: threading.Event = field(default_factory=threading.Event)
    resume: threading.Event | None = None

    @property
    def bodies(self) -> list[str]:
        """Paths of the files that were asked for, without the questions about them."""
        return [path for path, _ in self.asked]

    def answer(self, to: BaseHTTPRequestHandler, *, is_head: bool) -> None:
        wanted = to.headers.get("Range")
        # The hub's client also asks for what has nothing to do with a file.
        if not is_head and "/api/" not in to.path:
            self.asked.append((to.path, wanted))
        body = self.files.get(to.path)
        if self.statuses or body is None:
            to.send_response(self.statuses.pop(0) if self.statuses else 404)
            to.send_header("X-Error-Code", "EntryNotFound")
            to.send_header("X-Repo-Commit", COMMIT)
            to.send_header("Content-Length", "0")
            to.end_headers()
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        to.send_response(206 if wanted else 200)
        # A hub tells a large file's SHA-256 by its ETag.
        to.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        to.send_header("X-Repo-Commit", COMMIT)
        to.send_header("Content-Length", str(len(body) - start))
        if wanted:
            to.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        to.end_headers()
        if is_head:
            return
        sent = body[start:]
        sent = sent[: self.cuts.pop(0)] if self.cuts else sent
        if self.resume is not None:
            to.wfile.write(sent[:1000])
            to.wfile.flush()
            self.stalled.set()
            self.resume.wait(30)
            sent = sent[1000:]
        to.wfile.write(sent)


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def weights_server() -> Iterator[WeightsServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            server.answer(self, is_head=True)

        def do_GET(self) -> None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                server.answer(self, is_head=False)

        def log_message(self, *_args: Any) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
    server = WeightsServer(f"http://127.0.0.1:{httpd.server_port}")
    thread.start()
    yield server
    if server.resume is not None:
        server.resume.set()
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture
def set_endpoint(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Do in this process what HF_ENDPOINT does before a start."""
    from huggingface_hub import constants

    def set_to(url: str) -> None:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + template)
        monkeypatch.setattr(constants, "ENDPOINT", url)

    return set_to


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of every cache: Hugging Face's, PyTorch's and ours."""
    import huggingface_hub.constants

    folder = tmp_path / "cache"
    monkeypatch.setenv("HCS_QC_CACHE", str(folder / "ours"))
    monkeypatch.setenv("TORCH_HOME", str(folder / "torch"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    return folder
