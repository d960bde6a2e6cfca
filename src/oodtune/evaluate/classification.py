"""Which classes are told apart, whatever the confidence. A class without examples has no recall: NaN."""

import numpy as np
import numpy.typing as npt

from oodtune.evaluate.metrics import Labels, Logits
from oodtune.evaluate.outcomes import Floats, Outcomes

Counts = npt.NDArray[np.int64]


def confusion_matrix(outcomes: Outcomes) -> Counts:
    """Return (K, K): how many examples of the row's class were taken for the column's."""
    width = outcomes.num_classes
    cells = np.bincount(outcomes.labels * width + outcomes.predicted, minlength=width * width)
    return cells.reshape(width, width)


def class_recalls(outcomes: Outcomes) -> Floats:
    """Return (K,): the share of each class's examples that are right, 0..1; NaN for a class without examples."""
    width = outcomes.num_classes
    counts = np.bincount(outcomes.labels, minlength=width)
    right = np.bincount(outcomes.labels[outcomes.correct], minlength=width)
    recalls: Floats = np.divide(right, counts, out=np.full(width, np.nan), where=counts > 0)
    return recalls


def macro_accuracy(outcomes: Outcomes) -> float:
    """Return the mean recall of the classes that have examples, 0..1: every such class counts the same.

    scikit-learn's balanced accuracy. torchmetrics' macro accuracy is lower where a class without examples was
    predicted: it counts that class as a recall of 0.
    """
    return float(np.nanmean(class_recalls(outcomes)))


def worst_class(outcomes: Outcomes) -> tuple[int, float]:
    """Return the class of the lowest recall, the first of equal ones, and that recall, 0..1.

    Classes without examples are left out. The minimum over many small classes is low by chance alone: compare it
    between models on the same images only.
    """
    recalls = class_recalls(outcomes)
    worst = int(np.nanargmin(recalls))
    return worst, float(recalls[worst])


def top_k_accuracy(logits: Logits, labels: Labels, k: int) -> float:
    """Return the share of examples whose label is among the k largest logits, 0..1; logits (N, K), labels (N,).

    Of equal logits the first class comes first, as in `argmax`: k = 1 is the accuracy.
    """
    num_classes = logits.shape[1]
    assert 1 <= k <= num_classes, f"k is 1..{num_classes}, not {k}"
    own = logits[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(num_classes) < labels[:, None]  # (N, K)
    ahead = (logits > own) | ((logits == own) & earlier)
    return float(np.mean(ahead.sum(1) < k))
