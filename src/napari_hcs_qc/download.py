"""Download a large file: gone on with where it stopped, cancelled at once, room checked first.

The body goes to ``NAME.part``, and what is known of it (address, ETag or date, size) beside it.
The next request asks for the rest with ``Range``, and with ``If-Range`` (RFC 9110, 13.1.5), so that
a file which has changed on the server meanwhile comes whole. A server without ranges sends all
of it, which then takes the place of the part.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shutil
import socket
import threading
import time
import urllib.request
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import urlsplit

from napari_hcs_qc.errors import HcsQcError, WriteError
from napari_hcs_qc.files import explained_writes, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from email.message import Message
    from pathlib import Path

    from napari_hcs_qc.job import Job

T = TypeVar("T")

WAITS_S = (1.0, 2.0, 4.0, 8.0)
"""Pauses between tries that brought nothing new; after the last of them it is given up."""

_TIMEOUT_S = 20.0
_POLL_S = 0.1
_BLOCK_BYTES = 1 << 18
_BLOCKS_AHEAD = 16


class NotOnServerError(HcsQcError):
    """The server has no such file."""


class _ChangedError(Exception):
    """What is here does not fit what the server has: begin again."""


class _BrokenOffError(Exception):
    """The connection failed or ended early; another try may do."""


def download(
    url: str,
    target: Path,
    *,
    message: str,
    otherwise: str,
    job: Job,
) -> None:
    """Download `url` to `target`; `otherwise` tells what to do where no try succeeds."""
    with explained_writes(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(url, target, message, job)
    most, failures = 0, 0
    while True:
        try:
            part.go_on()
            break
        except _ChangedError:
            part.forget()
        except _BrokenOffError as reason:
            size = part.size
            # What counts is more than ever before: without ranges each try begins at zero.
            failures = 1 if size > most else failures + 1
            most = max(most, size)
            # A computer without a network gets its answer soon; a server that answered may recover.
            if failures > (len(WAITS_S) if part.has_answered else 1):
                kept = (
                    f"{bytes_text(size)} are kept and the same command goes on from there"
                    if size
                    else "nothing was downloaded"
                )
                raise HcsQcError(
                    f"{url} cannot be downloaded: {reason}, {failures} times in a row; {kept}. "
                    f"Check the network and any proxy (HTTPS_PROXY), or whether "
                    f"{urlsplit(url).netloc} is down, and run the same command again, {otherwise}."
                ) from reason
            job.report(size, 0, f"{message}: {reason}; trying again")
            _wait(WAITS_S[failures - 1], job)
    with explained_writes(target):
        os.replace(part.path, target)
    part.forget()


def forget_part(target: Path) -> None:
    """Remove what an unfinished download of `target` has left."""
    for suffix in (".part", ".part.json"):
        target.with_name(target.name + suffix).unlink(missing_ok=True)


def need_space(folder: Path, n_bytes: int, purpose: str) -> None:
    """Refuse to begin what the disk has no room for."""
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise WriteError(
            f"The disk of {folder} has {bytes_text(free)} free, and {bytes_text(n_bytes)} are "
            f"needed to {purpose}. Free some space, or choose a folder on another disk."
        )


def bytes_text(n_bytes: int) -> str:
    """Write a number of bytes as a person reads it: ``1.4 GB``."""
    size, units = float(n_bytes), ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "bytes" else f"{size:.1f} {units[0]}"


class _Part:
    """What is here of a file that is downloaded."""

    def __init__(
        self,
        url: str,
        target: Path,
        message: str,
        job: Job,
    ) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self.has_answered = False
        self._url = url
        self._target = target
        self._known = target.with_name(f"{target.name}.part.json")
        self._message = message
        self._job = job

    @property
    def size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def forget(self) -> None:
        forget_part(self._target)

    def go_on(self) -> None:
        """Ask for what lacks, and write it."""
        state = self._state()
        size, total = (self.size, int(state.get("total") or 0)) if state else (0, 0)
        if size and size == total:
            return
        if total and size > total:
            raise _ChangedError
        headers = {"User-Agent": "napari-hcs-qc", "Accept-Encoding": "identity"}
        if size:
            headers["Range"] = f"bytes={size}-"
            if state.get("validator"):
                headers["If-Range"] = str(state["validator"])
        self._job.report(size, total, self._message)
        try:
            with contextlib.closing(_read_ahead(_respond(self._url, headers), self._job)) as body:
                head = next(body)
                self.has_answered = True
                total = self._write(head, body, size, total)
        except HTTPError as error:
            self.has_answered = True
            with error:
                raise self._refusal(error, size) from None
        if total and self.size != total:
            raise _BrokenOffError(
                f"the connection ended at {bytes_text(self.size)} of {bytes_text(total)}"
            )

    def _state(self) -> dict[str, Any]:
        """Give what is known of the part; empty where it is of no use."""
        try:
            state = read_json(self._known)
        except HcsQcError:
            return {}
        return state if state.get("url") == self._url and self.size else {}

    def _write(self, head: Any, body: Iterator[Any], size: int, total: int) -> int:
        """Write the body of a response; gives the size of the whole file (0: unknown)."""
        headers = head.headers
        if head.status == 206 and size:
            span = re.fullmatch(
                r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", "").strip()
            )
            if span is None or int(span[1]) != size or (total and span[2] != str(total)):
                raise _ChangedError
            total = total or _number(span[2])
        else:
            size, total = 0, _number(headers.get("Content-Length"))
        need_space(self.path.parent, total - size, f"download {self._target.name}")
        if size == 0:
            # Emptied before it is described anew, or a kill between would mix two versions.
            with explained_writes(self.path):
                self.path.open("wb").close()
            state = {"url": self._url, "total": total, "validator": _validator(headers)}
            write_json(self._known, state)
        with explained_writes(self.path), self.path.open("ab") as handle:
            for block in body:
                handle.write(block)
                handle.flush()
                size += len(block)
                self._job.report(size, total, self._message)
            os.fsync(handle.fileno())
        return total

    def _refusal(self, error: HTTPError, size: int) -> Exception:
        answer = f"the server answered HTTP {error.code} {error.reason}"
        if error.code == 416 and size:
            return _ChangedError()
        if error.code in (404, 410):
            return NotOnServerError(f"{self._url} does not exist (HTTP {error.code}).")
        if error.code in (408, 425, 429) or error.code >= 500:
            return _BrokenOffError(answer)
        return HcsQcError(
            f"{self._url} cannot be downloaded: {answer}; the file was expected. Check the "
            "address, and whether a proxy or a login is in the way."
        )


def _respond(url: str, headers: Mapping[str, str]) -> Generator[Any]:
    """Give the response, then its body in blocks."""
    try:
        request = urllib.request.Request(url, headers=dict(headers))
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            yield response
            while block := response.read1(_BLOCK_BYTES):
                yield block
    except HTTPError:
        raise
    except (OSError, HTTPException, ValueError) as error:
        # Explained here: where the blocks are written, an OSError is one of the disk.
        raise _BrokenOffError(_reason(error)) from error


def _read_ahead(items: Generator[T], job: Job) -> Generator[T]:
    """Iterate in another thread: a stalled server, name look-up or proxy holds up no cancel."""
    ahead: queue.Queue[tuple[bool, Any]] = queue.Queue(_BLOCKS_AHEAD)
    is_over = threading.Event()

    def put(is_last: bool, item: Any) -> None:
        while not is_over.is_set():
            with contextlib.suppress(queue.Full):
                return ahead.put((is_last, item), timeout=_POLL_S)

    def read() -> None:
        try:
            with contextlib.closing(items):
                for item in items:
                    put(False, item)
                    if is_over.is_set():
                        return
            put(True, None)
        except Exception as error:  # noqa: BLE001 - raised again in the thread that asked
            put(True, error)

    threading.Thread(target=read, name="download", daemon=True).start()
    try:
        while True:
            job.check()
            try:
                is_last, item = ahead.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if not is_last:
                yield item
            elif item is None:
                return
            else:
                raise item
    finally:
        is_over.set()


def _wait(seconds: float, job: Job) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        job.check()
        time.sleep(0.05)


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, TimeoutError):
        return f"no answer within {_TIMEOUT_S:.0f} s"
    if isinstance(reason, socket.gaierror):
        return f"the name of the server is not found: {reason.strerror or reason}"
    return str(getattr(reason, "strerror", None) or reason) or type(reason).__name__


def _number(text: str | None) -> int:
    return int(text) if text and text.strip().isdecimal() else 0


def _validator(headers: Message) -> str:
    """Give what identifies this version of the file: a strong ETag, or else its date."""
    tag = str(headers.get("ETag") or "").strip()
    return tag if tag.startswith('"') else str(headers.get("Last-Modified") or "")
