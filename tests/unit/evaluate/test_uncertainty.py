import numpy as np
import pytest
from scipy import stats

from oodtune.evaluate.uncertainty import estimate, paired_difference, wilson_interval

RANDOM = np.random.default_rng(0)
VALUES = RANDOM.normal(70.0, 2.0, 5).tolist()
RUNS = [(domain, seed) for domain in ("line", "noto", "twemoji") for seed in range(4)]
PLAIN = {run: float(RANDOM.normal(60.0, 1.0)) for run in RUNS}
DROPOUT = {run: PLAIN[run] + {"line": -1.0, "noto": 2.0, "twemoji": 4.0}[run[0]] + RANDOM.normal() for run in RUNS}


def test_the_standard_error_is_that_of_a_sample() -> None:
    assert estimate(VALUES).standard_error == pytest.approx(stats.sem(VALUES))


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_the_interval_is_scipys(level: float) -> None:
    interval = estimate(VALUES, level).interval
    assert interval is not None
    expected = stats.t.interval(level, len(VALUES) - 1, np.mean(VALUES), stats.sem(VALUES))
    assert (interval.low, interval.high, interval.level) == (*map(pytest.approx, expected), level)


def test_one_value_has_no_spread_and_says_so() -> None:
    single = estimate([61.5])
    assert (single.mean, single.n, single.standard_error, single.interval) == (61.5, 1, None, None)


def test_a_paired_difference_is_scipys_paired_test() -> None:
    found = paired_difference(DROPOUT, PLAIN)
    assert found is not None
    expected = stats.ttest_rel([DROPOUT[run] for run in RUNS], [PLAIN[run] for run in RUNS])
    interval = expected.confidence_interval(0.95)
    assert (found.n, found.num_domains) == (12, 3)
    assert found.standard_error is not None
    assert found.mean / found.standard_error == pytest.approx(expected.statistic)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == (pytest.approx(interval.low), pytest.approx(interval.high))


def test_the_bootstrap_of_one_domain_is_scipys() -> None:
    first = {("line", seed): float(value) for seed, value in enumerate(RANDOM.normal(1.0, 1.0, 8))}
    found = paired_difference(first, dict.fromkeys(first, 0.0))
    assert found is not None
    assert found.bootstrap is not None
    options = {"method": "percentile", "n_resamples": 10_000, "rng": np.random.default_rng(1)}
    expected = stats.bootstrap((list(first.values()),), np.mean, **options).confidence_interval
    assert found.bootstrap.low == pytest.approx(expected.low, abs=0.03)
    assert found.bootstrap.high == pytest.approx(expected.high, abs=0.03)


def test_the_bootstrap_resamples_seeds_and_not_domains() -> None:
    gains = {(domain, seed): 10.0 * place for place, domain in enumerate("abc") for seed in range(3)}
    found = paired_difference(gains, dict.fromkeys(gains, 0.0))
    assert found is not None
    assert found.bootstrap is not None
    assert found.interval is not None
    assert found.bootstrap.low == found.bootstrap.high == found.mean  # seeds agree; only domains differ
    assert found.interval.high - found.interval.low > 10.0


def test_only_runs_that_both_have_are_compared() -> None:
    first = {("line", 0): 3.0, ("line", 1): 4.0, ("noto", 0): 90.0}
    second = {("line", 0): 1.0, ("line", 1): 1.0, ("noto", 7): 0.0}
    found = paired_difference(first, second)
    assert found is not None
    assert (found.mean, found.n, found.num_domains) == (2.5, 2, 1)


def test_without_a_run_in_common_there_is_no_difference() -> None:
    assert paired_difference({("line", 0): 1.0}, {("line", 1): 1.0}) is None


def test_one_pair_has_a_difference_and_no_interval() -> None:
    found = paired_difference({("line", 0): 3.0}, {("line", 0): 1.0})
    assert found is not None
    assert (found.mean, found.n, found.standard_error, found.interval, found.bootstrap) == (2.0, 1, None, None, None)


def test_a_domain_with_a_single_seed_has_nothing_to_resample() -> None:
    gains = {("line", 0): 3.0, ("line", 1): 4.0, ("noto", 0): 2.0}
    found = paired_difference(gains, dict.fromkeys(gains, 0.0))
    assert found is not None
    assert found.bootstrap is None
    assert found.interval is not None


def test_the_order_of_the_runs_changes_no_bit() -> None:
    backwards = {run: DROPOUT[run] for run in reversed(RUNS)}
    assert paired_difference(backwards, PLAIN) == paired_difference(DROPOUT, PLAIN)


def test_pairing_finds_what_the_spread_of_single_runs_hides() -> None:
    level = {("line", seed): value for seed, value in enumerate([50.0, 60.0, 70.0])}
    gain = {run: value + 2.0 + 0.1 * run[1] for run, value in level.items()}
    found, alone = paired_difference(gain, level), estimate(list(gain.values()))
    assert found is not None
    assert found.interval is not None
    assert found.interval.low > 0.0
    assert alone.standard_error is not None
    assert found.standard_error is not None
    assert found.standard_error < 0.02 * alone.standard_error


@pytest.mark.parametrize(("num_right", "num_examples"), [(0, 10), (7, 10), (10, 10), (2612, 4000)])
def test_the_interval_of_an_accuracy_is_scipys(num_right: int, num_examples: int) -> None:
    found = wilson_interval(num_right, num_examples)
    expected = stats.binomtest(num_right, num_examples).proportion_ci(0.95, method="wilson")
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_a_mean_of_nothing_is_a_bug_of_ours() -> None:
    with pytest.raises(AssertionError, match="leave it out"):
        estimate([])
