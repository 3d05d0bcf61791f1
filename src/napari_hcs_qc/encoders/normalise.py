"""Crops as a network wants them: its size, three planes, its mean and standard deviation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

    from napari_hcs_qc.encoders.architecture import Architecture


class Normaliser:
    """Brings crops to a device and into the form that an architecture was trained on."""

    def __init__(self, architecture: Architecture, device: torch.device) -> None:
        self.input_px = architecture.input_px
        self.interpolation = architecture.interpolation
        self._device = device
        self.mean = torch.tensor(architecture.mean).view(1, 3, 1, 1).to(device)
        self.scale = 1.0 / torch.tensor(architecture.std).view(1, 3, 1, 1).to(device)

    def __call__(self, crops: Tensor) -> Tensor:
        """Give ``(n, 3, side, side)``, channels last, of crops ``(n, 1 or 3, side, side)``."""
        images = self.sized(crops)
        # A grey crop becomes three planes here, by broadcasting.
        images = (images - self.mean).mul_(self.scale)
        return images.contiguous(memory_format=torch.channels_last)

    def sized(self, crops: Tensor) -> Tensor:
        """Give crops of the side that the network takes, on its device, not yet normalised."""
        images = crops.to(self._device, torch.float32, non_blocking=True)
        side = self.input_px
        if side is not None and tuple(images.shape[-2:]) != (side, side):
            # A network of fixed input: brought to its size the way it was trained.
            images = functional.interpolate(
                images,
                size=(side, side),
                mode=self.interpolation,
                align_corners=False,
                antialias=True,
            )
        return images
