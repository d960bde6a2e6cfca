import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from oodtune.evaluate.metrics import accuracy, negative_log_likelihood

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 4, 500)
LOGITS = (RANDOM.normal(size=(500, 4)) + 2.0 * np.eye(4)[LABELS]).astype(np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64))
    return powers / powers.sum(1, keepdims=True)


def test_accuracy_is_scikit_learns() -> None:
    assert accuracy(LOGITS, LABELS) == pytest.approx(accuracy_score(LABELS, LOGITS.argmax(1)))


def test_negative_log_likelihood_is_scikit_learns() -> None:
    assert negative_log_likelihood(LOGITS, LABELS) == pytest.approx(log_loss(LABELS, softmax(LOGITS)))


def test_negative_log_likelihood_of_huge_logits_is_finite() -> None:
    assert np.isfinite(negative_log_likelihood(LOGITS * 1e5, LABELS))
