"""What a graph of lower precision loses and gains beside fp32: accuracy for each domain, milliseconds, megabytes."""

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from oodtune.bundle import Outputs, Session, run_session, runtime_version

Labels = npt.NDArray[np.int64]

BATCHES: Final = (1, 8)
ROUNDS: Final = 15
CPU_INFO: Final = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Loss:
    """A variant beside fp32, on N images of one split of one domain."""

    num_images: int
    accuracy_fp32: float
    accuracy: float
    loss_points: float
    """Points of accuracy, -100..100; below zero where the variant is better."""
    top1_agreement: float
    """Share of the images with the same most probable class, 0..1."""
    max_abs_difference: float | None
    """Of any logit; None if an output of the variant is not finite."""


@dataclass(frozen=True)
class Speed:
    """How long a graph takes for batches of one size."""

    variant: str
    batch: int
    image_ms: float
    """Milliseconds for one image: the median of the runs."""
    spread_ms: float
    """From the first to the third quartile of the runs."""
    of_fp32: float
    """The median over rounds of this graph's time divided by fp32's in the same round; above 1 is slower."""


def compare(found: Outputs, expected: Outputs, labels: Labels) -> Loss:
    """Compare a variant's outputs of N > 0 images with those of fp32; labels (N,)."""
    ours, theirs = found.logits.argmax(axis=1), expected.logits.argmax(axis=1)
    num_images, right, right_fp32 = len(labels), int((ours == labels).sum()), int((theirs == labels).sum())
    difference = np.abs(found.logits.astype(np.float64) - expected.logits)
    is_finite = all(bool(np.isfinite(values).all()) for values in found)
    return Loss(
        num_images=num_images,
        accuracy_fp32=right_fp32 / num_images,
        accuracy=right / num_images,
        loss_points=100.0 * (right_fp32 - right) / num_images,
        top1_agreement=float((ours == theirs).mean()),
        max_abs_difference=float(difference.max()) if is_finite else None,
    )


def refusal(losses: Mapping[str, Loss], max_loss_points: float) -> str | None:
    """Return why a variant must not be in a bundle, or None. `losses` are those of the source domains' out-splits:
    the held-out domain decides nothing."""
    for domain, loss in losses.items():
        if loss.max_abs_difference is None:
            return f"expected finite outputs, found others on {domain}"
    domain, worst = max(losses.items(), key=lambda item: item[1].loss_points)
    if worst.loss_points <= max_loss_points:
        return None
    return (
        f"expected at most {max_loss_points:g} points of accuracy lost on every training domain, found "
        f"{worst.loss_points:.1f} on {domain} ({worst.accuracy_fp32:.1%} to {worst.accuracy:.1%} of "
        f"{worst.num_images} images)"
    )


def measure_speed(
    sessions: Mapping[str, Session], image_size: int, batches: Sequence[int] = BATCHES, rounds: int = ROUNDS
) -> list[Speed]:
    """Time `sessions`, one of them `fp32`, on images of `image_size` pixels a side.

    They take turns, so that a slow moment of the machine falls on all of them.
    """
    found = []
    for batch in batches:
        images = np.random.default_rng(0).integers(0, 256, (batch, image_size, image_size, 3), np.uint8)
        for session in sessions.values():
            run_session(session, images)
        runs = [[_time_ms(session, images) / batch for session in sessions.values()] for _ in range(rounds)]
        spent = dict(zip(sessions, np.array(runs).T, strict=True))  # variant -> (rounds,)
        for variant, times in spent.items():
            first, median, third = np.percentile(times, (25, 50, 75))
            of_fp32 = float(np.median(times / spent["fp32"]))
            found.append(Speed(variant, batch, float(median), float(third - first), of_fp32))
    return found


def describe_machine() -> dict[str, Any]:
    """Return what times hang on, beside the graph."""
    return {"cpu": _cpu_name(), "provider": "cpu", "num_threads": 1, "onnxruntime": runtime_version()}


def _time_ms(session: Session, images: npt.NDArray[np.uint8]) -> float:
    begun = time.perf_counter()
    run_session(session, images)
    return 1000.0 * (time.perf_counter() - begun)


def _cpu_name() -> str:
    try:
        lines = CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
