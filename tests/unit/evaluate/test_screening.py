import json

import pytest

from oodtune.evaluate.screening import ALL_TARGETS, Curve, Screen, rank, ranking, suggestions
from tests.fixtures.screening import RATES, make_backbone, make_folds, make_screen


def test_a_curve_is_the_mean_over_folds_and_suggests_its_highest_ood_estimate():
    curve = Curve.of(make_folds((0.2, 0.5, 0.6), (0.4, 0.5, 0.3)), RATES)
    assert curve.ood == (0.3, 0.5, 0.45)
    assert curve.iid == pytest.approx((0.4, 0.6, 0.55))
    assert (curve.suggestion.rate, curve.suggestion.ood) == (0.5, 0.5)


def test_of_equal_rates_the_smaller_one_is_suggested():
    assert Curve.of(make_folds((0.2, 0.5, 0.6), (0.4, 0.5, 0.4)), RATES).suggestion.rate == 0.5
    sums_differ_in_order = make_folds((0.1, 0.3, 0.3), (0.2, 0.2, 0.1), (0.3, 0.1, 0.2))
    assert Curve.of(sums_differ_in_order, RATES).suggestion.rate == 0.0


def test_the_spread_of_a_gain_is_that_of_paired_differences():
    suggestion = Curve.of(make_folds((0.1, 0.2, 0.1), (0.7, 0.9, 0.7)), RATES).suggestion
    assert (suggestion.gain, suggestion.gain_spread) == pytest.approx((0.15, 0.1 / 2**0.5))
    assert suggestion.ood_spread == pytest.approx(0.7 / 2**0.5)


@pytest.mark.parametrize(
    ("folds", "verdict"),
    [
        (((0.1, 0.3, 0.2), (0.1, 0.3, 0.2)), ""),
        (((0.1, 0.5, 0.2), (0.3, 0.3, 0.2)), "flat: the gain is within its spread"),
        (((0.5, 0.3, 0.2), (0.5, 0.3, 0.2)), "no rate beats 0"),
        (((0.1, 0.2, 0.3), (0.1, 0.2, 0.3)), "the largest rate tried"),
    ],
)
def test_the_verdict_says_what_speaks_against_a_suggestion(folds: tuple[tuple[float, ...], ...], verdict: str):
    assert Curve.of(make_folds(*folds), RATES).suggestion.verdict == verdict


def test_as_good_are_the_rates_that_no_consistent_difference_tells_from_the_best():
    only = Curve.of(make_folds((0.1, 0.5, 0.4), (0.1, 0.5, 0.4)), RATES).suggestion
    plateau = Curve.of(make_folds((0.1, 0.5, 0.6), (0.1, 0.5, 0.3)), RATES).suggestion
    assert (only.as_good, plateau.as_good) == ((0.5, 0.5), (0.5, 0.9))


def test_backbones_are_ranked_by_the_ood_estimate_at_the_rate_of_each():
    ranked = rank([make_backbone("weak"), make_backbone("strong", bonus=0.1), make_backbone("also_weak")])
    assert [one.label for one in ranked] == ["strong", "weak", "also_weak"]
    assert [row[0] for row in ranking(Screen(rates=RATES, backbones=ranked))] == ["strong", "weak", "also_weak"]


def test_every_target_has_a_suggestion_and_all_of_them_together_one():
    assert [row[0] for row in suggestions(make_backbone())] == ["d0", "d1", "d2", ALL_TARGETS]


def test_the_tables_name_backbones_targets_and_each_rate():
    text = make_screen(make_backbone("one"), make_backbone("two")).to_markdown()
    rows = [line.split(" | ")[0].strip("| ") for line in text.splitlines() if line.startswith("| ")]
    for name in ("one", "two", "d0", "d1", "d2", ALL_TARGETS, "0", "0.5", "0.9"):
        assert name in rows


def test_a_screen_reads_back_what_it_wrote():
    screen = make_screen()
    assert Screen.model_validate_json(json.dumps(screen.model_dump(mode="json"))) == screen
