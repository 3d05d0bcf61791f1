"""Which chunks of a Zarr array are absent or cut off.

A chunk that is not there means the fill value: zarr 3 and bioformats2raw leave out those that are
all zero. A plate copied half over the network looks the same, so that it is said where much is
absent. Blosc, with which most plates are compressed, decodes a truncated chunk without a word
(numcodecs 0.16). Chunks are therefore looked at first.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_hcs_qc.plates.ome_zarr.zarr_image import stored_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import zarr

    from napari_hcs_qc.plates.ome_zarr.zarr_image import ImageFacts


class Absent(NamedTuple):
    """How much of an array is not on disk."""

    n_chunks: int
    of_chunks: int
    n_planes: int  # without any chunk


def absent_chunks(facts: ImageFacts, image: Path) -> Absent:
    """Count the chunks, or shards, of an image that are not there."""
    grid = [
        math.ceil(length / chunk) for length, chunk in zip(facts.shape, facts.chunks, strict=True)
    ]
    folder = os.path.join(image, facts.level)
    present: Counter[tuple[int, ...]] = Counter()
    for below, _, names in os.walk(folder):
        start = os.path.relpath(below, folder).replace(os.sep, ".")
        for name in names:
            key = f"{start}.{name}".lstrip(".").removeprefix("c.").split(".")
            if len(key) == len(grid) and all(part.isdecimal() for part in key):
                present[tuple(map(int, key[:-2]))] += 1
    total = math.prod(grid)
    n_planes = math.prod(grid[:-2])
    return Absent(total - present.total(), total, n_planes - len(present))


def truncated_chunks(
    array: zarr.Array[Any], folder: Path, index: Sequence[int | None]
) -> list[str]:
    """Keys of the chunks that a selection needs and that are shorter than they say."""
    if not _is_blosc(array):
        return []
    truncated = []
    for position in _positions(index, array.shape, stored_chunks(array)):
        key = array.metadata.encode_chunk_key(position)
        file = folder / key
        if file.is_file() and not _is_whole_blosc(file):
            truncated.append(key)
    return truncated


def truncated_blosc(array: zarr.Array[Any], fetched: Mapping[str, tuple[bytes, int]]) -> list[str]:
    """Keys of chunks that are shorter than their Blosc header says."""
    if not _is_blosc(array):
        return []
    return [
        key
        for key, (begin, length) in fetched.items()
        if len(begin) < 16 or int.from_bytes(begin[12:16], "little") != length
    ]


def _is_blosc(array: zarr.Array[Any]) -> bool:
    """Whether the files of the array are Blosc frames, as they are."""
    if array.shards is not None or not array.compressors:
        return False
    last = array.compressors[-1]
    return "blosc" in (getattr(last, "codec_id", ""), type(last).__name__[:5].lower())


def _is_whole_blosc(file: Path) -> bool:
    """Compare a file with the length in its header (bytes 12 to 15, little endian)."""
    with file.open("rb") as handle:
        header = handle.read(16)
    return len(header) == 16 and int.from_bytes(header[12:], "little") == file.stat().st_size


def _positions(
    index: Sequence[int | None], shape: Sequence[int], chunks: Sequence[int]
) -> Iterator[tuple[int, ...]]:
    """Positions in the chunk grid that a selection touches."""
    axes = [
        range(-(-length // chunk)) if at is None else (at // chunk,)
        for at, length, chunk in zip(index, shape, chunks, strict=True)
    ]
    return product(*axes)
