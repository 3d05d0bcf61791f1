"""A Zarr store on a server, whose chunks are fetched with several tries and looked at as they come.

zarr is imported here, and takes seconds: this module is imported when a plate needs it.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import zarr
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.storage import FsspecStore

from napari_hcs_qc.plates.remote import MissingRemoteError, fetch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

    from napari_hcs_qc.plates.remote import RemotePath

_METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")


class RemoteStore(FsspecStore):
    """Read-only store below an address.

    A kind of zarr's own store on fsspec, since ngio takes no other; every access is its own.
    """

    supports_writes = False
    supports_deletes = False
    supports_listing = False

    def __init__(self, address: str) -> None:
        Store.__init__(self, read_only=True)
        self.path = self._address = address.rstrip("/")
        self.absent: list[str] = []
        self.fetched: dict[str, tuple[bytes, int]] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteStore) and self._address == other._address

    def __hash__(self) -> int:
        return hash(self._address)

    def __str__(self) -> str:
        return self._address

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Fetch a value; None where there is none."""
        start: int | None = None
        end: int | None = None
        if isinstance(byte_range, RangeByteRequest):
            start, end = byte_range.start, byte_range.end
        elif isinstance(byte_range, OffsetByteRequest):
            start = byte_range.offset
        elif isinstance(byte_range, SuffixByteRequest):
            start = -byte_range.suffix
        is_metadata = key.rpartition("/")[2] in _METADATA
        try:
            if is_metadata and byte_range is None:
                data = await asyncio.to_thread(metadata_of, f"{self._address}/{key}")
            else:
                data = await asyncio.to_thread(fetch, f"{self._address}/{key}", start, end)
        except MissingRemoteError:
            if not is_metadata:
                self.absent.append(key)
            return None
        if not is_metadata and byte_range is None:
            self.fetched[key] = data[:16], len(data)
        return prototype.buffer.from_bytes(data)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Fetch several parts."""
        return list(
            await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges))
        )

    async def exists(self, key: str) -> bool:
        """Whether there is a value."""
        try:
            await asyncio.to_thread(metadata_of, f"{self._address}/{key}")
        except MissingRemoteError:
            return False
        return True

    async def set(self, key: str, value: Buffer, byte_range: tuple[int, int] | None = None) -> None:
        """Refuse: it is read-only."""
        raise NotImplementedError("a remote plate is only read")

    async def delete(self, key: str) -> None:
        """Refuse: it is read-only."""
        raise NotImplementedError("a remote plate is only read")

    async def list(self) -> AsyncIterator[str]:
        """List nothing: servers do not tell."""
        nothing: tuple[str, ...] = ()
        for key in nothing:
            yield key

    def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """List nothing: servers do not tell."""
        return self.list()

    def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """List nothing: servers do not tell."""
        return self.list()


@lru_cache(maxsize=512)
def metadata_of(address: str) -> bytes:
    """Fetch a metadata document; the last ones are kept, for the other planes of a site."""
    return fetch(address)


def open_remote_group(path: RemotePath) -> zarr.Group:
    """Open a group on a server."""
    return zarr.open_group(store=RemoteStore(str(path)), mode="r", use_consolidated=False)


def open_remote_array(path: RemotePath) -> tuple[zarr.Array[Any], RemoteStore]:
    """Open an array on a server, and the store that tells which of its chunks lack."""
    store = RemoteStore(str(path))
    return zarr.open_array(store=store, mode="r"), store
