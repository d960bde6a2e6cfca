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
