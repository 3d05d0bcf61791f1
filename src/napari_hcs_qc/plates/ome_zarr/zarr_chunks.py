"""Which chunks of a Zarr array are absent or cut off.

Zarr reads a chunk that is not there as the fill value, without a word, so a plate copied half
over the network looks like a plate of black images. Blosc, with which most plates are compressed,
likewise decodes a truncated chunk without a word (numcodecs 0.16). Chunks are therefore looked at
first.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import zarr

_NO_CHUNK = np.iinfo(np.uint64).max  # In a shard index: this inner chunk was never written.
_CRC32C_BYTES = 4


class ChunkCheck(NamedTuple):
    """What is wrong with the chunks that a selection needs."""

    absent: list[str]  # keys of those not on disk, relative to the array, such as ``c/0/1/1``
    truncated: list[str]  # keys of those shorter than they say
    n_absent: int  # number of chunks; of inner chunks where the array is sharded
    n_needed: int  # number of chunks; of inner chunks where the array is sharded


def check_chunks(array: zarr.Array[Any], folder: Path, index: Sequence[int | None]) -> ChunkCheck:
    """Look for the chunks that a selection needs."""
    stored = array.shards if array.shards is not None else array.chunks
    is_blosc = _is_blosc(array)
    absent: list[str] = []
    truncated: list[str] = []
    n_absent = n_needed = 0
    for position in _positions(index, array.shape, stored):
        key = array.metadata.encode_chunk_key(position)
        inner = _inner_positions(array, stored, position, index)
        n_needed += max(len(inner), 1)
        file = folder / key
        if not file.is_file():
            absent.append(key)
            n_absent += max(len(inner), 1)
        elif is_blosc and not _is_whole_blosc(file):
            truncated.append(key)
        elif inner:
            written = _written_in_shard(array, file)
            if written is not None:
                lacking = [each for each in inner if not written[each]]
                n_absent += len(lacking)
                absent += [f"{key} inner {'/'.join(map(str, each))}" for each in lacking]
    return ChunkCheck(absent, truncated, n_absent, n_needed)


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


def _inner_positions(
    array: zarr.Array[Any],
    shard: Sequence[int],
    position: tuple[int, ...],
    index: Sequence[int | None],
) -> list[tuple[int, ...]]:
    """Positions within one shard of the inner chunks that a selection touches."""
    if array.shards is None:
        return []
    axes = []
    for at, length, side, chunk, where in zip(
        index, array.shape, shard, array.chunks, position, strict=True
    ):
        start = where * side
        if at is not None:
            axes.append(range((at - start) // chunk, (at - start) // chunk + 1))
        else:  # Inner chunks beyond the image's edge are never written.
            axes.append(range(-(-min(side, length - start) // chunk)))
    return list(product(*axes))


class _Index(NamedTuple):
    """How the index of a shard is stored."""

    n_bytes: int
    order: Literal["<", ">"]
    is_at_end: bool


def _written_in_shard(array: zarr.Array[Any], file: Path) -> np.ndarray[Any, Any] | None:
    """Boolean grid of the inner chunks that a shard holds; None where it cannot be told."""
    grid = tuple(
        side // chunk for side, chunk in zip(array.shards or (), array.chunks, strict=True)
    )
    layout = _index_layout(array, int(np.prod(grid)))
    if layout is None or file.stat().st_size < layout.n_bytes:
        return None  # Too short for its index: reading it raises, which says it better.
    with file.open("rb") as handle:
        if layout.is_at_end:
            handle.seek(-layout.n_bytes, 2)
        data = handle.read(layout.n_bytes)
    entries = np.frombuffer(data, f"{layout.order}u8", count=2 * int(np.prod(grid)))
    return cast("np.ndarray[Any, Any]", (entries[0::2] != _NO_CHUNK).reshape(grid))


def _index_layout(array: zarr.Array[Any], n_inner: int) -> _Index | None:
    """Read how the shard index is encoded; None when it is compressed, which nobody does."""
    codec = cast("Any", array.metadata).codecs[0]
    steps = [step.to_dict() for step in codec.index_codecs]
    names = [step["name"] for step in steps]
    if names not in (["bytes"], ["bytes", "crc32c"]):
        return None
    big = steps[0].get("configuration", {}).get("endian", "little") == "big"
    n_bytes = 16 * n_inner + _CRC32C_BYTES * (len(names) - 1)
    return _Index(n_bytes, ">" if big else "<", codec.index_location.value == "end")
