"""The formats of plates: each is registered with how it is recognised and opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_hcs_qc.plates.plate import Plate


@dataclass(frozen=True, kw_only=True)
class Reader:
    """How plates of one format are recognised and opened.

    Parameters
    ----------
    name
        Of the format, such as ``"ome-zarr"``; no other reader has it.
    title
        What it opens, with an article, as errors name it: ``"an OME-Zarr plate"``.
    recognises
        Called with the path; whether it is a plate of this format. It is asked before other
        readers that were registered earlier, and should only look at names.
    open
        Called with the path and the keyword ``name`` (the name of the plate, or which of several
        to open; None by default), and with those of `options` that were given; gives the plate.
    options
        Which of ``"pattern"``, ``"image_root"``, ``"plate_shape"`` (given as ``shape``, a pair of
        rows and columns), ``"time"`` and ``"allow_remote"`` (always given) it takes.

    Examples
    --------
    >>> from napari_hcs_qc import Reader, open_plate
    >>> def is_list(path):
    ...     return path.suffix == ".plate"
    >>> def open_list(path, *, name=None):
    ...     return open_plate(path.read_text().strip(), name=name)
    >>> reader = Reader(name="list", title="a list", recognises=is_list, open=open_list)
    >>> reader.title
    'a list'
    """

    name: str
    title: str
    recognises: Callable[[Path], bool]
    open: Callable[..., Plate]
    options: frozenset[str] = frozenset()


_readers: list[Reader] = []


def register_reader(reader: Reader) -> None:
    """Let `open_plate` recognise a further format.

    From then on assays, the command line and napari open it like any other.

    Parameters
    ----------
    reader
        How the format is recognised and opened. It is asked before those that were registered
        earlier, so that it may also take over paths of a known format.

    Raises
    ------
    HcsQcError
        When another reader has that name.

    Examples
    --------
    A microscope that writes the path of its images into a file ``X.plate``:

    >>> from napari_hcs_qc import Reader, open_plate, register_reader
    >>> def is_list(path):
    ...     return path.suffix == ".plate"
    >>> def open_list(path, *, name=None):
    ...     return open_plate(path.read_text().strip(), name=name)
    >>> register_reader(
    ...     Reader(name="list", title="a .plate file", recognises=is_list, open=open_list)
    ... )
    >>> listed = folder / "SIM.plate"
    >>> _ = listed.write_text(str(plate_path))
    >>> open_plate(listed).name
    'SIM'
    """
    if any(known.name == reader.name for known in _readers):
        raise HcsQcError(f"There is a reader named {reader.name!r} already; choose another name.")
    _readers.insert(0, reader)


def readers() -> tuple[Reader, ...]:
    """Give the registered readers, in the order in which they are asked."""
    return tuple(_readers)
