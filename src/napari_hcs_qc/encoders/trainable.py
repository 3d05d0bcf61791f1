"""An encoder whose weights can be trained: the same features, with gradients."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save
from torch import nn

from napari_hcs_qc.encoders.architecture import build_architecture
from napari_hcs_qc.encoders.encoder import Encoder, choose_device
from napari_hcs_qc.encoders.normalise import Normaliser
from napari_hcs_qc.encoders.stages import StageNetwork
from napari_hcs_qc.encoders.weights import load_strictly
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.architecture import Architecture


class TrainableEncoder:
    """Crops of cells to features, with gradients."""

    def __init__(
        self,
        name: str,
        architecture: Architecture,
        recipe: CropRecipe,
        device: str | torch.device = "auto",
    ) -> None:
        self.name = name
        self.device = choose_device(device)
        self._architecture, self._recipe = architecture, recipe
        # What lies behind the last pooled stage is dropped below, and saved as it was.
        self._whole = {
            key: value.clone() for key, value in architecture.module.state_dict().items()
        }
        self._network = StageNetwork(architecture, recipe.stages, recipe.pooling)
        self._normalise = Normaliser(architecture, self.device)
        self.module.requires_grad_(True)
        self.module.to(self.device).to(memory_format=torch.channels_last)

    @property
    def module(self) -> nn.Module:
        """The network up to the last pooled stage."""
        return self._network.module

    @property
    def n_features(self) -> int:
        """Length of a crop's vector."""
        return self._network.n_features

    def features(self, crops: Tensor, job: Job = NO_JOB) -> Tensor:
        """Encode ``(n_cells, n_views, 1 or 3, side, side)`` to ``(n_cells, n_features)``."""
        images = self._normalise(crops.flatten(0, 1))
        return self._network(images, job).view(len(crops), -1)

    def set_training(self, *, batch_statistics: bool) -> None:
        """Go into training mode, batch normalisations by their batch or by what they know."""
        self.module.train()
        if not batch_statistics:
            for part in self.module.modules():
                if isinstance(part, nn.modules.batchnorm._BatchNorm):
                    part.eval()

    @contextlib.contextmanager
    def as_it_is(self) -> Iterator[None]:
        """Evaluate: no gradients, nothing changes."""
        was_training = [(part, part.training) for part in self.module.modules()]
        self.module.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            for part, training in was_training:
                part.training = training

    def depths(self) -> list[list[nn.Parameter]]:
        """Parameters by depth, from the image inwards: what is before a stage counts to it."""
        owner: dict[nn.Parameter, int] = {}
        for depth, stage in enumerate(self._network.stage_names):
            for parameter in self.module.get_submodule(stage).parameters():
                owner.setdefault(parameter, depth)
        depths: list[list[nn.Parameter]] = [[] for _ in self._network.stage_names]
        depth = 0
        for parameter in self.module.parameters():
            depth = owner.get(parameter, depth)
            depths[depth].append(parameter)
        return [parameters for parameters in depths if parameters]

    def state(self) -> dict[str, Tensor]:
        """Give the weights of the whole architecture, on the CPU."""
        now = {key: value.detach().cpu() for key, value in self.module.state_dict().items()}
        return {key: now.get(key, value).contiguous() for key, value in self._whole.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over weights that `state` gave."""
        self.module.load_state_dict({key: state[key] for key in self.module.state_dict()})

    def frozen(self, device: str | torch.device | None = None) -> tuple[Encoder, bytes]:
        """Return the encoder with the current weights, and these as safetensors bytes."""
        state = self.state()
        data: bytes = save(state)
        start = self._architecture
        built = build_architecture(start.family, start.name)
        load_strictly(built.module, state, built.classifier, "The trained encoder")
        built = replace(built, mean=start.mean, std=start.std, input_px=start.input_px)
        digest = hashlib.sha256(data).hexdigest()
        recipe = self._recipe
        encoder = Encoder(
            self.name,
            built,
            digest,
            stages=recipe.stages,
            pooling=recipe.pooling,
            device=device or self.device,
        )
        return encoder, data
