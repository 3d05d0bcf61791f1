"""The five methods through the loop's interface: shapes, state, precision, the known traps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.study.ssl.distributed import World
from napari_hcs_qc.study.ssl.methods.method_registry import make_method
from napari_hcs_qc.study.ssl.pretrain_settings import METHOD_NAMES, preset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_hcs_qc.study.ssl.methods.method import Embed, Method

N_FEATURES, N_CELLS = 12, 60
SMALL = {"hidden": 16, "projected": 8, "prototypes": 5, "queue": 16, "heads": 2}


def made(
    name: str, kind: str = "default", seed: int = 0, n_cells: int = N_CELLS, **changes: object
) -> Method:
    chosen = preset(name, kind, **{**SMALL, **changes})
    return make_method(name, N_FEATURES, chosen, n_cells, World(), seed)


def cells_of(n_cells: int = N_CELLS) -> Tensor:
    return torch.randn(n_cells, N_FEATURES, generator=torch.Generator().manual_seed(1))


def embed_of(features: Tensor, batch: int = 25) -> Embed:
    def embed() -> Iterator[tuple[Tensor, Tensor]]:
        for rows in torch.arange(len(features)).split(batch):
            yield rows, features[rows]

    return embed


def never() -> Iterator[tuple[Tensor, Tensor]]:
    raise AssertionError("cells were embedded")


def views_of(rows: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(2, len(rows), N_FEATURES, generator=generator)
    return cells_of()[rows] + 0.3 * noise


def one_step(method: Method, step: int, epoch: int = 0, batch: int = 10) -> tuple[Tensor, dict]:
    """Give loss and figures of a step of plain gradient descent."""
    rows = torch.randperm(N_CELLS, generator=torch.Generator().manual_seed(step))[:batch]
    loss, figures = method.loss(views_of(rows, step), rows, epoch, step)
    method.zero_grad()
    loss.backward()
    method.mask_gradients(epoch)
    with torch.no_grad():
        for parameter in method.parameters():
            if parameter.grad is not None:
                parameter -= 0.05 * parameter.grad
    method.after_step()
    return loss.detach(), figures


@settings(max_examples=40)
@given(
    name=st.sampled_from(METHOD_NAMES),
    batch=st.integers(2, 13),
    same=st.booleans(),
    scale=st.sampled_from([0.0, 1e-6, 1.0, 1e4]),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
)
def test_any_batch_gives_numbers(
    name: str, batch: int, same: bool, scale: float, dtype: torch.dtype
) -> None:
    """Batches of 2, odd ones, equal cells, nothing at all, half precision."""
    method = made(name)
    method.begin_epoch(0, embed_of(cells_of()))
    features = views_of(torch.arange(batch), batch)
    features = (features[:, :1].expand(-1, batch, -1) if same else features) * scale
    features = features.to(dtype).detach().requires_grad_()
    loss, figures = method.loss(features, torch.arange(batch), 0, 0)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.shape == ()
    assert math.isfinite(loss.item())
    assert features.grad.shape == features.shape
    # Of features of 1e-6 it is some 1e6, which float16 cannot hold; the loop scales what it does.
    is_out_of_range = dtype == torch.float16 and scale == 1e-6
    assert features.grad.isfinite().all() or is_out_of_range
    assert not features.grad.isnan().any()
    for parameter in method.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()
    for figure in figures.values():
        assert figure.shape == () and not figure.requires_grad
        assert math.isfinite(figure.item())


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_autocast_around_it_changes_nothing(name: str) -> None:
    rows = torch.arange(10)
    features = views_of(rows, 0)
    found = []
    for on in (False, True):
        method = made(name)
        method.begin_epoch(0, embed_of(cells_of()))
        with torch.autocast("cpu", torch.bfloat16, enabled=on):
            found.append(method.loss(features, rows, 0, 0)[0])
    assert found[0].dtype == found[1].dtype == torch.float32
    assert found[0] == found[1]


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_training_lowers_the_loss(name: str) -> None:
    method = made(name, freeze_prototypes=0)
    method.begin_epoch(0, embed_of(cells_of()))
    losses = [one_step(method, step % 6)[0].item() for step in range(90)]
    assert sum(losses[-6:]) < 0.9 * sum(losses[:6])
    chance = method.chance(10)
    assert chance is None or sum(losses[-6:]) / 6 < chance


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_a_state_restored_goes_on_alike(name: str) -> None:
    """In the middle of the second epoch: queue, bank, clusters, prototypes."""
    method = made(name, queue_start=1)
    for step in range(4):
        epoch = step // 2
        method.begin_epoch(epoch, embed_of(cells_of()))
        one_step(method, step, epoch)
    other = made(name, queue_start=1)
    other.load_state_dict({key: value.clone() for key, value in method.state_dict().items()})
    for step in range(4, 8):
        for one in (method, other):
            one.begin_epoch(step // 3, never)
        (loss, figures), (again, same) = (one_step(one, step, step // 3) for one in (method, other))
        assert loss == again
        assert {key: float(value) for key, value in figures.items()} == {
            key: float(value) for key, value in same.items()
        }
    for key, value in method.state_dict().items():
        assert (other.state_dict()[key] == value).all(), key


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_the_seed_alone_decides_the_first_weights(name: str) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = made(name, seed=4)
    assert (torch.get_rng_state() == before).all()
    torch.manual_seed(2)
    same, other = made(name, seed=4), made(name, seed=5)
    for key, value in one.projector.state_dict().items():
        assert (same.projector.state_dict()[key] == value).all()
    assert not torch.equal(one.projector[0].weight, other.projector[0].weight)


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_the_papers_projector(name: str) -> None:
    method = make_method(name, 512, preset(name, "paper"), 1000, World(), 0)
    shapes = [tuple(one.weight.shape) for one in method.projector if hasattr(one, "in_features")]
    wide = [(2048, 512), (2048, 2048), (2048, 2048)]
    assert shapes == (wide if name in ("barlow-twins", "vicreg") else [(2048, 512), (128, 2048)])
    assert method.chance(128) == (
        {"simclr": math.log(255), "swav": math.log(500), "deepclusterv2": math.log(500)}.get(name)
    )


def test_a_single_cell_is_refused() -> None:
    with pytest.raises(HcsQcError, match="batch of one cell"):
        made("vicreg").loss(torch.zeros(2, 1, N_FEATURES), torch.tensor([0]), 0, 0)
    with pytest.raises(HcsQcError, match="'byol' is not"):
        make_method("byol", 4, preset("swav"), 10, World(), 0)


def test_simclr_tells_how_many_it_retrieves() -> None:
    method = made("simclr")
    same = cells_of()[:8].expand(2, -1, -1)
    assert method.loss(same, torch.arange(8), 0, 0)[1]["retrieved"] == 1


class TestDeepCluster:
    def test_the_bank_is_filled_before_the_first_epoch(self) -> None:
        method = made("deepclusterv2")
        figures = method.begin_epoch(0, embed_of(cells_of()))
        assert figures == {"targets": 1.0, "used_prototypes": 1.0}
        loss, seen = one_step(method, 0)
        assert loss > 0 and seen["targets"] == 1

    def test_the_original_trains_nothing_in_its_first_epoch(self) -> None:
        method = made("deepclusterv2", "paper")
        assert method.begin_epoch(0, never) == {"targets": 0.0}
        weights = method.projector[0].weight.clone()
        for step in range(12):
            loss, seen = one_step(method, step)
            assert loss == 0 and seen["targets"] == 0
        assert (method.projector[0].weight == weights).all()
        # Every cell that was seen has a place in the bank, and so a cluster from now on.
        figures = method.begin_epoch(1, never)
        assert figures["targets"] > 0.8
        assert one_step(method, 12, 1)[0] > 0

    def test_cells_that_could_not_be_read_have_no_target(self) -> None:
        method = made("deepclusterv2")
        figures = method.begin_epoch(0, embed_of(cells_of()[:50], batch=7))  # the last alone
        assert figures["targets"] == pytest.approx(50 / 60)
        assert (method.assignments[:, :50] >= 0).all()
        assert (method.assignments[:, 50:] == -1).all()
        assert method.loss(views_of(torch.arange(10), 0), torch.arange(50, 60), 0, 0)[0] == 0

    def test_centres_are_the_directions_of_their_cells(self) -> None:
        method = made("deepclusterv2", kmeans_iterations=50)
        method.begin_epoch(0, embed_of(cells_of()))
        for head in range(2):
            for cluster in range(5):
                members = method.bank[head, method.assignments[head] == cluster].float()
                direction = torch.nn.functional.normalize(members.sum(0), dim=0)
                found = method.prototypes[head, cluster]
                torch.testing.assert_close(direction, found, atol=1e-5, rtol=0)
        assert not torch.equal(method.prototypes[0], method.prototypes[1])

    def test_the_bank_keeps_what_each_view_was_last(self) -> None:
        method = made("deepclusterv2")
        method.begin_epoch(0, embed_of(cells_of()))
        rows = torch.tensor([3, 50, 7])
        before = method.bank.clone()
        method.loss(views_of(rows, 0), rows, 0, 0)
        changed = (method.bank != before).any(-1)
        assert changed[:, rows].all() and changed.sum() == 6
        norms = method.bank.float().norm(dim=-1)
        torch.testing.assert_close(norms, torch.ones(2, N_CELLS), atol=2e-3, rtol=0)
        assert not torch.equal(method.bank[0, 3], method.bank[1, 3])

    def test_no_gradient_moves_the_prototypes(self) -> None:
        assert not {key for key, _ in made("deepclusterv2").named_parameters() if "proto" in key}

    def test_a_stop_leaves_the_clusters_as_they_were(self) -> None:
        method = made("deepclusterv2")
        method.begin_epoch(0, embed_of(cells_of()))
        before = method.assignments.clone(), method.prototypes.clone()
        with pytest.raises(Cancelled):
            method.begin_epoch(1, never, Job(should_stop=lambda: True))
        assert torch.equal(method.assignments, before[0])
        assert torch.equal(method.prototypes, before[1])
        assert "moved" in method.begin_epoch(1, never)

    def test_moved_is_none_of_the_pairs_of_the_same_clustering(self) -> None:
        method = made("deepclusterv2")
        method.begin_epoch(0, embed_of(cells_of()))
        assert method._moved(method.assignments) == 0
        assert method._moved(torch.arange(N_CELLS).int().expand(2, -1)) == 1

    def test_embedding_leaves_the_projector_as_it_was(self) -> None:
        method = made("deepclusterv2")
        before = {key: value.clone() for key, value in method.projector.state_dict().items()}
        method.begin_epoch(0, embed_of(cells_of()))
        for key, value in method.projector.state_dict().items():
            assert torch.equal(value, before[key])


class TestSwAV:
    def test_prototypes_are_frozen_at_first_and_of_length_one_always(self) -> None:
        method = made("swav", lr=0.1)
        first = method.prototypes.detach().clone()
        one_step(method, 0, epoch=0)
        torch.testing.assert_close(method.prototypes.detach(), first)
        one_step(method, 1, epoch=1)
        assert not torch.allclose(method.prototypes, first)
        torch.testing.assert_close(method.prototypes.norm(dim=1), torch.ones(5))

    def test_the_queue_waits_for_its_epoch_and_until_it_is_full(self) -> None:
        method = made("swav", queue_start=1)
        used = [
            one_step(method, step, epoch)[1]["queue"].item()
            for step, epoch in enumerate([1, 1, 1, 0, 1])
        ]
        assert used == [0, 0, 1, 0, 1]

    def test_the_queue_holds_the_newest_of_each_view(self) -> None:
        method = made("swav")
        pushed = []
        for step in range(3):
            one_step(method, step)
            pushed.append(method.queue[:, :10].clone())
        torch.testing.assert_close(method.queue[:, :10], pushed[2])
        torch.testing.assert_close(method.queue[:, 10:], pushed[1][:, :6])
        torch.testing.assert_close(method.queue.norm(dim=-1), torch.ones(2, 16))

    def test_the_queue_holds_half_the_cells_at_most(self) -> None:
        assert made("swav", n_cells=20).queue.shape[1] == 10
        assert made("swav", queue=0).queue.shape[1] == 0
        loss, figures = one_step(made("swav", queue=0, queue_start=0), 0)
        assert loss > 0 and figures["queue"] == 0

    def test_the_queue_takes_part_in_the_balance(self) -> None:
        """With it the batch need not use all prototypes: the queue has them."""
        method = made("swav", queue_start=0, queue=20, sinkhorn_iterations=100, temperature=0.1)
        rows, features = torch.arange(10), views_of(torch.arange(10), 0)
        with_nothing, _ = method.loss(features, rows, 0, 0)
        for step in range(2):
            method.loss(features, rows, 0, step)
            method.after_step()
        # A queue of the same cells: the same balance, the same loss.
        same, figures = method.loss(features, rows, 0, 3)
        assert figures["queue"] == 1
        torch.testing.assert_close(same, with_nothing, rtol=1e-4, atol=1e-4)
        method.queue.copy_(torch.nn.functional.normalize(torch.randn(2, 20, 8), dim=-1))
        assert abs(method.loss(features, rows, 0, 3)[0] - with_nothing) > 1e-3
