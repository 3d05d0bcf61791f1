"""How a plate was understood, and why: for those who have to see whether it is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hcs_qc.text import a_few, count_of

if TYPE_CHECKING:
    from napari_hcs_qc.plates.plate import Plate


def plate_lines(plate: Plate) -> list[str]:
    """Say in five lines how a plate was understood, and why."""
    rows, columns = plate.shape
    shape = plate.reasons.shape or "a guess: the smallest plate with all wells"
    names = ", ".join(channel.name for channel in plate.channels)
    named = f" ({plate.reasons.channels})" if plate.reasons.channels else ""
    n_times = len(plate.time_points)
    time = "1 time point"
    if n_times > 1:
        time = (
            f"{n_times} time points ({a_few(plate.time_points)}), the first is used (--time for "
            "another)"
        )
    size = "unknown: neither names nor headers state it"
    if plate.pixel_size_um:
        size = f"{plate.pixel_size_um:g} µm ({plate.reasons.pixel_size})"
    n_problems = len(plate.problems)
    n_z = most_planes(plate)
    return [
        f"Plate: {rows} × {columns} wells ({shape}); {count_of(len(plate.wells), 'well')} imaged "
        f"({a_few(plate.wells)}), {count_of(len(plate.sites), 'site')}",
        f"Channels: {names}{named}",
        f"Planes: {count_of(n_z, 'z plane')}{', their maximum is used' if n_z > 1 else ''}; {time}",
        f"Pixel size: {size}",
        f"Left out or in doubt: {count_of(n_problems, 'note') + ':' if n_problems else 'nothing'}",
    ]


def most_planes(plate: Plate) -> int:
    """Most planes that a channel has."""
    return int(plate.planes.groupby("channel")["z"].nunique().max())
