import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from oodtune.evaluate.abstention import confidence_auroc, risk_coverage, selective_accuracy
from oodtune.evaluate.outcomes import judge
from tests.fixtures.judged import draw_logits, outcomes_of, softmax

LOGITS, LABELS = draw_logits(0)
OUTCOMES = judge(LOGITS, LABELS)


def test_auroc_is_scikit_learns() -> None:
    expected = roc_auc_score(OUTCOMES.correct, softmax(LOGITS).max(1))
    assert confidence_auroc(OUTCOMES) == pytest.approx(expected)


def test_auroc_with_ties_is_scikit_learns() -> None:
    confidence = np.round(OUTCOMES.confidence, 1)
    tied = outcomes_of(confidence.tolist(), OUTCOMES.correct.tolist())
    assert confidence_auroc(tied) == pytest.approx(roc_auc_score(OUTCOMES.correct, confidence))


@pytest.mark.parametrize(
    ("correct", "expected"),
    [([True, True, False], 1.0), ([False, True, True], 0.0), ([True, True, True], None), ([False] * 3, None)],
)
def test_auroc_is_absent_where_there_is_nothing_to_tell_apart(correct: list[bool], expected: float | None) -> None:
    assert confidence_auroc(outcomes_of([0.9, 0.8, 0.7], correct)) == expected


def test_one_confidence_for_all_tells_nothing() -> None:
    outcomes = outcomes_of([0.7] * 4, [True, False, False, True])
    assert confidence_auroc(outcomes) == 0.5
    assert risk_coverage(outcomes).area == pytest.approx(0.5)


def test_risk_by_coverage_by_hand() -> None:
    curve = risk_coverage(outcomes_of([0.6, 0.9, 0.7, 0.8], [False, True, True, False]))
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    np.testing.assert_allclose(curve.risk, [0.0, 1 / 2, 1 / 3, 2 / 4])
    assert curve.area == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 4)


def test_risk_is_the_mean_over_all_orders_of_tied_examples() -> None:
    random = np.random.default_rng(0)
    confidence = np.asarray([0.9, 0.9, 0.9, 0.5, 0.5])
    correct = np.asarray([True, False, False, True, False])
    orders = [np.lexsort((random.random(5), -confidence)) for _ in range(4000)]
    risks = [np.cumsum(~correct[order]) / np.arange(1, 6) for order in orders]
    curve = risk_coverage(outcomes_of(confidence.tolist(), correct.tolist()))
    np.testing.assert_allclose(curve.risk, np.mean(risks, axis=0), atol=0.03)


def test_the_order_of_the_examples_changes_no_curve() -> None:
    logits = np.round(LOGITS)
    forth, back = (risk_coverage(judge(logits[order], LABELS[order])) for order in (slice(None), slice(None, None, -1)))
    np.testing.assert_allclose(forth.risk, back.risk)


def test_risk_at_full_coverage_is_the_error_rate() -> None:
    assert risk_coverage(OUTCOMES).risk[-1] == pytest.approx(1.0 - OUTCOMES.accuracy)


def test_selective_accuracy_is_that_of_the_most_confident_share() -> None:
    surest = np.argsort(OUTCOMES.doubt)[:300]
    expected = [np.mean(OUTCOMES.correct[surest]), OUTCOMES.accuracy]
    np.testing.assert_allclose(selective_accuracy(OUTCOMES, [0.5, 1.0]), expected)


def test_a_share_of_an_example_is_a_whole_example() -> None:
    outcomes = outcomes_of([0.9, 0.8, 0.7], [True, False, True])
    np.testing.assert_allclose(selective_accuracy(outcomes, [0.01, 1 / 3, 0.34]), [1.0, 1.0, 0.5])
