"""Who has an assay open in a window, so that a second one is told."""

from __future__ import annotations

import getpass
import os
import socket
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from filelock import FileLock, Timeout

from napari_hcs_qc.documents import Document
from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FOLDER = "presence"  # as 0.1.0 called it, so that its windows and ours see each other
_GUARD = "guard.lock"
_PATIENCE_S = 2.0  # others hold the guard for milliseconds

# A file system that cannot lock, or a folder that cannot be written to: then nobody can be told.
_CANNOT = (OSError, NotImplementedError, Timeout, HcsQcError)


class Person(Document):
    """Somebody who has an assay open in a window."""

    format: Literal["napari-hcs-qc window"] = "napari-hcs-qc window"
    format_version: Literal[2] = 2
    user: str
    host: str  # name of the machine
    since: str  # when it was opened, ISO 8601 in UTC
    pid: int  # of the process

    def __str__(self) -> str:
        with suppress(ValueError):
            at = datetime.fromisoformat(self.since).astimezone()
            return f"{self.user} on {self.host} since {at:%Y-%m-%d %H:%M}, process {self.pid}"
        return f"{self.user} on {self.host}, process {self.pid}"


class OpenWindows:
    """One window's presence in an assay; made by `enter`.

    A file of its own is locked by the operating system as long as the window is there. The lock
    ends with the process, however that ends, so an entry whose lock is free is of somebody who
    has gone; whoever sees it takes it away. An assay that is read-only, or lies where files
    cannot be locked, can be entered as well; only nobody is told.
    """

    def __init__(self, path: Path) -> None:
        self._folder = path.resolve() / _FOLDER
        self._name = uuid4().hex
        self._lock: FileLock | None = None

    @classmethod
    def enter(cls, path: Path) -> OpenWindows:
        """Tell others that this process has the assay open in a window."""
        open_windows = cls(path)
        with suppress(*_CANNOT):
            open_windows._folder.mkdir(exist_ok=True)
            with open_windows._guarded():
                open_windows._announce()
        return open_windows

    @property
    def others(self) -> tuple[Person, ...]:
        """Who else has the assay open, the one who came first first; windows of this process too.

        Read from the disk each time.
        """
        with suppress(*_CANNOT), self._guarded():
            return tuple(sorted(self._there(), key=lambda person: (person.since, person.pid)))
        return ()

    def leave(self) -> None:
        """Tell others that this window is gone; may be said twice."""
        lock, self._lock = self._lock, None
        if lock is None:
            return
        try:
            with suppress(*_CANNOT), self._guarded():
                self._remove(self._name)
        finally:
            lock.release(force=True)

    # ---- inside --------------------------------------------------------------------------

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Let one window at a time register or leave, so that no live file looks dead."""
        # Not a singleton: a second window of this process is another one.
        with FileLock(self._folder / _GUARD).acquire(timeout=_PATIENCE_S, poll_interval=0.01):
            yield

    def _announce(self) -> None:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        person = Person(user=_user(), host=socket.gethostname(), since=since, pid=os.getpid())
        # The lock is left by whichever thread closes the window.
        lock = FileLock(self._folder / f"{self._name}.lock", thread_local=False)
        lock.acquire(timeout=0)
        try:
            person.save(self._folder / f"{self._name}.json")
        except BaseException:
            lock.release(force=True)
            raise
        self._lock = lock

    def _there(self) -> Iterator[Person]:
        for entry in sorted(self._folder.glob("*.lock")):
            if entry.name in (_GUARD, f"{self._name}.lock"):
                continue
            if _is_free(entry):
                self._remove(entry.stem)
                continue
            person = Person.load_if_valid(entry.with_suffix(".json"))
            if person is not None:
                yield person

    def _remove(self, name: str) -> None:
        for suffix in (".json", ".lock"):
            with suppress(OSError):
                (self._folder / f"{name}{suffix}").unlink(missing_ok=True)


def _is_free(path: Path) -> bool:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    lock.release()
    return True


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container whose user has no name
        return "somebody"
