import pytest

from oodtune.evaluate.rates import rate_figure, rates_of
from oodtune.evaluate.scatter import MEAN
from tests.fixtures.reporting import DOMAINS, RATES, make_scores

METHODS = {name: {"dropout": rate, "average": "none"} for name, rate in RATES.items()}


def test_rates_are_of_methods_that_differ_in_dropout_alone():
    other = {"averaged": {"dropout": 0.7, "average": "swad"}}
    assert rates_of(METHODS | other) == RATES


def test_fewer_than_three_rates_are_no_curve():
    two = {name: METHODS[name] for name in ("plain", "large_dropout")}
    assert rates_of(two) == {}
    assert rate_figure(make_scores(), rates_of(two)) is None


def test_the_lowest_rate_is_the_zero_line_of_every_panel():
    figure = rate_figure(make_scores(seeds=(0, 1), methods=RATES), RATES)
    assert figure is not None
    assert [chart.title for chart in figure.charts] == [MEAN, *DOMAINS]
    for chart in figure.charts:
        zero = chart.frame.place(0.0, 0.0)
        assert [(mark.x, mark.y) for mark in chart.marks if mark.x == zero[0]] == [zero, zero]


def test_a_gain_is_the_mean_within_seeds():
    scores = make_scores(seeds=(0, 1), methods=RATES)
    by_seed = {(s.model.row, s.model.seed): s.ood for s in scores if s.model.target_domain == "line"}
    gain = 50.0 * sum(by_seed["large_dropout", seed] - by_seed["plain", seed] for seed in (0, 1))
    figure = rate_figure(scores, RATES)
    assert figure is not None
    chart = next(chart for chart in figure.charts if chart.title == "line")
    x, y = chart.frame.place(2.0, gain)
    assert min(abs(mark.y - y) for mark in chart.marks if mark.x == x) == pytest.approx(0.0, abs=0.1)


def test_one_seed_has_no_shade_and_two_have_one():
    for seeds, count in (((0,), 0), ((0, 1), 2)):
        figure = rate_figure(make_scores(seeds=seeds, methods=RATES), RATES)
        assert figure is not None
        assert {len(chart.areas) for chart in figure.charts} == {count}


def test_a_target_that_misses_a_rate_has_no_panel_and_there_is_no_mean():
    scores = [s for s in make_scores(methods=RATES) if (s.model.target_domain, s.model.row) != ("line", "half_dropout")]
    figure = rate_figure(scores, RATES)
    assert figure is not None
    assert [chart.title for chart in figure.charts] == ["noto", "twemoji", "openmoji"]
