import inspect
from dataclasses import replace
from typing import get_args

import pytest

from oodtune.config import held_out_domains
from oodtune.config.release import SelectionRule
from oodtune.errors import ArtifactError, ConfigError
from oodtune.evaluate import selection
from oodtune.evaluate.predictions import Model
from oodtune.evaluate.scores import Score
from oodtune.evaluate.selection import (
    fixed,
    leave_one_source_domain_out,
    observe,
    oracle,
    rank,
    regret,
    source_out_split,
)
from tests.fixtures.choosing import DOMAINS, PAIRS, TARGET, make_model, make_score


def model(name: str, kind: str = "trial") -> Model:
    return Model.model_validate({"target_domain": "line", "name": name, "kind": kind, "row": name})


@pytest.fixture
def scores() -> list[Score]:
    """`plain` has the higher iid, `large` does better on every domain that was left out."""
    ood = {"plain": 0.5, "large": 0.6}
    out = {"plain": 0.9, "large": 0.8}
    return [
        make_score(make_model(row, target, seed), out[row] + 0.01 * seed, ood[row])
        for target in (*DOMAINS, *PAIRS)
        for row in ("plain", "large")
        for seed in (0, 1)
    ]


def without_target(scores: list[Score], target: str) -> list[Score]:
    """Return `scores` with another accuracy wherever it was measured on the target."""
    changed = []
    for number, score in enumerate(scores):
        per_domain = {**score.per_domain, target: 1.0 / (number + 2)}
        held_out = held_out_domains(score.model.target_domain)
        ood = sum(per_domain[domain] for domain in held_out) / len(held_out)
        changed.append(replace(score, per_domain=per_domain, ood=ood))
    return changed


def test_the_highest_out_accuracy_wins() -> None:
    assert source_out_split({model("a"): 0.7, model("b"): 0.8, model("c"): 0.75})[0].model.name == "b"


def test_a_tie_goes_to_the_cheaper_model_and_then_to_the_first_name() -> None:
    tied = {model("e", "ensemble"): 0.8, model("s", "soup"): 0.8, model("u"): 0.8, model("t"): 0.8}
    assert [one.model.name for one in source_out_split(tied)] == ["t", "u", "s", "e"]


@pytest.mark.parametrize("rule", [rule for rule in get_args(SelectionRule) if rule != "oracle"])
def test_no_rule_but_the_oracle_changes_with_accuracies_on_the_target(rule: SelectionRule, scores: list[Score]) -> None:
    row = "large" if rule == "fixed" else None
    changed = without_target(scores, TARGET)
    assert rank(changed, TARGET, rule, row) == rank(scores, TARGET, rule, row)
    assert rank(changed, TARGET, "oracle") != rank(scores, TARGET, "oracle")


def test_no_rule_but_the_oracle_takes_scores_or_ood_accuracies() -> None:
    for rule in (source_out_split, leave_one_source_domain_out, fixed):
        assert set(inspect.signature(rule).parameters) <= {"out_accuracy", "left_out", "row"}
    assert set(get_args(SelectionRule)) == {
        name for name in vars(selection) if name in get_args(SelectionRule)
    }  # a function of each name


def test_the_recipe_that_is_best_on_domains_left_out_wins_against_iid_accuracy(scores: list[Score]) -> None:
    assert rank(scores, TARGET, "source_out_split")[0].model.row == "plain"
    best = rank(scores, TARGET, "leave_one_source_domain_out")[0]
    assert (best.model.row, best.seen) == ("large", pytest.approx(0.6))
    assert best.model.seed == 1  # of its seeds, the best on the source out-splits
    assert best.model.target_domain == TARGET


def test_every_left_out_domain_counts_the_same_however_many_seeds_it_has() -> None:
    left_out = {"a": {("ink", 0): 0.9, ("oil", 0): 0.1, ("oil", 1): 0.1}, "b": {("ink", 0): 0.5, ("oil", 0): 0.45}}
    ranked = leave_one_source_domain_out({model("a"): 0.5, model("b"): 0.9}, left_out)
    assert [(one.model.name, one.seen) for one in ranked] == [
        ("a", pytest.approx(0.5)),
        ("b", pytest.approx(0.475)),
    ]


def test_a_recipe_that_was_not_scored_on_every_domain_is_not_ranked() -> None:
    left_out = {"a": {("ink", 0): 0.9}, "b": {("ink", 0): 0.5, ("oil", 0): 0.5}}
    ranked = leave_one_source_domain_out({model("a"): 0.5, model("b"): 0.4}, left_out)
    assert [one.model.name for one in ranked] == ["b"]


def test_a_tie_of_recipes_goes_to_the_cheaper_kind_and_then_to_the_first_name() -> None:
    kinds = {"e": "ensemble", "s": "soup", "u": "trial", "t": "trial"}
    left_out = {name: {("ink", 0): 0.5} for name in kinds}
    ranked = leave_one_source_domain_out({model(name, kind): 0.5 for name, kind in kinds.items()}, left_out)
    assert [one.model.name for one in ranked] == ["t", "u", "s", "e"]


def test_a_pair_counts_for_both_of_its_domains_each_by_the_others_images() -> None:
    pair = make_score(make_model("plain", "ink+oil"), 0.9, left_out={"ink": 0.3, "oil": 0.7})
    recipe = pair.model.recipe
    assert observe([pair], "ink", "leave_one_source_domain_out") == {recipe: {("oil", 0): 0.7}}
    assert observe([pair], "oil", "leave_one_source_domain_out") == {recipe: {("ink", 0): 0.3}}
    assert observe([pair], "clay", "leave_one_source_domain_out") == {}


def test_a_target_without_pairs_is_told_which_to_add(scores: list[Score]) -> None:
    single = [score for score in scores if not score.model.is_validation]
    with pytest.raises(ArtifactError, match=r"found none; add wax\+clay, wax\+ink, wax\+oil to sweep\.target_domains"):
        rank(single, TARGET, "leave_one_source_domain_out")


def test_pairs_of_which_no_recipe_is_complete_are_an_error_that_names_the_domains(scores: list[Score]) -> None:
    gaps = [
        score
        for score in scores
        if not score.model.is_validation or (score.model.row == "plain") == (score.model.target_domain == "wax+ink")
    ]
    with pytest.raises(ArtifactError, match="scored on each of clay, ink, oil, found none; train the missing"):
        rank(gaps, TARGET, "leave_one_source_domain_out")


def test_fixed_picks_within_its_row_alone(scores: list[Score]) -> None:
    assert [one.model.name for one in rank(scores, TARGET, "fixed", "large")] == [
        "wax-large-seed1",
        "wax-large-seed0",
    ]


def test_an_unknown_row_is_answered_with_the_rows_there_are() -> None:
    with pytest.raises(ConfigError, match=r"select\.row: expected one of a, b; found 'c'"):
        fixed({model("b"): 0.5, model("a"): 0.5}, "c")


def test_the_oracle_is_the_highest_accuracy_on_the_target() -> None:
    assert oracle({model("a"): 0.2, model("b"): 0.3})[0].model.name == "b"


def test_regret_is_what_the_picks_lose_against_the_oracle_on_each_target(scores: list[Score]) -> None:
    ood = {score.model: score.ood for score in scores}
    for rule, row, lost in (("source_out_split", None, 0.1), ("oracle", None, 0.0), ("fixed", "large", 0.0)):
        picked = {target: ood[rank(scores, target, rule, row)[0].model] for target in DOMAINS}
        found = regret(scores, picked)
        assert list(found) == list(picked)
        assert found[TARGET] == pytest.approx(lost)
