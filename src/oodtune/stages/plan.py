"""Settings -> the list of trials, each with the settings its training needs."""

from oodtune.config import Config
from oodtune.stages import train
from oodtune.trial import plan_trials


def run(config: str) -> list[str]:
    """Return one JSON text per trial of the sweep, for `train.run_planned`; `config` is a whole Config as JSON."""
    parsed = Config.model_validate_json(config)
    return [
        train.PlannedTrial(trial=trial, params=train.Params.for_trial(parsed, trial)).to_json()
        for trial in plan_trials(parsed.sweep)
    ]
