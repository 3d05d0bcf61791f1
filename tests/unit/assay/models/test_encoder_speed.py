from __future__ import annotations

import time

import pytest

from napari_hcs_qc.assay.models.encoder_speed import EncoderSpeed, measure_encoder
from napari_hcs_qc.assay.models.train_options import TrainOptions
from napari_hcs_qc.encoders import registry
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Cancelled, Job


def test_the_default_encoder_is_measured_and_the_kept_one_stays():
    kept = registry.cached_encoder(device="cpu")
    told: list[str] = []
    found = measure_encoder(
        TrainOptions(device="cpu"), job=Job(lambda _d, _t, message: told.append(message))
    )
    assert found.name == "efficientnet-lite0"
    assert found.device == "cpu"
    assert found.n_features == 472  # of the recipe's inner stages
    assert 0.5 < found.crops_per_s < 1e6
    assert told[-1] == "Measuring efficientnet-lite0"
    assert registry.cached_encoder(device="cpu") is kept


def test_it_stops_within_a_second():
    began: list[float] = []

    def progress(_done: int, _total: int, message: str) -> None:
        if message.startswith("Measuring"):
            began.append(time.monotonic())

    def stop() -> bool:
        return bool(began) and time.monotonic() - began[0] > 0.1

    with pytest.raises(Cancelled):
        measure_encoder(TrainOptions(device="cpu"), job=Job(progress, stop))
    assert time.monotonic() - began[0] < 1.1


def test_an_unknown_encoder_is_told():
    with pytest.raises(HcsQcError, match="There is no encoder 'resnet-18'"):
        measure_encoder(TrainOptions(encoder="resnet-18"))


def test_seconds_count_every_view():
    speed = EncoderSpeed(name="x", device="cpu", n_features=8, crops_per_s=50.0)
    assert speed.seconds_for(1000, 4) == pytest.approx(80)
