"""Does the confidence tell right from wrong? What a system that may answer "I do not know" is worth.

The confidence is the probability of the predicted class. Equally confident examples stand in no order: a curve shows
what a random order of them gives on average, so the order of the examples changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from oodtune.evaluate.outcomes import Floats, Outcomes


@dataclass(frozen=True)
class RiskCoverage:
    """Answer the k most confident of N examples, for k = 1..N; both arrays are (N,)."""

    coverage: Floats
    """k / N: the share that is answered."""
    risk: Floats
    """The share of the answers that are wrong, 0..1."""

    @property
    def area(self) -> float:
        """Mean risk over all coverages (AURC), 0..1; the error rate itself if the confidence tells nothing."""
        return float(self.risk.mean())


def confidence_auroc(outcomes: Outcomes) -> float | None:
    """Return the chance that a right example is more confident than a wrong one, 0..1; 0.5 tells nothing.

    The area under the ROC curve as the Mann-Whitney statistic, ties one half: Hendrycks & Gimpel, "A Baseline for
    Detecting Misclassified and Out-of-Distribution Examples", arXiv 1610.02136. None if all are right or all wrong.
    It says nothing of how many are right: report it beside the accuracy.
    """
    correct = outcomes.correct
    num_right, num_wrong = int(correct.sum()), int((~correct).sum())
    if num_right == 0 or num_wrong == 0:
        return None
    _, group, sizes = np.unique(outcomes.doubt, return_inverse=True, return_counts=True)
    ranks = np.cumsum(sizes) - (sizes - 1) / 2.0  # 1..N, by growing doubt; ties share their mean rank
    above = ranks[group][~correct].sum() - num_wrong * (num_wrong + 1) / 2.0
    return float(above / (num_right * num_wrong))


def risk_coverage(outcomes: Outcomes) -> RiskCoverage:
    """Return risk by coverage.

    El-Yaniv & Wiener, "On the Foundations of Noise-free Selective Classification", JMLR 11, 2010; the area as in
    Geifman, Uziel & El-Yaniv, arXiv 1805.08206.
    """
    answered = np.arange(1, len(outcomes.doubt) + 1)
    return RiskCoverage(answered / len(answered), _errors_among_most_confident(outcomes) / answered)


def selective_accuracy(outcomes: Outcomes, coverages: Sequence[float]) -> Floats:
    """Return (len(coverages),): the accuracy, 0..1, on that share (0 < share <= 1) of most confident examples.

    A share that is no whole number of examples is rounded up.
    """
    assert all(0.0 < coverage <= 1.0 for coverage in coverages), f"coverages are shares, 0..1, not {coverages}"
    num_examples = len(outcomes.doubt)
    answered = np.asarray([ceil(coverage * num_examples - 1e-9) for coverage in coverages], np.int64)
    return 1.0 - _errors_among_most_confident(outcomes)[answered - 1] / answered


def _errors_among_most_confident(outcomes: Outcomes) -> Floats:
    """Return (N,): the expected number of errors among the 1, 2, .. N most confident."""
    _, group, sizes = np.unique(outcomes.doubt, return_inverse=True, return_counts=True)
    errors = np.bincount(group, weights=~outcomes.correct)
    return np.cumsum(np.repeat(errors / sizes, sizes))
