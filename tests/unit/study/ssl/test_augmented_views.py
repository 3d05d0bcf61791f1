"""Two random views of a batch: exact turns, mirrors and transpositions, and known moves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_hcs_qc.study.ssl.augmented_views import Draws, draw_views, make_views
from napari_hcs_qc.study.ssl.pretrain_settings import preset

PLAIN = preset("simclr", "paper", shift=0.0, scale=0.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(n: int, side: int, channels: int = 1, seed: int = 3) -> torch.Tensor:
    return torch.rand((n, channels, side, side), generator=generator(seed))


def orientations(image: torch.Tensor) -> list[torch.Tensor]:
    turned = [torch.rot90(image, k, dims=(-2, -1)) for k in range(4)]
    return [*turned, *(one.flip(-1) for one in turned)]


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), n=st.integers(1, 9), side=st.integers(2, 9))
def test_without_shift_and_scale_pixels_only_change_places(seed, n, side) -> None:
    crops = noise(n, side, 3)
    views = make_views(crops, draw_views(n, PLAIN, generator(seed)))
    assert views.shape == (2, *crops.shape)
    for view in views:
        for before, after in zip(crops, view, strict=True):
            assert any(torch.equal(after, one) for one in orientations(before))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, lambda x: x),
        ({"flip": 1.0}, lambda x: x.flip(-1)),
        ({"transpose": 1.0}, lambda x: x.transpose(-2, -1)),
        ({"flip": 1.0, "transpose": 1.0}, lambda x: x.flip(-1).transpose(-2, -1)),
    ],
)
def test_each_part_is_what_pytorch_does(changes, expected) -> None:
    chosen = PLAIN.with_changes(rotate90=0.0, flip=0.0, transpose=0.0)
    crops = noise(6, 5)
    views = make_views(crops, draw_views(6, chosen.with_changes(**changes), generator()))
    for view in views:
        assert torch.equal(view, expected(crops))


def test_a_turn_comes_before_the_mirror_and_that_before_the_transposition() -> None:
    chosen = PLAIN.with_changes(rotate90=1.0, flip=1.0, transpose=1.0)
    crops = noise(40, 5)
    views = make_views(crops, draw_views(40, chosen, generator()))
    seen = set()
    for before, after in zip(crops, views[0], strict=True):
        found = [
            k
            for k in (1, 2, 3)
            if torch.equal(after, torch.rot90(before, k, (-2, -1)).flip(-1).transpose(-2, -1))
        ]
        assert len(found) == 1
        seen |= set(found)
    assert seen == {1, 2, 3}


def test_the_probabilities_hold_and_cells_and_views_are_drawn_by_themselves() -> None:
    chosen = PLAIN.with_changes(rotate90=0.75, flip=0.5, transpose=0.5)
    draws = draw_views(8000, chosen, generator(1))
    counts = torch.stack([torch.bincount(one, minlength=8) for one in draws.orientation])
    # Uniform over the group; 1000 expected of each, standard deviation 30.
    assert counts.min() > 850 and counts.max() < 1150
    assert float((draws.orientation[0] == draws.orientation[1]).float().mean()) < 0.2
    rare = draw_views(
        8000, chosen.with_changes(rotate90=0.1, flip=0.0, transpose=0.0), generator(1)
    )
    assert 0.07 < float((rare.orientation != 0).float().mean()) < 0.13


def test_the_affine_sampling_contains_the_same_turns() -> None:
    crops = noise(30, 9, 2)
    still = draw_views(30, PLAIN, generator(4))
    moved = Draws(still.orientation, still.scale, still.offset, is_still=False)
    torch.testing.assert_close(
        make_views(crops, moved), make_views(crops, still), atol=1e-5, rtol=0
    )


def test_shift_and_scale_stay_within_their_limits_and_come_as_often_as_asked() -> None:
    chosen = preset("simclr", "paper", shift=0.1, scale=0.2, shift_scale=0.5)
    draws = draw_views(4000, chosen, generator(2))
    assert not draws.is_still
    assert float(draws.offset.abs().max()) <= 0.2 and float(draws.offset.abs().max()) > 0.19
    assert 0.8 <= float(draws.scale.min()) < 0.81 and 1.19 < float(draws.scale.max()) <= 1.2
    is_moved = (draws.offset != 0).any(dim=-1)
    assert torch.equal(is_moved, draws.scale != 1)
    assert 0.46 < float(is_moved.float().mean()) < 0.54


def test_a_spot_is_found_where_the_draw_says() -> None:
    side = 33
    axis = (torch.arange(side) - (side - 1) / 2) / (side / 2)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    spot = torch.exp(-((x - 0.3) ** 2 + (y + 0.1) ** 2) / 0.02)[None, None]
    draws = Draws(
        torch.zeros((1, 1), dtype=torch.long),
        torch.full((1, 1), 1.25),
        torch.tensor([[[0.1, -0.2]]]),
        is_still=False,
    )
    view = make_views(spot, draws)[0, 0, 0]
    total = view.sum()
    # A place p of the view shows scale * p + offset of the crop.
    assert float((view * x).sum() / total) == pytest.approx((0.3 - 0.1) / 1.25, abs=0.01)
    assert float((view * y).sum() / total) == pytest.approx((-0.1 + 0.2) / 1.25, abs=0.01)


def test_a_part_of_the_draws_gives_that_part_of_the_views() -> None:
    crops = noise(12, 8)
    draws = draw_views(12, preset("simclr"), generator(5))
    whole = make_views(crops, draws)
    parts = [make_views(crops[a:b], draws.part(slice(a, b))) for a, b in ((0, 6), (6, 12))]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole)
    again = draw_views(12, preset("simclr"), generator(5))
    assert torch.equal(again.offset, draws.offset)
