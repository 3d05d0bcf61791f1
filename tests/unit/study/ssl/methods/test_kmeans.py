"""Spherical k-means against scikit-learn's, and where it is more than that."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin
from torch.nn import functional

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.study.ssl.distributed import World
from napari_hcs_qc.study.ssl.methods import kmeans
from napari_hcs_qc.study.ssl.methods.kmeans import spherical_kmeans


def points(n: int, dims: int, seed: int = 0, groups: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    middles = torch.randn(groups, dims, generator=generator)
    which = torch.randint(groups, (n,), generator=generator)
    return functional.normalize(
        middles[which] + 0.6 * torch.randn(n, dims, generator=generator), dim=1
    )


def by_sklearn(
    data: np.ndarray, start: np.ndarray, iterations: int
) -> tuple[np.ndarray, np.ndarray]:
    """One step of scikit-learn's Lloyd iteration at a time, centres brought back to the sphere.

    On the sphere the nearest centre is the one with the largest inner product, so that a step of
    the Euclidean k-means from unit centres is one of the spherical k-means.
    """
    centres = start
    for _ in range(iterations):
        step = KMeans(len(centres), init=centres, n_init=1, max_iter=1, algorithm="lloyd").fit(data)
        centres = step.cluster_centers_ / np.linalg.norm(
            step.cluster_centers_, axis=1, keepdims=True
        )
    return centres, pairwise_distances_argmin(data, centres)


def rounding(assignments: torch.Tensor) -> float:
    """Bound of the rounding error of a centre: a sum of unit vectors in single precision."""
    return int(torch.bincount(assignments.long()).max()) * torch.finfo(torch.float32).eps


@pytest.mark.parametrize("iterations", [1, 2, 10])
def test_scikit_learns_from_the_same_start(iterations: int) -> None:
    data = points(1500, 16)
    start = data[:20]
    found = spherical_kmeans(data, 20, iterations, World(), 0, start=start)
    centres, labels = by_sklearn(data.double().numpy(), start.double().numpy(), iterations)
    np.testing.assert_allclose(found.centres.numpy(), centres, atol=rounding(found.assignments))
    assert (found.assignments.numpy() == labels).all()


def test_an_empty_cluster_is_seeded_as_scikit_learn_does() -> None:
    data = points(400, 8, seed=3)
    start = data[:10].clone()
    # Away from all points: the mean direction, turned round.
    data = functional.normalize(data + 2 * data[0], dim=1)
    start = functional.normalize(start + 2 * data[0], dim=1)
    start[4] = -functional.normalize(data.sum(0), dim=0)
    assert not ((data @ start.T).argmax(1) == 4).any()
    found = spherical_kmeans(data, 10, 1, World(), 0, start=start)
    centres, labels = by_sklearn(data.double().numpy(), start.double().numpy(), 1)
    np.testing.assert_allclose(found.centres.numpy(), centres, atol=rounding(found.assignments))
    assert (found.assignments.numpy() == labels).all()
    assert (found.assignments == 4).any()


def test_no_cluster_stays_empty_from_a_poor_start() -> None:
    """All centres in one place: one cluster takes all, the others are seeded anew."""
    data = points(600, 8, groups=6)
    start = data[:1].expand(12, -1)
    found = spherical_kmeans(data, 12, 10, World(), 0, start=start)
    assert torch.bincount(found.assignments.long(), minlength=12).gt(0).all()


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    data = points(701, 8)
    whole = spherical_kmeans(data, 9, 5, World(), 4)
    asked = []

    def never() -> bool:
        asked.append(True)
        return False

    monkeypatch.setattr(kmeans, "_CHUNK_NUMBERS", 9 * 50)
    parts = spherical_kmeans(data, 9, 5, World(), 4, job=Job(should_stop=never))
    # 15 chunks of at most 50 points, in 5 iterations and the last assignment.
    assert len(asked) == 15 * 6
    tolerance = rounding(whole.assignments)
    torch.testing.assert_close(parts.centres, whole.centres, atol=tolerance, rtol=0)
    assert (parts.assignments == whole.assignments).all()


def test_half_precision_points() -> None:
    data = points(500, 8)
    found = spherical_kmeans(data.half(), 7, 5, World(), 1)
    same = spherical_kmeans(data.half().float(), 7, 5, World(), 1)
    assert found.centres.dtype == torch.float32
    assert (found.assignments == same.assignments).all()


def test_points_left_out_have_no_cluster_and_no_weight() -> None:
    data = points(300, 8)
    known = torch.rand(300, generator=torch.Generator().manual_seed(0)) < 0.7
    spoilt = data.clone()
    spoilt[~known] = 0
    start = data[known][:5]
    found = spherical_kmeans(spoilt, 5, 6, World(), 0, known=known, start=start)
    alone = spherical_kmeans(data[known], 5, 6, World(), 0, start=start)
    tolerance = rounding(alone.assignments)
    torch.testing.assert_close(found.centres, alone.centres, atol=tolerance, rtol=0)
    assert (found.assignments[~known] == -1).all()
    assert (found.assignments[known] == alone.assignments).all()


def test_equal_points_and_opposite_points() -> None:
    same = functional.normalize(torch.ones(50, 4), dim=1)
    found = spherical_kmeans(same, 6, 5, World(), 0)
    assert found.centres.isfinite().all()
    assert len(found.assignments.unique()) == 1
    # Their sum has no direction.
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).repeat(5, 1)
    found = spherical_kmeans(opposite, 1, 3, World(), 0)
    torch.testing.assert_close(found.centres.norm(dim=1), torch.ones(1))


def test_the_seed_decides_the_start() -> None:
    data = points(300, 8, groups=40)
    one, again, other = (spherical_kmeans(data, 9, 2, World(), seed) for seed in (1, 1, 2))
    assert (one.centres == again.centres).all()
    assert not torch.allclose(one.centres, other.centres)


def test_too_few_points_and_a_stop() -> None:
    with pytest.raises(HcsQcError, match="3 cells cannot form 5 clusters"):
        spherical_kmeans(points(3, 4), 5, 2, World(), 0)
    with pytest.raises(Cancelled):
        spherical_kmeans(points(30, 4), 5, 2, World(), 0, job=Job(should_stop=lambda: True))
