"""Files of microscope makers (CZI, ND2, LIF, LSM, VSI), read by bioio where it is installed."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BIOIO_EXTENSIONS = frozenset({".czi", ".nd2", ".lif", ".lsm", ".vsi"})
EXTRA = "pip install 'napari-hcs-qc[bioio]'"


class BioioError(HcsQcError):
    """A file cannot be read; the message is the reason, without the file."""


@dataclass(frozen=True, kw_only=True)
class BioioFacts:
    """What a file says of its first scene, which the others are like."""

    scenes: tuple[str, ...]
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    channels: tuple[str, ...]
    n_z: int
    n_times: int
    pixel_size_um: float | None


def bioio_facts(path: str) -> BioioFacts:
    """Read what a file says of itself."""
    image = _opened(path)
    if "S" in str(image.dims.order):
        raise BioioError(
            "is a colour image; grey images were expected: export every channel as its own grey "
            "image"
        )
    size = getattr(image.physical_pixel_sizes, "X", None)
    return BioioFacts(
        scenes=tuple(map(str, image.scenes)),
        shape=(int(image.dims.Y), int(image.dims.X)),
        dtype=np.dtype(image.dtype),
        channels=tuple(map(str, image.channel_names or [f"C{n}" for n in range(image.dims.C)])),
        n_z=int(image.dims.Z),
        n_times=int(image.dims.T),
        pixel_size_um=float(size) if size and 0 < float(size) < float("inf") else None,
    )


def read_bioio_planes(path: str, parts: Sequence[int], facts: BioioFacts) -> list[NDArray[Any]]:
    """Read planes by their number, ``(scene * n_channels + channel) * n_z + z``."""
    image = _opened(path)
    planes = []
    for part in parts:
        rest, z = divmod(part, facts.n_z)
        scene, channel = divmod(rest, len(facts.channels))
        image.set_scene(facts.scenes[scene])
        planes.append(np.asarray(image.get_image_data("YX", T=0, C=channel, Z=z)))
    return planes


def _opened(path: str) -> Any:
    if importlib.util.find_spec("bioio") is None:
        raise BioioError(f"is read by bioio, which is not installed: {EXTRA}")
    import bioio

    try:
        return bioio.BioImage(path)
    except Exception as error:
        if type(error).__name__ == "UnsupportedFileFormatError":
            raise BioioError(
                f"is read by no plugin of bioio that is installed: {EXTRA}, or export it as TIFF "
                "or OME-Zarr"
            ) from error
        reason = " ".join(str(error).split())[:160]
        raise BioioError(
            f"cannot be read by bioio ({type(error).__name__}: {reason}): copy it again, or export "
            "it as TIFF or OME-Zarr"
        ) from error
