import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.calibration import calibration_curve

from oodtune.evaluate.calibration import expected_calibration_error, fit_temperature, reliability
from oodtune.evaluate.metrics import negative_log_likelihood
from oodtune.evaluate.outcomes import judge
from tests.fixtures.judged import draw_logits, outcomes_of

LOGITS, LABELS = draw_logits(0)
OUTCOMES = judge(LOGITS, LABELS)


def test_reliability_is_scikit_learns_calibration_curve() -> None:
    bins = reliability(OUTCOMES)
    accuracy, confidence = calibration_curve(OUTCOMES.correct, OUTCOMES.confidence, n_bins=15)
    filled = bins.counts > 0
    np.testing.assert_allclose(bins.accuracy[filled], accuracy)
    np.testing.assert_allclose(bins.confidence[filled], confidence)


def test_reliability_in_bins_of_equal_mass_is_scikit_learns() -> None:
    bins = reliability(OUTCOMES, equal_mass=True)
    accuracy, confidence = calibration_curve(OUTCOMES.correct, OUTCOMES.confidence, n_bins=15, strategy="quantile")
    np.testing.assert_allclose(bins.accuracy, accuracy)
    np.testing.assert_allclose(bins.confidence, confidence)
    assert bins.counts.tolist() == [40] * 15


def test_a_bin_without_examples_has_neither_confidence_nor_accuracy() -> None:
    bins = reliability(outcomes_of([0.95, 0.97], [True, False]))
    assert bins.counts.tolist() == [0] * 14 + [2]
    assert np.isnan(bins.accuracy[:14]).all()
    assert np.isnan(bins.confidence[:14]).all()
    assert bins.accuracy[14] == 0.5


def test_the_calibration_error_by_hand() -> None:
    outcomes = outcomes_of([0.9, 0.92, 0.6, 0.6], [True, False, True, True])
    expected = 2 / 4 * abs(0.91 - 0.5) + 2 / 4 * abs(0.6 - 1.0)
    assert expected_calibration_error(outcomes) == pytest.approx(expected)
    assert expected_calibration_error(outcomes, num_bins=2, equal_mass=True) == pytest.approx(expected)


def test_equally_confident_examples_share_a_bin_of_equal_mass() -> None:
    bins = reliability(outcomes_of([0.8] * 5 + [0.9], [True, False] * 3), num_bins=3, equal_mass=True)
    assert bins.counts.tolist() == [5, 0, 1]


def test_the_edge_of_a_bin_belongs_to_the_bin_below() -> None:
    assert reliability(outcomes_of([0.5], [True]), num_bins=2).counts.tolist() == [1, 0]


def test_full_confidence_is_in_the_last_bin() -> None:
    assert reliability(outcomes_of([1.0], [True])).counts[-1] == 1


def test_labels_drawn_from_the_probabilities_are_calibrated() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0.0, 2.0, (20_000, 5)).astype(np.float32)
    labels = (logits + random.gumbel(size=logits.shape)).argmax(1)
    assert expected_calibration_error(judge(logits, labels)) < 0.01
    assert expected_calibration_error(judge(logits * 3, labels)) > 0.1
    assert fit_temperature(logits, labels) == pytest.approx(1.0, abs=0.02)


def test_the_temperature_is_where_scipy_finds_the_lowest_loss() -> None:
    def loss(log_temperature: float) -> float:
        return judge(LOGITS, LABELS, float(np.exp(log_temperature))).negative_log_likelihood

    best = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded", options={"xatol": 1e-6})
    assert fit_temperature(LOGITS, LABELS) == pytest.approx(np.exp(best.x), rel=1e-3)


@pytest.mark.parametrize("scale", [0.1, 3.0, 10.0])
def test_the_temperature_undoes_a_scaling_of_the_logits(scale: float) -> None:
    base = fit_temperature(LOGITS, LABELS)
    assert fit_temperature(LOGITS * np.float32(scale), LABELS) == pytest.approx(scale * base, rel=1e-4)


def test_no_other_temperature_has_a_lower_loss() -> None:
    best = fit_temperature(LOGITS, LABELS)
    losses = [negative_log_likelihood(LOGITS / (best * factor), LABELS) for factor in (0.99, 1.0, 1.01)]
    assert min(losses) == losses[1]


@pytest.mark.parametrize(("right", "expected"), [(True, 0.05), (False, 20.0)])
def test_a_model_without_a_best_temperature_gets_the_end_of_the_range(right: bool, expected: float) -> None:
    labels = np.arange(30) % 3
    logits = np.eye(3, dtype=np.float32)[labels if right else (labels + 1) % 3]
    assert fit_temperature(logits, labels) == pytest.approx(expected)


def test_logits_that_say_nothing_keep_their_temperature() -> None:
    assert fit_temperature(np.zeros((10, 3), np.float32), np.arange(10) % 3) == 1.0


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3, 1e5])
def test_the_fit_ends_within_its_range_however_large_the_logits(scale: float) -> None:
    assert 0.05 <= fit_temperature(LOGITS * np.float32(scale), LABELS) <= 20.0 + 1e-9
