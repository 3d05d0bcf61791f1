"""What ``hcs-qc status`` printed last, to print again while none of the files has changed.

Importing what reads tables takes longer than all of this. Only what was whole is kept: a plate with
a problem is looked at again each time.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import JsonValue

from napari_hcs_qc.documents import Document
from napari_hcs_qc.errors import WriteError
from napari_hcs_qc.files import stamp_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_FILE = "status.json"
# What changes while nothing is changed: locks, who has the assay open, copies made at each opening.
_LEFT_OUT = frozenset([_FILE, "assay.lock", "assay.lock.json", "presence", "journal-copies"])
# A file may change twice within one tick of the clock of its disk: what was younger than this when
# it was read is not known by its dates.
_SETTLED_S = 2.0


class KeptStatus(Document):
    """What was printed, and of which files."""

    format: Literal["napari-hcs-qc status"] = "napari-hcs-qc status"
    format_version: Literal[1] = 1
    places: tuple[str, ...]  # of the plates, see `PlateStatus.places`
    files: str  # hash of names, sizes and dates of all files
    lines: tuple[str, ...]
    data: dict[str, JsonValue]


def kept_status(assay: Path) -> KeptStatus | None:
    """Give what was printed; None where a file is another than then."""
    kept = KeptStatus.load_if_valid(assay / _FILE)
    with suppress(OSError):
        if kept is not None and kept.files == _looked_at(assay, kept.places).files:
            return kept
    return None


def keep_status(
    assay: Path, places: Iterable[str], started: float, lines: list[str], data: dict[str, Any]
) -> None:
    """Keep what is printed, unless a file may have changed since reading `started` (s)."""
    places = tuple(sorted(set(places)))
    try:
        seen = _looked_at(assay, places)
    except OSError:
        return
    if seen.newest >= (started - _SETTLED_S) * 1e9:
        return
    plain = json.loads(json.dumps(data, default=str))  # as it is printed
    kept = KeptStatus(places=places, files=seen.files, lines=tuple(lines), data=plain)
    with suppress(WriteError):  # of an assay that cannot be written to it is read anew
        kept.save(assay / _FILE)


class _Seen(NamedTuple):
    files: str  # hash of names, sizes and dates
    newest: int  # when the last of them changed, ns


def _looked_at(assay: Path, places: Iterable[str]) -> _Seen:
    """Look at all files of an assay and its plates; `OSError` where one cannot be seen."""
    # What is printed names the assay as it was given. Another version of ours is another file here;
    # to read its number would take longer than all the rest.
    ours = stamp_of(os.stat(__file__))
    digest = hashlib.sha256(f"{ours}\0{assay}\0{os.path.realpath(assay)}".encode())
    newest = 0
    for place in (os.path.join(assay, ""), *places):
        for path, status, is_folder in _below(place):
            stamp = stamp_of(status)
            newest = max(newest, *stamp[1:])
            # The date of a folder is also that of a lock in it, but tells when a file went.
            facts = () if is_folder else stamp
            digest.update(f"{path}\0{facts}\0".encode(errors="surrogateescape"))
    return _Seen(digest.hexdigest(), newest)


def _below(place: str) -> Iterator[tuple[str, os.stat_result, bool]]:
    """Give files and folders of a place with their status; linked folders once."""
    is_deep, left, visited = place.endswith(os.sep), [place], set()
    while left:
        path = left.pop()
        status = os.stat(path)
        if not stat.S_ISDIR(status.st_mode):
            yield path, status, False
            continue
        if status.st_ino and (status.st_dev, status.st_ino) in visited:
            continue
        visited.add((status.st_dev, status.st_ino))
        yield path, status, True
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name in _LEFT_OUT:
                    continue
                if not entry.is_dir():
                    yield entry.path, entry.stat(), False
                elif is_deep:
                    left.append(entry.path)
