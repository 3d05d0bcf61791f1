"""One simulated site: the sample in light, its image through the microscope, and the truth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from napari_hcs_qc.study.simulation.optics import blur_layers, illumination
from napari_hcs_qc.study.simulation.synthetic_artefacts import (
    DEPTHS_UM,
    Fibre,
    SiteArtefact,
    draw_fibres,
    draw_particle,
    site_artefact,
)
from napari_hcs_qc.study.simulation.synthetic_cells import (
    Cell,
    NucleusPainter,
    paint_cytoplasm,
    populate,
)
from napari_hcs_qc.study.simulation.synthetic_shapes import Blob, Textures, draw_blob, round_blob
from napari_hcs_qc.study.simulation.synthetic_spec import STAINS, SyntheticSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

_MARGIN_UM = 30.0
_FALLOFF = 0.3
_DEBRIS_FACTORS = (1.0, 0.6, 0.5)  # how brightly debris shines in the channel of each stain
_COVERED = 0.6  # light of debris on a cell, relative to the stain's, that makes it abnormal


@dataclass(frozen=True, eq=False)
class SimulatedSite:
    """Pixels and truth of one site."""

    pixels: NDArray[np.uint16]  # uint16 (n_channels, height, width)
    # One row per object with its centre in the picture, ready for a table
    cells: list[dict[str, object]]
    artefact: SiteArtefact  # what befell the site


@dataclass(eq=False)
class _Sample:
    """Light sources on the canvas, in units of each stain's typical light, by depth in µm."""

    shape_px: tuple[int, int]
    nuclei: dict[float, FloatArray] = field(default_factory=dict)
    debris: dict[float, FloatArray] = field(default_factory=dict)
    actin: dict[float, FloatArray] = field(default_factory=dict)
    mito: dict[float, FloatArray] = field(default_factory=dict)
    fibres: list[Fibre] = field(default_factory=list)

    def layer(self, layers: dict[float, FloatArray], depth_um: float) -> FloatArray:
        """Give the layer of that depth, made where there is none."""
        if depth_um not in layers:
            layers[depth_um] = np.zeros(self.shape_px)
        return layers[depth_um]

    def stray(self, stain: int) -> dict[float, FloatArray]:
        """Light of debris and fibres in one stain's channel."""
        layers: dict[float, FloatArray] = {}
        for depth_um, light in self.debris.items():
            self.layer(layers, depth_um)[...] += _DEBRIS_FACTORS[stain] * light
        for thread in self.fibres:
            target = self.layer(layers, thread.defocus_um)
            target += thread.stain_factors[stain] * thread.light
        return layers


def simulate_site(spec: SyntheticSpec, well: str, site: int) -> SimulatedSite:
    """Make one site; depends on `spec`, the well and the site only."""
    artefact = site_artefact(spec, well, site)
    margin = round(_MARGIN_UM / spec.pixel_size_um)
    canvas_px = (
        fft.next_fast_len(spec.shape_px[0] + 2 * margin, real=True),
        fft.next_fast_len(spec.shape_px[1] + 2 * margin, real=True),
    )
    well_rng = spec.rng(2, well)
    well_density, well_stain = well_rng.lognormal(0, 0.12), well_rng.lognormal(0, 0.07, len(STAINS))
    cells = populate(spec, artefact, canvas_px, float(well_density), spec.rng(3, well, site))
    textures = Textures(canvas_px, spec.pixel_size_um, spec.rng(4, well, site))

    sample = _Sample(canvas_px)
    painter = NucleusPainter(textures, spec.rng(5, well, site))
    for cell in cells:
        kinds = sample.debris if cell.form == "debris" else sample.nuclei
        painter.paint(sample.layer(kinds, cell.defocus_um), cell)
    if any(name != "DNA" for name in spec.channels):
        rng = spec.rng(6, well, site)
        sample.actin, sample.mito = paint_cytoplasm(spec, cells, textures, rng)
    cells += _paint_artefacts(sample, spec, artefact, textures, spec.rng(7, well, site))

    camera = artefact.camera(spec.camera)
    window = (slice(margin, margin + spec.shape_px[0]), slice(margin, margin + spec.shape_px[1]))
    haze = _haze(artefact, textures)[window]
    planes, saturated = [], np.zeros(spec.shape_px, dtype=bool)
    for name in spec.channels:
        number = list(STAINS).index(name)
        stain = STAINS[name]
        light = _image(sample, spec, artefact, number, stray_only=False)[window]
        bright = _lamp(spec, number) * artefact.exposure
        stained = stain.electrons * float(well_stain[number])
        electrons = bright * (stained * (light + haze) + stain.background)
        saturated |= camera.expected_grey(electrons) >= camera.top_grey
        planes.append(camera.expose(electrons, spec.rng(10 + number, well, site)))
    covered = _covered(sample, spec, artefact)[window]
    rows = [
        _truth(cell, margin, spec, artefact, saturated, covered)
        for cell in cells
        if _centre_inside(cell, margin, spec.shape_px)
    ]
    return SimulatedSite(np.stack(planes), rows, artefact)


def _paint_artefacts(
    sample: _Sample,
    spec: SyntheticSpec,
    artefact: SiteArtefact,
    textures: Textures,
    rng: np.random.Generator,
) -> list[Cell]:
    """Dust, and the debris or fibres of a spoiled site; gives the particles a cell could hide."""
    height, width = sample.shape_px
    area_mm2 = height * width * (spec.pixel_size_um / 1000) ** 2
    for _ in range(int(rng.poisson(120 * area_mm2))):  # faint dust is on every plate
        y, x = rng.uniform(0, height), rng.uniform(0, width)
        radius = max(1.0, rng.uniform(0.5, 1.0) / spec.pixel_size_um)
        speck = round_blob(y, x, radius, flatness=2.0)
        draw_blob(sample.layer(sample.debris, 0.0), speck, rng.uniform(0.03, 0.12))
    if artefact.name == "fibre":
        sample.fibres += draw_fibres(
            sample.shape_px, spec.pixel_size_um, len(STAINS), artefact.severity, textures, rng
        )
    particles: list[Cell] = []
    if artefact.name != "debris":
        return particles
    for _ in range(int(rng.poisson((120 + 250 * artefact.severity) * area_mm2))):
        y, x = float(rng.uniform(0, height)), float(rng.uniform(0, width))
        size = float(np.exp(rng.uniform(np.log(2.5), np.log(22.0)))) / spec.pixel_size_um
        level = float(np.exp(rng.uniform(np.log(0.6), np.log(9.0))))
        depth = 0.0 if rng.random() < 0.6 else float(rng.choice(DEPTHS_UM[1:]))
        draw_particle(sample.layer(sample.debris, depth), (y, x), size, level, rng)
        if size > 0.25 * spec.nucleus_diameter_px:
            outline = Blob(y_px=y, x_px=x, major_px=size / 2, minor_px=size / 3)
            particles.append(Cell(outline, "debris", "debris", level, defocus_um=depth))
    return particles


def _lamp(spec: SyntheticSpec, number: int) -> FloatArray:
    """Illumination of one channel: each light path is aligned a little differently."""
    centre = (0.5 + 0.03 * number, 0.52 - 0.02 * number)
    return illumination(spec.shape_px, falloff=_FALLOFF, centre=centre)


def _image(
    sample: _Sample, spec: SyntheticSpec, artefact: SiteArtefact, number: int, *, stray_only: bool
) -> FloatArray:
    """Light of one channel on the canvas after the optics, in units of the stain's."""
    name = list(STAINS)[number]
    layers = sample.stray(number)
    if not stray_only:
        own = {"DNA": sample.nuclei, "Actin": sample.actin, "Mito": sample.mito}[name]
        for depth_um, light in own.items():
            sample.layer(layers, depth_um)[...] += light
    if not layers:
        return np.zeros(sample.shape_px)
    # An object above the plane of the cells is above it on a defocused site as well.
    shifted = {depth_um + artefact.defocus_um: light for depth_um, light in layers.items()}
    return blur_layers(shifted, artefact.objective(spec.objective), STAINS[name].emission_um)


def _haze(artefact: SiteArtefact, textures: Textures) -> FloatArray:
    """Light of a fluorescent medium on the canvas, in units of a stain's."""
    if artefact.name != "haze":
        return np.zeros(textures.shape_px)
    cloud = np.clip(1 + 0.3 * textures.smooth(60.0, source=2), 0.3, 2.0)
    return (0.4 + 1.0 * artefact.severity) * cloud


def _covered(sample: _Sample, spec: SyntheticSpec, artefact: SiteArtefact) -> NDArray[np.bool_]:
    """Where debris and fibres outshine the cells."""
    if artefact.name not in ("fibre", "debris"):
        return np.zeros(sample.shape_px, dtype=bool)
    return _image(sample, spec, artefact, 0, stray_only=True) > _COVERED


def _centre_inside(cell: Cell, margin: int, shape_px: tuple[int, int]) -> bool:
    y, x = cell.blob.y_px - margin, cell.blob.x_px - margin
    return 0 <= y <= shape_px[0] - 1 and 0 <= x <= shape_px[1] - 1


def _truth(
    cell: Cell,
    margin: int,
    spec: SyntheticSpec,
    artefact: SiteArtefact,
    saturated: NDArray[np.bool_],
    covered: NDArray[np.bool_],
) -> dict[str, object]:
    y, x = cell.blob.y_px - margin, cell.blob.x_px - margin
    reach = max(1, round(0.25 * cell.diameter_px))
    core = (
        slice(max(0, round(y) - reach), round(y) + reach + 1),
        slice(max(0, round(x) - reach), round(x) + reach + 1),
    )
    kind = artefact.cell_kind or cell.kind
    if kind is None and covered[core].mean() > 0.3:
        kind = "debris"
    if kind is None and saturated[core].mean() > 0.2:
        kind = "saturation"
    half = cell.blob.major_px
    height, width = spec.shape_px
    return {
        "y_px": y,
        "x_px": x,
        "diameter_px": cell.diameter_px,
        "form": cell.form,
        "class": "abnormal" if kind else "normal",
        "kind": kind,
        "defocus_um": cell.defocus_um + artefact.defocus_um,
        "is_cut": min(y, x, height - 1 - y, width - 1 - x) < half,
    }
