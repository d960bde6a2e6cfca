"""`cache` + `init` -> `trial`: one network, fine-tuned on every domain but the target."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Self

from oodtune.artifact import create_artifact, open_artifact
from oodtune.config import AugmentConfig, Config, MethodConfig, StageParams, TrainConfig
from oodtune.errors import ConfigError, Stopped, TrainingError
from oodtune.progress import Progress, progress_bar
from oodtune.trial import Trial, TrialRecord

if TYPE_CHECKING:
    import torch

    from oodtune.train.history import Snapshot


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
    """Run the trial that `plan.run` described as `item`. Exits as the command line does if a signal stops it."""
    planned = PlannedTrial.from_json(item)
    try:
        run(cache, init, out, planned.params, planned.trial, device)
    except Stopped as stopped:
        print(f"stopped: {stopped}", file=sys.stderr)
        sys.exit(stopped.exit_code)


def run(
    cache: Path | str,
    init: Path | str,
    out: Path | str,
    params: Params,
    trial: Trial,
    device: str = "auto",
    progress: Progress | None = None,
) -> None:
    """Write a `trial` artifact: the weights that the method keeps, and what was measured on the way.

    How it goes on is reported to `progress`; without one, a bar shows it.

    `log.jsonl` grows by a line with every snapshot; until the trial is finished it is in the hidden directory
    `.<name of out>.partial/files` beside `out`. An interrupted trial goes on from its newest checkpoint, in
    `notes` there. Raises TrainingError, in one line, for all that can go wrong on the way, DataError if the
    cache lacks the target domain, and Stopped after SIGTERM or SIGINT.
    """
    from oodtune.model.device import choose_device
    from oodtune.model.initial import InitialStates, initial_network
    from oodtune.model.weights import save_weights
    from oodtune.stages.feed import open_feed
    from oodtune.train.checkpoint import Checkpoints
    from oodtune.train.loop import Recipe, Surroundings, train_network
    from oodtune.train.stop import listen_for_stop

    opened_init = open_artifact(Path(init), "init")
    chosen = choose_device(device)
    network, init_digest = initial_network(opened_init, trial.target_domain, params.method.dropout)
    network.freeze(params.train.trained_stages, params.train.freeze_batch_norm).to(chosen)
    recipe = Recipe(params.train, params.method, trial.learning_rate, trial.weight_decay)
    with (
        _explained(Path(out)),
        listen_for_stop() as stop,
        open_feed(Path(cache), trial.target_domain, trial.seed, params.augment, params.train, chosen) as feed,
        create_artifact(
            Path(out), "trial", params, {"cache": feed.cache.artifact, "init": opened_init}, resume=True
        ) as writer,
        Checkpoints(writer.notes_dir, _identity(trial, chosen), _say) as checkpoints,
        nullcontext(progress) if progress is not None else progress_bar(f"Train {trial.name}") as shown,
    ):
        log = _Log(writer.path / "log.jsonl")
        history = train_network(network, feed, recipe, Surroundings(shown, log.write, checkpoints, stop))
        kept = history.kept
        assert kept is not None
        save_weights(kept.state, writer.path / "weights.safetensors")
        record = TrialRecord(
            trial=trial,
            network=InitialStates.model_validate(opened_init.details).network,
            init_digest=init_digest,
            best_step=kept.step,
            averaged_steps=kept.averaged_steps,
            source_accuracy=kept.source_accuracy,
            statistics_move=network.statistics_move,
        )
        writer.details.update(record.model_dump(mode="json"))


class _Log:
    """JSON lines, one a snapshot: written anew at the start, then appended to, for `tail -f`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._num_written = 0

    def write(self, snapshots: Sequence["Snapshot"]) -> None:
        """Write the snapshots that are not there yet."""
        with self._path.open("a" if self._num_written else "w", encoding="utf-8") as stream:
            stream.writelines(json.dumps(one.to_json()) + "\n" for one in snapshots[self._num_written :])
        self._num_written = len(snapshots)


def _identity(trial: Trial, device: "torch.device") -> str:
    """Return what, beside the settings and the inputs, the bits of a trial depend on."""
    import torch

    return f"{trial.to_json()} {device.type} torch {torch.__version__}"


def _say(text: str) -> None:
    print(text, file=sys.stderr)


@contextmanager
def _explained(out: Path) -> Iterator[None]:
    """Turn a disk that refuses to be written to into one line."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{out}: expected to write a trial there, found: {error}; free space or pass another --out, and run the "
            "same command again: it goes on from the last checkpoint"
        ) from None
