import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, recall_score, top_k_accuracy_score
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix

from oodtune.evaluate.classification import (
    class_recalls,
    confusion_matrix,
    macro_accuracy,
    top_k_accuracy,
    worst_class,
)
from oodtune.evaluate.metrics import accuracy
from oodtune.evaluate.outcomes import judge
from tests.fixtures.judged import draw_logits

LOGITS, LABELS = draw_logits(0)
OUTCOMES = judge(LOGITS, LABELS)
PREDICTED = LOGITS.argmax(1)


def test_the_confusion_matrix_is_scikit_learns() -> None:
    expected = sklearn_confusion_matrix(LABELS, PREDICTED, labels=np.arange(7))
    np.testing.assert_array_equal(confusion_matrix(OUTCOMES), expected)


def test_recalls_are_scikit_learns_where_a_class_has_examples() -> None:
    expected = recall_score(LABELS, PREDICTED, labels=np.arange(6), average=None)
    np.testing.assert_allclose(class_recalls(OUTCOMES)[:6], expected)


def test_a_class_without_examples_has_no_recall_even_if_it_was_predicted() -> None:
    assert confusion_matrix(OUTCOMES)[:, 6].sum() > 0
    assert np.isnan(class_recalls(OUTCOMES)[6])


def test_macro_accuracy_is_scikit_learns_over_the_classes_that_are_there() -> None:
    expected = recall_score(LABELS, PREDICTED, labels=np.arange(6), average="macro")
    assert macro_accuracy(OUTCOMES) == pytest.approx(expected)
    seen = LOGITS[:, :6]
    assert macro_accuracy(judge(seen, LABELS)) == pytest.approx(balanced_accuracy_score(LABELS, seen.argmax(1)))


def test_a_class_that_is_never_right_is_the_worst_one_and_not_an_absent_one() -> None:
    logits = np.eye(4, dtype=np.float32)[[0, 0, 2, 0]]
    assert worst_class(judge(logits, np.asarray([0, 0, 2, 2]))) == (2, 0.5)
    assert worst_class(judge(logits, np.asarray([0, 0, 1, 0]))) == (1, 0.0)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_accuracy_is_scikit_learns(k: int) -> None:
    expected = top_k_accuracy_score(LABELS, LOGITS, k=k, labels=np.arange(7))
    assert top_k_accuracy(LOGITS, LABELS, k) == pytest.approx(expected)


def test_top_1_accuracy_is_the_accuracy_even_if_logits_tie() -> None:
    tied = np.round(LOGITS)
    assert top_k_accuracy(tied, LABELS, 1) == accuracy(tied, LABELS)
    assert top_k_accuracy(np.zeros_like(LOGITS), LABELS, 3) == pytest.approx(np.mean(LABELS < 3))


def test_all_classes_hold_every_label() -> None:
    assert top_k_accuracy(LOGITS, LABELS, 7) == 1.0
