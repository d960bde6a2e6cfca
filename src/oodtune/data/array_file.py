"""A .npy file of pixels that threads write part by part."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

_BLOCK_BYTES = 1_000_000


class ArrayFile:
    """An open .npy file, uint8, C order, of its full size from the start; rows not yet written are zeros.

    A file that is there already, with this shape, is kept as it is.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.path = path
        self.header = _header_of(shape)
        self._row_bytes = int(np.prod(shape[1:]))
        self._num_bytes = len(self.header) + shape[0] * self._row_bytes
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if os.fstat(self._descriptor).st_size != self._num_bytes:
            os.ftruncate(self._descriptor, 0)
            os.ftruncate(self._descriptor, self._num_bytes)
        self._write_at(0, memoryview(self.header))

    def missing_bytes(self) -> int:
        """Return how many bytes the file system has not yet set aside for this file."""
        return max(0, self._num_bytes - os.fstat(self._descriptor).st_blocks * 512)

    def write(self, first: int, rows: npt.NDArray[np.uint8]) -> None:
        """Write `rows` (n, ...) from row `first` on; any thread may."""
        assert rows.flags.c_contiguous
        self._write_at(self._offset(first), rows.data.cast("B"))

    def read_blocks(self, first: int, count: int) -> Iterator[bytes]:
        """Yield the bytes of `count` rows from row `first` on, one megabyte at a time."""
        start, stop = self._offset(first), self._offset(first + count)
        for at in range(start, stop, _BLOCK_BYTES):
            yield os.pread(self._descriptor, min(_BLOCK_BYTES, stop - at), at)

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _offset(self, row: int) -> int:
        return len(self.header) + row * self._row_bytes

    def _write_at(self, offset: int, data: memoryview) -> None:
        while data:
            written = os.pwrite(self._descriptor, data, offset)
            data, offset = data[written:], offset + written


def _header_of(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    facts = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, facts)
    return stream.getvalue()
