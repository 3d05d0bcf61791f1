"""Where on a site something lies that is unlike its plate: a map from an encoder's own maps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage as ndi
from torch.nn import functional

from napari_hcs_qc.cells.intensity import spread_sample
from napari_hcs_qc.errors import HcsQcError, UnreadableSiteError
from napari_hcs_qc.heads.prior.usual_patches import MIN_SITES, UsualPatches, resized
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.encoder import Encoder
    from napari_hcs_qc.plates.plate import Plate, SiteKey

    Floats = NDArray[np.float32]

_N_SITES = 24  # that tell what is usual
_NUCLEUS_PX = 32  # diameter of a nucleus in what the encoder is shown
_MOST_PX = 4_000_000  # beyond this the site is shown smaller
_LEAST_PX = 64  # of a side
_GREY_WEIGHT = 2.0  # of grey values beside each stage: haze is known by nothing else
_MOST_KNOWN = 4
_known: dict[tuple[object, ...], tuple[UsualPatches, ...]] = {}


def reference_sites(plate: Plate) -> list[SiteKey]:
    """List the sites that tell what is usual on a plate."""
    return spread_sample(plate.sites, _N_SITES)


class ArtefactMaps:
    """Maps of the sites of one plate; what is usual on it is found at the first one.

    Each view of the recipe's channels has a map, and the highest value counts.
    """

    def __init__(self, state: PlateState, recipe: CropRecipe, encoder: Encoder) -> None:
        self._state, self._encoder = state, encoder
        self._groups = recipe.channel_groups([channel.name for channel in state.plate.channels])
        cells = state.plate_cells
        self._key = (
            state.plate.fingerprint, cells.ranges.fingerprint, cells.projection,
            f"{cells.diameter_px:.2f}", recipe.fingerprint, encoder.fingerprint,
        )  # fmt: skip

    def of_site(self, site: SiteKey, *, job: Job = NO_JOB) -> Floats:
        """Give the map of a site at the size of its pixels; see `UsualPatches`."""
        return self.of_pixels(self._read(site), job=job)

    def of_pixels(self, pixels: NDArray[Any], *, job: Job = NO_JOB) -> Floats:
        """Give the map of the pixels of a site, ``(n_channels, height, width)`` grey values."""
        usual = self._usual(job)
        views = [
            patches.score(self._maps(pixels, group, job))
            for patches, group in zip(usual, self._groups, strict=True)
        ]
        return resized(np.max(views, axis=0), pixels.shape[-2:])

    def _usual(self, job: Job) -> tuple[UsualPatches, ...]:
        if self._key not in _known:
            plate = self._state.plate
            sample = reference_sites(plate)
            fitted = [
                UsualPatches.fit(self._sampled(sample, group, job), _GREY_WEIGHT)
                for group in self._groups
            ]
            patches = tuple(usual for usual in fitted if usual is not None)
            if len(patches) < len(fitted):
                raise HcsQcError(
                    f"Fewer than {MIN_SITES} of the {len(sample)} sites of plate {plate.name} that "
                    "were tried can be read with all channels, so what is usual on it is not "
                    "known, and no artefact map can be made."
                )
            while len(_known) >= _MOST_KNOWN:
                _known.pop(next(iter(_known)))
            _known[self._key] = patches
        return _known[self._key]

    def _sampled(
        self, sites: list[SiteKey], group: tuple[int, ...], job: Job
    ) -> Iterator[list[Floats]]:
        for done, site in enumerate(sites):
            job.check()
            job.report(done, len(sites), f"Comparing the sites of {self._state.plate.name}")
            try:
                pixels = self._read(site)
            except UnreadableSiteError:
                continue
            yield self._maps(pixels, group, job)

    def _read(self, site: SiteKey) -> NDArray[Any]:
        state = self._state
        return state.plate.read_site(site, projection=state.plate_cells.projection)

    def _maps(self, pixels: NDArray[Any], group: tuple[int, ...], job: Job) -> list[Floats]:
        cells = self._state.plate_cells
        shown = cells.ranges.scale(pixels[list(group)], group)
        factor = _NUCLEUS_PX / cells.diameter_px
        factor = min(factor, math.sqrt(_MOST_PX / math.prod(shown.shape[1:])))
        size = [max(_LEAST_PX, round(side * factor)) for side in shown.shape[1:]]
        image = functional.interpolate(
            torch.from_numpy(shown)[None],
            size=size,
            mode="bilinear",
            align_corners=False,
            antialias=factor < 1,
        )[0]
        maps = self._encoder.maps(image, job=job)
        finest = max((patches.shape[1:] for patches in maps), key=math.prod)
        return [_grey(image, finest, cells.diameter_px * finest[0] / shown.shape[1]), *maps]


def _grey(image: torch.Tensor, shape: tuple[int, ...], diameter: float) -> Floats:
    """Grey values in patches: there, about half a nucleus and two around, the ground, the spread.

    An encoder forgets most of how bright a place is, which is what haze is known by.
    """
    rows, columns = shape
    mean = functional.adaptive_avg_pool2d(image, (rows, columns)).numpy()
    square = functional.adaptive_avg_pool2d(image**2, (rows, columns)).numpy()
    wide = 2 * diameter
    parts = [
        mean,
        ndi.gaussian_filter(mean, (0, diameter / 2, diameter / 2)),
        ndi.gaussian_filter(mean, (0, wide, wide)),
        ndi.percentile_filter(mean, 10, size=(1, round(wide), round(wide))),
        np.maximum(square - mean**2, 0.0),
    ]
    # Roots, so that the dim half of the range counts as the bright one does.
    grey: Floats = np.sqrt(np.maximum(np.concatenate(parts), 0.0)).astype(np.float32)
    return grey
