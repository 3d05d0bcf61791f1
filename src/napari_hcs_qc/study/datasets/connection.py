"""One HTTP response in blocks, read beside the caller so that a cancel is heard at once."""

from __future__ import annotations

import queue
import socket
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from email.message import Message

    from napari_hcs_qc.job import Job

_TIMEOUT_S = 20.0
_POLL_S = 0.1
_BLOCK_BYTES = 1 << 18
_BLOCKS_AHEAD = 16


class BrokenOffError(Exception):
    """The connection failed or ended early; says why. Another try may do."""


@dataclass(frozen=True)
class Head:
    """Status and headers of a response."""

    status: int
    reason: str
    headers: Message


def read_response(url: str, headers: Mapping[str, str], job: Job) -> Generator[Head | bytes]:
    """Yield the head of a response, then its body in blocks; of an error, the head alone.

    The socket is read in another thread, since a stalled server, name look-up or proxy would
    otherwise hold up a cancel until the timeout.
    """
    items: queue.Queue[Head | bytes | BrokenOffError | None] = queue.Queue(_BLOCKS_AHEAD)
    is_over = threading.Event()
    request = urllib.request.Request(url, headers=dict(headers))
    reader = threading.Thread(
        target=_read, args=(request, items, is_over), name="fetch", daemon=True
    )
    reader.start()
    try:
        while True:
            job.check()
            try:
                item = items.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if item is None:
                return
            if isinstance(item, BrokenOffError):
                raise item
            yield item
    finally:
        is_over.set()


def _read(
    request: urllib.request.Request,
    items: queue.Queue[Head | bytes | BrokenOffError | None],
    is_over: threading.Event,
) -> None:
    def put(item: Head | bytes | BrokenOffError | None) -> bool:
        while not is_over.is_set():
            try:
                items.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False

    try:
        try:
            response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
        except urllib.error.HTTPError as error:
            with error:
                put(Head(error.code, str(error.reason), error.headers))
                put(None)
            return
        with response:
            if not put(Head(response.status, response.reason, response.headers)):
                return
            while block := response.read1(_BLOCK_BYTES):
                if not put(block):
                    return
        put(None)
    except (OSError, HTTPException, ValueError) as error:
        put(BrokenOffError(_why(error)))


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, TimeoutError):
        return f"no answer within {_TIMEOUT_S:.0f} s"
    if isinstance(reason, socket.gaierror):
        return f"the name of the server is not found: {reason.strerror or reason}"
    return str(getattr(reason, "strerror", None) or reason) or type(reason).__name__
