"""Temperature scaling."""

import math

import numpy as np

from oodtune.evaluate.metrics import Labels, Logits, negative_log_likelihood

_RANGE = (math.log(0.05), math.log(20.0))
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


def fit_temperature(logits: Logits, labels: Labels) -> float:
    """Return the temperature that minimises the likelihood loss of softmax(logits / temperature).

    Guo et al., "On Calibration of Modern Neural Networks", arXiv 1706.04599, section 4.2. The loss has one
    minimum in the logarithm of the temperature; golden-section search finds it within 0.05 .. 20.
    """

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood((logits / np.exp(log_temperature)).astype(np.float32), labels)

    low, high = _RANGE
    for _ in range(40):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return math.exp((low + high) / 2.0)
