"""Detectors of nuclei by name: ours, and learned ones that other packages bring."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import EntryPoint, entry_points, version
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_hcs_qc.cells.imported.masks import checked_mask
from napari_hcs_qc.cells.nuclei import find_nuclei
from napari_hcs_qc.errors import HcsQcError, Problem
from napari_hcs_qc.plugins import BUILT_IN_DETECTOR, DETECTOR_GROUP, DETECTORS, load

if TYPE_CHECKING:
    from napari_hcs_qc.plates.plate import Plate

FindNuclei: TypeAlias = Callable[[NDArray[np.float32], float | None], NDArray[np.integer[Any]]]
"""Called with an image of nuclei (height, width) and its pixel size in µm; gives label masks.

The pixel size is None where the plate states none and no nucleus was found to guess it from. An
`HcsQcError` ends the work on the plate; any other error is about this image alone.
"""

_TYPICAL_NUCLEUS_UM = 15.0


class DetectorError(HcsQcError):
    """A detector that can work on no site."""


@dataclass(frozen=True)
class Detector:
    """A detector of another package."""

    name: str
    package: str  # with its version: another one may find other cells
    find: FindNuclei
    # One image at a time: such a package takes all processors, or the GPU, for each.
    _turn: Lock = field(default_factory=Lock, repr=False, compare=False)

    def __call__(self, image: NDArray[Any], *, pixel_size_um: float | None) -> NDArray[np.int32]:
        """Find the nuclei of an image; what comes back is checked as masks in files are."""
        who = f"the detector {self.name} ({self.package})"
        try:
            with self._turn:
                masks = np.asarray(self.find(image.astype(np.float32), pixel_size_um))
        except HcsQcError as error:
            raise DetectorError(f"{who[0].upper()}{who[1:]} cannot be used: {error}") from error
        except Exception as error:
            raise HcsQcError(f"{who} failed: {type(error).__name__}: {error}") from error
        if masks.dtype.kind not in "iu":
            raise HcsQcError(f"{who} gave {masks.dtype}; masks of whole numbers were expected.")
        return checked_mask(masks, False, image.shape, f"what {who} gave").labels


def detector_names() -> tuple[str, ...]:
    """Names of all detectors, also of those whose package is not installed; ours is the first."""
    others = (entry.name for entry in entry_points(group=DETECTOR_GROUP))
    return tuple(dict.fromkeys((BUILT_IN_DETECTOR, *DETECTORS, *others)))


def check_detector(name: str) -> None:
    """Refuse a detector that is not known or not installed."""
    if name != BUILT_IN_DETECTOR:
        get_detector(name)


def get_detector(name: str) -> Detector:
    """Load a detector of another package."""
    if name in DETECTORS:
        package, place = DETECTORS[name]
        try:
            return Detector(name, f"{package} {version(package)}", load(place))
        except ImportError as error:  # and so a package without its metadata
            raise HcsQcError(
                f"The detector {name} needs the package {package} ({error}); run: "
                f'pip install "napari-hcs-qc[{name}]"'
            ) from error
    entries = entry_points(group=DETECTOR_GROUP, name=name)
    if not entries:
        raise HcsQcError(
            f"There is no detector {name!r}; choose one of {', '.join(detector_names())}, or "
            f"install a package that adds it (an entry point of the group {DETECTOR_GROUP})."
        )
    entry = next(iter(entries))
    try:
        return Detector(name, _package(entry), entry.load())
    except (ImportError, AttributeError) as error:
        raise HcsQcError(
            f"The detector {name} of {_package(entry)} cannot be loaded: {error}. Install what it "
            "needs, or choose another one."
        ) from error


def _package(entry: EntryPoint) -> str:
    return entry.value if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


@dataclass(frozen=True)
class NucleiFinder:
    """What finds the nuclei on one plate."""

    find: Callable[[NDArray[Any]], NDArray[np.int32]]
    package: str = ""  # of the detector, with its version; empty for ours
    guesses: tuple[Problem, ...] = ()  # what had to be guessed


def nuclei_finder(name: str, plate: Plate, diameter_px: float) -> NucleiFinder:
    """Load a detector for a plate of nuclei of a typical diameter, NaN where none was found."""
    is_known = not math.isnan(diameter_px)
    if name == BUILT_IN_DETECTOR:
        return NucleiFinder(partial(find_nuclei, diameter_px=diameter_px if is_known else None))
    detector, pixel_size_um = get_detector(name), plate.pixel_size_um
    guesses: tuple[Problem, ...] = ()
    if pixel_size_um is None and is_known:
        pixel_size_um = _TYPICAL_NUCLEUS_UM / diameter_px
        what = (
            f"the images do not state their pixel size; for the detector {name} it was taken as "
            f"{pixel_size_um:.3f} µm, at which a typical nucleus ({diameter_px:.1f} px) is "
            f"{_TYPICAL_NUCLEUS_UM:g} µm wide."
        )
        fix = "If that is far off, use OME-TIFF or OME-Zarr images with their pixel size."
        guesses = (Problem(f"plate {plate.name}", what, fix),)
    find = partial(detector, pixel_size_um=pixel_size_um)
    return NucleiFinder(find, detector.package, guesses)
