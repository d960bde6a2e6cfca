"""Does confidence mean what it says: reliability, its error, and the one temperature that repairs most of it."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from oodtune.evaluate.metrics import Labels, Logits
from oodtune.evaluate.outcomes import Floats, Outcomes

NUM_BINS = 15
"""Guo et al., arXiv 1706.04599: what the field reports."""
_COLDEST, _HOTTEST = 0.05, 20.0
_PRECISION = 1e-4
"""Relative; a step of Newton's that small leaves an error of its square."""
_SAMPLE = 8
"""A fit on every so many-th example tells where the fit on all of them starts."""


@dataclass(frozen=True)
class Reliability:
    """Confidence and accuracy by bin; all arrays are (bins,), NaN in a bin without examples."""

    counts: npt.NDArray[np.int64]
    confidence: Floats
    """Mean probability of the predicted class, 0..1."""
    accuracy: Floats
    """Share of the examples that are right, 0..1."""

    @property
    def error(self) -> float:
        """Mean over examples of |accuracy - confidence| of their bin, 0..1: the expected calibration error (l1)."""
        filled = self.counts > 0
        gaps = np.abs(self.accuracy - self.confidence)[filled]
        return float(gaps @ self.counts[filled] / self.counts.sum())


def reliability(outcomes: Outcomes, num_bins: int = NUM_BINS, equal_mass: bool = False) -> Reliability:
    """Sort the examples by confidence into bins: of equal width over 0..1, or of about equally many examples.

    Equal width: bins are open below and closed above (Guo et al.). Equal mass (Nguyen & O'Connor, arXiv 1508.05154):
    equally confident examples share a bin, so bins may differ in size.
    """
    confidence = outcomes.confidence
    if equal_mass:
        rank = np.searchsorted(np.sort(confidence), confidence)
        bins = rank * num_bins // len(confidence)
    else:
        bins = np.ceil(confidence * num_bins).astype(np.int64) - 1
    counts = np.bincount(bins, minlength=num_bins)

    def mean(values: npt.NDArray[np.generic]) -> Floats:
        sums = np.bincount(bins, weights=values, minlength=num_bins)
        means: Floats = np.divide(sums, counts, out=np.full(num_bins, np.nan), where=counts > 0)
        return means

    return Reliability(counts, mean(confidence), mean(outcomes.correct))


def expected_calibration_error(outcomes: Outcomes, num_bins: int = NUM_BINS, equal_mass: bool = False) -> float:
    """Return the mean gap between confidence and accuracy, 0..1: of the predicted class, over bins, l1.

    Guo et al., arXiv 1706.04599, section 2. It grows with fewer examples even for a calibrated model (a bin of one
    example is never right on average): compare models on the same images.
    """
    return reliability(outcomes, num_bins, equal_mass).error


def fit_temperature(logits: Logits, labels: Labels) -> float:
    """Return the temperature that minimises the likelihood loss of softmax(logits / temperature); 0.05 .. 20.

    Guo et al., arXiv 1706.04599, section 4.2. The loss is convex in the inverse temperature; Newton's method finds
    the minimum, or the end of the range nearest to it. logits (N, K), labels (N,), N >= 1.
    """
    assert len(logits) == len(labels) > 0, f"{len(logits)} rows of logits, {len(labels)} labels"
    scores = logits - logits.max(1, keepdims=True)  # (N, K), at most 0
    label_scores = scores[np.arange(len(labels)), labels]
    start = _newton(np.ascontiguousarray(scores[::_SAMPLE]), label_scores[::_SAMPLE], 1.0)
    return 1.0 / _newton(scores, label_scores, start)


def _newton(scores: Logits, label_scores: Logits, start: float) -> float:
    """Return the inverse temperature of the lowest loss, from `start` on: Newton's steps within a shrinking bracket."""
    low, high = 1.0 / _HOTTEST, 1.0 / _COLDEST
    inverse, visited = start, {start}
    while True:
        slope, curvature = _slope_and_curvature(scores, label_scores, inverse)
        if slope == 0.0:
            return inverse
        low, high = (inverse, high) if slope < 0.0 else (low, inverse)
        wanted = inverse - slope / curvature if curvature > 0.0 else (high if slope < 0.0 else low)
        following = min(max(wanted, low), high)
        if abs(following - inverse) < _PRECISION * inverse:
            return following
        if following in visited:
            following = math.sqrt(low * high)
        visited.add(following)
        inverse = following


def _slope_and_curvature(scores: Logits, label_scores: Logits, inverse: float) -> tuple[float, float]:
    """Return the first and second derivative of the mean loss by the inverse temperature."""
    odds = np.exp(scores * np.float32(inverse))
    partition = odds.sum(1)
    odds *= scores
    mean = odds.sum(1) / partition
    variance = np.vecdot(odds, scores) / partition - mean**2
    return float(np.mean(mean - label_scores, dtype=np.float64)), float(np.mean(variance, dtype=np.float64))
