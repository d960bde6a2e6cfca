"""What a served graph says of images of its training domains: the scale on which others are judged. No torch."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from oodtune.config import Section

Floats = npt.NDArray[np.float32]
Quantity = Literal["distance", "energy", "confidence"]
"""Distance to the nearest training domain, energy, probability of the predicted class."""

PERCENTS: Final = np.linspace(0.0, 100.0, 101)
"""The percentiles that `DomainScores.quantiles` holds."""


class DomainScores(Section):
    """Measured by the exported graph on source out-splits: images that it was neither fitted nor trained on."""

    domains: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of the training domains, in the order of the graph's distances."""
    num_images: int
    quantiles: dict[Quantity, tuple[float, ...]]
    """Quantity -> its percentiles 0, 1, ..., 100."""
    class_shares: dict[str, float]
    """Class -> share of the images that it is predicted for."""
    max_score: float = 0.95
    """An image whose score exceeds this is out of domain: 5 % of images of the training domains do."""
    detection: dict[str, Any] = Field(default_factory=dict)
    """How well the scores tell the held-out domain from these images; nothing was chosen by it."""

    def score(self, distance: Iterable[float]) -> Floats:
        """Return the OOD score (N,) of N distances to the nearest domain: the share of images of the training domains
        that are nearer, 0..1."""
        return np.asarray([self.score_one(float(one)) for one in distance], np.float32)

    def score_one(self, distance: float) -> float:
        """Return the OOD score of one distance, in the bits of a float32. One image is no work for numpy: a call
        of it that gives up the interpreter's lock waits to get it back."""
        known = self.quantiles["distance"]
        place = bisect_right(known, distance)
        if place in (0, len(known)):
            return float(place > 0)
        share = (place - 1 + (distance - known[place - 1]) / (known[place] - known[place - 1])) / (len(known) - 1)
        return float(np.float32(share))


def measure_scores(
    domains: tuple[str, ...],
    classes: tuple[str, ...],
    probabilities: Floats,
    energy: Floats,
    domain_distances: Floats,
    detection: Mapping[str, Any] | None = None,
) -> DomainScores:
    """Return the scores of the graph's outputs of N images: (N, K), (N,) and (N, M)."""
    values = {"distance": domain_distances.min(axis=1), "energy": energy, "confidence": probabilities.max(axis=1)}
    counts = np.bincount(probabilities.argmax(axis=1), minlength=len(classes))
    return DomainScores(
        domains=domains,
        num_images=len(energy),
        quantiles={name: tuple(np.percentile(value, PERCENTS).tolist()) for name, value in values.items()},  # type: ignore[misc]
        class_shares={name: float(count) / len(energy) for name, count in zip(classes, counts, strict=True)},
        detection=dict(detection or {}),
    )
