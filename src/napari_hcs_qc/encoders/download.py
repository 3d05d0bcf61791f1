"""Fetch a weights file once, with progress, and keep it; without a network, say the ways out."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import atomic_path
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from collections.abc import Iterator

_TIMEOUT_S = 10.0
_BLOCK_BYTES = 1 << 20


def weights_folder() -> Path:
    """Folder in which downloaded weights are kept; ``HCS_QC_CACHE`` moves it."""
    root = os.environ.get("HCS_QC_CACHE")
    return (Path(root) if root else platformdirs.user_cache_path("napari-hcs-qc")) / "weights"


def fetch(
    url: str,
    target: Path,
    *,
    encoder: str,
    sha256_prefix: str = "",
    job: Job = NO_JOB,
) -> Path:
    """Download `url` to `target`, unless it is there already.

    One attempt with a timeout of ten seconds a read, so that a computer without a network gets
    its answer at once instead of after a row of retries.
    """
    if target.is_file():
        return target
    message = f"Downloading the weights of {encoder}"
    digest = hashlib.sha256()
    with atomic_path(target) as temporary, temporary.open("wb") as handle:
        for block, done, total in _blocks(url, encoder, target):
            job.check()
            handle.write(block)
            digest.update(block)
            job.report(done, total, message)
        if not digest.hexdigest().startswith(sha256_prefix):
            raise HcsQcError(
                f"The weights of {encoder} from {url} have SHA-256 {digest.hexdigest()}; one that "
                f"begins with {sha256_prefix} was expected. Nothing was kept; try again later."
            )
    return target


def offline_error(encoder: str, url: str, target: Path, reason: object) -> HcsQcError:
    """Make the error for weights that are not here and cannot be fetched."""
    return HcsQcError(
        f"The weights of {encoder} are not on this computer and {url} cannot be reached "
        f"({reason}). Either connect to the internet once and run the same command again (they "
        f"are then kept in {target}), or give a local file of this architecture: "
        "--weights FILE.safetensors. The encoder efficientnet-lite0 needs neither."
    )


def _blocks(url: str, encoder: str, target: Path) -> Iterator[tuple[bytes, int, int]]:
    """Yield blocks of the body with the bytes so far and in all (0: not told)."""
    request = urllib.request.Request(url, headers={"User-Agent": "napari-hcs-qc"})
    # Network errors are OSErrors too: they are told apart here, before `atomic_path` sees them.
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:
            raise offline_error(encoder, url, target, f"HTTP {error.code} {error.reason}") from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise offline_error(encoder, url, target, reason) from error
    with response:
        total, done = int(response.headers.get("Content-Length") or 0), 0
        while True:
            try:
                block = response.read(_BLOCK_BYTES)
            except (OSError, HTTPException) as error:
                raise offline_error(encoder, url, target, f"broken off: {error}") from error
            if not block:
                break
            done += len(block)
            yield block, done, total
    if done < total:
        raise offline_error(encoder, url, target, f"broken off after {done} of {total} bytes")
