"""Nuclei by InstanSeg (package and weights: Apache-2.0; Goldsborough et al., 2024).

InstanSeg downloads its weights when they are first needed, and runs them as TorchScript.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from instanseg import InstanSeg

from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MODEL = "single_channel_nuclei"
_AT_ONCE_PX = 1500 * 1500  # larger images are worked on in tiles


def find_nuclei(image: NDArray[np.float32], pixel_size_um: float | None) -> NDArray[np.int32]:
    """Find the nuclei of one image."""
    model = _model()
    is_small = image.size <= _AT_ONCE_PX
    evaluate = model.eval_small_image if is_small else model.eval_medium_image
    masks = evaluate(image, pixel_size_um, return_image_tensor=False)
    return np.asarray(masks.numpy().squeeze((0, 1)), dtype=np.int32)


@cache
def _model() -> Any:
    try:
        return InstanSeg(_MODEL, verbosity=0)
    except Exception as error:
        raise HcsQcError(
            f"its weights ({_MODEL}) cannot be loaded: {error}. They are downloaded from GitHub "
            "when they are first needed: go online once, or copy them from another computer into "
            "the folder that INSTANSEG_BIOIMAGEIO_PATH names."
        ) from error
