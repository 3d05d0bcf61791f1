"""What is called abnormal, and which wells are flagged, on clean plates before any annotation.

Plates of four cell sizes and densities are simulated without a single abnormal cell or artefact,
and judged as ``hcs-qc run`` does without annotations: every cell that is called and every flag is
false. Cells that the image border cuts are left out, as the product does.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.study.simulation.synthetic import SyntheticSpec, simulate_plate
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate

# Diameter of a nucleus in µm, and cells per mm².
_KINDS = ((14.0, 1500.0), (14.0, 900.0), (17.0, 1200.0), (12.0, 2000.0))
_WELLS = tuple(f"{row}{column:02}" for row in "BCD" for column in range(2, 6))


def judged_clean_plate(folder: Path, seed: int) -> ScoredPlate:
    """Simulate one clean plate and judge it without any annotation."""
    diameter, density = _KINDS[seed % len(_KINDS)]
    spec = SyntheticSpec(
        name=f"CLEAN{seed}",
        wells=_WELLS,
        sites_per_well=1,
        shape_px=(520, 696),
        channels=("DNA",),
        seed=100 + seed,
        nucleus_diameter_um=diameter,
        cells_per_mm2=density,
        artefact_share=0.0,
        abnormal_share=0.0,
        clean=True,
        n_labels=0,
    )
    made = simulate_plate(folder / "plate", spec)
    source = steps.PlateSource(made.plate_dir)
    result = steps.run(folder / "assay", source, None, folder / "out", annotator="nobody")
    (scored,) = result.scored
    return scored


def main(arguments: list[str] | None = None) -> int:
    """Print the shares of each plate and of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plates", type=int, default=20)
    options = parser.parse_args(arguments)
    print("Clean simulated plates, judged before any annotation: all that is called is false.\n")
    print("| plate | diameter, cells per mm² | cells | called | wells flagged |")
    print("|---|---|---|---|---|")
    shares, flagged = [], []
    for seed in range(options.plates):
        with tempfile.TemporaryDirectory() as folder:
            plate = judged_clean_plate(Path(folder), seed)
            n_flagged = int(plate.scores.wells["is_flagged"].sum())
        shares.append(plate.n_abnormal / plate.n_counted)
        flagged.append(n_flagged / len(_WELLS))
        diameter, density = _KINDS[seed % len(_KINDS)]
        print(
            f"| {seed} | {diameter:g} µm, {density:g} | {plate.n_counted:,} | {shares[-1]:.2%} | "
            f"{n_flagged} of {len(_WELLS)} |",
            flush=True,
        )
    spread = np.std(shares, ddof=1) if len(shares) > 1 else 0.0
    print(
        f"\nMean over {len(shares)} plates: {np.mean(shares):.2%} of the cells called (sd "
        f"{spread:.2%}, most {max(shares):.2%}), {np.mean(flagged):.2%} of the wells flagged."
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
