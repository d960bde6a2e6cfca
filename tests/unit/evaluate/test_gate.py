import pytest

from oodtune.config import SelectConfig
from oodtune.errors import ArtifactError, SelectionError
from oodtune.evaluate.gate import check_margin, keep_out, limits, measure_margin
from oodtune.evaluate.predictions import Model
from oodtune.evaluate.selection import Observed, source_out_split
from tests.fixtures.choosing import TARGET, make_model

TRIAL = make_model("plain", num_bytes=5_000_000)
SOUP = make_model("uniform_soup", seed=None, kind="soup", num_bytes=5_000_000)
ENSEMBLE = make_model("logit_ensemble", seed=None, kind="ensemble", members=("a", "b", "c"), num_bytes=15_000_000)
OUT = {TRIAL: 0.80, SOUP: 0.85, ENSEMBLE: 0.90}


def kept_out(among: dict[Model, float] = OUT, **constraints: object) -> dict[str, str]:
    config = SelectConfig.model_validate({"target_domain": TARGET, **constraints})
    found = keep_out(source_out_split(among), TARGET, limits(among, config))
    return {model.row: key for model, key in found.items()}


def refuse(message: str, among: dict[Model, float] = OUT, **constraints: object) -> None:
    with pytest.raises(SelectionError, match=message) as caught:
        kept_out(among, **constraints)
    assert "\n" not in str(caught.value)


def check(observed: Observed, baseline: tuple[str, ...] = ("plain",), **wanted: float) -> None:
    config = SelectConfig.model_validate({"target_domain": TARGET, **wanted})
    check_margin(measure_margin(observed, "large", baseline, config.margin_level), "large", config)


def runs(*values: float) -> dict[tuple[str, int | None], float]:
    return {("ink", seed): value for seed, value in enumerate(values)}


def test_without_constraints_nothing_is_kept_out() -> None:
    assert kept_out() == {}


def test_every_limit_keeps_out_what_is_beyond_it_and_nothing_at_it() -> None:
    assert kept_out(kinds=["trial", "soup"]) == {"logit_ensemble": "kinds"}
    assert kept_out(max_networks=1) == {"logit_ensemble": "max_networks"}
    assert kept_out(max_networks=3) == {}
    assert kept_out(max_megabytes=5.0) == {"logit_ensemble": "max_megabytes"}
    assert kept_out(min_iid=0.85) == {"plain": "min_iid"}


def test_a_model_is_kept_out_by_the_first_limit_that_it_misses() -> None:
    found = kept_out(kinds=["trial", "soup"], max_networks=1, min_iid=0.82)
    assert found == {"logit_ensemble": "kinds", "plain": "min_iid"}


def test_kinds_of_which_there_is_none_are_refused() -> None:
    refuse(
        "expected a model of kind soup or ensemble .* found none among the 1 .* of kind trial",
        {TRIAL: 0.8},
        kinds=["soup", "ensemble"],
    )


def test_too_many_networks_are_refused_with_the_fewest_there_are() -> None:
    refuse(
        "of at most 2 networks .* nearest is logit_ensemble of 3, 1 too many; raise it",
        max_networks=2,
        kinds=["ensemble"],
    )


def test_too_many_megabytes_are_refused_with_the_fewest_there_are() -> None:
    refuse(r"of at most 4.5 MB .* nearest is .* of 5\.00 MB, 0\.50 too many; raise it", max_megabytes=4.5)


def test_too_low_an_iid_accuracy_is_refused_with_the_highest_there_is() -> None:
    refuse(
        r"select\.min_iid: .* at least 95\.00% .* none among the 3 .* logit_ensemble with 90\.00%, 5\.00 points short",
        min_iid=0.95,
    )


def test_limits_that_only_together_leave_nothing_are_refused_by_the_last() -> None:
    refuse(
        r"select\.min_iid: .* none among the 2 .* uniform_soup with 85\.00%, 3\.00 points", max_networks=1, min_iid=0.88
    )


def test_a_limit_on_sizes_that_were_not_recorded_is_an_error() -> None:
    unknown = {make_model("old", num_bytes=0): 0.9}
    with pytest.raises(ArtifactError, match="expected the size of wax-old-seed0, found none"):
        kept_out(unknown, max_megabytes=5.0)


def test_a_gain_at_the_margin_passes_and_one_below_it_is_refused() -> None:
    observed = {"plain": runs(0.84), "large": runs(0.85)}
    check(observed, min_margin=1.0)
    with pytest.raises(
        SelectionError, match=r"beat plain by at least 1\.50 points, found \+1\.00 over plain \(n = 1\), 0\.50 short"
    ):
        check(observed, min_margin=1.5)


def test_the_lower_end_of_the_interval_must_reach_the_margin_if_a_level_is_set() -> None:
    observed = {"plain": runs(0.80, 0.80, 0.80), "large": runs(0.81, 0.82, 0.83)}
    check(observed, min_margin=0.0)
    with pytest.raises(SelectionError, match=r"at the lower end of the 95% interval, found -0\.48 \(mean \+2\.00"):
        check(observed, min_margin=0.0, margin_level=0.95)
    check(observed, min_margin=0.0, margin_level=0.9)


def test_a_single_comparison_has_no_interval_and_is_refused_with_what_is_missing() -> None:
    with pytest.raises(SelectionError, match=r"\(n = 1\), which has no interval; train at least two seeds"):
        check({"plain": runs(0.1), "large": runs(0.9)}, min_margin=1.0, margin_level=0.95)


def test_the_margin_is_over_the_best_recipe_of_the_baseline() -> None:
    observed = {"plain a": runs(0.5, 0.6), "plain b": runs(0.7, 0.6), "large": runs(0.8, 0.8)}
    margin = measure_margin(observed, "large", ["plain a", "plain b"])
    assert margin is not None
    assert (margin.baseline, margin.difference.mean) == ("plain b", pytest.approx(15.0))


def test_runs_are_paired_so_that_what_both_share_drops_out() -> None:
    margin = measure_margin({"plain": runs(0.5, 0.9), "large": runs(0.6, 1.0)}, "large", ["plain"])
    assert margin is not None
    assert margin.difference.interval is not None
    assert margin.difference.interval.low == pytest.approx(10.0)


def test_what_has_no_seeds_is_compared_domain_by_domain_with_the_mean_over_seeds() -> None:
    plain = {("ink", 0): 0.4, ("ink", 1): 0.6, ("oil", 0): 0.7, ("oil", 1): 0.7}
    margin = measure_margin({"plain": plain, "soup": {("ink", None): 0.6, ("oil", None): 0.7}}, "soup", ["plain"])
    assert margin is not None
    assert (margin.difference.n, margin.difference.mean) == (2, pytest.approx(5.0))


@pytest.mark.parametrize("observed", [{"large": runs(0.9)}, {"large": {("ink", 0): 0.9}, "plain": {("ink", 1): 0.5}}])
def test_a_margin_with_nothing_to_compare_is_refused(observed: Observed) -> None:
    with pytest.raises(SelectionError, match="found nothing to compare: no recipe of row 'plain'"):
        check(observed, min_margin=0.0)
    check(observed)
