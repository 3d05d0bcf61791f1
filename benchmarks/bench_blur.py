"""How slight a blur of a site is flagged: each site of a real plate blurred among the sharp others.

The image is smoothed with a Gaussian and gets the noise of its dark half back, as a camera reads a
blurred image with fresh noise. Flagged by the width of edges alone, as it was in 0.1.0, and
by the rule as it is, which also looks at the slope of the power spectrum.
"""

from __future__ import annotations

from multiprocessing.pool import ThreadPool
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from benchmarks.labelled_plate import BBBC039, REAL_PLATE
from benchmarks.results import table
from scipy.ndimage import gaussian_filter

from napari_hcs_qc.cells.intensity import measure_intensity
from napari_hcs_qc.cells.table import empty_cells
from napari_hcs_qc.plates.open import open_plate
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.plates.wells import well_name
from napari_hcs_qc.qc.flags import score_plate
from napari_hcs_qc.qc.image_quality import measure_site, quality_table
from napari_hcs_qc.qc.rule import FlagRule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_hcs_qc.qc.quality_measures import ChannelQuality

BLURS_PX = (0.7, 1.0, 1.4, 2.0, 2.8)
_DIAMETER_PX = 29.0
_NEVER = 1e6
RULES = {"edges alone": FlagRule(blur_slope=_NEVER), "now": FlagRule()}


def flagged(
    rows: Sequence[ChannelQuality], keys: Sequence[SiteKey], rule: FlagRule
) -> NDArray[np.bool_]:
    """Tell which sites are flagged as out of focus."""
    quality = quality_table(zip(keys, rows, strict=True))
    sites = score_plate(keys, empty_cells(), None, quality, rule=rule).sites
    codes = sites["flag_codes"].str.split(",")
    return codes.map(lambda found: "blur" in found).to_numpy(bool)


def main(_arguments: list[str] | None = None) -> int:
    """Print the shares of sites that are flagged."""
    if not BBBC039.is_dir():
        print(f"The real images are not at {BBBC039}; nothing was measured.")
        return 0
    plate = open_plate(REAL_PLATE)
    ranges = measure_intensity(plate)
    images = [tifffile.imread(path).astype(np.float32) for path in sorted(REAL_PLATE.glob("*.tif"))]
    keys = [SiteKey(well_name(number // 24, number % 24), 1) for number in range(len(images))]

    def measured(image: NDArray[np.float32]) -> ChannelQuality:
        counts = np.clip(np.round(image), 0, 4095).astype(np.uint16)
        [quality] = measure_site(counts[None], None, ranges, diameter_px=_DIAMETER_PX)
        return quality

    def blurred(number: int, sd_px: float) -> ChannelQuality:
        rng = np.random.default_rng(number)
        noise = rng.normal(0, clean[number].noise, images[number].shape).astype(np.float32)
        return measured(gaussian_filter(images[number], sd_px) + noise)

    with ThreadPool(2) as pool:
        clean = pool.map(measured, images)
        n_sharp = [int(flagged(clean, keys, rule).sum()) for rule in RULES.values()]
        lines = [("sharp", " / ".join(map(str, n_sharp)))]
        for sd_px in BLURS_PX:
            changed = pool.starmap(blurred, [(number, sd_px) for number in range(len(images))])
            n_flagged = [0] * len(RULES)
            for number, quality in enumerate(changed):
                rows = [*clean[:number], quality, *clean[number + 1 :]]
                for column, rule in enumerate(RULES.values()):
                    n_flagged[column] += bool(flagged(rows, keys, rule)[number])
            lines.append((f"blurred by {sd_px:g} px", " / ".join(map(str, n_flagged))))
    print(f"Sites flagged of {len(images)}: {' / '.join(RULES)}\n{table(lines)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
