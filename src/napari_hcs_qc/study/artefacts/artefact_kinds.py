"""The kinds of simulated artefact, each by name, with what its severity means in units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from zlib import crc32

import numpy as np

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.study.artefacts.blurring import (
    blur,
    defocus_transfer,
    gaussian_transfer,
    padded_shape,
)
from napari_hcs_qc.study.artefacts.exposing import haze, overexpose, underexpose
from napari_hcs_qc.study.artefacts.objects import (
    add_debris,
    add_fibre,
    remove_cell,
    replace_by_dead,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_hcs_qc.study.artefacts.objects import Donor
    from napari_hcs_qc.study.artefacts.scene import Imaging, Scene

    Make: TypeAlias = Callable[[Scene, float, np.random.Generator, Sequence[Donor]], Scene]

GAUSSIAN_DIAMETERS = 0.25
DEFOCUS_UM = 20.0
MOST_EXPOSURE = 16.0
MOST_VEIL, MOST_SCATTER = 0.6, 0.4
LEAST_PHOTONS, READ_NOISE = 20.0, 3.0
DEBRIS_DIAMETERS = 1.0
FIBRE_UM = 4.0
OUT_OF_FOCUS_UM = 15.0


@dataclass(frozen=True)
class ArtefactKind:
    """One kind of artefact."""

    name: str  # on the command line
    kind: str  # what an annotator would call a cell that has it
    meaning: str  # what severity 1 is, in words with units
    unit: str  # of what `amount` gives
    amount: Callable[[float, Imaging], float]  # severity and imaging to the physical value
    # Scene, severity in (0, 1], source of all choices, and dead cells to the spoiled scene
    make: Make


def get_kinds(names: Sequence[str] | None = None) -> list[ArtefactKind]:
    """Look kinds up by name; all of them by default."""
    if names is None:
        return list(KINDS.values())
    unknown = [name for name in names if name not in KINDS]
    if unknown or not names:
        raise HcsQcError(
            f"Unknown artefact {', '.join(map(repr, unknown)) or '(none given)'}; choose from "
            f"{', '.join(KINDS)}."
        )
    return [KINDS[name] for name in dict.fromkeys(names)]


def spoil(
    scene: Scene,
    kind: ArtefactKind,
    severity: float,
    *,
    seed: int = 0,
    cell: str = "",
    donors: Sequence[Donor] = (),
) -> Scene:
    """Apply an artefact."""
    if not 0 <= severity <= 1:
        raise HcsQcError(f"The severity is {severity}; a number from 0 to 1 was expected.")
    if severity == 0:
        return scene
    rng = np.random.default_rng([seed, crc32(kind.name.encode()), crc32(cell.encode())])
    return kind.make(scene, severity, rng, donors)


def photons_at(severity: float) -> float:
    """Photo-electrons at the top of the range: fewer by the square, so that noise grows evenly."""
    return math.inf if severity == 0 else LEAST_PHOTONS / severity**2


def exposure_at(severity: float) -> float:
    """Exposure relative to the plate's, evenly on a logarithmic scale."""
    return float(MOST_EXPOSURE**severity)


def _gaussian(scene: Scene, s: float, rng: np.random.Generator, _: Sequence[Donor]) -> Scene:
    sd_px = s * GAUSSIAN_DIAMETERS * scene.imaging.diameter_px
    transfer = gaussian_transfer(padded_shape(scene.side_px), sd_px)
    return blur(scene, [transfer] * len(scene.grey), rng)


def _defocus(scene: Scene, s: float, rng: np.random.Generator, _: Sequence[Donor]) -> Scene:
    imaging = scene.imaging
    transfers = [
        defocus_transfer(
            padded_shape(scene.side_px),
            defocus_um=s * DEFOCUS_UM,
            numerical_aperture=imaging.numerical_aperture,
            wavelength_um=channel.wavelength_um,
            pixel_size_um=imaging.pixel_size_um,
        )
        for channel in imaging.channels
    ]
    return blur(scene, transfers, rng)


def _objects(
    add: Callable[[Scene, float, float, np.random.Generator], Scene], size: float, depth_um: float
) -> Make:
    def make(scene: Scene, s: float, rng: np.random.Generator, _: Sequence[Donor]) -> Scene:
        return add(scene, s * size, depth_um, rng)

    return make


_OPTICS = "of an objective of the plate's numerical aperture, at its wavelength and pixel size"
_ALL = (
    ArtefactKind(
        "gaussian", "blur",
        "Gaussian blur with a standard deviation of a quarter of a nucleus diameter",
        "px sd", lambda s, imaging: s * GAUSSIAN_DIAMETERS * imaging.diameter_px, _gaussian,
    ),
    ArtefactKind(
        "defocus", "blur", f"{DEFOCUS_UM:g} µm out of the focal plane {_OPTICS}",
        "µm", lambda s, _: s * DEFOCUS_UM, _defocus,
    ),
    ArtefactKind(
        "saturation", "saturation",
        f"exposed {MOST_EXPOSURE:g} times (logarithmic), clipped at the plate's saturation level, "
        "the excess blooming along the columns",
        "times the exposure", lambda s, _: exposure_at(s),
        lambda scene, s, _rng, _: overexpose(scene, exposure_at(s)),
    ),
    ArtefactKind(
        "debris", "debris",
        f"a particle {DEBRIS_DIAMETERS:g} nucleus diameter long on the cell, 2.5 times as bright "
        "as a nucleus",
        "diameters", lambda s, _: s * DEBRIS_DIAMETERS,
        _objects(add_debris, DEBRIS_DIAMETERS, 0.0),
    ),
    ArtefactKind(
        "debris-unfocused", "debris",
        f"the same particle, twice as long, {OUT_OF_FOCUS_UM:g} µm out of the focal plane",
        "diameters", lambda s, _: 2 * s * DEBRIS_DIAMETERS,
        _objects(add_debris, 2 * DEBRIS_DIAMETERS, OUT_OF_FOCUS_UM),
    ),
    ArtefactKind(
        "fibre", "debris",
        f"a fibre of {FIBRE_UM:g} µm radius across the cell, 2.5 times as bright as a nucleus",
        "µm radius", lambda s, _: s * FIBRE_UM, _objects(add_fibre, FIBRE_UM, 0.0),
    ),
    ArtefactKind(
        "fibre-unfocused", "debris",
        f"the same fibre, twice as thick, {OUT_OF_FOCUS_UM:g} µm out of the focal plane",
        "µm radius", lambda s, _: 2 * s * FIBRE_UM,
        _objects(add_fibre, 2 * FIBRE_UM, OUT_OF_FOCUS_UM),
    ),
    ArtefactKind(
        "haze", "haze",
        f"haze of {MOST_VEIL:.0%} of the plate's range, and {MOST_SCATTER:.0%} of the cells' light "
        "scattered over 25 µm",
        "of range", lambda s, _: s * MOST_VEIL,
        lambda scene, s, rng, _: haze(scene, s * MOST_VEIL, s * MOST_SCATTER, rng),
    ),
    ArtefactKind(
        "noise", "noise",
        f"{LEAST_PHOTONS:g} photo-electrons at the top of the plate's range (that many over the "
        f"square of the severity, so that noise grows evenly) and {READ_NOISE:g} electrons of "
        "read noise",
        "photons", lambda s, _: photons_at(s),
        lambda scene, s, rng, _: underexpose(scene, photons_at(s), READ_NOISE, rng),
    ),
    ArtefactKind(
        "dead", "dead",
        "a dead cell in the place of the cell (at severity s, the share s of its light for that "
        "of the cell)",
        "of its light", lambda s, _: s,
        lambda scene, s, rng, donors: replace_by_dead(scene, s, donors, rng),
    ),
    ArtefactKind(
        "empty", "empty",
        "the cell removed and background in its place (at severity s, the share s of its light)",
        "of its light", lambda s, _: s, lambda scene, s, rng, _: remove_cell(scene, s, rng),
    ),
)  # fmt: skip
KINDS: dict[str, ArtefactKind] = {kind.name: kind for kind in _ALL}
"""All kinds by name, in the order of the tables."""
