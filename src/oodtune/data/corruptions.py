"""Common corruptions of images (Hendrycks & Dietterich, arXiv 1903.12261), the same ones for everybody.

The functions are those of the package imagecorruptions-imaug, with the severities of the paper's code. These were
made for 224 pixels a side. Here they are applied to an image as the network sees it, at its own size: the smaller it
is, the more of it a blur of so many pixels, or a block of a pixelated one, takes away, while noise, contrast and
colour stay what they are. So two models on images of one size compare; with figures for 224 pixels they do not.
"""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from oodtune.cpus import count_cpus
from oodtune.errors import DataError, UserError
from oodtune.parallel import map_in_threads, start_processes

COMMON: Final = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
"""The paper's, which means are taken over: noise, blur, weather, digital."""
EXTRA: Final = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""Four more, which the paper sets aside for choosing settings."""
SEVERITIES: Final = (1, 2, 3, 4, 5)
LEAST_SIZE: Final = 32
"""Pixels a side that the package asks for."""

_OWN_GENERATOR: Final = ("impulse_noise", "glass_blur")
"""These take a seed; the others draw from numpy's global generator."""
_WORTH_PROCESSES: Final = 4096
"""Images, each as often as it is corrupted: for fewer, a process would not be ready before the work is done."""

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Batch:
    """Images to be corrupted in one way."""

    images: Images
    """(B, S, S, 3)"""
    ids: tuple[str, ...]
    corruption: str
    severity: int


def require_library() -> None:
    """Raise UserError unless the package that corrupts is installed and loads."""
    try:
        import imagecorruptions  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"corruptions: expected the package imagecorruptions-imaug, found none that loads ({error}); "
            "pip install 'oodtune[corruptions]'"
        ) from None


def require_size(size: int) -> None:
    """Raise DataError if images of `size` pixels a side are too small to corrupt."""
    if size < LEAST_SIZE:
        raise DataError(
            f"corruptions: expected images of {LEAST_SIZE} pixels a side or more, found {size}; raise preprocess.size "
            "and run `oodtune cache` and what follows again"
        )


def corrupt(batch: Batch, seed: int = 0) -> Images:
    """Return the corrupted images (B, S, S, 3), uint8.

    What is drawn at random depends on `seed`, the corruption, its severity and the image's id alone: not on the
    batch, the process, or what was drawn before. numpy's global generator is left as it was, but meanwhile it is
    used: no other thread may draw from it.
    """
    state = np.random.get_state()
    try:
        return np.stack([_corrupt_one(*one, batch, seed) for one in zip(batch.images, batch.ids, strict=True)])
    finally:
        np.random.set_state(state)


def _corrupt_one(image: Images, name: str, batch: Batch, seed: int) -> Images:
    import imagecorruptions

    drawn = _seed_of(seed, batch.corruption, batch.severity, name)
    np.random.seed(drawn)
    own = {"seed": drawn} if batch.corruption in _OWN_GENERATOR else {}
    if batch.corruption != "spatter":
        return np.asarray(imagecorruptions.corrupt(image, batch.severity, batch.corruption, **own))
    # On a small image it can be that no drop falls: the package then divides 0 by 0, and the image turns black.
    with np.errstate(divide="raise", invalid="raise"):
        try:
            return np.asarray(imagecorruptions.corrupt(image, batch.severity, batch.corruption))
        except FloatingPointError:
            return image.copy()


def _seed_of(seed: int, corruption: str, severity: int, name: str) -> int:
    digest = hashlib.sha256(f"{seed}\n{corruption}\n{severity}\n{name}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


@contextmanager
def corrupt_all(batches: Iterable[Batch], num_images: int, seed: int = 0) -> Iterator[Iterator[tuple[Batch, Images]]]:
    """Yield every batch with its corrupted images, in order; many of them are made in a process per CPU.

    `num_images` is how many there are in all batches. At most two batches per CPU are under way or waiting. Raises
    UserError if a process is killed.
    """
    if num_images < _WORTH_PROCESSES or count_cpus() == 1:
        yield ((batch, corrupt(batch, seed)) for batch in batches)
        return
    with start_processes(count_cpus(), f"{num_images:,} images") as pool:

        def hand_over(batch: Batch) -> tuple[Batch, Images]:
            return batch, pool.submit(corrupt, batch, seed).result()

        yield map_in_threads(hand_over, batches)
