"""Settings -> the list of trials, each with the settings its training needs."""

from oodtune.config import AugmentConfig, MethodConfig, StageParams, SweepConfig, TrainConfig
from oodtune.stages import train
from oodtune.stages.planned import PlannedTrial
from oodtune.trial import plan_trials


class Params(StageParams):
    augment: AugmentConfig
    train: TrainConfig
    methods: dict[str, MethodConfig]
    sweep: SweepConfig


def run(params: Params) -> list[str]:
    """Return one JSON text per trial of the sweep, for `planned.run`. There is one or more."""
    return [
        PlannedTrial(trial=trial, params=train.Params.for_trial(params, trial)).to_json()
        for trial in plan_trials(params.sweep)
    ]
