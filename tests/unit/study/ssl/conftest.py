"""A tiny plate of stripes and checks, a small network with random weights, and one training."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch

from napari_hcs_qc.cells.intensity import ChannelRange, IntensityRanges
from napari_hcs_qc.cells.recipe import CropRecipe
from napari_hcs_qc.encoders.architecture import build_architecture
from napari_hcs_qc.encoders.embed.crop_reader import CropSource
from napari_hcs_qc.encoders.normalise import Normaliser
from napari_hcs_qc.encoders.trainable import TrainableEncoder
from napari_hcs_qc.plates.open import open_plate
from napari_hcs_qc.study.ssl.crop_stream import CropStream
from napari_hcs_qc.study.ssl.pretrain_settings import Pretraining, preset
from napari_hcs_qc.study.ssl.train_encoder import Pretrained, Training

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_hcs_qc.study.ssl.distributed import World

SIDE_PX = 96
INPUT_PX = 32
NAME = "timm:test_resnet"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads of such small layers wait for one another, on a busy machine for most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_sites(folder: Path, n_sites: int = 6, n_channels: int = 1, seed: int = 0) -> Path:
    """Write sites under ImageXpress names, of stripes whose width is the site's own."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    for site in range(n_sites):
        well, number = f"A{site // 2 + 1:02d}", site % 2 + 1
        for channel in range(1, n_channels + 1):
            pattern = np.where(site % 2, x // (3 + site) % 2, (x ^ y) // (3 + site) % 2)
            pixels = 1000 + 1500 * pattern + rng.integers(0, 600, pattern.shape)
            path = folder / f"tiny_{well}_s{number}_w{channel}.tif"
            tifffile.imwrite(path, pixels.astype(np.uint16))
    return folder


def open_source(folder: Path, scales: tuple[float, ...] = (16.0,), seed: int = 0) -> CropSource:
    """Open such a plate; every site gets some 20 cells, borders included, one site has none."""
    plate = open_plate(folder)
    rng = np.random.default_rng(seed)
    tables = []
    for index, key in enumerate(plate.sites):
        n = 0 if index == 1 else 17 + 4 * (index % 3)
        y_px, x_px = rng.uniform(0, SIDE_PX - 1, (2, n)).astype(np.float32)
        tables.append(
            pd.DataFrame({"well": key.well, "site": key.site, "y_px": y_px, "x_px": x_px})
        )
    ranges = IntensityRanges(
        tuple(
            ChannelRange(
                channel=channel.name,
                low=0.0,
                high=4095.0,
                saturation_level=None,
                background=0.0,
                dtype="uint16",
            )
            for channel in plate.channels
        )
    )
    recipe = CropRecipe(name="tiny", scales=scales, unit="px", input_px=INPUT_PX, stages="last")
    return CropSource(plate, pd.concat(tables, ignore_index=True), ranges, recipe, "max", 64)


def small_network() -> TrainableEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(11)
        architecture = build_architecture("timm", "test_resnet")
    recipe = CropRecipe(name="tiny", scales=(16.0,), unit="px", input_px=INPUT_PX, stages="last")
    return TrainableEncoder(NAME, architecture, recipe, "cpu")


def quick(method: str = "simclr", name: str = "default", **changes: Any) -> Pretraining:
    small: dict[str, Any] = {
        "epochs": 3,
        "batch_size": 24,
        "hidden": 24,
        "projected": 16,
        "prototypes": 5,
        "queue": 48,
    }
    return preset(method, name, **{**small, **changes})


def trained(
    folder: Path,
    settings: Pretraining,
    *,
    seed: int = 0,
    world: World | None = None,
    **options: Any,
) -> Pretrained:
    stream = CropStream(
        [open_source(folder)],
        batch_size=settings.batch_size,
        seed=seed,
        buffer_cells=40,
        world=world,
    )
    network = small_network()
    return Training(stream, network, settings, seed=seed, key="the same", **options).run()


@contextmanager
def in_double() -> Iterator[None]:
    """Compute in double precision: in single, rounding decides which pixel a maximum takes."""
    normalise = Normaliser.__call__
    torch.set_default_dtype(torch.float64)
    Normaliser.__call__ = lambda self, crops: normalise(self, crops).double()
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        Normaliser.__call__ = normalise


def trained_in_double(folder: Path, settings: Pretraining, **options: Any) -> Pretrained:
    """Train in double precision."""
    with in_double():
        return trained(folder, settings, **options)


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    return write_sites(tmp_path / "plate with ü")
