"""What files from elsewhere may claim: numbers in a header are checked, never believed."""

from __future__ import annotations

import csv
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import regex

MAX_SITES = 10_000
"""Sites of a well."""
MAX_CHANNELS = 100
_MAX_PIXELS = 2**30
_MAX_CHUNKS = 2**20
_PATTERN_S = 1.0


def excessive_size(shape: Sequence[int]) -> str:
    """Say that an image is larger than is read; empty where it is not. Ends in height, width."""
    height, width = (int(length) for length in shape[-2:])
    if 0 < height * width <= _MAX_PIXELS:
        return ""
    return (
        f"claims {height:,} × {width:,} pixels; images of up to {_MAX_PIXELS:,} pixels are read. "
        "Its header is damaged, or it is no image of one site; copy it again, or move it elsewhere"
    )


def excessive_array(shape: Sequence[int], chunks: Sequence[int], dtype: np.dtype[Any]) -> str:
    """Say that an array claims more planes or chunks, or larger ones, than are read."""
    if dtype.kind not in "buif":
        return f"holds {dtype}; integers or floats were expected"
    if len(shape) < 2:
        return f"has the shape {tuple(shape)}; at least y and x were expected"
    largest, n_chunks = math.prod(map(int, chunks)), 1
    for length, chunk in zip(shape, chunks, strict=True):
        n_chunks *= -(-int(length) // max(1, int(chunk)))
    n_planes = math.prod(map(int, shape[:-2]))
    if n_planes > _MAX_CHUNKS:
        excess = f"claims {n_planes:,} planes; up to {_MAX_CHUNKS:,} are read"
    elif n_chunks > _MAX_CHUNKS:
        excess = f"claims {n_chunks:,} chunks; up to {_MAX_CHUNKS:,} are read"
    elif not 0 < largest <= _MAX_PIXELS:
        excess = f"claims chunks of {largest:,} pixels; up to {_MAX_PIXELS:,} are read"
    else:
        return excessive_size(shape)
    return f"{excess}. Its metadata is damaged; copy it again"


@contextmanager
def readable(path: object, expected: str) -> Iterator[None]:
    """Turn what Python makes of texts that are no numbers or tables into an error with advice."""
    try:
        yield
    except (csv.Error, OverflowError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise HcsQcError(
            f"{path} is damaged or no text of the kind that was expected, {expected} ({reason}). "
            "Copy it again, or save it anew from the program that it is from."
        ) from error


def search_in_time(pattern: str, text: str) -> regex.Match[str] | None:
    """Search with a person's pattern; one that never ends is refused after a second."""
    import regex  # for patterns only; it has what `re` has, and a time limit

    try:
        return regex.search(pattern, text, timeout=_PATTERN_S)
    except TimeoutError as error:
        raise HcsQcError(
            f"The pattern {pattern!r} takes longer than {_PATTERN_S:g} s on {text[:80]!r}. "
            "Repeated groups within repeated groups, such as (a+)+, do that; write it without them."
        ) from error
