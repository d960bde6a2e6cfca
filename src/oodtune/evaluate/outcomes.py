"""What one model made of N labelled examples, read off their logits once: then every metric is cheap.

Metrics that take an `Outcomes` are in `classification.py`, `calibration.py` and `abstention.py`. What has no example
behind it is absent: None for a number, NaN in an array, never 0.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from oodtune.evaluate.metrics import Labels, Logits

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Outcomes:
    """All arrays are (N,), in the order of the logits; N >= 1."""

    num_classes: int
    labels: Labels
    predicted: Labels
    """The class of the largest logit, the first of equal ones."""
    doubt: Floats
    """Odds against the predicted class, (1 - confidence) / confidence. Orders even what rounds to confidence 1."""
    losses: Floats
    """Negative log-likelihood of the label, in nats."""
    squared_errors: Floats
    """Squared distance of the probabilities from the one-hot label, summed over classes, 0..2."""

    @property
    def correct(self) -> Flags:
        flags: Flags = self.predicted == self.labels
        return flags

    @property
    def confidence(self) -> Floats:
        """Probability of the predicted class, 1/K..1."""
        return 1.0 / (1.0 + self.doubt)

    @property
    def accuracy(self) -> float:
        """Share of the examples that are right, 0..1: every example counts the same (micro average)."""
        return float(self.correct.mean())

    @property
    def negative_log_likelihood(self) -> float:
        """Mean over examples, in nats."""
        return float(self.losses.mean())

    @property
    def brier_score(self) -> float:
        """Mean over examples of the squared error summed over classes, 0..2.

        Brier, "Verification of forecasts expressed in terms of probability", 1950. Libraries that give the error
        of one class of two, or the mean over classes, give smaller numbers.
        """
        return float(self.squared_errors.mean())


def judge(logits: Logits, labels: Labels, temperature: float = 1.0) -> Outcomes:
    """Return the outcomes of softmax(logits / temperature); logits (N, K), labels (N,) of 0..K-1, N >= 1."""
    num_examples, num_classes = logits.shape
    assert num_examples == len(labels) > 0, f"{num_examples} rows of logits, {len(labels)} labels"
    rows = np.arange(num_examples)
    predicted = logits.argmax(1)
    top = logits[rows, predicted]
    assert np.isfinite(top).all(), "logits are not finite"
    scores = logits - top[:, None]  # (N, K), at most 0
    scores /= np.float32(temperature)
    label_scores = scores[rows, labels].astype(np.float64)
    odds = np.exp(scores, out=scores)
    odds[rows, predicted] = 0.0  # its 1 would round away what little is left for the other classes
    doubt = odds.sum(1).astype(np.float64)
    partition = 1.0 + doubt
    squares = (1.0 + np.vecdot(odds, odds).astype(np.float64)) / partition**2
    return Outcomes(
        num_classes=num_classes,
        labels=labels,
        predicted=predicted,
        doubt=doubt,
        losses=np.log1p(doubt) - label_scores,
        squared_errors=squares - 2.0 * np.exp(label_scores) / partition + 1.0,
    )
