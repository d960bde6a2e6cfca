"""What a report is made from, opened and found to belong together."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oodtune.artifact import Artifact, open_artifact, read_verified
from oodtune.data.cache import Cache, open_cache
from oodtune.errors import ArtifactError
from oodtune.evaluate.choice import Choice
from oodtune.evaluate.cost import Measured, Training
from oodtune.evaluate.curves import Curve
from oodtune.evaluate.page import Origin
from oodtune.evaluate.predictions import Predictions, open_predictions
from oodtune.stages.trial_cost import TrialCost, read_cost
from oodtune.stages.trials import OpenTrial, open_trials, trial_inputs

Snapshot = dict[str, Any]
"""A line of a trial's `log.jsonl`."""


@dataclass(frozen=True)
class Inputs:
    cache: Cache
    trials: Sequence[OpenTrial]
    """Those that were evaluated, in that order."""
    logs: Mapping[str, Sequence[Snapshot]]
    """By name of the trial."""
    trial_costs: Mapping[str, TrialCost]
    """By name of the trial; those that recorded none are missing."""
    predictions: Predictions
    selection: Artifact
    choice: Choice

    @property
    def artifacts(self) -> dict[str, Artifact]:
        return {
            "cache": self.cache.artifact,
            "predictions": self.predictions.artifact,
            "selection": self.selection,
            **trial_inputs(self.trials),
        }


def open_inputs(
    cache: Path | str, trials: Sequence[Path | str], predictions: Path | str, selection: Path | str
) -> Inputs:
    """Open everything. Raises ArtifactError if its parts do not belong together."""
    opened = open_predictions(Path(predictions))
    selected = _open_selection(Path(selection), opened.artifact)
    evaluated = _evaluated_trials(trials, opened)
    return Inputs(
        cache=_open_images(Path(cache), opened.artifact),
        trials=evaluated,
        logs={trial.name: _read_log(trial) for trial in evaluated},
        trial_costs=_read_costs(evaluated),
        predictions=opened,
        selection=selected,
        choice=Choice.model_validate_json((selected.path / "selection.json").read_bytes()),
    )


def _open_images(path: Path, predictions: Artifact) -> Cache:
    cache = open_cache(path)
    if cache.artifact.digest != predictions.manifest.inputs["cache"]:
        raise ArtifactError(
            f"{path}: expected the cache that {predictions.path} was made from, found another; "
            "run `oodtune evaluate` again"
        )
    return cache


def _open_selection(path: Path, predictions: Artifact) -> Artifact:
    selection = open_artifact(path, "selection")
    if selection.manifest.inputs["predictions"] != predictions.digest:
        raise ArtifactError(
            f"{path}: expected a selection made from {predictions.path}, found one of other predictions; "
            "run `oodtune select` again"
        )
    return selection


def _evaluated_trials(paths: Sequence[Path | str], predictions: Predictions) -> list[OpenTrial]:
    """Open the trials that were evaluated, in the order of `predictions`; others on disk are left alone.

    Only their logs are read, so weights are not hashed again.
    """
    found = open_trials(paths, verify=False)
    evaluated = []
    for model in predictions.models:
        if model.kind != "trial":
            continue
        trial = found.get(model.name)
        if trial is None:
            raise ArtifactError(
                f"expected the trials evaluated in {predictions.artifact.path}, found no {model.name}; "
                "pass the directories that `oodtune evaluate` was given"
            )
        if trial.artifact.digest != predictions.artifact.manifest.inputs[model.name]:
            raise ArtifactError(
                f"{trial.artifact.path}: expected the trial evaluated in {predictions.artifact.path}, "
                "found one trained since; run `oodtune evaluate` again"
            )
        evaluated.append(trial)
    return evaluated


def _read_log(trial: OpenTrial) -> list[Snapshot]:
    lines = read_verified(trial.artifact, "log.jsonl").decode("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _read_costs(trials: Sequence[OpenTrial]) -> dict[str, TrialCost]:
    found = {trial.name: read_cost(trial.artifact.path) for trial in trials}
    return {name: cost for name, cost in found.items() if cost is not None}


def curve_of_trial(trial: OpenTrial, log: Sequence[Snapshot]) -> Curve:
    planned = trial.record.trial
    measured = [(line["step"], chosen_weights(line)["source_accuracy"]) for line in log]
    snapshots = tuple((step, accuracy) for step, accuracy in measured if accuracy is not None)
    return Curve(planned.name, planned.target_domain, planned.method, trial.record.best_step, snapshots)


def chosen_weights(line: Snapshot) -> Snapshot:
    """Return what was measured of the weights that the trial would keep: the average, where there is one."""
    averaged: Snapshot | None = line.get("averaged")
    return line if averaged is None else averaged


def training_of(trial: OpenTrial, num_sources: int, cost: TrialCost | None) -> Training:
    """Return what a trial on `num_sources` source domains took."""
    steps = int(trial.artifact.manifest.params["train"]["steps"])
    per_domain = int(trial.artifact.manifest.params["train"]["batch_per_domain"])
    measured = None if cost is None else Measured(cost.seconds, cost.num_images, cost.joules, cost.devices)
    return Training(steps, steps * per_domain * num_sources, measured)


def method_settings(trials: Sequence[OpenTrial]) -> dict[str, Mapping[str, object]]:
    """Return method -> its settings, as the trials had them."""
    return {trial.record.trial.method: trial.artifact.manifest.params["method"] for trial in trials}


def shared_settings(trials: Sequence[OpenTrial]) -> dict[str, dict[str, object]]:
    """Return the settings that are equal in all trials, by section, and the network they share."""
    networks = [trial.record.network for trial in trials]
    sections: dict[str, list[Mapping[str, object]]] = {
        "network": [{"backbone": one.backbone, **one.preprocess.model_dump(mode="json")} for one in networks],
        **{name: [trial.artifact.manifest.params[name] for trial in trials] for name in ("train", "augment")},
    }
    return {name: _common(values) for name, values in sections.items() if values}


def _common(values: Sequence[Mapping[str, object]]) -> dict[str, object]:
    first = values[0]
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in values)}


def origins(inputs: Inputs) -> list[Origin]:
    """Return what the report was made from and, above it, what those were made from."""
    names = {trial.name for trial in inputs.trials}
    upstream = dict(inputs.predictions.artifact.manifest.inputs)
    for trial in inputs.trials:
        upstream.update(trial.artifact.manifest.inputs)
    return [
        *(Origin(name, name, digest) for name, digest in sorted(upstream.items()) if name not in names),
        *(Origin(trial.name, "trial", trial.artifact.digest) for trial in inputs.trials),
        Origin("predictions", "predictions", inputs.predictions.artifact.digest),
        Origin("selection", "selection", inputs.selection.digest),
    ]


def image_credits(cache: Cache, domain: str) -> list[str]:
    """Return whose images a domain holds, and under which licence, where the dataset says so."""
    named = [one for one in cache.artifact.details["origins"] if one.get("domain") == domain]
    return [
        ", ".join(str(one[key]) for key in ("title", "author", "licence") if one.get(key))
        for one in named
        if one.get("title") or one.get("author")
    ]
