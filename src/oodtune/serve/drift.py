"""Have requests left the training domains? The population stability index of what the model says of recent images."""

import threading
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from oodtune.domain_scores import DomainScores

Drift = Literal["predicted_class", "confidence", "energy", "distance"]

HALF_LIFE: Final = 500
"""An image counts half as much after so many more."""
LEAST_IMAGES: Final = 100
"""With fewer in the window, chance alone moves the index; there is none then."""
_GROWTH: Final = 2.0 ** (1.0 / HALF_LIFE)
_LARGE: Final = 1e100
_PSEUDO: Final = 0.5
"""Added to every count of the window: an empty bin must not give an infinite index."""


def group_classes(shares: Sequence[float], num_bins: int = 10) -> list[int]:
    """Return the bin of each class: the largest first, each into the bin that is emptiest."""
    bins, filled = [0] * len(shares), [0.0] * min(num_bins, len(shares))
    for place in sorted(range(len(shares)), key=lambda place: -shares[place]):
        bins[place] = filled.index(min(filled))
        filled[bins[place]] += shares[place]
    return bins


class DriftMonitor:
    """A window of recent images, exponentially weighted, against those that export measured.

    Quantities other than the class fall in ten bins that hold a tenth of the images of the training domains each; more
    than ten classes share ten bins, too, since chance alone moves the index by (bins - 1) / images (Yurdakul 2018,
    Statistical Properties of the Population Stability Index). The index of two shares p and q is the sum of
    (p - q) log(p / q): below 0.1 is taken as stable, above 0.25 as shifted (Siddiqi 2006, Credit Risk Scorecards,
    chapter 9).
    """

    def __init__(self, scores: DomainScores, classes: tuple[str, ...]) -> None:
        self._edges = {name: values[10:100:10] for name, values in scores.quantiles.items()}
        shares = np.asarray([scores.class_shares.get(name, 0.0) for name in classes])
        # A class that the out-splits lack is rare, not impossible.
        class_shares = (shares * scores.num_images + _PSEUDO) / (scores.num_images + _PSEUDO * len(classes))
        self._bins = group_classes(class_shares.tolist())
        self._expected: dict[Drift, npt.NDArray[np.float64]] = {
            "predicted_class": np.bincount(self._bins, class_shares).astype(np.float64)
        }
        self._expected |= {name: np.full(len(edges) + 1, 1.0 / (len(edges) + 1)) for name, edges in self._edges.items()}
        self._counts = {name: [0.0] * len(shares) for name, shares in self._expected.items()}
        self._weight = 1.0
        """Of the next image. It grows instead of all counts fading, which would be more to do for every image."""
        self._lock = threading.Lock()

    def observe(self, place: int, confidence: float, energy: float, distance: float) -> None:
        """Count one image: the place of its class, and the quantities. Workers call this at any time."""
        edges = self._edges
        with self._lock:
            self._counts["predicted_class"][self._bins[place]] += self._weight
            self._counts["confidence"][bisect_left(edges["confidence"], confidence)] += self._weight
            self._counts["energy"][bisect_left(edges["energy"], energy)] += self._weight
            self._counts["distance"][bisect_left(edges["distance"], distance)] += self._weight
            self._weight *= _GROWTH
            if self._weight > _LARGE:
                self._counts = {name: [one / self._weight for one in counts] for name, counts in self._counts.items()}
                self._weight = 1.0

    def index(self, of: Drift) -> float:
        """Return the population stability index of a quantity; NaN while there are too few images."""
        with self._lock:
            counts = np.asarray(self._counts[of]) / self._weight
        if counts.sum() < LEAST_IMAGES:
            return float("nan")
        found = (counts + _PSEUDO) / (counts + _PSEUDO).sum()
        expected = self._expected[of]
        return float(((found - expected) * np.log(found / expected)).sum())
