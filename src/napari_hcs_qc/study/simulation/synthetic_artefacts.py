"""What befalls a simulated site: which artefact, how badly, and what that is in physics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.study.simulation.synthetic_shapes import (
    Blob,
    Textures,
    draw_blob,
    fibre,
    random_wobble,
    round_blob,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.study.simulation.optics import Camera, Objective
    from napari_hcs_qc.study.simulation.synthetic_spec import SyntheticSpec

    FloatArray = NDArray[np.float64]

_WHOLE_WELL = ("dead", "empty", "noise", "haze", "saturation")
DEPTHS_UM = (0.0, 9.0, 13.0, 18.0, 24.0)
"""Depths at which objects out of the plane lie; each costs one Fourier transform."""


@dataclass(frozen=True)
class SiteArtefact:
    """What befell one site."""

    name: str | None = None  # one of `SITE_ARTEFACTS`, or None for a good site
    severity: float = 0.0  # from 0.4 (plain to see) to 1 (extreme); 0 for a good site

    @property
    def cell_kind(self) -> str | None:
        """The kind of all cells of the site, where the artefact changes every one of them."""
        return self.name if self.name in ("blur", "haze", "noise") else None

    @property
    def defocus_um(self) -> float:
        """Distance of the sample from the focal plane: up to 24 µm."""
        return 7.0 + 17.0 * self.severity if self.name == "blur" else 0.0

    @property
    def exposure(self) -> float:
        """Light relative to the plate's: over-exposed twelvefold and more, or a failing lamp."""
        if self.name == "saturation":
            return 8.0 + 9.0 * self.severity
        return 0.16 - 0.08 * self.severity if self.name == "noise" else 1.0

    @property
    def dead_share(self) -> float:
        """Share of dead cells."""
        return 0.45 + 0.5 * self.severity if self.name == "dead" else 0.0

    @property
    def density(self) -> float:
        """Cell density relative to the plate's: dead cells come off, of some wells all."""
        if self.name == "dead":
            return 1.0 - 0.5 * self.severity
        return 0.0 if self.name == "empty" else 1.0

    def camera(self, camera: Camera) -> Camera:
        """Give the camera as it worked: a warm sensor reads with more noise."""
        if self.name != "noise":
            return camera
        return replace(camera, read_noise=camera.read_noise * (4.0 + 4.0 * self.severity))

    def objective(self, objective: Objective) -> Objective:
        """Give the optics as they worked: a turbid medium scatters light widely."""
        if self.name != "haze":
            return objective
        return replace(objective, scatter_share=0.1 + 0.3 * self.severity)


def well_artefact(spec: SyntheticSpec, well: str) -> str | None:
    """Name the artefact of a well, scheduled or drawn by the well's own numbers."""
    scheduled = {str(name): artefact for name, artefact in spec.schedule}
    if well in scheduled:
        return None if scheduled[well] == "none" else scheduled[well]
    rng = spec.rng(0, well)
    chance, choice = rng.random(), rng.random()
    if spec.clean or chance >= spec.artefact_share:
        return None
    return spec.artefacts[int(choice * len(spec.artefacts))]


def site_artefact(spec: SyntheticSpec, well: str, site: int) -> SiteArtefact:
    """Draw what befell one site; some artefacts miss a site of their well now and then."""
    name = well_artefact(spec, well)
    rng = spec.rng(1, well, site)
    hit, severity = rng.random(), rng.uniform(0.4, 1.0)
    if name is None or (name not in _WHOLE_WELL and site > 1 and hit > 0.75):
        return SiteArtefact()
    return SiteArtefact(name, float(severity))


@dataclass(frozen=True, eq=False)
class Fibre:
    """A thread of lint: its light (height, width) relative to a stain's, and its depth."""

    light: FloatArray
    defocus_um: float
    stain_factors: tuple[float, ...]


def draw_fibres(
    shape_px: tuple[int, int],
    pixel_size_um: float,
    n_stains: int,
    severity: float,
    textures: Textures,
    rng: np.random.Generator,
) -> list[Fibre]:
    """One or two fibres across the canvas, in focus or far out of it."""
    fibres = []
    for _ in range(1 + int(rng.random() < 0.4)):
        radius_px = (1.5 + 2.5 * severity * rng.random()) / pixel_size_um
        defocus_um = 0.0 if rng.random() < 0.4 else float(rng.choice(DEPTHS_UM[2:]))
        # Light spread over a wide blur needs a brighter source to be as bright.
        level = (2.0 + 4.0 * severity * rng.random()) * (1 + defocus_um / 4)
        grain = np.clip(1 + 0.2 * textures.smooth(3.0, source=2), 0.2, None)
        factors = (1.0, *rng.uniform(0.2, 0.9, max(0, n_stains - 1)))
        light = level * grain * fibre(shape_px, radius_px, rng)
        fibres.append(Fibre(light, defocus_um, tuple(float(factor) for factor in factors)))
    return fibres


def draw_particle(
    canvas: FloatArray,
    centre_px: tuple[float, float],
    size_px: float,
    brightness: float,
    rng: np.random.Generator,
) -> None:
    """Add one piece of debris to `canvas`: a flake, a crystal bar or a crumb of specks."""
    y, x = centre_px
    form = rng.choice(3, p=(0.4, 0.25, 0.35))
    angle = rng.uniform(0, np.pi)
    if form == 2:
        for _ in range(int(rng.integers(4, 11))):
            dy, dx = rng.standard_normal(2) * size_px / 3.5
            radius = max(1.0, size_px * rng.uniform(0.05, 0.16))
            speck = round_blob(y + dy, x + dx, radius, flatness=2.0)
            draw_blob(canvas, speck, brightness * rng.uniform(0.3, 1.0))
        return
    wobble: tuple[tuple[float, float], ...] = ()
    if form == 0:
        wobble = random_wobble(rng, 0.15, 0.15, 0.12, 0.1, 0.08)
        major, minor, flatness = size_px / 2, rng.uniform(0.25, 0.45) * size_px, 3.0
    else:
        major, flatness = 1.4 * size_px / 2, 8.0
        minor = max(1.2, rng.uniform(0.1, 0.18) * major * 2)
    body = Blob(
        y_px=y,
        x_px=x,
        major_px=major,
        minor_px=minor,
        angle=angle,
        wobble=wobble,
        flatness=flatness,
    )
    draw_blob(canvas, body, brightness)
