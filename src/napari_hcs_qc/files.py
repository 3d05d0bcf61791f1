"""Safe writing: to a temporary name beside the target, synced, then renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from napari_hcs_qc.errors import HcsQcError, WriteError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


_ADVICE = {
    errno.EROFS: "the folder is read-only; choose another folder or change its permissions",
    errno.EACCES: "permission was denied; choose another folder or change its permissions",
    errno.EPERM: "permission was denied; choose another folder or change its permissions",
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
}


@contextmanager
def explained_writes(path: Path) -> Iterator[None]:
    """Turn an `OSError` met while writing `path` into a `WriteError` that says what to do."""
    try:
        yield
    except OSError as error:
        number = error.errno if error.errno is not None else -1
        advice = _ADVICE.get(number, "check the folder and run the same command again")
        reason = error.strerror or str(error)
        raise WriteError(f"Cannot write {path}: {reason}: {advice}.") from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it onto `path` when the block succeeds.

    A reader sees the old file or the new one, never half of one. When the block fails, the
    temporary file is removed and `path` is as it was.
    """
    # The suffix is kept so that writers that go by it (pandas, anndata) behave as for `path`.
    temporary = path.with_name(f".{path.stem}.{uuid4().hex[:8]}.tmp{path.suffix}")
    with explained_writes(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with temporary.open("rb+") as handle:
                os.fsync(handle.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write `data` as indented JSON, atomically."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise HcsQcError(f"{path} does not exist.") from error
    except (OSError, ValueError) as error:
        raise HcsQcError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(data, dict):
        raise HcsQcError(f"{path} holds a {type(data).__name__}; a JSON object was expected.")
    return data


def fingerprint(data: Mapping[str, Any]) -> str:
    """Content address of plain data: 16 hexadecimal digits of the SHA-256 of its canonical JSON."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
