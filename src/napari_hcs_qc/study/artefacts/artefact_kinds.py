"""The kinds of simulated artefact, each by name, with what its severity means in units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from zlib import crc32

import numpy as np

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.study.artefacts.light import (
    blur,
    defocus_transfer,
    gaussian_transfer,
    haze,
    overexpose,
    padded_shape,
    underexpose,
)
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


@dataclass(frozen=True, kw_only=True)
class ArtefactKind:
    """One kind of artefact."""

    name: str  # on the command line
    kind: str  # what an annotator would call a cell that has it
    meaning: str  # what severity 1 is, in words with units
    unit: str  # of what `amount` gives
    amount: Callable[[float, Imaging], float]  # severity and imaging to the physical value
    # Scene, amount, source of all choices, and dead cells to the changed scene
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


def apply_artefact(
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
    return kind.make(scene, kind.amount(severity, scene.imaging), rng, donors)


def photons_at(severity: float) -> float:
    """Photo-electrons at the top of the range: fewer by the square, so that noise grows evenly."""
    return math.inf if severity == 0 else LEAST_PHOTONS / severity**2


def _gaussian(scene: Scene, sd_px: float, rng: np.random.Generator, _: Sequence[Donor]) -> Scene:
    transfer = gaussian_transfer(padded_shape(scene.side_px), sd_px)
    return blur(scene, [transfer] * len(scene.grey), rng)


def _defocus(scene: Scene, um: float, rng: np.random.Generator, _: Sequence[Donor]) -> Scene:
    imaging = scene.imaging
    transfers = [
        defocus_transfer(
            padded_shape(scene.side_px),
            defocus_um=um,
            numerical_aperture=imaging.numerical_aperture,
            wavelength_um=channel.wavelength_um,
            pixel_size_um=imaging.pixel_size_um,
        )
        for channel in imaging.channels
    ]
    return blur(scene, transfers, rng)


_OPTICS = "of an objective of the plate's numerical aperture, at its wavelength and pixel size"
_ALL = (
    ArtefactKind(
        name="gaussian",
        kind="blur",
        meaning="Gaussian blur with a standard deviation of a quarter of a nucleus diameter",
        unit="px sd",
        amount=lambda s, imaging: s * GAUSSIAN_DIAMETERS * imaging.diameter_px,
        make=_gaussian,
    ),
    ArtefactKind(
        name="defocus",
        kind="blur",
        meaning=f"{DEFOCUS_UM:g} µm out of the focal plane {_OPTICS}",
        unit="µm",
        amount=lambda s, _: s * DEFOCUS_UM,
        make=_defocus,
    ),
    ArtefactKind(
        name="saturation",
        kind="saturation",
        meaning=(
            f"exposed {MOST_EXPOSURE:g} times (logarithmic), clipped at the plate's saturation "
            "level, the excess blooming along the columns"
        ),
        unit="times the exposure",
        amount=lambda s, _: MOST_EXPOSURE**s,
        make=lambda scene, exposure, _rng, _: overexpose(scene, exposure),
    ),
    ArtefactKind(
        name="debris",
        kind="debris",
        meaning=(
            f"a particle {DEBRIS_DIAMETERS:g} nucleus diameter long on the cell, 2.5 times as "
            "bright as a nucleus"
        ),
        unit="diameters",
        amount=lambda s, _: s * DEBRIS_DIAMETERS,
        make=lambda scene, size, rng, _: add_debris(scene, size, 0.0, rng),
    ),
    ArtefactKind(
        name="debris-unfocused",
        kind="debris",
        meaning=f"the same particle, twice as long, {OUT_OF_FOCUS_UM:g} µm out of the focal plane",
        unit="diameters",
        amount=lambda s, _: 2 * s * DEBRIS_DIAMETERS,
        make=lambda scene, size, rng, _: add_debris(scene, size, OUT_OF_FOCUS_UM, rng),
    ),
    ArtefactKind(
        name="fibre",
        kind="debris",
        meaning=(
            f"a fibre of {FIBRE_UM:g} µm radius across the cell, 2.5 times as bright as a nucleus"
        ),
        unit="µm radius",
        amount=lambda s, _: s * FIBRE_UM,
        make=lambda scene, um, rng, _: add_fibre(scene, um, 0.0, rng),
    ),
    ArtefactKind(
        name="fibre-unfocused",
        kind="debris",
        meaning=f"the same fibre, twice as thick, {OUT_OF_FOCUS_UM:g} µm out of the focal plane",
        unit="µm radius",
        amount=lambda s, _: 2 * s * FIBRE_UM,
        make=lambda scene, um, rng, _: add_fibre(scene, um, OUT_OF_FOCUS_UM, rng),
    ),
    ArtefactKind(
        name="haze",
        kind="haze",
        meaning=(
            f"haze of {MOST_VEIL:.0%} of the plate's range, and {MOST_SCATTER:.0%} of the "
            "cells' light scattered over 25 µm"
        ),
        unit="of range",
        amount=lambda s, _: s * MOST_VEIL,
        make=lambda scene, veil, rng, _: haze(scene, veil, veil / MOST_VEIL * MOST_SCATTER, rng),
    ),
    ArtefactKind(
        name="noise",
        kind="noise",
        meaning=(
            f"{LEAST_PHOTONS:g} photo-electrons at the top of the plate's range (that many over "
            "the square of the severity, so that noise grows evenly) and "
            f"{READ_NOISE:g} electrons of read noise"
        ),
        unit="photons",
        amount=lambda s, _: photons_at(s),
        make=lambda scene, photons, rng, _: underexpose(scene, photons, READ_NOISE, rng),
    ),
    ArtefactKind(
        name="dead",
        kind="dead",
        meaning=(
            "a dead cell in the place of the cell (at severity s, the share s of its light for "
            "that "
            "of the cell)"
        ),
        unit="of its light",
        amount=lambda s, _: s,
        make=lambda scene, s, rng, donors: replace_by_dead(scene, s, donors, rng),
    ),
    ArtefactKind(
        name="empty",
        kind="empty",
        meaning=(
            "the cell removed and background in its place (at severity s, the share s of its light)"
        ),
        unit="of its light",
        amount=lambda s, _: s,
        make=lambda scene, s, rng, _: remove_cell(scene, s, rng),
    ),
)
KINDS: dict[str, ArtefactKind] = {kind.name: kind for kind in _ALL}
"""All kinds by name, in the order of the tables."""
