"""One writing process at a time in an assay."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from napari_hcs_qc.documents import Document
from napari_hcs_qc.errors import HcsQcError, WriteError
from napari_hcs_qc.files import explained_writes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class LockHolder(Document):
    """The file `assay.lock.json`: the process that works in an assay."""

    format: Literal["napari-hcs-qc lock"] = "napari-hcs-qc lock"
    format_version: Literal[2] = 2
    pid: int
    host: str
    since: str


class AssayBusyError(HcsQcError):
    """Another process (or thread) is at work in this assay."""


@contextmanager
def locked(assay: Path, *, timeout_s: float = 1.0) -> Iterator[None]:
    """Hold the lock of an assay folder; within one thread it may be taken again.

    The lock is the operating system's, so it ends with the process, however that ends. Who holds
    it is written beside it, for the message only.
    """
    from filelock import FileLock, Timeout  # it imports ssl, and reading needs no lock

    if not assay.is_dir():  # FileLock would make it, and so a ghost where a disk was unmounted
        raise WriteError(f"The assay {assay} no longer exists; restore its folder.")
    path = assay.resolve() / "assay.lock"
    holder = path.with_name("assay.lock.json")
    # A singleton for each path, so that a step that locks may call another one that does.
    lock = FileLock(path, is_singleton=True)
    with explained_writes(path):
        try:
            lock.acquire(timeout=timeout_s)
        except Timeout as error:
            raise AssayBusyError(
                f"The assay {assay} is in use by {_holder(holder)}. Wait until it has finished, or "
                "close it, and run the same command again."
            ) from error
    try:
        if lock.lock_counter == 1:
            since = datetime.now(UTC).isoformat(timespec="seconds")
            LockHolder(pid=os.getpid(), host=socket.gethostname(), since=since).save(holder)
        yield
    finally:
        if lock.lock_counter == 1:
            holder.unlink(missing_ok=True)
        lock.release()


def _holder(path: Path) -> str:
    holder = LockHolder.load_if_valid(path)
    if holder is None:
        return "another process"  # which took the lock this moment, or is not ours
    return f"process {holder.pid} on {holder.host} since {holder.since}"
