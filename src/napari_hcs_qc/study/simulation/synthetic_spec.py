"""What a simulated plate is to hold: `SyntheticSpec`, its checks, and the sample plate's own."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.errors import HcsQcError, Problem, ProblemsError
from napari_hcs_qc.plates.wells import PLATE_SHAPES, parse_well, well_name
from napari_hcs_qc.study.simulation.optics import Camera, Objective

if TYPE_CHECKING:
    from collections.abc import Sequence

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


@dataclass(frozen=True)
class SyntheticSpec:
    """Everything that decides a simulated plate, its seed included.

    What happens in a well depends on `seed` and the well's name only, so a plate of more wells
    contains the plate of fewer.
    """

    name: str = "SIM"  # plate name: its folder and the first part of its file names
    wells: tuple[str, ...] = ()  # names of the imaged wells
    n_wells: int | None = None  # how many wells where `wells` is empty; None: all of the plate
    plate_format: int = 96  # wells of the plate: 6, 12, 24, 48, 96, 384 or 1536
    sites_per_well: int = 2  # fields of view in each well
    shape_px: tuple[int, int] = (520, 696)  # height and width of an image
    # Names from `STAINS`, in the order of the files
    channels: tuple[str, ...] = ("DNA", "Actin", "Mito")
    seed: int = 0  # any whole number from 0 on
    nucleus_diameter_um: float = 20.5  # mean diameter of a nucleus
    cells_per_mm2: float = 700.0  # mean density
    objective: Objective = field(default_factory=Objective)  # the microscope
    camera: Camera = field(default_factory=Camera)  # the microscope
    clean: bool = False  # no artefacts and no abnormal cells at all
    artefact_share: float = 0.2  # chance of a well to be spoiled by one of `artefacts`
    artefacts: tuple[str, ...] = SITE_ARTEFACTS  # what may spoil a well
    schedule: tuple[tuple[str, str], ...] = ()  # (well, artefact) pairs that are certain
    abnormal_share: float = 0.05  # share of abnormal cells on good sites
    n_labels: int = 300  # rows of the label CSV (fewer where the plate has fewer cells)
    abnormal_label_share: float = 0.4  # share of abnormal ones among them

    def __post_init__(self) -> None:
        problems = [
            *self._plate_problems(),
            *self._image_problems(),
            *self._artefact_problems(),
        ]
        if problems:
            count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
            raise ProblemsError(f"The simulated plate cannot be made ({count})", problems)

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

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as it goes into JSON."""
        plain: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Objective | Camera):
                value = {part.name: getattr(value, part.name) for part in fields(value)}
            plain[item.name] = value
        return plain

    def _plate_problems(self) -> list[Problem]:
        problems = []
        if not re.fullmatch(r"[A-Za-z0-9-]+", self.name):
            problems.append(
                Problem("name", f"{self.name!r} was given; letters, digits and - were expected.")
            )
        if self.plate_format not in PLATE_SHAPES:
            formats = ", ".join(str(size) for size in PLATE_SHAPES)
            problems.append(
                Problem("plate_format", f"{self.plate_format} wells; one of {formats} is needed.")
            )
            return problems
        rows, columns = PLATE_SHAPES[self.plate_format]
        for name in (*self.wells, *(well for well, _ in self.schedule)):
            try:
                well = parse_well(name)
            except HcsQcError as error:
                problems.append(Problem("wells", str(error)))
                continue
            if well.row >= rows or well.column >= columns:
                problems.append(
                    Problem("wells", f"{well} is outside a plate of {self.plate_format} wells.")
                )
        if self.n_wells is not None and not 1 <= self.n_wells <= self.plate_format:
            problems.append(
                Problem("n_wells", f"{self.n_wells}; 1 to {self.plate_format} were expected.")
            )
        return problems

    def _image_problems(self) -> list[Problem]:
        problems = []
        for what, value, low, high in (
            ("sites_per_well", self.sites_per_well, 1, 400),
            ("height of shape_px", self.shape_px[0], 64, 4096),
            ("width of shape_px", self.shape_px[1], 64, 4096),
            ("seed", self.seed, 0, 2**63 - 1),
            ("n_labels", self.n_labels, 0, 10**6),
            ("nucleus diameter in px", self.nucleus_diameter_px, 8, 120),
            ("cells_per_mm2", self.cells_per_mm2, 0, 10_000),
            ("objective.pixel_size_um", self.objective.pixel_size_um, 0.05, 10),
            ("objective.numerical_aperture", self.objective.numerical_aperture, 0.05, 1.49),
            ("camera.electrons_per_grey", self.camera.electrons_per_grey, 0.01, 1000),
            ("camera.top_grey", self.camera.top_grey, 255, 65535),
        ):
            if not (math.isfinite(value) and low <= value <= high):
                problems.append(Problem(what, f"{value:g}; {low} to {high} was expected."))
        if self.objective.numerical_aperture >= self.objective.refractive_index:
            problems.append(
                Problem("objective.numerical_aperture", "must be below its refractive index.")
            )
        problems += _unknown("channels", self.channels, tuple(STAINS))
        if not self.channels or len(set(self.channels)) != len(self.channels):
            problems.append(Problem("channels", "at least one is needed, each only once."))
        return problems

    def _artefact_problems(self) -> list[Problem]:
        problems = []
        for name in ("artefact_share", "abnormal_share", "abnormal_label_share"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                problems.append(Problem(name, f"{share:g}; a share from 0 to 1 was expected."))
        problems += _unknown("artefacts", self.artefacts, SITE_ARTEFACTS)
        scheduled = tuple(artefact for _, artefact in self.schedule)
        problems += _unknown("schedule", scheduled, (*SITE_ARTEFACTS, "none"))
        if self.artefact_share > 0 and not self.artefacts and not self.clean:
            problems.append(Problem("artefacts", "none is given; set artefact_share to 0."))
        if self.clean and self.schedule:
            problems.append(Problem("clean", "a clean plate cannot have a schedule of artefacts."))
        return problems


def _unknown(where: str, given: Sequence[str], known: Sequence[str]) -> list[Problem]:
    return [
        Problem(where, f"{name!r} is unknown; known are {', '.join(known)}.")
        for name in given
        if name not in known
    ]


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
