from itertools import pairwise

import pytest

from oodtune.config import SweepConfig
from oodtune.errors import ConfigError
from oodtune.trial import Trial, plan_trials

SWEEP = SweepConfig(
    target_domains=("noto", "line"),
    methods=("plain", "large_dropout"),
    learning_rates=(0.001, 0.0005),
    weight_decays=(0.0001,),
    seeds=(0, 1, 2),
)


def test_a_sweep_is_every_combination_once() -> None:
    trials = plan_trials(SWEEP)
    assert len(trials) == len(set(trials)) == len({trial.name for trial in trials}) == 2 * 2 * 2 * 1 * 3


def test_a_sweep_is_planned_in_the_order_of_its_lists() -> None:
    assert [trial.seed for trial in plan_trials(SWEEP)[:3]] == [0, 1, 2]
    assert [trial.target_domain for trial in plan_trials(SWEEP)] == ["noto"] * 12 + ["line"] * 12


def test_a_name_holds_every_setting_of_its_trial() -> None:
    trial = Trial(target_domain="line", method="plain", learning_rate=0.00005, weight_decay=0.0, seed=3)
    assert trial.name == "line-plain-lr5e-05-wd0.0-seed3"


def test_a_trial_survives_json() -> None:
    trial = plan_trials(SWEEP)[0]
    assert Trial.from_json(trial.to_json()) == trial


def test_text_that_is_no_trial_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="missing key 'method'"):
        Trial.from_json('{"target_domain": "line"}')


def random_search(budget: int | None) -> list[Trial]:
    return plan_trials(
        SweepConfig(
            target_domains=("ink", "ink+oil"),
            methods=("plain", "large_dropout"),
            learning_rates=(1e-3, 1e-4, 1e-5),
            weight_decays=(0.0, 1e-4),
            seeds=(0, 1),
            budget=budget,
        )
    )


def test_a_budget_draws_the_same_settings_for_every_target_and_seed() -> None:
    trials = random_search(5)
    settings = {(trial.method, trial.learning_rate, trial.weight_decay) for trial in trials}
    assert len(settings) == 5
    assert len(trials) == 2 * 5 * 2


def test_a_larger_budget_keeps_what_a_smaller_one_trained_in_planned_order() -> None:
    plans = [random_search(budget) for budget in (1, 4, 9, 12, 100, None)]
    for smaller, larger in pairwise(plans):
        assert set(smaller) <= set(larger)
        assert [trial for trial in larger if trial in set(smaller)] == smaller
    assert plans[3] == plans[4] == plans[5]
    assert len(plans[5]) == 2 * 12 * 2
