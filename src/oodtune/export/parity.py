"""The proof that an exported model predicts what the evaluated model predicted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from oodtune.bundle import Outputs
from oodtune.errors import ParityError
from oodtune.pixels import Pixels
from oodtune.progress import Progress, silent

BATCH: Final = 32
"""Images per run of a model; bounds the memory of its activations."""
LOOSER: Final = {"domain_distances": 10.0}
"""Factor of the tolerance by output: a distance divides features by the small deviations that they have within a
domain, and multiplies their rounding errors by as much."""
SCALED_AS: Final = {"energy": "logits"}
"""The output whose spread scales the tolerance, where it is not the output's own: energy, a log-sum-exp, moves by as
much as the logit that moves most, and spreads less than they do."""


@dataclass(frozen=True)
class Parity:
    """How closely the exported model follows the evaluated one."""

    num_images: int
    max_abs_difference: float
    """Of any logit."""
    allowed: float
    """The tolerance, in logits."""
    top1_agreement: float
    """Share of the images with the same most probable class, 0..1."""


@dataclass(frozen=True)
class Closeness:
    """How closely one output of the exported graph follows that of torch."""

    max_abs_difference: float
    allowed: float


def run_in_batches(
    run: Callable[[npt.NDArray[np.uint8]], Outputs], images: Pixels, progress: Progress = silent
) -> Outputs:
    """Return what `run` gives for images (N, S, S, 3), N > 0, BATCH of them at a time."""
    parts = []
    for at in range(0, len(images), BATCH):
        parts.append(run(images[at : at + BATCH]))
        progress(min(at + BATCH, len(images)), len(images), "images")
    return join_outputs(parts)


def join_outputs(parts: Sequence[Outputs]) -> Outputs:
    """Return the outputs of several sets of images, one after the other."""
    return Outputs(*map(np.concatenate, zip(*parts, strict=True)))


def check_parity(
    found: npt.NDArray[np.floating],
    expected: npt.NDArray[np.floating],
    tolerance: float,
    what: str = "exported model",
) -> Parity:
    """Compare logits (N, K) of the exported model with those of the evaluated one. `what` names them in the error.

    `tolerance` is in units of the standard deviation of `expected` where that exceeds 1: rounding errors grow with
    logits. Raises ParityError if any logit differs by more, or is not finite, or if the most probable class of any
    image differs (also where the evaluated model's two best were equal).
    """
    assert found.shape == expected.shape
    assert len(expected) > 0
    close = _compare(found, expected, tolerance, expected)
    agreement = float((found.argmax(axis=1) == expected.argmax(axis=1)).mean())
    if not _is_close(close) or agreement < 1.0:
        raise ParityError(
            f"{what}: expected logits within {close.allowed:.3g} of the evaluated ones and the same class for all "
            f"{len(expected)} images, found a difference of {close.max_abs_difference:g} and {agreement:.2%} "
            "agreement; evaluate and select again, or raise export.max_abs_difference if all classes agree"
        )
    return Parity(len(expected), close.max_abs_difference, close.allowed, agreement)


def check_outputs(
    found: Outputs, expected: Outputs, tolerance: float, what: str = "exported graph"
) -> dict[str, Closeness]:
    """Compare every output of the exported graph with torch's, of the same images; returns them by name.

    `tolerance` as in `check_parity`, times LOOSER, in units of the spread that SCALED_AS
    names. Raises ParityError if any value differs by more or is not finite.
    """
    closeness = {}
    for name, ours, theirs in zip(Outputs._fields, found, expected, strict=True):
        scale = getattr(expected, SCALED_AS.get(name, name))
        close = _compare(ours, theirs, tolerance * LOOSER.get(name, 1.0), scale)
        if not _is_close(close):
            raise ParityError(
                f"{what}: expected {name} within {close.allowed:.3g} of torch's for all {len(theirs)} images, found a "
                f"difference of {close.max_abs_difference:g}; report this backbone, or raise export.max_abs_difference"
            )
        closeness[name] = close
    return closeness


def merge_parities(parities: Sequence[Parity]) -> dict[str, Any]:
    """Return the parity over all images of several checks, each of which had a tolerance of its own."""
    num_images = sum(parity.num_images for parity in parities)
    agreeing = sum(parity.top1_agreement * parity.num_images for parity in parities)
    return {
        "num_images": num_images,
        "max_abs_difference": max(parity.max_abs_difference for parity in parities),
        "top1_agreement": agreeing / num_images,
    }


def _compare(
    found: npt.NDArray[np.floating],
    expected: npt.NDArray[np.floating],
    tolerance: float,
    scale: npt.NDArray[np.floating],
) -> Closeness:
    """Compare with a tolerance in units of the standard deviation of `scale` where that exceeds 1."""
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64)).max()
    allowed = tolerance * max(1.0, float(scale.astype(np.float64).std()))
    return Closeness(float(difference), allowed)


def _is_close(close: Closeness) -> bool:
    return close.max_abs_difference <= close.allowed  # False for a NaN
