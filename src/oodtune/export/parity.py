"""The proof that an exported model predicts what the evaluated model predicted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from oodtune.errors import ParityError
from oodtune.pixels import Pixels

BATCH: Final = 32
"""Images per call of the exported model; bounds the memory of its activations."""


@dataclass(frozen=True)
class Parity:
    """How closely the exported model follows the evaluated one."""

    num_images: int
    max_abs_difference: float
    """Of any logit."""
    top1_agreement: float
    """Share of the images with the same most probable class, 0..1."""


def check_parity(
    predict: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.floating]],
    expected: npt.NDArray[np.floating],
    images: Pixels,
    tolerance: float,
    what: str = "exported model",
) -> Parity:
    """Compare `predict` of `images` (N, S, S, 3) with the logits `expected` (N, K).

    `predict` maps images (B, S, S, 3) to logits (B, K). `what` names them in the error.
    Raises ParityError if any logit differs by more than `tolerance`, or is not finite, or if the most
    probable class of any image differs (also where the evaluated model's two best were equal).
    """
    assert len(expected) == len(images) > 0
    batches = [predict(images[at : at + BATCH]) for at in range(0, len(images), BATCH)]
    found = np.concatenate(batches)  # (N, K)
    assert found.shape == expected.shape
    difference = float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max())
    agreement = float((found.argmax(axis=1) == expected.argmax(axis=1)).mean())
    # Written so that a NaN, which compares as False, is refused.
    if not (difference <= tolerance) or agreement < 1.0:
        raise ParityError(
            f"{what}: expected logits within {tolerance:g} of the evaluated ones and the same class for all "
            f"{len(images)} images, found a difference of {difference:g} and {agreement:.2%} agreement; "
            "evaluate and select again, or raise export.max_abs_difference if all classes agree"
        )
    return Parity(len(images), difference, agreement)


def merge_parities(parities: Sequence[Parity]) -> Parity:
    """Return the parity over all images of several checks."""
    num_images = sum(parity.num_images for parity in parities)
    agreeing = sum(parity.top1_agreement * parity.num_images for parity in parities)
    return Parity(num_images, max(parity.max_abs_difference for parity in parities), agreeing / num_images)
