"""Images of which only a part is read at a time."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]


class Pixels(Protocol):
    """Images (N, S, S, 3), uint8: an array, or rows of a memory-mapped one."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, places: slice | Places, /) -> npt.NDArray[np.uint8]: ...


@dataclass(frozen=True)
class PixelRows:
    """Some rows of images (M, S, S, 3), usually a memory-mapped array: only what is asked for is read.

    `rows[2:5]` and `rows[np.array([4, 0])]` are new arrays in memory; nothing else is.
    """

    array: Pixels
    rows: Places
    """(N,): which rows, in which order."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.rows), *self.array.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places: slice | Places, /) -> npt.NDArray[np.uint8]:
        return np.asarray(self.array[self.rows[places]])
