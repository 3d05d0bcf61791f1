"""A PyTorch network as an ONNX file, by way of `torch.export`.

PyTorch's own exporter needs three packages more (onnx, onnxscript, onnx-ir) and some ten seconds
of a processor for each network; an encoder is a few kinds of operators, which are listed in
`onnx_operators`. A network with any other is told by name, and runs on PyTorch.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from napari_hcs_qc.encoders.onnx.onnx_operators import OPERATORS
from napari_hcs_qc.encoders.onnx.translation import Translation

if TYPE_CHECKING:
    from torch import Tensor, nn


def to_onnx(module: nn.Module, example: Tensor) -> bytes:
    """Write a network as ONNX, for inputs of the very shape of `example`."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, (example,), strict=False)
    return Translation(program, tuple(example.shape), OPERATORS).run()
