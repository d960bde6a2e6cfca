"""One image file: read once, decoded once, and everything the checks need to know of it."""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from oodtune.data.listing import SourceImage
from oodtune.errors import DataError
from oodtune.parallel import map_in_processes
from oodtune.preprocess import DEEP_MODES, Decoded, decode_with_facts
from oodtune.progress import Progress, silent

if TYPE_CHECKING:
    from PIL import Image

MAX_BYTES: Final = 256 * 1024 * 1024
"""A file is read whole; a larger one is no image that a classifier is trained on."""
THUMBNAIL: Final = 16
"""Height and width of the pixels that near duplicates are compared by."""
_SMALL: Final = 32
_ENOUGH: Final = 2 * _SMALL
"""Pixels a side that the small copy is made from."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What one image is. About 1.5 kB, so that half a million images fit into memory."""

    sha256: str
    """Of the file; empty if it could not be read at all."""
    problem: str = ""
    """Why it cannot be used, in one line; empty if it can, and only then are the rest known."""
    format: str = ""
    width: int = 0
    """In pixels, upright."""
    height: int = 0
    mode: str = ""
    transparent: bool = False
    rotated: bool = False
    hash64: int = 0
    """Perceptual hash (DCT of a 32x32 greyscale copy): alike images differ in few bits."""
    thumbnail: bytes = b""
    """RGB pixels, THUMBNAIL x THUMBNAIL."""

    @property
    def greyscale(self) -> bool:
        return self.mode in ("1", "L", "LA", "La")

    @property
    def deep(self) -> bool:
        return self.mode in DEEP_MODES

    @property
    def aspect(self) -> float:
        """Longer side over shorter side."""
        return max(self.width, self.height) / max(1, min(self.width, self.height))


def inspect_images(images: Sequence[SourceImage], progress: Progress = silent) -> dict[str, Facts]:
    """Return id -> facts of every image, in the order given: a broken one has a problem, it stops nothing."""
    facts = {}
    with map_in_processes(inspect_image, images) as results:
        for done, (image, found) in enumerate(zip(images, results, strict=True), start=1):
            facts[image.id] = found
            progress(done, len(images), "checked")
    return facts


def inspect_image(image: SourceImage) -> Facts:
    """Return the facts of one file."""
    path, name = image.path, image.id
    try:
        if path.stat().st_size > MAX_BYTES:
            return Facts("", f"{name}: expected a file of at most {MAX_BYTES // 2**20} MiB; scale it down or remove it")
        content = path.read_bytes()
    except OSError as error:
        return Facts("", f"{name}: expected a readable file; {error.strerror}; check its permissions and the disk")
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        with warnings.catch_warnings():  # Pillow's, of odd metadata; a process, or the main thread, is alone here
            warnings.simplefilter("ignore")
            decoded = decode_with_facts(content, name, at_least=_ENOUGH)
    except DataError as error:
        return Facts(sha256, str(error))
    return _describe(sha256, decoded)


def _describe(sha256: str, decoded: Decoded) -> Facts:
    from PIL import Image

    # One resize serves hash and thumbnail; reducing_gap first halves large images by averaging, which is cheap.
    small = decoded.image.resize((_SMALL, _SMALL), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return Facts(
        sha256=sha256,
        format=decoded.format,
        width=decoded.width,
        height=decoded.height,
        mode=decoded.mode,
        transparent=decoded.transparent,
        rotated=decoded.rotated,
        hash64=_perceptual_hash(small),
        thumbnail=small.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX).tobytes(),
    )


def _perceptual_hash(small: "Image.Image") -> int:
    import imagehash

    bits = imagehash.phash(small).hash  # (8, 8) bool
    return int.from_bytes(np.packbits(bits).tobytes())
