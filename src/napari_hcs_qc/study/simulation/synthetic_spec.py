"""What a simulated plate is to hold: `SyntheticSpec`, its checks, and the sample plate's own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from napari_hcs_qc.documents import Document
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.wells import PLATE_SHAPES, parse_well, well_name
from napari_hcs_qc.study.settings import Settings, one_of
from napari_hcs_qc.study.simulation.optics import Camera, Objective

if TYPE_CHECKING:
    from collections.abc import Iterator

SITE_ARTEFACTS = ("blur", "saturation", "debris", "fibre", "haze", "dead", "empty", "noise")
"""What can befall a whole site. In the terms of annotations a fibre is of the kind debris."""

CELL_KINDS = {"dead": 0.5, "debris": 0.2, "blur": 0.2, "saturation": 0.1}
"""Kinds of single abnormal cells on good sites, and their shares."""


@dataclass(frozen=True)
class Stain:
    """One dye and the brightness it gives."""

    name: str  # channel name
    emission_um: float  # wavelength of its light
    electrons: float  # photo-electrons per pixel of typical stained structure
    background: float  # photo-electrons per pixel of medium and plate


STAINS = {
    stain.name: stain
    for stain in (
        Stain("DNA", 0.461, 1750.0, 110.0),
        Stain("Actin", 0.603, 1000.0, 150.0),
        Stain("Mito", 0.665, 1200.0, 130.0),
    )
}
"""Dyes the generator knows: Hoechst 33342, phalloidin-AF594, MitoTracker Deep Red."""


_Share = Annotated[float, Field(ge=0, le=1)]
_SidePx = Annotated[int, Field(ge=64, le=4096)]


class SyntheticSpec(Settings):
    """Everything that decides a simulated plate, its seed included.

    What happens in a well depends on `seed` and the well's name only, so a plate of more wells
    contains the plate of fewer.
    """

    title: ClassVar[str] = "The simulated plate cannot be made"

    name: str = "SIM"  # plate name: its folder and the first part of its file names
    wells: tuple[str, ...] = ()  # names of the imaged wells
    # How many wells where `wells` is empty; None: all of the plate
    n_wells: Annotated[int, Field(ge=1)] | None = None
    plate_format: int = 96  # wells of the plate: 6, 12, 24, 48, 96, 384 or 1536
    sites_per_well: Annotated[int, Field(ge=1, le=400)] = 2  # fields of view in each well
    shape_px: tuple[_SidePx, _SidePx] = (520, 696)  # height and width of an image
    # Names from `STAINS`, in the order of the files
    channels: tuple[Annotated[str, one_of(STAINS)], ...] = ("DNA", "Actin", "Mito")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    nucleus_diameter_um: float = 20.5  # mean diameter of a nucleus
    cells_per_mm2: Annotated[float, Field(ge=0, le=10_000)] = 700.0  # mean density
    objective: Objective = Objective()
    camera: Camera = Camera()
    clean: bool = False  # no artefacts and no abnormal cells at all
    artefact_share: _Share = 0.2  # chance of a well to have one of `artefacts`
    artefacts: tuple[Annotated[str, one_of(SITE_ARTEFACTS)], ...] = SITE_ARTEFACTS
    # Pairs of well and artefact that are certain
    schedule: tuple[tuple[str, Annotated[str, one_of((*SITE_ARTEFACTS, "none"))]], ...] = ()
    abnormal_share: _Share = 0.05  # share of abnormal cells on good sites
    # Rows of the label CSV (fewer where the plate has fewer cells)
    n_labels: Annotated[int, Field(ge=0, le=10**6)] = 300
    abnormal_label_share: _Share = 0.4  # share of abnormal ones among them

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9-]+", name):
            raise ValueError(f"{name!r} was given; letters, digits and - were expected.")
        return name

    @field_validator("plate_format")
    @classmethod
    def _check_format(cls, plate_format: int) -> int:
        if plate_format not in PLATE_SHAPES:
            formats = ", ".join(str(size) for size in PLATE_SHAPES)
            raise ValueError(f"{plate_format} wells; one of {formats} is needed.")
        return plate_format

    @field_validator("channels")
    @classmethod
    def _check_channels(cls, channels: tuple[str, ...]) -> tuple[str, ...]:
        if not channels or len(set(channels)) != len(channels):
            raise ValueError("at least one is needed, each only once.")
        return channels

    @model_validator(mode="after")
    def _check_all(self) -> Self:
        problems = [*self._plate_problems(), *self._image_problems()]
        if problems:
            raise ValueError(" ".join(problems))
        return self

    def _plate_problems(self) -> Iterator[str]:
        rows, columns = PLATE_SHAPES[self.plate_format]
        for name in (*self.wells, *(well for well, _ in self.schedule)):
            try:
                well = parse_well(name)
            except HcsQcError as error:
                yield str(error)
                continue
            if well.row >= rows or well.column >= columns:
                yield f"{well} is outside a plate of {self.plate_format} wells."
        if self.n_wells is not None and self.n_wells > self.plate_format:
            yield f"n_wells is {self.n_wells}; 1 to {self.plate_format} were expected."
        if self.artefact_share > 0 and not self.artefacts and not self.clean:
            yield "artefacts: none is given; set artefact_share to 0."
        if self.clean and self.schedule:
            yield "A clean plate cannot have a schedule of artefacts."

    def _image_problems(self) -> Iterator[str]:
        objective, camera = self.objective, self.camera
        for what, value, low, high in (
            ("The nucleus diameter in px", self.nucleus_diameter_px, 8, 120),
            ("objective.pixel_size_um", objective.pixel_size_um, 0.05, 10),
            ("objective.numerical_aperture", objective.numerical_aperture, 0.05, 1.49),
            ("camera.electrons_per_grey", camera.electrons_per_grey, 0.01, 1000),
            ("camera.top_grey", camera.top_grey, 255, 65535),
        ):
            if not low <= value <= high:
                yield f"{what} is {value:g}; {low} to {high} was expected."
        if objective.numerical_aperture >= objective.refractive_index:
            yield "objective.numerical_aperture must be below its refractive index."

    @property
    def pixel_size_um(self) -> float:
        """Side of a pixel in the sample."""
        return self.objective.pixel_size_um

    @property
    def nucleus_diameter_px(self) -> float:
        """Mean diameter of a nucleus in pixels."""
        return self.nucleus_diameter_um / self.pixel_size_um

    @property
    def well_names(self) -> tuple[str, ...]:
        """The imaged wells, written ``A01``, by row and column."""
        if self.wells:
            return tuple(str(well) for well in sorted({parse_well(name) for name in self.wells}))
        rows, columns = PLATE_SHAPES[self.plate_format]
        names = tuple(well_name(row, column) for row in range(rows) for column in range(columns))
        return names if self.n_wells is None else names[: self.n_wells]

    def rng(self, purpose: int, well: str, site: int = 0) -> np.random.Generator:
        """Random numbers of one site (of the well as a whole: site 0) for one purpose."""
        row, column = parse_well(well)
        return np.random.default_rng([self.seed, purpose, row, column, site])


class SimulationRecord(Document):
    """The file beside a simulated plate that says how it was made."""

    format: Literal["napari-hcs-qc simulation"] = "napari-hcs-qc simulation"
    format_version: Literal[1] = 1
    spec: SyntheticSpec

    @classmethod
    def migrate(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Read a file that holds the specification alone."""
        return {"spec": data}


def sample_spec() -> SyntheticSpec:
    """Describe the plate in ``sample_data/``: 20 wells of 96, every artefact in one of them.

    Small fields, so that it fits into the repository, and a dense culture, so that each still
    has thirty cells.
    """
    schedule = {
        "B07": "dead",
        "C03": "blur",
        "C06": "fibre",
        "D04": "noise",
        "D07": "haze",
        "E03": "empty",
        "E05": "debris",
        "E07": "saturation",
    }
    wells = tuple(f"{row}{column:02d}" for row in "BCDE" for column in range(3, 8))
    return SyntheticSpec(
        name="SAMPLE",
        wells=wells,
        sites_per_well=2,
        shape_px=(216, 264),
        seed=20,
        nucleus_diameter_um=17.5,
        cells_per_mm2=1500.0,
        artefact_share=0.0,
        schedule=tuple(schedule.items()),
        abnormal_share=0.12,
        n_labels=180,
    )
