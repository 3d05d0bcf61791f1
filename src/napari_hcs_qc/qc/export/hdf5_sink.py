"""A file for HDF5 that can be closed when the disk is full.

Where HDF5 cannot write, it cannot close its file either, and the process crashes when it ends. So
what the disk does not take is kept in memory until the file is closed, which is soon: `check`
raises what the disk said.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO


class Hdf5Sink:
    """What h5py asks of a file object; made by `hdf5_sink`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._position = 0
        self._size = 0
        self._not_taken: dict[int, bytes] = {}
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise what the disk said, if it did."""
        if self._error is not None:
            raise self._error

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        start, stop = self._position, self._size
        if size >= 0:
            stop = min(stop, start + size)
        self._file.seek(start)
        content = bytearray(self._file.read(max(0, stop - start)).ljust(stop - start, b"\0"))
        for offset, data in self._not_taken.items():
            first, last = max(offset, start), min(offset + len(data), stop)
            if first < last:
                content[first - start : last - start] = data[first - offset : last - offset]
        self._position = stop
        return bytes(content)

    def write(self, data: memoryview) -> int:
        data, start = memoryview(data).cast("B"), self._position
        taken = 0
        try:
            while self._error is None and taken < len(data):
                self._file.seek(start + taken)
                taken += self._file.write(data[taken:])
        except OSError as error:
            self._error = error
        if taken < len(data):
            self._not_taken[start + taken] = bytes(data[taken:])
        self._position = start + len(data)
        self._size = max(self._size, self._position)
        return len(data)

    def truncate(self, size: int) -> int:
        try:
            if self._error is None:
                self._file.truncate(size)
        except OSError as error:
            self._error = error
        self._size = size
        return size

    def flush(self) -> None:
        """Do nothing: the file has no buffer."""


@contextmanager
def hdf5_sink(path: Path) -> Iterator[Hdf5Sink]:
    """Open a new file for h5py; what the disk said is raised when all is closed."""
    with path.open("w+b", buffering=0) as file:
        sink = Hdf5Sink(file)
        try:
            yield sink
        except OSError:
            sink.check()
            raise
        sink.check()
