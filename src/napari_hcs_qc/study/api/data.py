"""Plates to try things on: public ones and simulated ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hcs_qc.study.datasets.fetch import Fetched
    from napari_hcs_qc.study.simulation.synthetic import SimulatedPlate


def fetch(
    dataset: Literal["bbbc021", "bbbc022"],
    *,
    plate: str,
    channels: Sequence[str] | None = None,
    out: str | Path | None = None,
    base_url: str | None = None,
    keep_archives: bool = False,
    verify: bool = False,
    job: Job = NO_JOB,
) -> Fetched:
    """Download a public plate, ready to be opened.

    Parameters
    ----------
    dataset
        ``"bbbc021"`` or ``"bbbc022"``.
    plate
        Such as ``"20585"``, or ``"Week1_22123"`` of bbbc021.
    channels
        Only these, such as ``["Hoechst", "ER"]``; all by default.
    out
        Folder for plates of the set; by default its name, here.
    base_url
        A mirror; by default the variable ``HCS_QC_BBBC_URL``, or the Broad Institute's.
    keep_archives
        Keep the ZIP files, too.
    verify
        Read everything that is there, and repair what has changed.
    job
        Reports progress in bytes, and cancels.

    Returns
    -------
    Fetched

    Raises
    ------
    HcsQcError
        When there is no such plate, no connection or no space.
    Cancelled
        When `job` was cancelled; the next call goes on from there.

    Examples
    --------
    >>> from napari_hcs_qc import fetch
    >>> fetch("bbbc022", plate="20585", channels=["Hoechst"]).n_wells  # doctest: +SKIP
    384
    """
    from napari_hcs_qc.study.datasets import fetch_plate

    return fetch_plate(
        dataset,
        plate,
        Path(dataset) if out is None else Path(out),
        channels=None if channels is None else tuple(channels),
        base_url=base_url,
        keep_archives=keep_archives,
        verify=verify,
        job=job,
    )


def simulate(
    out: str | Path,
    *,
    wells: int = 24,
    sites: int = 2,
    shape: tuple[int, int] = (520, 696),
    clean: bool = False,
    seed: int = 0,
    job: Job = NO_JOB,
) -> SimulatedPlate:
    """Make a synthetic plate with known artefacts.

    Parameters
    ----------
    out
        Folder for the images, their truth, a plate map and labels.
    wells
        Number of wells.
    sites
        Sites in each well.
    shape
        Height and width of a site in px.
    clean
        Without any artefact.
    seed
        Of everything random.
    job
        Reports progress and cancels.

    Returns
    -------
    SimulatedPlate

    Raises
    ------
    HcsQcError
        When a number is not possible, or the folder holds another plate.

    Examples
    --------
    >>> from napari_hcs_qc import simulate
    >>> plate = simulate(folder / "simulated", wells=2, sites=1, shape=(64, 64))
    >>> plate.plate_dir.name
    'SIM'
    """
    from napari_hcs_qc.study.simulation.synthetic import simulate_plate
    from napari_hcs_qc.study.simulation.synthetic_spec import SyntheticSpec

    spec = SyntheticSpec(
        n_wells=wells, sites_per_well=sites, shape_px=shape, clean=clean, seed=seed
    )
    return simulate_plate(Path(out), spec, job=job)
