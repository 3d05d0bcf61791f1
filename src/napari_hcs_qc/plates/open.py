"""Recognise what a path holds and open it as a plate."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.limits import readable
from napari_hcs_qc.plates.readers import image_folder, loaddata, ome_zarr, scenes
from napari_hcs_qc.plates.readers.registry import Reader, readers, register_reader
from napari_hcs_qc.plates.remote import as_location, is_remote
from napari_hcs_qc.plates.summary import time_points_problem
from napari_hcs_qc.plates.wells import parse_shape
from napari_hcs_qc.text import a_few

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.plates.plate import Plate

TimePoint = int | Literal["all"]
"""A time point by its number in the source, or each of them as a plate of its own."""

# The last is asked first: a folder that is an OME-Zarr plate is not one of images.
for _reader in (image_folder.READER, ome_zarr.READER, loaddata.READER, scenes.READER):
    register_reader(_reader)


def open_plate(
    path: str | Path,
    *,
    pattern: str | None = None,
    image_root: str | Path | None = None,
    name: str | None = None,
    plate_shape: str | int | None = None,
    time: int | None = None,
    allow_remote: bool = False,
) -> Plate:
    """Open a plate: names and metadata are read, pixels are not.

    Parameters
    ----------
    path
        A folder of images with names of a common instrument (``docs/instruments.md`` lists them)
        or of well, field and stain; a CellProfiler LoadData CSV or Parquet file; an OME-Zarr
        plate, also zipped (``.zarr.zip``, ``.ozx``); a CZI, ND2, LIF or VSI file whose scenes are
        named by wells, with ``pip install "napari-hcs-qc[bioio]"``; or a format that was added by
        `register_reader`. LoadData tables and OME-Zarr plates may lie on a server
        (``https://…/plate.zarr``, ``s3://bucket/load_data.csv``).
    pattern
        For a folder with other names: a regular expression, searched in the path relative to the
        folder, with the named groups ``well`` (or ``row`` and ``column`` that count from 1, or
        ``row0`` and ``column0`` that count from 0, or ``number`` of the well along the rows),
        ``site`` (a number, or one letter in all names), ``channel``, and optionally ``z``,
        ``time``, ``plate``. A group that is missing so that files fall together is an error.
    image_root
        For a LoadData table whose images moved: the folder they are in now.
    name
        Name of the plate, or which of several plates, runs or acquisitions to open.
    plate_shape
        Rows and columns (``"8x12"``), or number of wells (``384``), of the plate. By default what
        the source states, or the smallest plate that has all the wells.
    time
        The only time point to read, by the number it has in the source. By default all are in
        the plate, and the first is used.
    allow_remote
        Whether a LoadData table may have images read from servers that it names. The server of
        the `path` or `image_root` itself needs no permission.

    Returns
    -------
    Plate
        What was not understood is in its ``problems``.

    Raises
    ------
    HcsQcError
        When the path does not exist, holds no plate that is recognised, or several.

    Examples
    --------
    >>> from napari_hcs_qc import open_plate
    >>> plate = open_plate(plate_path)
    >>> plate.wells[:3]
    ('A01', 'A02', 'A03')
    >>> plate.read_site(plate.sites[0]).shape
    (3, 128, 128)
    """
    path = as_location(path).expanduser().absolute()
    reader = next((reader for reader in readers() if reader.recognises(path)), None)
    if reader is None:
        raise HcsQcError(_not_recognised(path))
    options: dict[str, Any] = {}
    if pattern is not None:
        _check_option(reader, "pattern", "A pattern", path)
        options["pattern"] = pattern
    if image_root is not None:
        _check_option(reader, "image_root", "An image root", path)
        root = as_location(image_root).expanduser().absolute()
        if not is_remote(root) and not root.is_dir():
            raise HcsQcError(
                f"The image root {root} is not a folder. Give the one that the images are in now "
                "(--image-root)."
            )
        options["image_root"] = root
    if plate_shape is not None:
        _check_option(reader, "plate_shape", "A plate shape", path)
        options["shape"] = parse_shape(plate_shape)
    if time is not None:
        _check_option(reader, "time", "A time point", path)
        options["time"] = time
    if "allow_remote" in reader.options:
        options["allow_remote"] = allow_remote
    with readable(path, reader.title):
        return reader.open(path, name=name, **options)


def each_time_point(plate: Plate) -> list[Plate]:
    """Give each time point of a plate as a plate of its own, called such as ``NAME_t03``."""
    names = [time_point_name(plate.name, number) for number in plate.time_points]
    return [at_time_point(plate, *each) for each in zip(plate.time_points, names, strict=True)]


def time_point_name(plate: str, number: int) -> str:
    """Name a time point by its number alone: a series that goes on must not rename the others."""
    return f"{plate}_t{number:02}"


def at_time_point(plate: Plate, number: int, name: str) -> Plate:
    """Give one time point of a plate, by the number it has in the source, as a plate."""
    if number not in plate.time_points:
        raise HcsQcError(
            f"Plate {plate.name} at {plate.source} has no time point {number}, which is {name} "
            f"here; it has {a_few(plate.time_points, 20)}. Bring its images back, or remove {name} "
            "from the assay."
        )
    planes = plate.planes[plate.planes["time"] == plate.time_points.index(number)]
    note = time_points_problem(plate.time_points)
    return replace(
        plate,
        name=name,
        series=plate.name,
        planes=planes.assign(time=0).reset_index(drop=True),
        time_points=(number,),
        problems=tuple(problem for problem in plate.problems if problem not in note),
    )


def _check_option(reader: Reader, option: str, what: str, path: Path) -> None:
    if option not in reader.options:
        takers = " or ".join(reader.title for reader in readers() if option in reader.options)
        omitted = what.split(" ", 1)[1]
        raise HcsQcError(f"{what} is for {takers}, which {path} is not; omit the {omitted}.")


def _not_recognised(path: Path) -> str:
    if is_remote(path):
        return (
            f"{path} is not recognised, or the server is not reachable; on a server a LoadData CSV "
            "or Parquet file, or an OME-Zarr plate was expected (folders of images cannot be "
            "listed there)."
        )
    *others, last = [reader.title for reader in reversed(readers())]
    expected = f"{', '.join(others)}, or {last} was expected."
    if not path.exists():
        return f"{path} does not exist; {expected} Check the path."
    return (
        f"{path} is a single file that is not recognised; {expected} If it is an image, give the "
        "folder that it is in."
    )
