"""A downloader for pooch that goes on where it stopped; pooch's own begins again.

The body goes to ``NAME.part``, and what is known of it (address, ETag or date, size) beside it.
The next request asks for the rest with ``Range``, and with ``If-Range`` (RFC 9110, 13.1.5), so that
a file which has changed on the server meanwhile comes whole. A server without ranges sends all
of it, which then takes the place of the part.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from napari_hcs_qc.errors import HcsQcError, WriteError
from napari_hcs_qc.files import explained_writes, read_json, write_json
from napari_hcs_qc.study.datasets.connection import BrokenOffError, Head, read_response

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_hcs_qc.job import Job

WAITS_S = (1.0, 2.0, 4.0, 8.0)
"""Pauses between tries that brought nothing new; after the last of them the user is told."""

_HASHED_BYTES = 1 << 22


class NotOnServerError(HcsQcError):
    """The server has no such file."""


class _ChangedError(Exception):
    """What is here does not fit what the server has: begin again."""


class ResumingDownloader:
    """Called by pooch as ``downloader(url, output_file, pooch)``."""

    def __init__(self, part: Path, job: Job, message: str) -> None:
        self._part = part
        self._known = part.with_name(f"{part.name}.json")
        self._job = job
        self._message = message
        self._has_answered = False

    def __call__(self, url: str, output_file: Any, _pooch: Any) -> None:
        """Bring `url` to `output_file`."""
        most, failures = 0, 0
        while True:
            try:
                self._attempt(url)
                break
            except _ChangedError:
                self.forget()
            except BrokenOffError as broken:
                have = self._have()
                # What counts is more than ever before: without ranges each try begins at zero.
                failures = 1 if have > most else failures + 1
                most = max(most, have)
                # A computer without a network is told so soon; a server that answered may recover.
                if failures > (len(WAITS_S) if self._has_answered else 1):
                    raise self._given_up(url, broken, have, failures) from broken
                self._wait(WAITS_S[failures - 1], str(broken))
        with explained_writes(self._part):
            os.replace(self._part, output_file)
        self._known.unlink(missing_ok=True)

    def forget(self) -> None:
        """Remove the part."""
        for path in (self._part, self._known):
            path.unlink(missing_ok=True)

    def _have(self) -> int:
        try:
            return self._part.stat().st_size
        except FileNotFoundError:
            return 0

    def _state(self, url: str) -> dict[str, Any]:
        """Give what is known of the part; empty where it is of no use."""
        try:
            state = read_json(self._known)
        except HcsQcError:
            return {}
        return state if state.get("url") == url and self._have() else {}

    def _attempt(self, url: str) -> None:
        state = self._state(url)
        have, total = (self._have(), int(state.get("total") or 0)) if state else (0, 0)
        if have and have == total:
            return
        if total and have > total:
            raise _ChangedError
        headers = {"User-Agent": "napari-hcs-qc", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if state.get("validator"):
                headers["If-Range"] = str(state["validator"])
        self._job.report(have, total, self._message)
        body = read_response(url, headers, self._job)
        try:
            head = next(body)
            assert isinstance(head, Head)
            self._has_answered = True
            start, total = self._start(url, head, have, total)
            self._need_space(total - start)
            if start == 0:
                # Emptied before it is described anew, or a kill between would mix two versions.
                with explained_writes(self._part):
                    self._part.open("wb").close()
                write_json(self._known, {"url": url, "total": total, "validator": _validator(head)})
            done = self._write(body, start, total)
        finally:
            body.close()
        if total and done != total:
            raise BrokenOffError(f"the connection ended at {shown(done)} of {shown(total)}")

    def _write(self, body: Iterator[Head | bytes], start: int, total: int) -> int:
        done = start
        with explained_writes(self._part):
            handle = self._part.open("ab")
        try:
            for block in body:
                assert isinstance(block, bytes)
                with explained_writes(self._part):
                    handle.write(block)
                done += len(block)
                self._job.report(done, total, self._message)
            with explained_writes(self._part):
                handle.flush()
                os.fsync(handle.fileno())
        finally:
            # On a full disk the close fails once more, of which there is nothing new to tell.
            _close_quietly(handle)
        return done

    def _start(self, url: str, head: Head, have: int, total: int) -> tuple[int, int]:
        """Byte at which the body begins, and size of the whole file (0: not told)."""
        if head.status == 200:
            return 0, _number(head.headers.get("Content-Length"))
        if head.status == 206 and have:
            found = re.fullmatch(
                r"bytes (\d+)-\d+/(\d+|\*)", head.headers.get("Content-Range", "").strip()
            )
            if found is None or int(found[1]) != have or (total and found[2] != str(total)):
                raise _ChangedError
            return have, total or _number(found[2])
        if head.status == 416 and have:
            raise _ChangedError
        if head.status in (404, 410):
            raise NotOnServerError(f"{url} does not exist (HTTP {head.status}).")
        if head.status in (408, 425, 429) or head.status >= 500:
            raise BrokenOffError(f"the server answered HTTP {head.status} {head.reason}")
        raise HcsQcError(
            f"{url} cannot be had: the server answered HTTP {head.status} {head.reason}; the file "
            "was expected. Check the base URL, and whether a proxy or a login is in the way."
        )

    def _need_space(self, n_bytes: int) -> None:
        need_space(self._part.parent, n_bytes, f"download {self._part.name.removesuffix('.part')}")

    def _wait(self, seconds: float, reason: str) -> None:
        until = time.monotonic() + seconds
        self._job.report(self._have(), 0, f"{self._message}: {reason}; trying again")
        while time.monotonic() < until:
            self._job.check()
            time.sleep(0.05)

    def _given_up(self, url: str, broken: BrokenOffError, have: int, tries: int) -> HcsQcError:
        server = urlsplit(url).netloc
        kept = (
            f"{shown(have)} are kept and the same command goes on from there"
            if have
            else "nothing was downloaded"
        )
        return HcsQcError(
            f"{url} cannot be downloaded: {broken}, {tries} times in a row; {kept}. Check the "
            f"network and any proxy (HTTPS_PROXY), or whether {server} is down, and run the same "
            "command again, or give a mirror with --base-url."
        )


def hash_file(path: Path, job: Job, message: str) -> str:
    """SHA-256 of a large file."""
    digest = hashlib.sha256()
    total, done = path.stat().st_size, 0
    with path.open("rb") as handle:
        while block := handle.read(_HASHED_BYTES):
            job.check()
            digest.update(block)
            done += len(block)
            job.report(done, total, message)
    return digest.hexdigest()


def need_space(folder: Path, n_bytes: int, what: str) -> None:
    """Refuse to begin what the disk has no room for."""
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise WriteError(
            f"The disk of {folder} has {shown(free)} free, and {shown(n_bytes)} are needed to "
            f"{what}. Free some space, choose another folder with --out, or ask for fewer channels."
        )


def shown(n_bytes: int) -> str:
    """Give a number of bytes as a person reads it: ``1.4 GB``."""
    size, units = float(n_bytes), ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "bytes" else f"{size:.1f} {units[0]}"


def _close_quietly(handle: Any) -> None:
    try:
        handle.close()
    except OSError:
        return


def _number(text: str | None) -> int:
    return int(text) if text and text.strip().isdecimal() else 0


def _validator(head: Head) -> str:
    """Give what tells this version of the file: a strong ETag, or else its date."""
    tag = str(head.headers.get("ETag") or "").strip()
    return tag if tag.startswith('"') else str(head.headers.get("Last-Modified") or "")
