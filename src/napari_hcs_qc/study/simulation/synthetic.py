"""Make a plate: images as an ImageXpress writes them, and beside them what is true about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import tifffile

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import atomic_path, write_text
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates.wells import PLATE_SHAPES, parse_well
from napari_hcs_qc.study.simulation.synthetic_scene import simulate_site
from napari_hcs_qc.study.simulation.synthetic_spec import (
    SITE_ARTEFACTS,
    STAINS,
    SimulationRecord,
    SyntheticSpec,
    sample_spec,
)
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "SITE_ARTEFACTS",
    "STAINS",
    "SimulatedPlate",
    "SyntheticSpec",
    "sample_spec",
    "simulate_plate",
]

_CLICK_JITTER_PX = 1.0
_CLICKS_PER_WELL = 6
_CELL_TYPES = {
    "well": "str",
    "site": "int32",
    "y_px": "float32",
    "x_px": "float32",
    "diameter_px": "float32",
    "form": "str",
    "class": "str",
    "kind": "str",
    "defocus_um": "float32",
    "is_cut": "bool",
}


@dataclass(frozen=True, kw_only=True)
class SimulatedPlate:
    """Where the parts of a simulated plate lie."""

    plate_dir: Path  # folder of images, to be opened as a plate
    # CSV ``well,site,y_px,x_px,label,kind``: some cells, clicked nearly at their centres
    labels: Path
    truth_cells: Path
    truth_sites: Path
    platemap: Path  # CSV ``well,treatment,role``
    spec: Path  # JSON of the specification that makes the same plate again

    @classmethod
    def in_folder(cls, folder: Path, spec: SyntheticSpec) -> SimulatedPlate:
        """Give where the parts lie in a folder."""
        return cls(
            plate_dir=folder / spec.name,
            labels=folder / "labels.csv",
            truth_cells=folder / "truth_cells.parquet",
            truth_sites=folder / "truth_sites.parquet",
            platemap=folder / "platemap.csv",
            spec=folder / "simulation.json",
        )


def simulate_plate(out: Path, spec: SyntheticSpec, *, job: Job = NO_JOB) -> SimulatedPlate:
    """Simulate a plate and write it into folder `out`.

    The same `spec` gives the same files, and one that was stopped can be made again. A folder that
    holds anything else is left alone.
    """
    paths = SimulatedPlate.in_folder(out, spec)
    _check_folder(out, paths.spec, spec)
    # First, so that a simulation that was stopped is known for what it is.
    SimulationRecord(spec=spec).save(paths.spec)
    keys = [(w, s) for w in spec.well_names for s in range(1, spec.sites_per_well + 1)]
    cells: list[dict[str, Any]] = []
    sites: list[dict[str, Any]] = []
    for done, (well, site) in enumerate(keys):
        job.check()
        job.report(done, len(keys), f"simulating {well} s{site}")
        simulated = simulate_site(spec, well, site)
        for channel, plane in enumerate(simulated.pixels, start=1):
            path = paths.plate_dir / f"{spec.name}_{well}_s{site}_w{channel}.tif"
            _write_plane(path, plane, spec.channels[channel - 1], spec.pixel_size_um)
        cells += [{"well": well, "site": site, **row} for row in simulated.cells]
        artefact = simulated.artefact
        sites.append(
            {
                "well": well,
                "site": site,
                "artefacts": [] if artefact.name is None else [artefact.name],
                "severity": artefact.severity,
                "n_cells": len(simulated.cells),
                "n_abnormal": sum(row["class"] == "abnormal" for row in simulated.cells),
                "defocus_um": artefact.defocus_um,
            }
        )
    write_text(paths.plate_dir / f"{spec.name}.HTD", _htd(spec))
    truth = pd.DataFrame(cells, columns=list(_CELL_TYPES)).astype(
        {name: kind for name, kind in _CELL_TYPES.items() if kind != "str"}
    )
    with atomic_path(paths.truth_cells) as temporary:
        truth.to_parquet(temporary, index=False)
    with atomic_path(paths.truth_sites) as temporary:
        pd.DataFrame(sites).to_parquet(temporary, index=False)
    write_text(paths.labels, choose_labels(truth, spec).to_csv(index=False, lineterminator="\n"))
    write_text(paths.platemap, _platemap(spec).to_csv(index=False, lineterminator="\n"))
    job.report(len(keys), len(keys), f"simulated {count_of(len(keys), 'site')}")
    return paths


def _check_folder(out: Path, record: Path, spec: SyntheticSpec) -> None:
    """Refuse a folder whose files a simulation of `spec` would mix with or replace."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not out.is_dir():
        raise HcsQcError(f"{out} is a file; a new or empty folder was expected.")
    if not record.is_file():
        raise HcsQcError(
            f"{out} is not empty and does not hold a simulation; choose a new or empty folder."
        )
    if SimulationRecord.load(record).spec != spec:
        raise HcsQcError(
            f"{out} holds another simulation (see {record.name}); choose a new folder, or delete "
            "that one."
        )


def _write_plane(path: Path, plane: NDArray[np.uint16], channel: str, pixel_size_um: float) -> None:
    per_cm = 1e4 / pixel_size_um
    with atomic_path(path) as temporary:
        tifffile.imwrite(
            temporary,
            plane,
            photometric="minisblack",
            compression="zlib",
            compressionargs={"level": 9},
            predictor=True,
            resolution=(per_cm, per_cm),
            resolutionunit="CENTIMETER",
            description=f"{channel} (simulated)",
            software="napari-hcs-qc",
            metadata=None,
        )


def _htd(spec: SyntheticSpec) -> str:
    """Write the plate description that a MetaXpress puts beside its images."""
    rows, columns = PLATE_SHAPES[spec.plate_format]
    imaged = {parse_well(name) for name in spec.well_names}
    lines = [
        '"HTSInfoFile", Version 1.0',
        '"Description", "Simulated by napari-hcs-qc"',
        '"PlateType", 6',
        '"TimePoints", 1',
        '"ZSeries", FALSE',
        f'"XWells", {columns}',
        f'"YWells", {rows}',
    ]
    for row in range(rows):
        chosen = ("TRUE" if (row, column) in imaged else "FALSE" for column in range(columns))
        lines.append(f'"WellsSelection{row + 1}", {", ".join(chosen)}')
    every_site = ", ".join(["TRUE"] * spec.sites_per_well)
    lines += [
        '"Sites", TRUE',
        f'"XSites", {spec.sites_per_well}',
        '"YSites", 1',
        f'"SiteSelection1", {every_site}',
        '"Waves", TRUE',
        f'"NWavelengths", {len(spec.channels)}',
    ]
    lines += [f'"WaveName{n}", "{name}"' for n, name in enumerate(spec.channels, start=1)]
    lines += [f'"WaveCollect{n}", 1' for n in range(1, len(spec.channels) + 1)]
    return "\n".join([*lines, '"EndFile"', ""])


def _platemap(spec: SyntheticSpec) -> pd.DataFrame:
    """Every third column holds controls, the others one compound each pair of wells."""
    rows = []
    for name in spec.well_names:
        well = parse_well(name)
        control = well.column % 3 == 2
        treatment = "DMSO" if control else f"compound-{well.row // 2 * 100 + well.column + 1:03d}"
        rows.append((name, treatment, "control" if control else "sample"))
    return pd.DataFrame(rows, columns=["well", "treatment", "role"])


def choose_labels(truth: pd.DataFrame, spec: SyntheticSpec) -> pd.DataFrame:
    """Cells as a person would have clicked them: both classes, all kinds, many wells.

    Abnormal cells are shared out evenly over the kinds, and within a kind and among the normal
    ones (dividing cells included) over the wells. Cells at the picture's border are left out.
    """
    rng = np.random.default_rng([spec.seed, 9])
    inner = truth[~truth["is_cut"]].copy()
    inner["order"] = rng.permutation(len(inner))
    abnormal = inner[inner["class"] == "abnormal"]
    abnormal = abnormal.assign(turn=_turns(abnormal, ["kind", "well"]))
    # Nobody clicks every cell of a spoiled site.
    abnormal = abnormal[abnormal["turn"] < _CLICKS_PER_WELL].sort_values(["turn", "order"])
    abnormal["turn"] = abnormal.groupby("kind").cumcount()
    wanted = round(spec.abnormal_label_share * spec.n_labels)
    bad = abnormal.sort_values(["turn", "order"]).head(wanted)
    normal = inner[inner["class"] == "normal"]
    good = normal.assign(turn=_turns(normal, ["well"])).sort_values(["turn", "order"])
    chosen = pd.concat([bad, good.head(spec.n_labels - len(bad))]).sort_index()
    jitter = rng.normal(0, _CLICK_JITTER_PX, (len(chosen), 2))
    height, width = spec.shape_px
    return pd.DataFrame(
        {
            "well": chosen["well"],
            "site": chosen["site"],
            "y_px": np.clip(chosen["y_px"] + jitter[:, 0], 0, height - 1).round(1),
            "x_px": np.clip(chosen["x_px"] + jitter[:, 1], 0, width - 1).round(1),
            "label": chosen["class"],
            "kind": chosen["kind"],
        }
    )


def _turns(table: pd.DataFrame, by: list[str]) -> pd.Series[int]:
    """Rank each row within its group, in random order: first picks of all groups come first."""
    return table.sort_values("order").groupby(by).cumcount()
