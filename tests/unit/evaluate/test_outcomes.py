import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from oodtune.evaluate.metrics import accuracy, negative_log_likelihood
from oodtune.evaluate.outcomes import judge
from tests.fixtures.judged import draw_logits, softmax

LOGITS, LABELS = draw_logits(0)


def test_accuracy_and_likelihood_are_those_of_the_logits() -> None:
    outcomes = judge(LOGITS, LABELS)
    assert outcomes.accuracy == accuracy(LOGITS, LABELS)
    assert outcomes.negative_log_likelihood == pytest.approx(negative_log_likelihood(LOGITS, LABELS))
    assert outcomes.negative_log_likelihood == pytest.approx(log_loss(LABELS, softmax(LOGITS), labels=np.arange(7)))


def test_brier_score_is_scikit_learns() -> None:
    expected = brier_score_loss(LABELS, softmax(LOGITS), labels=np.arange(7), scale_by_half=False)
    assert judge(LOGITS, LABELS).brier_score == pytest.approx(expected)


@pytest.mark.parametrize(("label", "expected"), [(0, 0.0), (1, 2.0)])
def test_brier_score_goes_from_0_to_2(label: int, expected: float) -> None:
    logits = np.asarray([[50.0, 0.0, 0.0]], np.float32)
    assert judge(logits, np.asarray([label])).brier_score == pytest.approx(expected, abs=1e-12)


def test_confidence_is_the_largest_probability() -> None:
    np.testing.assert_allclose(judge(LOGITS, LABELS).confidence, softmax(LOGITS).max(1), rtol=1e-6)


def test_a_temperature_divides_the_logits() -> None:
    cooled = judge(LOGITS, LABELS, temperature=2.5)
    np.testing.assert_allclose(cooled.confidence, softmax(LOGITS / np.float32(2.5)).max(1), rtol=1e-6)


def test_doubt_orders_what_rounds_to_confidence_1() -> None:
    outcomes = judge(np.asarray([[50.0, 0.0], [60.0, 0.0]], np.float32), np.asarray([0, 0]))
    assert outcomes.confidence.tolist() == [1.0, 1.0]
    assert outcomes.doubt[0] > outcomes.doubt[1] > 0.0


def test_huge_logits_have_finite_losses() -> None:
    outcomes = judge(LOGITS * 1e5, LABELS)
    assert outcomes.negative_log_likelihood == pytest.approx(negative_log_likelihood(LOGITS * 1e5, LABELS))


def test_the_logits_are_left_as_they_were() -> None:
    logits = LOGITS.copy()
    judge(logits, LABELS, temperature=2.0)
    np.testing.assert_array_equal(logits, LOGITS)


def test_logits_that_are_not_finite_are_a_bug_of_ours() -> None:
    with pytest.raises(AssertionError, match="not finite"):
        judge(np.asarray([[np.nan, 0.0]], np.float32), np.asarray([0]))
