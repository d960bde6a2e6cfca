"""`trial`s -> `soup`: the weight average of every target domain's trials."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from oodtune.artifact import create_artifact
from oodtune.combine.soup import uniform_soup
from oodtune.config import StageParams, SweepConfig
from oodtune.errors import ArtifactError
from oodtune.model.weights import load_weights, save_weights
from oodtune.stages.trials import OpenTrial, open_planned_trials, trial_inputs
from oodtune.trial import Soup, SoupRecord

UNIFORM = "uniform_soup"


class Params(StageParams):
    sweep: SweepConfig


def run(trials: Sequence[Path | str], out: Path | str, params: Params) -> None:
    """Write a `soup` artifact. Raises ArtifactError if trials are missing or cannot be averaged."""
    by_target = open_planned_trials(trials, params.sweep)
    everything = [trial for group in by_target.values() for trial in group]
    for group in by_target.values():
        _check_one_origin(group)
    with create_artifact(Path(out), "soup", params, trial_inputs(everything)) as writer:
        soups = []
        for target, group in by_target.items():
            loaders = {trial.record.trial.name: partial(load_weights, trial.weights_path) for trial in group}
            soup = Soup(
                target_domain=target,
                name=UNIFORM,
                ingredients=tuple(loaders),
                path=f"{target}/{UNIFORM}.safetensors",
            )
            save_weights(uniform_soup(loaders), writer.path / soup.path)
            soups.append(soup)
        record = SoupRecord(network=everything[0].record.network, soups=tuple(soups))
        writer.details.update(record.model_dump(mode="json"))


def _check_one_origin(group: Sequence[OpenTrial]) -> None:
    """Raise ArtifactError unless all trials share one network and one initial state."""
    first = group[0].record
    for other in (trial.record for trial in group[1:]):
        if (other.init_digest, other.network) != (first.init_digest, first.network):
            raise ArtifactError(
                f"{other.trial.name}: expected the network and initial state of {first.trial.name}, found others "
                f"({other.init_digest[:12]} against {first.init_digest[:12]}); train both from one `oodtune init`"
            )
