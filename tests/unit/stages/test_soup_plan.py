from pathlib import Path

import pytest

from oodtune.artifact import Artifact, Manifest
from oodtune.config import CombineConfig, PreprocessConfig
from oodtune.stages.soup_plan import INITIAL, SoupPlan, plan_soups
from oodtune.stages.trials import OpenTrial
from oodtune.trial import NetworkSpec, Trial, TrialRecord

SPEC = NetworkSpec(backbone="test_resnet", classes=("cat", "dog"), preprocess=PreprocessConfig(size=32))


def opened(method: str, seed: int, trajectory: tuple[int, ...] = ()) -> OpenTrial:
    trial = Trial(target_domain="ink", method=method, learning_rate=0.1, weight_decay=0.0, seed=seed)
    record = TrialRecord(
        trial=trial, network=SPEC, init_digest="one", best_step=1, source_accuracy=0.5, trajectory=trajectory
    )
    manifest = Manifest(schema=1, kind="trial", version="", params={}, inputs={}, details={}, files={})
    return OpenTrial(Artifact(Path(), manifest, ""), record)


def planned(*group: OpenTrial, **settings: object) -> dict[str, SoupPlan]:
    return {plan.name: plan for plan in plan_soups(group, CombineConfig.model_validate(settings))}


PLAIN = [opened("plain", seed) for seed in range(2)]
DROPOUT = [opened("large_dropout", seed) for seed in range(2)]
NAMES = tuple(one.name for one in PLAIN)


def test_one_trial_has_no_average() -> None:
    assert planned(PLAIN[0], soups=["uniform", "greedy", "model_stock"]) == {}


def test_every_rule_averages_all_trials_and_each_method_has_a_soup_of_its_own() -> None:
    plans = planned(*PLAIN, *DROPOUT, soups=["uniform", "greedy", "greedy_not_worse", "model_stock"])
    assert list(plans) == [
        "uniform_soup",
        "greedy_soup",
        "greedy_not_worse_soup",
        "model_stock_soup",
        "plain_soup",
        "large_dropout_soup",
    ]
    assert all(len(plans[name].ingredients) == 4 for name in list(plans)[:4])
    assert plans["plain_soup"].ingredients == NAMES


def test_a_method_that_is_the_only_one_or_has_one_trial_has_no_soup_beside_that_of_all() -> None:
    assert list(planned(*PLAIN, soups=["uniform"])) == ["uniform_soup"]
    assert list(planned(*PLAIN, DROPOUT[0], soups=["uniform"])) == ["uniform_soup", "plain_soup"]
    assert list(planned(*PLAIN, *DROPOUT, soups=["uniform"], by_method=False)) == ["uniform_soup"]


def test_paths_lead_from_the_initial_state_to_every_method_and_from_plain_to_the_others() -> None:
    plans = planned(PLAIN[0], DROPOUT[0], soups=[], shares=[0.25, 0.5])
    assert list(plans) == [
        "plain_wise_0.25",
        "plain_wise_0.5",
        "large_dropout_wise_0.25",
        "large_dropout_wise_0.5",
        "plain_to_large_dropout_0.25",
        "plain_to_large_dropout_0.5",
    ]
    assert plans["plain_wise_0.5"].ends == (INITIAL, (PLAIN[0].name,))
    assert plans["plain_to_large_dropout_0.25"].ends == ((PLAIN[0].name,), (DROPOUT[0].name,))
    assert plans["plain_to_large_dropout_0.25"].share == 0.25


@pytest.mark.parametrize(("steps", "expected"), [((), []), ((10,), []), ((10, 20), ["@10", "@20"])])
def test_a_trajectory_of_two_states_or_more_has_a_soup(steps: tuple[int, ...], expected: list[str]) -> None:
    trial = opened("plain", 0, steps)
    plans = planned(trial)
    assert [plan.ingredients for plan in plans.values()] == [tuple(trial.name + one for one in expected)] * bool(
        expected
    )
    assert all(plan.row == "plain_trajectory_soup" and plan.trial == trial.record.trial for plan in plans.values())
