"""JPEGs without Pillow, whose header is read in Python: with small images, that takes longer than decoding."""

import re
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import simplejpeg

MAX_SCANS: Final = 64
"""A progressive JPEG has about 10: each scan is a pass over all pixels, and may be a few bytes long."""
MAX_SEGMENTS: Final = 10_000

_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""Within a scan, 0xff is followed by 0 or by a restart marker."""
_START, _END, _SCAN, _BASELINE, _HUFFMAN_TABLES = 0xD8, 0xD9, 0xDA, 0xC0, 0xC4
_EXIF, _ADOBE, _NUM_LINES = 0xE1, 0xEE, 0xDC
_BARE: Final = frozenset({*range(0x01, 0xC0), _START})
"""Markers without a segment. libjpeg passes over those it does not know, so nothing may hide behind them."""
_UNCOMMON: Final = frozenset({*range(_BASELINE + 1, 0xD0), _EXIF, _ADOBE, _NUM_LINES}) - {_HUFFMAN_TABLES}
"""Other codings than baseline; tags that may turn the image; what may say that its colours are others than usual."""


class TooCostlyError(Exception):
    """An image that would take too much time or memory."""


def is_jpeg(data: bytes) -> bool:
    return data.startswith(b"\xff\xd8\xff")


def read_markers(data: bytes) -> list[int]:
    """Return the second bytes of a JPEG's markers, from its start to its end, in order; restarts are left out.

    Raises TooCostlyError if it has over MAX_SCANS scans or MAX_SEGMENTS segments. Nothing is decoded.
    """
    markers, num_scans = [], 0
    for marker in _walk(data):
        markers.append(marker)
        num_scans += marker == _SCAN
        if num_scans > MAX_SCANS:
            raise TooCostlyError(f"expected a JPEG of at most {MAX_SCANS} scans, found more")
        if len(markers) > MAX_SEGMENTS:
            raise TooCostlyError(f"expected a JPEG of at most {MAX_SEGMENTS:,} segments, found more")
    return markers


def decode_common(data: bytes, max_pixels: int) -> npt.NDArray[np.uint8] | None:
    """Return the pixels (H, W, 3) of a common JPEG: baseline, of usual colours, upright; the same as Pillow's.

    None for all others, for damaged ones, and for what would cost too much.
    """
    try:
        if not is_jpeg(data) or not _UNCOMMON.isdisjoint(read_markers(data)):
            return None
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if colours != "YCbCr" or height * width > max_pixels:
            return None
        pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except (TooCostlyError, ValueError):
        return None
    return pixels


def _walk(data: bytes) -> Iterator[int]:
    at = 2
    while found := _MARKER.search(data, at):
        at = found.end()
        marker = data[at - 1]
        if marker == _END:
            return
        yield marker
        if marker not in _BARE:
            at += int.from_bytes(data[at : at + 2])  # which counts itself
