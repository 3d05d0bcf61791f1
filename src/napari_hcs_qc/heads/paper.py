"""The paper's linear head: one dense layer trained by stochastic gradient descent."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_hcs_qc.heads.check_annotated import check_annotated
from napari_hcs_qc.heads.dense import DenseHead

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class PaperLinearHead(DenseHead):
    """One dense layer with an output per class, exactly as Masud, Cohen et al. (2022) train it.

    Raw features, cross-entropy, stochastic gradient descent with momentum, the rate divided by
    ten at `milestones`. Kept for comparison; `LinearHead` is the better head.
    """

    def __init__(
        self,
        *,
        epochs: int = 150,
        batch_size: int = 32,
        learning_rate: float = 0.001,
        momentum: float = 0.9,
        milestones: tuple[int, ...] = (40, 70, 120),
        random_state: int = 0,
    ) -> None:
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.milestones = milestones
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Train on annotated cells."""
        import torch  # seconds to import, and the other heads do without

        from napari_hcs_qc.encoders.embed.crop_workers import limit_this_thread

        features, self.classes_, codes = check_annotated(self, X, y, np.float64)
        n_threads = torch.get_num_threads()
        # Steps of microseconds: were each split among threads, these would mostly wait for one
        # another, on a busy machine for minutes in place of a second.
        with ThreadPoolExecutor(1, thread_name_prefix="hcs-qc head") as pool:
            pool.submit(limit_this_thread, 1).result()
            torch.set_num_threads(n_threads)
            self.coef_, self.intercept_ = pool.submit(self._train, features, codes).result()
        return self

    def _train(
        self, features: NDArray[np.float64], codes: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        import torch

        n_features = features.shape[1]
        generator = torch.Generator().manual_seed(self.random_state)
        cells = torch.from_numpy(np.ascontiguousarray(features, np.float32))
        target = torch.from_numpy(codes)
        layer = torch.nn.Linear(n_features, len(self.classes_), device="meta").to_empty(
            device="cpu"
        )
        # torch's own initial distribution, drawn from our generator: the global one is not ours.
        bound = n_features**-0.5
        with torch.no_grad():
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.uniform_(-bound, bound, generator=generator)
        optimizer = torch.optim.SGD(
            layer.parameters(), lr=self.learning_rate, momentum=self.momentum
        )
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(self.milestones), gamma=0.1)
        for _ in range(self.epochs):
            order = torch.randperm(len(cells), generator=generator)
            for start in range(0, len(cells), self.batch_size):
                batch = order[start : start + self.batch_size]
                optimizer.zero_grad()
                loss: Any = torch.nn.functional.cross_entropy(layer(cells[batch]), target[batch])
                loss.backward()
                optimizer.step()
            schedule.step()
        weight, bias = (
            parameter.detach().numpy().astype(np.float64) for parameter in layer.parameters()
        )
        return weight, bias
