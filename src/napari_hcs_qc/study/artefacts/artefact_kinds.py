"""The kinds of simulated artefact, each by name, with what its severity means in units."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from importlib.resources import files
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

SCATTERED = 0.4
"""Share of the cells' light that the strongest haze scatters."""

READ_NOISE = 3.0
"""Electrons."""

OUT_OF_FOCUS_UM = 15.0


@dataclass(frozen=True, kw_only=True)
class ArtefactKind:
    """One kind of artefact."""

    name: str  # on the command line
    kind: str  # what an annotator would call a cell that has it
    meaning: str  # what severity 1 is, in words with units
    unit: str  # of what `amount` gives
    most: float  # what severity 1 is

    def amount(self, severity: float, imaging: Imaging) -> float:
        """Give a severity in the unit."""
        match self.name:
            case "gaussian":
                return severity * self.most * imaging.diameter_px
            case "saturation":
                return float(self.most**severity)
            case "noise":  # fewer by the square, so that it grows evenly
                return self.most / severity**2 if severity else math.inf
            case _:
                return severity * self.most


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
    return _MAKE[kind.name](scene, kind.amount(severity, scene.imaging), rng, donors)


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


_MAKE: dict[str, Make] = {
    "gaussian": _gaussian,
    "defocus": _defocus,
    "saturation": lambda scene, exposure, _rng, _: overexpose(scene, exposure),
    "debris": lambda scene, size, rng, _: add_debris(scene, size, 0.0, rng),
    "debris-unfocused": lambda scene, size, rng, _: add_debris(scene, size, OUT_OF_FOCUS_UM, rng),
    "fibre": lambda scene, um, rng, _: add_fibre(scene, um, 0.0, rng),
    "fibre-unfocused": lambda scene, um, rng, _: add_fibre(scene, um, OUT_OF_FOCUS_UM, rng),
    "haze": lambda scene, veil, rng, _: haze(
        scene, veil, veil / KINDS["haze"].most * SCATTERED, rng
    ),
    "noise": lambda scene, photons, rng, _: underexpose(scene, photons, READ_NOISE, rng),
    "dead": lambda scene, share, rng, donors: replace_by_dead(scene, share, donors, rng),
    "empty": lambda scene, share, rng, _: remove_cell(scene, share, rng),
}
"""From scene, amount, source of all choices, and dead cells to the changed scene."""


def _kinds() -> dict[str, ArtefactKind]:
    text = files(__package__).joinpath("artefact_kinds.toml").read_text("utf-8")
    constants = {"depth_um": OUT_OF_FOCUS_UM, "scattered": SCATTERED, "read_noise": READ_NOISE}
    kinds = {}
    for name, values in tomllib.loads(text).items():
        values["meaning"] = values["meaning"].format(most=values["most"], **constants)
        kinds[name] = ArtefactKind(name=name, **values)
    return kinds


KINDS: dict[str, ArtefactKind] = _kinds()
"""All kinds by name, in the order of the tables."""
