"""One file of a microscope maker that holds a plate: its scenes are named by wells."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.bioio_image import BIOIO_EXTENSIONS, BioioError, bioio_facts
from napari_hcs_qc.plates.plate import GIVEN_SHAPE, Channel
from napari_hcs_qc.plates.readers.assemble import Parts, PlaneFile, assemble_plate
from napari_hcs_qc.plates.readers.registry import Reader
from napari_hcs_qc.plates.remote import is_remote
from napari_hcs_qc.text import a_few

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.plates.plate import Plate

_WELL = re.compile(r"(?<![A-Za-z0-9])([A-P]0?\d{1,2})(?!\d)")


def open_scenes(
    path: Path, *, name: str | None = None, shape: tuple[int, int] | None = None
) -> Plate:
    """Index a file whose scenes are the sites of wells."""
    try:
        facts = bioio_facts(str(path))
    except BioioError as error:
        raise HcsQcError(f"{path} {error}.") from error
    wells = wells_of_scenes(facts.scenes)
    if wells is None:
        raise HcsQcError(
            f"{path}: its {len(facts.scenes)} scenes ({a_few(facts.scenes)}) do not name wells, "
            f"such as A1-1. Where all are of one well, name the file by it (A01{path.suffix}) and "
            "open its folder; else export it as OME-Zarr."
        )
    counts: Counter[str] = Counter()
    files = []
    n_channels = len(facts.channels)
    for scene, well in enumerate(wells):
        counts[well] += 1
        for channel in range(n_channels):
            for z in range(facts.n_z):
                part = (scene * n_channels + channel) * facts.n_z + z
                files.append(
                    PlaneFile(str(path), well, counts[well], str(channel + 1), z, part=part)
                )
    reason = "the metadata of the file"
    return assemble_plate(
        Parts(
            name=name or path.stem,
            source=path,
            format="scenes",
            files=files,
            shape=shape,
            shape_reason=GIVEN_SHAPE if shape else "",
            channels={str(n): Channel(each) for n, each in enumerate(facts.channels, start=1)},
            channels_reason=reason,
            pixel_size_um=facts.pixel_size_um,
            pixel_size_reason=reason,
        )
    )


def wells_of_scenes(scenes: tuple[str, ...]) -> list[str] | None:
    """Give the well that each scene is named by; None where they are not."""
    found = [_WELL.findall(scene) for scene in scenes]
    wells = [each[-1] for each in found if each]
    # P1, P2 and so on are positions, not wells of the last row.
    is_position = all(well.startswith("P") for well in wells)
    return None if len(wells) < len(scenes) or is_position else wells


def _is_file_of_scenes(path: Path) -> bool:
    return not is_remote(path) and path.suffix.lower() in BIOIO_EXTENSIONS and path.is_file()


READER = Reader(
    name="scenes",
    title="a CZI, ND2, LIF, LSM or VSI file",
    recognises=_is_file_of_scenes,
    open=open_scenes,
    options=frozenset({"plate_shape"}),
)
