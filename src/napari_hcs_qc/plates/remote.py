"""Plates that lie on a server: addresses, and whole files or parts of them, fetched with fsspec.

What is of a passing kind (no answer, a connection that dies in the middle, a server that is busy)
is tried again; what is not (no such file, no permission) is told at once.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Self

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.zip_archive import (
    MissingMemberError,
    archive_of,
    has_member,
    read_member,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    _Base = Path  # for the type checker; what of it has a meaning on a server is there
else:
    _Base = PurePosixPath

_ADDRESS = re.compile(r"(https?|s3|gs|gcs|az|abfs|memory|zip):/+(?=[^/])", re.IGNORECASE)
_TRIES = 4
_FIRST_WAIT_S = 0.25  # doubled from one try to the next
_TIMEOUT_S = 20.0  # without a byte
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
ZARR_MARKS = ("zarr.json", ".zattrs", ".zgroup")
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}


class RemoteError(HcsQcError):
    """Something on a server cannot be had; the message is the reason, without the address."""


class MissingRemoteError(RemoteError):
    """There is nothing at that address."""


class RemoteImagesError(HcsQcError):
    """A table names images on servers that nobody has allowed to be contacted."""

    def __init__(self, table: Path, servers: str) -> None:
        self.named = f"{table} names images on {servers}"
        super().__init__(
            f"{self.named}. Servers that a file names are contacted only when you allow it: add "
            "--allow-remote (allow_remote=True in Python) if you trust the file."
        )


class RemotePath(_Base):
    """An address with the manners of a path, such as ``https://server/plate.zarr``.

    Made by `as_location`. Reading is tried several times, see `fetch`.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return _ADDRESS.sub(lambda match: f"{match[1].lower()}://", super().__str__(), count=1)

    def __fspath__(self) -> str:
        return str(self)

    def absolute(self) -> Self:
        """Give itself: an address is absolute."""
        return self

    def resolve(self, strict: bool = False) -> Self:
        """Give itself."""
        return self

    def expanduser(self) -> Self:
        """Give itself."""
        return self

    def exists(self) -> bool:
        """Whether there is a file, or a Zarr group; False as well where the server is away."""
        return self.is_file() or any((self / mark).is_file() for mark in ZARR_MARKS)

    def is_file(self) -> bool:
        """Whether there is a file."""
        archive = archive_of(str(self))
        if archive is not None:
            return has_member(*archive)
        try:
            _repeat(lambda: _file_system(str(self)).info(str(self)))
        except RemoteError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether there is a Zarr group: a server need not tell of other folders."""
        return any((self / mark).is_file() for mark in ZARR_MARKS)

    def read_bytes(self) -> bytes:
        """Read a file whole."""
        return fetch(str(self))

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """Read a text whole."""
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")


def is_remote(path: object) -> bool:
    """Whether something is an address on a server, be it a text or a path made of one."""
    return isinstance(path, RemotePath) or _ADDRESS.match(str(path)) is not None


def server_of(address: str) -> str:
    """Give the part of an address that names a server or a bucket: ``https://server``."""
    return "/".join(str(as_location(address)).split("/")[:3])


def as_location(path: str | Path) -> Path:
    """Give a path on this machine, or a `RemotePath`, for a text or a path.

    A `Path` that an address was made into has lost one of its slashes; it is given back.
    """
    if isinstance(path, RemotePath):
        return path
    text = str(path) if isinstance(path, str) else path.as_posix()
    match = _ADDRESS.match(text)
    if match is None:
        return Path(path)
    return RemotePath(f"{match[1].lower()}://{text[match.end() :]}")


def fetch(address: str, start: int | None = None, end: int | None = None) -> bytes:
    """Fetch a file, or the bytes from `start` (counted from the end if negative) to `end`."""
    archive = archive_of(address)
    if archive is not None:
        return _unzipped(*archive)[start:end]
    data: bytes = _repeat(
        lambda: bytes(_file_system(address).cat_file(address, start=start, end=end))
    )
    return data


def _unzipped(archive: str, name: str) -> bytes:
    try:
        return read_member(archive, name)
    except MissingMemberError as error:
        raise MissingRemoteError(str(error)) from error
    except HcsQcError as error:
        raise RemoteError(str(error)) from error


def _repeat(work: Callable[[], Any]) -> Any:
    """Do something on a server, several times where the reason that it failed may pass."""
    wait_s = _FIRST_WAIT_S
    for number in range(1, _TRIES + 1):
        try:
            return work()
        except RemoteError:
            raise
        except Exception as error:  # Each file system has errors of its own.
            reason, passes = _reason(error)
            if isinstance(error, FileNotFoundError):
                raise MissingRemoteError("does not exist on the server") from error
            if not passes:
                raise RemoteError(f"cannot be downloaded: {reason}") from error
            if number == _TRIES:
                raise RemoteError(
                    f"cannot be downloaded: {reason} (tried {number} times); try again later"
                ) from error
        time.sleep(wait_s)
        wait_s *= 2
    raise AssertionError("not reached")


def _reason(error: Exception) -> tuple[str, bool]:
    """Say why something failed, and whether it may pass."""
    status = getattr(error, "status", None)
    if isinstance(status, int) and status >= 400:
        if status in (401, 403):
            return f"the server refuses it ({status}); set up your credentials", False
        return f"the server answers {status}", status in _BUSY
    if isinstance(error, PermissionError) or "Credentials" in type(error).__name__:
        reason = str(error) or type(error).__name__
        return f"permission is denied ({reason}); set up your credentials", False
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return f"no answer within {_TIMEOUT_S:.0f} s", True
    reason = " ".join(str(error).split())[:160]
    return f"the connection failed ({reason or type(error).__name__})", True


def _file_system(address: str) -> Any:
    """Find the file system of an address; fsspec keeps those it has made."""
    import fsspec

    scheme = address.partition(":")[0].lower()
    options: dict[str, Any] = {}
    if scheme in ("http", "https"):
        import aiohttp

        options["client_kwargs"] = {
            "timeout": aiohttp.ClientTimeout(total=None, connect=_TIMEOUT_S, sock_read=_TIMEOUT_S)
        }
    elif scheme == "s3":
        options["config_kwargs"] = {"connect_timeout": _TIMEOUT_S, "read_timeout": _TIMEOUT_S}
    try:
        return fsspec.filesystem(scheme, **options)
    except ImportError as error:
        package = _PACKAGES.get(scheme, scheme)
        raise RemoteError(
            f"cannot be fetched: {scheme}:// needs the package {package}, which is not installed; "
            f"install it: {sys.executable} -m pip install {package}"
        ) from error
