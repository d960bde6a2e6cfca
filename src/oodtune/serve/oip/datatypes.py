"""How tensors are written in bytes: little endian, row-major; BYTES as a uint32 length before every element."""

import struct
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from oodtune.serve.refusal import RefusedError

Raw = bytes | memoryview
_LENGTH: Final = struct.Struct("<I")


def pack_elements(elements: Sequence[bytes]) -> bytes:
    """Return a BYTES tensor in its binary form."""
    return b"".join(part for element in elements for part in (_LENGTH.pack(len(element)), element))


def unpack_elements(raw: Raw, count: int) -> list[bytes]:
    """Return the elements of a BYTES tensor of `count`. Raises RefusedError if `raw` is longer or shorter than that."""
    view, elements, at = memoryview(raw), [], 0
    for _ in range(count):
        start = at + _LENGTH.size
        if start > len(view):
            raise _wrong_length()
        at = start + int(_LENGTH.unpack_from(view, at)[0])
        if at > len(view):
            raise _wrong_length()
        elements.append(bytes(view[start:at]))
    if at != len(view):
        raise _wrong_length()
    return elements


def raw_bytes(data: npt.NDArray[np.float32] | Sequence[bytes]) -> bytes:
    """Return the binary form of an FP32 or a BYTES tensor."""
    return data.astype("<f4", copy=False).tobytes() if isinstance(data, np.ndarray) else pack_elements(data)


def _wrong_length() -> RefusedError:
    message = "expected a BYTES tensor to be as long as its shape and the uint32 length before every element say"
    return RefusedError("bad_request", f"{message}; check both, and that the lengths are little endian")
