"""`cache` + `init` -> `trial`: one network, fine-tuned on every domain but the target."""

import json
from pathlib import Path
from typing import Self

from oodtune.artifact import create_artifact, open_artifact
from oodtune.config import AugmentConfig, Config, MethodConfig, StageParams, TrainConfig
from oodtune.errors import ConfigError
from oodtune.trial import Trial, TrialRecord


class Params(StageParams):
    augment: AugmentConfig
    train: TrainConfig
    method: MethodConfig
    """Of this trial's method only: changing another method retrains nothing here."""

    @classmethod
    def for_trial(cls, config: Config, trial: Trial) -> Self:
        """Raises ConfigError if the trial's method is not in `config.methods`."""
        if trial.method not in config.methods:
            raise ConfigError(f"method: expected one of {sorted(config.methods)}, found {trial.method!r}")
        return cls(augment=config.augment, train=config.train, method=config.methods[trial.method])


class PlannedTrial(StageParams):
    """A trial and its settings in one text, as the items of a Kubeflow loop must be."""

    trial: Trial
    params: Params


def run_planned(cache: Path | str, init: Path | str, out: Path | str, item: str, device: str = "auto") -> None:
    """Run the trial that `plan.run` described as `item`."""
    planned = PlannedTrial.from_json(item)
    run(cache, init, out, planned.params, planned.trial, device)


def run(
    cache: Path | str, init: Path | str, out: Path | str, params: Params, trial: Trial, device: str = "auto"
) -> None:
    """Write a `trial` artifact: the best snapshot by mean source out-split accuracy, and its history.

    Raises TrainingError if the loss stops being finite, DataError if the cache lacks the target domain.
    """
    from oodtune.model.device import choose_device
    from oodtune.model.initial import InitialStates, initial_network
    from oodtune.model.weights import save_weights
    from oodtune.progress import progress_bar
    from oodtune.stages.feed import open_feed
    from oodtune.train.loop import History, train_network

    opened_init = open_artifact(Path(init), "init")
    chosen = choose_device(device)
    network, init_digest = initial_network(opened_init, trial.target_domain, params.method.dropout)
    network.to(chosen)
    with (
        open_feed(Path(cache), trial.target_domain, trial.seed, params.augment, params.train, chosen) as feed,
        create_artifact(Path(out), "trial", params, {"cache": feed.cache.artifact, "init": opened_init}) as writer,
    ):
        with progress_bar(f"Train {trial.name}") as progress:
            history: History = train_network(
                network,
                feed.draw_batch,
                lambda: feed.measure(network),
                params.train,
                trial.learning_rate,
                trial.weight_decay,
                progress,
            )
        assert history.best is not None
        save_weights(history.best_state, writer.path / "weights.safetensors")
        lines = [
            {
                "step": one.step,
                "loss": one.loss,
                "source_accuracy": one.source_accuracy,
                "accuracy": one.accuracy,
            }
            for one in history.snapshots
        ]
        (writer.path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        record = TrialRecord(
            trial=trial,
            network=InitialStates.model_validate(opened_init.details).network,
            init_digest=init_digest,
            best_step=history.best.step,
            source_accuracy=history.best.source_accuracy,
        )
        writer.details.update(record.model_dump(mode="json"))
