"""The annotated cells of an assay as scenes in which artefacts are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_hcs_qc.cells.crops import cut_crops
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.study.artefacts.objects import cut_out
from napari_hcs_qc.study.artefacts.scene import (
    ChannelLight,
    Imaging,
    Scene,
    cut_scenes,
    scene_side_px,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.plates.plate import Channel, SiteKey
    from napari_hcs_qc.study.artefacts.objects import Donor
    from napari_hcs_qc.study.benchmark.sources import AssayCells

TYPICAL_NUCLEUS_UM = 15.0
"""Diameter by which the pixel size is guessed where neither the plate nor the user gives it."""

_EMISSION_UM = {
    ("dapi", "hoechst", "dna", "nuclei"): 0.461,
    ("gfp", "fitc", "488"): 0.52,
    ("actin", "phalloidin", "agp", "rfp", "tritc"): 0.603,
    ("mito", "cy5", "draq", "647"): 0.665,
}
_OTHER_EMISSION_UM = 0.52


@dataclass(eq=False)
class ArtefactCells:
    """Scenes of annotated cells, each site read once and its scenes kept."""

    cells: AssayCells  # the annotated cells
    recipe: CropRecipe  # crop recipe
    pixel_size_um: float | None = None  # of all plates
    numerical_aperture: float = 0.5  # of the objective
    imaging: tuple[Imaging, ...] = field(init=False)
    _scenes: dict[int, Scene] = field(init=False, default_factory=dict)
    _donors: dict[int, Donor] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.imaging = tuple(
            imaging_of(state, self.pixel_size_um, self.numerical_aperture)
            for state in self.cells.states
        )

    @property
    def kinds(self) -> NDArray[np.object_]:
        """Give the kinds of the cells, see `AssayCells`."""
        return self.cells.kinds

    def plate_of(self, row: int) -> int:
        """Tell which of the plates a cell is on."""
        return self.cells.where[row][0]

    def sized(self, plate: int) -> CropRecipe:
        """Give the recipe for the nuclei of a plate; one whose diameter is set stays as it is."""
        if self.recipe.diameter_px is not None:
            return self.recipe
        return self.recipe.with_diameter(self.cells.states[plate].plate_cells.diameter_px)

    def load(self, rows: Sequence[int], job: Job = NO_JOB) -> None:
        """Cut the scenes of cells and keep them."""
        at: dict[tuple[int, SiteKey], list[int]] = {}
        for row in rows:
            if row not in self._scenes:
                at.setdefault(self.cells.where[row][:2], []).append(row)
        for done, ((number, key), here) in enumerate(at.items()):
            job.check()
            job.report(done, len(at), "Cutting the surroundings of cells")
            state, imaging = self.cells.states[number], self.imaging[number]
            raw = state.plate.read_site(key, projection=state.plate_cells.projection)
            y, x = zip(*(self.cells.where[row][2:] for row in here), strict=True)
            side = scene_side_px(self.sized(number).sides_px, imaging.diameter_px)
            for row, scene in zip(here, cut_scenes(raw, y, x, imaging, side), strict=True):
                self._scenes[row] = scene

    def scene(self, row: int) -> Scene:
        """Give the scene of a cell that was loaded."""
        return self._scenes[row]

    def donors(self, rows: Sequence[int], plate: int) -> list[Donor]:
        """Cut the dead ones of some cells out that are on a plate; they must be loaded."""
        chosen = [row for row in rows if self.kinds[row] == "dead" and self.plate_of(row) == plate]
        for row in chosen:
            if row not in self._donors:
                self._donors[row] = cut_out(self._scenes[row])
        return [self._donors[row] for row in chosen]

    def crops(self, scenes: Sequence[tuple[int, Scene]]) -> torch.Tensor:
        """Cut the crops of scenes given with their plate, as `cut_crops` cuts those of a site."""
        crops = []
        for plate, scene in scenes:
            channels = [channel.name for channel in self.cells.states[plate].plate.channels]
            recipe, middle = self.sized(plate), [scene.centre_px]
            groups = recipe.channel_groups(channels)
            crops.append(cut_crops(scene.scaled(), middle, middle, recipe, groups))
        return torch.cat(crops)


def imaging_of(
    state: PlateState, pixel_size_um: float | None, numerical_aperture: float
) -> Imaging:
    """Gather what is known of how a plate was imaged."""
    plate_cells, plate = state.plate_cells, state.plate
    nucleus = plate.channel_index(plate_cells.channel)
    channels = []
    for index, (channel, light) in enumerate(
        zip(plate.channels, plate_cells.ranges.channels, strict=True)
    ):
        signal = (light.high - light.background) / 2
        if index == nucleus:
            means = plate_cells.cells["mean_intensity"].to_numpy(dtype=np.float64)
            means = means[np.isfinite(means)]
            measured = float(np.median(means)) - light.background if len(means) else 0.0
            signal = measured if measured > 0 else signal
        channels.append(
            ChannelLight(
                background=light.background,
                low=light.low,
                high=light.high,
                full=light.high if light.saturation_level is None else light.saturation_level,
                signal=signal,
                wavelength_um=emission_um(channel),
            )
        )
    size = pixel_size_um or plate.pixel_size_um or TYPICAL_NUCLEUS_UM / plate_cells.diameter_px
    return Imaging(
        channels=tuple(channels),
        nucleus_channel=nucleus,
        diameter_px=plate_cells.diameter_px,
        pixel_size_um=float(size),
        numerical_aperture=numerical_aperture,
    )


def emission_um(channel: Channel) -> float:
    """Wavelength of a channel's light in µm: as the plate has it, or by the name of its stain."""
    if channel.wavelength_nm is not None:
        return channel.wavelength_nm / 1000
    name = channel.name.casefold()
    for stains, wavelength in _EMISSION_UM.items():
        if any(stain in name for stain in stains):
            return wavelength
    return _OTHER_EMISSION_UM
