"""Safe writing: to a temporary name beside the target, synced, then renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import socket
import time
import zlib
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from napari_hcs_qc.errors import DamagedError, HcsQcError, WriteError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray


_CHECKSUM = "checksum"
_HOST = f"{zlib.crc32(socket.gethostname().encode()):08x}"
_TEMPORARY = re.compile(r"\..*\.(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}\.tmp.*")
_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")  # all that NumPy says of a full disk
_DAY_S = 86_400.0
_SWEPT: set[tuple[int, Path]] = set()

_ADVICE = {
    errno.EROFS: "the folder is read-only; choose another folder or change its permissions",
    errno.EACCES: "permission was denied; choose another folder or change its permissions",
    errno.EPERM: "permission was denied; choose another folder or change its permissions",
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EFBIG: "the file system or a limit of your account takes no larger file; choose another",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
}


@contextmanager
def explained_writes(path: Path) -> Iterator[None]:
    """Turn an `OSError` met while writing `path` into a `WriteError` that says what to do."""
    try:
        yield
    except OSError as error:
        number = error.errno if error.errno is not None else -1
        if number < 0 and _SHORT_WRITE.fullmatch(str(error)):
            number = errno.ENOSPC
        advice = _ADVICE.get(number, "check the folder and run the same command again")
        reason = error.strerror or str(error)
        raise WriteError(f"Cannot write {path}: {reason}: {advice}.") from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it onto `path` when the block succeeds.

    A reader sees the old file or the new one, never half of one. When the block fails, the
    temporary file is removed and `path` is as it was.
    """
    temporary = _temporary(path)
    with explained_writes(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent)
        try:
            yield temporary
            _sync(temporary)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def atomic_paths(folder: Path, names: Iterable[str]) -> Iterator[dict[str, Path]]:
    """Give temporary paths of files in a folder, by name; rename all when the block succeeds.

    Unlike that of `atomic_path` the block may do other things than write, so what is written in
    it is written within `explained_writes`. When it fails, a folder that was made for it goes.
    """
    paths = {name: folder / name for name in names}
    temporary = {name: _temporary(path) for name, path in paths.items()}
    is_new = not folder.exists()
    with explained_writes(next(iter(paths.values()), folder)):
        folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
    try:
        yield temporary
        for name, path in paths.items():
            with explained_writes(path):
                _sync(temporary[name])
        for name, path in paths.items():
            with explained_writes(path):
                temporary[name].replace(path)
    except BaseException:
        for path in temporary.values():
            path.unlink(missing_ok=True)
        if is_new:
            with suppress(OSError):  # not empty any more
                folder.rmdir()
        raise


def _temporary(path: Path) -> Path:
    # The suffix is kept so that writers that go by it (pandas, anndata) behave as for `path`.
    return path.with_name(f".{path.stem}.{_owner()}.tmp{path.suffix}")


def _sync(path: Path) -> None:
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())


def stamp_of(status: os.stat_result) -> tuple[int, int, int]:
    """Size in bytes, date, and date (both in ns) of the last change of anything of a file.

    The last nobody can set; Windows has none.
    """
    changed = 0 if os.name == "nt" else status.st_ctime_ns
    return status.st_size, status.st_mtime_ns, changed


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a new folder beside `path`, to be that when the block succeeds, and else removed.

    `path` does not exist, or is empty.
    """
    temporary = path.with_name(f".{path.name}.{_owner()}.tmp")
    with explained_writes(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent)
        temporary.mkdir()
        try:
            yield temporary
            if path.is_dir():
                path.rmdir()
            temporary.replace(path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _owner() -> str:
    return f"{_HOST}-{os.getpid()}-{uuid4().hex[:8]}"


def _remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed left, once a process and folder."""
    key = (os.getpid(), folder.absolute())
    if key in _SWEPT:
        return
    _SWEPT.add(key)
    with suppress(OSError):
        for entry in os.scandir(folder):
            match = _TEMPORARY.fullmatch(entry.name)
            if match is None:
                continue
            is_ours = match["host"] == _HOST and os.name == "posix"
            is_over = time.time() - entry.stat().st_mtime > _DAY_S
            if is_over or (is_ours and not _is_alive(int(match["pid"]))):
                with suppress(OSError):
                    (shutil.rmtree if entry.is_dir() else os.unlink)(entry.path)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # asks only; on Windows it would end the process
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write `data` as indented JSON, atomically, with a checksum that `read_json` compares."""
    write_text(path, as_json(data))


def as_json(data: Mapping[str, Any]) -> str:
    """Give what `write_json` writes."""
    plain = {name: value for name, value in data.items() if name != _CHECKSUM}
    text = json.dumps(
        {**plain, _CHECKSUM: fingerprint(plain)}, indent=2, ensure_ascii=False, allow_nan=False
    )
    return text + "\n"


def read_json(path: Path, *, remedy: str = "") -> dict[str, Any]:
    """Read a JSON object; one without a checksum is by a person, or by version 0.1.0."""
    data, is_whole = load_json(path, remedy=remedy)
    if not is_whole:
        raise checksum_error(path, remedy)
    return data


def load_json(path: Path, *, remedy: str = "") -> tuple[dict[str, Any], bool]:
    """Read a JSON object, and tell whether it fits its checksum, for who can say more of it."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise HcsQcError(f"{path} does not exist. {remedy}".rstrip()) from error
    except (OSError, ValueError, RecursionError) as error:
        what = f"{path} cannot be read as JSON: {error}. {remedy}"
        raise DamagedError(what.rstrip()) from error
    if not isinstance(data, dict):
        what = f"{path} holds a {type(data).__name__}; a JSON object was expected. {remedy}"
        raise DamagedError(what.rstrip())
    checksum = data.pop(_CHECKSUM, None)
    if checksum is None and any(_is_nearly(name, _CHECKSUM) for name in data):
        return data, False  # the name itself is damaged
    return data, checksum in (None, fingerprint(data))


def _is_nearly(name: str, other: str) -> bool:
    return len(name) == len(other) and sum(map(str.__ne__, name, other)) == 1


def checksum_error(path: Path, remedy: str) -> DamagedError:
    """Say that a JSON file does not fit its checksum."""
    return DamagedError(
        f"{path} is damaged: it does not fit its checksum. {remedy} If you have edited it, delete "
        f'the line "{_CHECKSUM}" in it, and the comma before it.'
    )


def read_checked(path: Path, sha256: str, remedy: str) -> bytes:
    """Read a whole file whose SHA-256 was kept when it was written; empty: it was not kept."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DamagedError(f"{path} does not exist. {remedy}".rstrip()) from error
    except OSError as error:
        raise HcsQcError(f"{path} cannot be read: {error.strerror or error}. {remedy}") from error
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise DamagedError(
            f"{path} is damaged: it is not as it was written (its SHA-256 differs). {remedy}"
        )
    return content


def fingerprint(data: Mapping[str, Any]) -> str:
    """Content address of plain data: 16 hexadecimal digits of the SHA-256 of its canonical JSON."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def tensor_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Give arrays as the content of a safetensors file.

    Of an array in another order of its axes safetensors would write the numbers in that one, and
    give others when it is read.
    """
    import numpy as np
    from safetensors.numpy import save

    data: bytes = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    return data
