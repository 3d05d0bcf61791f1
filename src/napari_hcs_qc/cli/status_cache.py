"""What ``hcs-qc status`` printed last, to print again while none of the files has changed.

Importing what reads tables takes longer than all of this. Only what was whole is kept: a plate with
a problem is looked at again each time.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from pydantic import JsonValue

from napari_hcs_qc._version import __version__
from napari_hcs_qc.documents import Document
from napari_hcs_qc.errors import WriteError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_FILE = "status.json"
# What changes while nothing is changed: locks, who has the assay open, copies made at each opening.
_LEFT_OUT = frozenset([_FILE, "assay.lock", "assay.lock.json", "presence", "journal-copies"])
# A file may change twice within one tick of the clock of its disk: what is younger than this is not
# yet known by its dates.
_SETTLED_S = 2.0


class KeptStatus(Document):
    """What was printed, and of which files."""

    format: Literal["napari-hcs-qc status"] = "napari-hcs-qc status"
    format_version: Literal[1] = 1
    plates: tuple[str, ...]  # folders of the plates
    files: str  # hash of names, sizes and dates of all files
    lines: tuple[str, ...]
    data: dict[str, JsonValue]


def kept_status(assay: Path) -> KeptStatus | None:
    """Give what was printed; None where a file is another than then."""
    kept = KeptStatus.load_if_valid(assay / _FILE)
    if kept is None or kept.files != stamp_of(assay, kept.plates):
        return None
    return kept


def stamp_of(assay: Path, plates: Iterable[str]) -> str:
    """Hash names, sizes and dates of all files of an assay and its plates.

    Empty where one of them cannot be seen, or has changed within the last two seconds.
    """
    # What is printed names the assay as it was given.
    digest = hashlib.sha256(f"{__version__}\0{assay}\0{os.path.realpath(assay)}".encode())
    newest = 0
    try:
        for line, changed in _files([str(assay)], _LEFT_OUT):
            digest.update(line)
            newest = max(newest, changed)
        for folder in plates:
            # Microscopes also put what describes a plate beside the folder of its images.
            beside = os.path.dirname(folder)
            for line, changed in (*_files([folder]), *_files([beside], is_deep=False)):
                digest.update(line)
                newest = max(newest, changed)
    except OSError:
        return ""
    is_settled = newest < (time.time() - _SETTLED_S) * 1e9
    return digest.hexdigest() if is_settled else ""


def _files(
    folders: list[str], left_out: frozenset[str] = frozenset(), *, is_deep: bool = True
) -> Iterator[tuple[bytes, int]]:
    """Give each file as a line, and when it was last changed (ns); linked folders once."""
    visited: set[tuple[int, int]] = set()
    while folders:
        folder = folders.pop()
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in visited and status.st_ino:
            continue
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name in left_out:
                    continue
                if entry.is_dir():
                    if is_deep:
                        folders.append(entry.path)
                    continue
                status = entry.stat()
                # Nobody can set the date of the last change of anything; Windows has none.
                changed = 0 if os.name == "nt" else status.st_ctime_ns
                line = f"{entry.path}\0{status.st_size}\0{status.st_mtime_ns}\0{changed}\0"
                yield line.encode(errors="surrogateescape"), max(status.st_mtime_ns, changed)


def keep_status(
    assay: Path, plates: tuple[str, ...], files: str, lines: list[str], data: dict[str, Any]
) -> None:
    """Keep what is printed of the files that had the stamp `files` before they were read."""
    if not files or files != stamp_of(assay, plates):
        return
    plain = json.loads(json.dumps(data, default=str))  # as it is printed
    kept = KeptStatus(plates=plates, files=files, lines=tuple(lines), data=plain)
    with suppress(WriteError):  # of an assay that cannot be written to it is read anew
        kept.save(assay / _FILE)
