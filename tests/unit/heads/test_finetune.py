"""Fine-tuning, on a small network with random weights: mechanics only, no figures."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import safetensors.torch
import torch

from napari_hcs_qc.cells.recipe import CropRecipe
from napari_hcs_qc.encoders.architecture import build_architecture
from napari_hcs_qc.encoders.registry import load_encoder
from napari_hcs_qc.encoders.trainable import TrainableEncoder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.heads.check_annotated import AnnotationsError
from napari_hcs_qc.heads.finetune import PRESETS, FineTuned, FineTuning, fine_tune
from napari_hcs_qc.heads.saved_head import load_head, save_head
from napari_hcs_qc.job import Cancelled, Job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECIPE = CropRecipe(
    name="tiny", scales=(1.0, 2.0), unit="px", input_px=32, stages="inner", pooling="centre"
)
QUICK = FineTuning(
    epochs=3, optimiser="adamw", learning_rate=1e-2, encoder_rate=1e-3, depth_decay=0.8
)
NAME = "timm:test_resnet"


@pytest.fixture(autouse=True)
def _checkpoint_each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_hcs_qc.heads.finetune.CHECKPOINT_EVERY_S", 0.0)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads of such small layers wait for one another, on a busy machine for most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network() -> TrainableEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(11)
        architecture = build_architecture("timm", "test_resnet")
    return TrainableEncoder(NAME, architecture, RECIPE, "cpu")


def cells(n_normal: int, n_abnormal: int, seed: int = 0):
    """Stripes are normal, checks abnormal; wells of four cells."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32] // 4 % 2
    classes = np.array(["normal"] * n_normal + ["abnormal"] * n_abnormal)
    pattern = np.where((classes == "abnormal")[:, None, None], x ^ y, x)
    crops = 0.3 + 0.3 * pattern + rng.normal(0, 0.15, (len(classes), 32, 32))
    stacked = np.stack([crops, crops[:, ::-1]], axis=1)[:, :, None]
    order = rng.permutation(len(classes))
    wells = np.array([f"p/{number // 4}" for number in range(len(classes))])
    return torch.from_numpy(stacked[order].astype(np.float32)), classes[order], wells


def tuned(data, settings: FineTuning = QUICK, **options) -> FineTuned:
    crops, classes, wells = data
    return fine_tune(
        options.pop("network", None) or network(),
        crops,
        classes,
        wells,
        settings,
        sides=(1.0, 2.0),
        **options,
    )


def p_abnormal(made: FineTuned, crops: torch.Tensor) -> np.ndarray:
    rows = made.encoder.encode(crops.flatten(0, 1)).view(len(crops), -1).numpy()
    return made.head.predict_proba(rows)[:, list(made.head.classes_).index("abnormal")]


def same(one: FineTuned, other: FineTuned) -> bool:
    return one.weights == other.weights and np.array_equal(one.head.coef_, other.head.coef_)


@pytest.mark.parametrize(
    ("preset", "n_normal", "n_abnormal"),
    [("finetune", 5, 5), ("finetune", 8, 2), ("finetune", 30, 14), ("finetune-paper", 20, 20)],
)
def test_it_learns_and_does_not_collapse_with_ten(preset, n_normal, n_abnormal) -> None:
    settings = replace(PRESETS[preset], encoder_rate=1e-3, learning_rate=1e-2)
    made = tuned(cells(n_normal, n_abnormal), settings)
    crops, classes, _ = cells(30, 30, seed=9)
    said = p_abnormal(made, crops) >= 0.5
    assert (said == (classes == "abnormal")).mean() > 0.9
    losses = made.history["losses"]
    assert losses[-1] < losses[0]


def test_presets_are_what_they_say() -> None:
    paper = PRESETS["finetune-paper"]
    assert (paper.epochs, paper.optimiser, paper.momentum) == (50, "sgd", 0.9)
    assert paper.milestones == (25, 40)
    assert paper.learning_rate == paper.encoder_rate == 1e-3
    assert paper.depth_decay == 1 and not paper.n_frozen and paper.batch_size == 32


def test_the_same_seed_gives_the_same_to_the_digit() -> None:
    data = cells(20, 12)
    assert same(tuned(data, seed=3), tuned(data, seed=3))
    assert not same(tuned(data, seed=3), tuned(data, seed=4))


@pytest.mark.parametrize("share", [0.02, 0.4, 0.9])
def test_one_that_was_stopped_goes_on_to_the_same_weights(tmp_path: Path, share: float) -> None:
    data, settings = cells(34, 20), QUICK
    checkpoint = tmp_path / "it.ckpt"
    questions: list[int] = []

    def count() -> bool:
        questions.append(1)
        return False

    whole = tuned(data, settings, checkpoint=checkpoint, key="a", job=Job(should_stop=count))
    # What is done stays until its caller has kept what it made of it, and is not done again.
    assert checkpoint.exists()
    n_steps: list[int] = []
    same_again = tuned(
        data, settings, checkpoint=checkpoint, key="a", job=Job(lambda *a: n_steps.append(a[0]))
    )
    assert same(whole, same_again) and len(set(n_steps)) == 1
    checkpoint.unlink()
    left = int(share * len(questions))

    def should_stop() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    with pytest.raises(Cancelled):
        tuned(data, settings, checkpoint=checkpoint, key="a", job=Job(should_stop=should_stop))
    steps: list[int] = []
    again = tuned(
        data,
        settings,
        checkpoint=checkpoint,
        key="a",
        job=Job(lambda done, total, text: steps.append(done)),
    )
    assert same(whole, again)
    if share == 0.9:
        assert steps[0] > 0  # epochs that were over were not done again


@pytest.mark.parametrize("n_threads", [1, 2])
def test_threads_share_a_batch_and_stop_at_once(n_threads: int) -> None:
    torch.set_num_threads(n_threads)
    data = cells(20, 12)
    made = tuned(data)
    assert same(made, tuned(data))
    torch.set_num_threads(1)
    crops = cells(10, 10, seed=5)[0]
    np.testing.assert_allclose(p_abnormal(made, crops), p_abnormal(tuned(data), crops), atol=2e-3)
    torch.set_num_threads(n_threads)
    is_on: list[int] = []

    def should_stop() -> bool:
        is_on.append(1)
        return len(is_on) > 300

    with pytest.raises(Cancelled):
        tuned(data, job=Job(should_stop=should_stop))
    assert len(is_on) < 320


def test_short_epochs_do_not_wait_for_the_disk(tmp_path: Path, monkeypatch) -> None:
    written: list[int] = []
    real = f"{fine_tune.__module__}.write_state"
    monkeypatch.setattr(real, lambda _path, state, _more: written.append(state.epoch))
    tuned(cells(10, 6), checkpoint=tmp_path / "it.ckpt")
    assert written == [1, 2, 3]
    written.clear()
    monkeypatch.setattr("napari_hcs_qc.heads.finetune.CHECKPOINT_EVERY_S", 60.0)
    tuned(cells(10, 6), checkpoint=tmp_path / "it.ckpt")
    assert written == [3]  # the end is always kept


@pytest.mark.parametrize("damage", ["cut", "other key", "no checkpoint"])
def test_a_checkpoint_that_is_not_ours_is_not_taken_up(tmp_path: Path, damage: str) -> None:
    data, checkpoint = cells(20, 12), tmp_path / "it.ckpt"
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return checkpoint.exists()

    with pytest.raises(Cancelled):
        tuned(data, checkpoint=checkpoint, key="a", job=Job(should_stop=should_stop))
    if damage == "cut":
        checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    elif damage == "no checkpoint":
        checkpoint.write_text("not a checkpoint")
    key = "b" if damage == "other key" else "a"
    steps: list[int] = []
    made = tuned(data, checkpoint=checkpoint, key=key, job=Job(lambda done, *_: steps.append(done)))
    assert steps[0] == 0
    assert same(made, tuned(data))


def test_out_of_memory_halves_the_batch_and_the_result_is_the_same(monkeypatch) -> None:
    data = cells(20, 12)
    whole, small = tuned(data), network()
    features, sizes = small.features, []

    def scarce(crops: torch.Tensor, *rest) -> torch.Tensor:
        if torch.is_grad_enabled() and not torch.is_inference_mode_enabled():
            sizes.append(len(crops))
            if len(crops) > 3:
                raise RuntimeError("CUDA out of memory. Tried to allocate 20 MiB")
        return features(crops, *rest)

    monkeypatch.setattr(small, "features", scarce)
    made = tuned(data, network=small)
    assert made.history["cells_at_once"] == 2
    assert sizes[:3] == [8, 4, 2]
    crops = cells(10, 10, seed=5)[0]
    np.testing.assert_allclose(p_abnormal(made, crops), p_abnormal(whole, crops), atol=2e-3)


def test_the_first_look_at_the_cells_fits_into_little_memory_too(monkeypatch) -> None:
    data, small = cells(20, 12), network()
    features, sizes = small.features, []

    def scarce(crops: torch.Tensor, *rest) -> torch.Tensor:
        sizes.append(len(crops))
        if len(crops) > 5:
            raise MemoryError
        return features(crops, *rest)

    monkeypatch.setattr(small, "features", scarce)
    assert tuned(data, network=small).history["cells_at_once"] == 2
    assert sizes[:4] == [16, 8, 4, 4]


@pytest.mark.parametrize("n", [33, 36, 65])
def test_the_papers_rate_falls_when_it_says_whatever_the_number_of_cells(monkeypatch, n) -> None:
    rates: list[float] = []
    step = torch.optim.SGD.step

    def note(self, *rest):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *rest)

    monkeypatch.setattr(torch.optim.SGD, "step", note)
    settings = replace(PRESETS["finetune-paper"], epochs=4, milestones=(1, 3), batch_size=32)
    small, batches = network(), []
    features = small.features

    def watched(crops: torch.Tensor, *rest) -> torch.Tensor:
        if torch.is_grad_enabled():
            batches.append(len(crops))
        return features(crops, *rest)

    monkeypatch.setattr(small, "features", watched)
    tuned(cells(n - n // 2, n // 2), settings, network=small)
    per_epoch = len(rates) // 4
    assert len(rates) == 4 * per_epoch
    expected = np.repeat([1e-3, 1e-4, 1e-4, 1e-5], per_epoch)
    np.testing.assert_allclose(rates, expected)
    assert sum(batches) == 4 * n and min(batches) > 1  # a cell alone has no variance


@pytest.mark.parametrize("in_training", [False, True])
def test_without_memory_for_one_cell_it_says_so(monkeypatch, in_training: bool) -> None:
    small = network()
    features = small.features

    def none(crops: torch.Tensor, *rest) -> torch.Tensor:
        if not (in_training and torch.is_inference_mode_enabled()):
            raise torch.OutOfMemoryError("out of memory")
        return features(crops, *rest)

    monkeypatch.setattr(small, "features", none)
    with pytest.raises(HcsQcError, match="a single cell"):
        tuned(cells(6, 6), network=small)


def test_other_errors_of_the_network_come_through(monkeypatch) -> None:
    small = network()
    features = small.features

    def broken(crops: torch.Tensor, *rest) -> torch.Tensor:
        if not torch.is_inference_mode_enabled():
            raise RuntimeError("shape mismatch")
        return features(crops, *rest)

    monkeypatch.setattr(small, "features", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        tuned(cells(6, 6), network=small)


def statistics(made: FineTuned) -> dict[str, torch.Tensor]:
    state = safetensors.torch.load(made.weights)
    return {name: value for name, value in state.items() if "running_" in name}


@pytest.mark.parametrize(("n", "changes"), [(33, True), (10, False)])
def test_batch_normalisation_learns_from_enough_cells_only(n: int, changes: bool) -> None:
    before = network().state()
    settings = replace(QUICK, batch_statistics=True, balance=False, epochs=1)
    made = tuned(cells(n - 4, 4), settings)  # 33 cells: the last batch would be a single one
    assert made.history["batch_statistics"] is changes
    now = statistics(made)
    assert now
    assert any(not torch.equal(before[name], now[name]) for name in now) is changes


def test_frozen_stages_stay_and_the_others_learn() -> None:
    before = network().state()
    made = tuned(cells(10, 6), replace(QUICK, n_frozen=2))
    after = safetensors.torch.load(made.weights)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    frozen = {name for name in before if name.startswith(("conv1", "bn1", "layer1"))}
    assert frozen and not (changed & frozen)


def test_weights_and_head_come_back_from_disk(tmp_path: Path) -> None:
    made = tuned(cells(12, 8))
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(made.weights)
    loaded = load_encoder(
        NAME, stages=RECIPE.stages, pooling=RECIPE.pooling, weights=path, device="cpu"
    )
    assert loaded.fingerprint == made.encoder.fingerprint
    save_head(made.head, tmp_path / "head")
    head = load_head(tmp_path / "head")
    crops = cells(5, 5, seed=2)[0]
    again = FineTuned(loaded, made.weights, head, {})
    assert np.array_equal(p_abnormal(again, crops), p_abnormal(made, crops))


def test_the_encoder_that_judges_is_the_one_that_was_trained() -> None:
    net = network()
    made = tuned(cells(12, 8), network=net)
    crops = cells(5, 5, seed=2)[0]
    with net.as_it_is():
        expected = net.features(crops)
    found = made.encoder.encode(crops.flatten(0, 1)).view(len(crops), -1)
    torch.testing.assert_close(found, expected.clone(), rtol=1e-4, atol=1e-4)


def test_what_cannot_be_trained_is_told() -> None:
    crops, classes, wells = cells(6, 6)
    with pytest.raises(AnnotationsError, match="of one class"):
        tuned((crops[:4], np.array(["normal"] * 4), wells[:4]))
    with pytest.raises(HcsQcError, match="12 crops, 11 classes"):
        tuned((crops, classes[:11], wells))
    bad = crops.clone()
    bad[0] = torch.nan
    with pytest.raises((HcsQcError, ValueError), match=r"NaN|not a number"):
        tuned((bad, classes, wells))
    with pytest.raises(HcsQcError, match="not a number"):
        tuned((bad, classes, wells), replace(QUICK, warm_start=False))
