"""The training loop: the same weights again, after a stop too; trouble told in words."""

from __future__ import annotations

import random

import numpy as np
import pytest
import safetensors.torch
import torch
from tests.unit.study.ssl.conftest import in_double, open_source, quick, small_network, trained

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import NO_JOB, Cancelled, Job
from napari_hcs_qc.study.ssl import training_step as step_module
from napari_hcs_qc.study.ssl.crop_stream import CropStream
from napari_hcs_qc.study.ssl.distributed import World
from napari_hcs_qc.study.ssl.methods.method_registry import make_method
from napari_hcs_qc.study.ssl.pretrain_settings import METHOD_NAMES, preset
from napari_hcs_qc.study.ssl.train_encoder import Training
from napari_hcs_qc.study.ssl.training_state import find_neighbours, loss_curve, read_checkpoint
from napari_hcs_qc.study.ssl.training_step import Stepper, make_optimiser, rate_at


class Stops:
    """Answers that it is time to stop at the n-th question."""

    def __init__(self, at: int | None = None) -> None:
        self.at, self.asked = at, 0

    def __call__(self) -> bool:
        self.asked += 1
        return self.at is not None and self.asked >= self.at


_OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in ("simclr", "barlow-twins",
           "vicreg")]  # fmt: skip


@pytest.mark.parametrize("method", ["deepclusterv2", "swav", *_OTHERS])
def test_stopped_anywhere_it_ends_with_the_weights_of_one_that_was_not(
    sites, tmp_path, method
) -> None:
    """Within a forward pass, a backward pass, a clustering, or while a field is read."""
    settings = quick(method, epochs=2, queue=24, queue_start=1, freeze_prototypes=1)
    counting = Stops()
    whole = trained(sites, settings, job=Job(should_stop=counting))
    rng, n_stops = random.Random(METHOD_NAMES.index(method)), 0
    checkpoint = tmp_path / "pretraining.ckpt"
    while True:
        stops = Stops(rng.randrange(counting.asked // 6, counting.asked // 2))
        try:
            made = trained(sites, settings, checkpoint=checkpoint, job=Job(should_stop=stops))
            break
        except Cancelled:
            n_stops += 1
            assert n_stops < 12
    assert n_stops >= 2
    assert made.weights == whole.weights
    losses = [[epoch["loss"] for epoch in one.history.epochs] for one in (made, whole)]
    assert losses[0] == losses[1]
    assert made.history.curve == whole.history.curve


def test_the_seed_decides_and_the_weights_were_trained(sites) -> None:
    settings = quick("simclr", epochs=2)
    first, again = trained(sites, settings), trained(sites, settings)
    assert first.weights == again.weights
    assert first.history.curve == again.history.curve
    other = trained(sites, settings, seed=1)
    assert other.weights != first.weights
    state = safetensors.torch.load(first.weights)
    before = small_network().state()
    assert set(state) == set(before)
    assert not torch.equal(state["conv1.0.weight"], before["conv1.0.weight"])
    history = first.history
    assert history.n_steps == 8
    assert len(history.epochs) == 2
    assert history.epochs[0]["rank"] > 1
    assert any("fewer than" in one for one in first.warnings)  # 8 steps in all


def test_it_learns(sites) -> None:
    made = trained(sites, quick("simclr", epochs=6))
    losses = [epoch["loss"] for epoch in made.history.epochs]
    assert losses[-1] < losses[0] - 0.3


def test_a_checkpoint_of_other_work_and_a_damaged_one_are_not_taken_up(sites, tmp_path) -> None:
    checkpoint = tmp_path / "pretraining.ckpt"
    settings = quick("simclr", epochs=1)
    whole = trained(sites, settings, checkpoint=checkpoint, checkpoint_s=0.0)
    assert read_checkpoint(checkpoint, "the same") is not None
    assert read_checkpoint(checkpoint, "another") is None
    done = []
    again = trained(
        sites, settings, checkpoint=checkpoint, job=Job(lambda *told: done.append(told[0]))
    )
    assert set(done) == {4}  # it was complete: nothing is trained again
    assert again.weights == whole.weights
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])
    assert read_checkpoint(checkpoint, "the same") is None
    assert trained(sites, settings, checkpoint=checkpoint).weights == whole.weights


def test_reports_tell_the_curve_the_speed_and_what_looks_alike(sites) -> None:
    reports, told = [], []
    paused = [False, False, True, True, True]
    trained(
        sites,
        quick("simclr", epochs=2),
        on_report=reports.append,
        job=Job(lambda *one: told.append(one)),
        is_paused=lambda: bool(paused) and paused.pop(0),
    )
    assert (0, 8, "Paused") not in told
    assert any(text == "Paused" for _, _, text in told)
    assert any("epoch 2 of 2, loss" in text and "crops/s" in text for _, _, text in told)
    ends = [one for one in reports if one.neighbours is not None]
    assert [(one.epoch, one.step) for one in ends] == [(1, 4), (2, 8)]
    last = ends[-1]
    assert last.curve.shape == (8, 2) and np.isfinite(last.curve).all()
    assert last.crops_per_s > 0 and last.seconds_left == 0
    assert any("fewer than" in one for one in last.warnings)
    pictures = last.neighbours
    assert pictures.crops.shape == (6, 8, 1, 32, 32)
    assert (np.diff(pictures.similarity, axis=1) <= 1e-6).all()


def test_a_site_that_cannot_be_read_is_left_out_and_training_goes_on(sites, tmp_path) -> None:
    settings = quick("simclr", epochs=2)
    stream = CropStream([open_source(sites)], batch_size=24)
    (sites / "tiny_A03_s1_w1.tif").write_bytes(b"no picture")
    made = Training(stream, small_network(), settings).run()
    assert made.history.n_steps == 8
    assert [str(one) for one in stream.describe()["unreadable"]]
    assert "A03 s1" in stream.describe()["unreadable"][0]
    # As well when it is stopped and taken up again, by a stream that has not met the site yet.
    counting, checkpoint = Stops(), tmp_path / "x.ckpt"
    whole = trained(sites, settings, job=Job(should_stop=counting))
    with pytest.raises(Cancelled):
        trained(
            sites,
            settings,
            checkpoint=checkpoint,
            job=Job(should_stop=Stops(int(0.7 * counting.asked))),
        )
    assert trained(sites, settings, checkpoint=checkpoint).weights == whole.weights


def test_a_training_that_breaks_down_says_so(sites) -> None:
    settings = quick("vicreg", epochs=2, optimiser="sgd", lr=1e20, warmup_epochs=0.0, clip_norm=0.0)
    with pytest.raises(HcsQcError, match=r"vicreg: .*(loss|gradient).*(nan|inf)"):
        trained(sites, settings)


class Scarce:
    """A network whose memory is enough for so many crops."""

    def __init__(self, network, most: int) -> None:
        self._network, self._most, self.seen = network, most, []

    def __getattr__(self, name):
        return getattr(self._network, name)

    def features(self, crops, job=NO_JOB):
        self.seen.append(len(crops))
        found = self._network.features(crops, job)
        if len(crops) > self._most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return found


def test_without_memory_for_a_batch_its_crops_go_in_pieces_and_it_is_told(sites) -> None:
    settings = quick("simclr", epochs=1)
    stream = CropStream([open_source(sites)], batch_size=24)
    network = Scarce(small_network(), 13)
    made = Training(stream, network, settings).run()
    assert network.seen[:3] == [48, 24, 12]
    assert made.history.crops_at_once == 12
    assert any("Memory on cpu is too small" in text for _, text in made.history.warnings)
    stream = CropStream([open_source(sites)], batch_size=24)
    with pytest.raises(HcsQcError, match="8 crops of 32 × 32 px"):
        Training(stream, Scarce(small_network(), 5), settings).run()


def stepper_of(network, method="simclr") -> Stepper:
    settings = quick(method)
    made = make_method(method, network.n_features, settings, 24, World(), 0)
    return Stepper(network, made, settings, World(), NO_JOB, lambda _text: None)


def test_in_pieces_the_gradient_is_that_of_the_whole_batch() -> None:
    """Batch normalisations by their running statistics: with the batch's, pieces differ."""
    generator = torch.Generator().manual_seed(0)
    views = torch.rand((2, 24, 1, 32, 32), generator=generator, dtype=torch.float32)
    rows, gradients, losses = torch.arange(24), [], []
    for at_once in (0, 10):
        with in_double():
            stepper = stepper_of(small_network())
            stepper.network.set_training(batch_statistics=False)
            stepper.crops_at_once = at_once
            loss, _ = stepper.backward(views, rows, 0, 0)
        losses.append(float(loss))
        gradients.append([one.grad.clone() for one in stepper.parameters])
    tolerance = views.numel() * torch.finfo(torch.float64).eps  # gradients are sums over pixels
    assert losses[0] == pytest.approx(losses[1], rel=tolerance)
    scale = max(float(one.abs().max()) for one in gradients[0])
    for whole, pieces in zip(*gradients, strict=True):
        assert whole.dtype == torch.float64
        torch.testing.assert_close(pieces, whole, atol=tolerance * scale, rtol=0)


def test_an_unfinished_step_is_undone() -> None:
    stepper = stepper_of(small_network())
    stepper.network.set_training(batch_statistics=True)
    before = {name: one.clone() for name, one in stepper.network.state().items()}
    views = torch.rand((2, 24, 1, 32, 32))
    stepper.backward(views, torch.arange(24), 0, 0)
    changed = stepper.network.state()
    assert any(not torch.equal(changed[name], one) for name, one in before.items())
    stepper.undo()
    after = stepper.network.state()
    assert all(torch.equal(after[name], one) for name, one in before.items())


def test_half_precision_is_used_on_cuda_alone(monkeypatch) -> None:
    assert step_module._precision(torch.device("cpu")) == torch.float32
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert step_module._precision(torch.device("cuda")) == torch.bfloat16


def test_the_rate_rises_on_a_line_and_falls_on_a_cosine() -> None:
    settings = preset("simclr", "paper", epochs=5, lr=1.0, warmup_start_lr=0.1, min_lr=0.01)
    rates = [rate_at(step, 10, settings) for step in range(50)]
    np.testing.assert_allclose(rates[:10], 0.1 + 0.9 * np.arange(10) / 10)
    assert rates[10] == 1.0
    share = np.arange(40) / 40
    np.testing.assert_allclose(rates[10:], 0.01 + 0.99 * (1 + np.cos(np.pi * share)) / 2)
    # One epoch of training is not all warm-up.
    short = settings.with_changes(epochs=1)
    assert max(rate_at(step, 10, short) for step in range(10)) == 1.0
    assert rate_at(0, 10, settings.with_changes(warmup_epochs=0.0)) == 1.0


def test_what_the_optimisers_decay() -> None:
    parameters = list(small_network().module.parameters())
    (group,) = make_optimiser(parameters, preset("simclr", "paper")).param_groups
    assert (group["weight_decay"], group["momentum"]) == (1e-4, 0.9)
    weights, rest = make_optimiser(parameters, preset("simclr")).param_groups
    assert weights["weight_decay"] == 0.01 and rest["weight_decay"] == 0.0
    assert {one.ndim for one in rest["params"]} == {1}
    assert len(weights["params"]) + len(rest["params"]) == len(parameters)


def test_neighbours_are_those_of_scikit_learn() -> None:
    from sklearn.neighbors import NearestNeighbors

    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 9)).astype(np.float32)
    crops = torch.arange(60.0)[:, None, None, None].expand(-1, 1, 4, 4)
    found = find_neighbours(crops, torch.from_numpy(features), 5, 6)
    peer = NearestNeighbors(n_neighbors=7, metric="cosine").fit(features)
    distance, index = peer.kneighbors(features[:5])
    assert np.array_equal(found.crops[:, :, 0, 0, 0], index)
    np.testing.assert_allclose(found.similarity, 1 - distance, atol=1e-5)


def test_a_long_curve_is_thinned_to_means() -> None:
    losses = list(np.random.default_rng(0).random(2501))
    curve = loss_curve(losses, 1000)
    assert len(curve) == 834
    assert curve[0].tolist() == pytest.approx([2.0, np.mean(losses[:3])])
    assert curve[-1].tolist() == pytest.approx([2500.5, np.mean(losses[2499:])])
    assert loss_curve([]).shape == (0, 2)
