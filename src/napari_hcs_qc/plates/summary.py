"""How a plate was understood, and why: for those who have to see whether it is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hcs_qc.errors import Problem
from napari_hcs_qc.text import a_few, count_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hcs_qc.plates.plate import Plate


def time_points_problem(times: Sequence[int]) -> list[Problem]:
    """Note that a plate has several time points, of which one is used."""
    if len(times) < 2:
        return []
    what = f"{len(times)} ({', '.join(map(str, times[:6]))}{', …' if len(times) > 6 else ''});"
    return [
        Problem(
            "time points",
            f"{what} the first, {times[0]}, is used.",
            "--time N reads another, --time all each.",
        )
    ]


def plate_lines(plate: Plate) -> list[str]:
    """Say in five lines how a plate was understood, and why."""
    rows, columns = plate.shape
    shape = plate.reasons.shape or "a guess: the smallest plate with all wells"
    names = ", ".join(channel.name for channel in plate.channels)
    named = f" ({plate.reasons.channels})" if plate.reasons.channels else ""
    n_times, first = len(plate.time_points), plate.time_points[0]
    time = f"1 time point ({first})" if first else "1 time point"
    if plate.series:
        time = f"time point {first} of {plate.series}"
    if n_times > 1:
        listed = a_few(plate.time_points)
        time = f"{n_times} time points ({listed}), {first} is read (--time for another or all)"
    size = "unknown: neither names nor headers state it"
    if plate.pixel_size_um:
        size = f"{plate.pixel_size_um:g} µm ({plate.reasons.pixel_size})"
    n_problems = len(plate.problems)
    numbers = z_planes(plate)
    z = f"{count_of(len(numbers), 'z plane')}"
    if len(numbers) > 1:
        z += f" ({a_few(numbers)}), their maximum is used"
    elif numbers[0]:
        z += f" ({numbers[0]})"
    return [
        f"Plate: {rows} × {columns} wells ({shape}); {count_of(len(plate.wells), 'well')} imaged "
        f"({a_few(plate.wells)}), {count_of(len(plate.sites), 'site')}",
        f"Channels: {names}{named}",
        f"Planes: {z}; {time}",
        f"Pixel size: {size}",
        f"Left out or in doubt: {count_of(n_problems, 'note') + ':' if n_problems else 'nothing'}",
    ]


def z_planes(plate: Plate) -> list[int]:
    """Numbers of the planes of the channel that has most."""
    numbers: list[list[int]] = [
        sorted(each.unique().tolist()) for _, each in plate.planes.groupby("channel")["z"]
    ]
    return max(numbers, key=len)
