"""`cache` + `init` -> `trial`: one network, fine-tuned on every domain but the target."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from oodtune.artifact import Artifact, ArtifactWriter, create_artifact, open_artifact, write_json
from oodtune.config import AugmentConfig, MethodConfig, StageParams, TrainConfig
from oodtune.errors import ConfigError, Stopped, TrainingError
from oodtune.progress import Progress, progress_bar
from oodtune.stages.tracking import Tracking, open_tracking
from oodtune.stages.trial_cost import COST, TrialCost, describe_device
from oodtune.stages.trial_log import TrialLog
from oodtune.stages.trials import TRAJECTORY, WEIGHTS, trajectory_file
from oodtune.trial import Trial, TrialRecord

if TYPE_CHECKING:
    import torch

    from oodtune.model.network import Network
    from oodtune.stages.feed import Feed
    from oodtune.train.history import History, Snapshot, State
    from oodtune.train.loop import Recipe, Surroundings
    from oodtune.train.ranks import Ranks


class Settings(Protocol):
    """The sections that a trial's settings are taken from: a `Config` has them."""

    @property
    def augment(self) -> AugmentConfig: ...
    @property
    def train(self) -> TrainConfig: ...
    @property
    def methods(self) -> dict[str, MethodConfig]: ...


class Params(StageParams):
    augment: AugmentConfig
    train: TrainConfig
    method: MethodConfig
    """Of this trial's method only: changing another method retrains nothing here."""

    @classmethod
    def for_trial(cls, config: Settings, trial: Trial) -> Self:
        """Raises ConfigError if the trial's method is not in `config.methods`."""
        if trial.method not in config.methods:
            raise ConfigError(f"method: expected one of {sorted(config.methods)}, found {trial.method!r}")
        return cls(augment=config.augment, train=config.train, method=config.methods[trial.method])


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

    Beside the listed files lies `cost.json`, a `TrialCost`: time and energy differ from run to run.

    How it goes on is reported to `progress`; without one, a bar shows it. Under `torchrun` all processes train one
    network, each on its part of every batch; the first of them writes.

    `log.jsonl` grows by a line with every snapshot; until the trial is finished it is in the hidden directory
    `.<name of out>.partial/files` beside `out`. An interrupted trial goes on from its newest checkpoint, in
    `notes` there. Raises TrainingError, in one line, for all that can go wrong on the way, DataError if the
    cache lacks the target domain, and Stopped after SIGTERM or SIGINT.
    """
    from oodtune.model.initial import initial_network
    from oodtune.stages.feed import open_feed
    from oodtune.train.loop import Recipe, Surroundings
    from oodtune.train.ranks import join_ranks
    from oodtune.train.stop import listen_for_stop

    opened_init = open_artifact(Path(init), "init")
    recipe = Recipe(params.train, params.method, trial.learning_rate, trial.weight_decay)
    with join_ranks(device) as ranks:
        network, init_digest = initial_network(opened_init, trial.target_domain, params.method.dropout)
        network.freeze(params.train.trained_stages, params.train.freeze_batch_norm).to(ranks.device)
        with (
            _explained(Path(out)),
            listen_for_stop() as stop,
            open_feed(Path(cache), trial.target_domain, trial.seed, params.augment, params.train, ranks) as feed,
        ):
            around = Surroundings(stop=stop, ranks=ranks)
            if not ranks.is_first:
                _follow(network, feed, recipe, around)
                return
            inputs = {"cache": feed.cache.artifact, "init": opened_init}
            tags = {
                "init_digest": init_digest,
                "cache_digest": feed.cache.artifact.digest,
                "runs_on": _platform(ranks.device),
            }
            with (
                open_tracking(trial, params, tags, Path(out), _say) as tracking,
                create_artifact(Path(out), "trial", params, inputs, resume=True) as writer,
            ):
                tracking.begin(writer.notes_dir)
                log = TrialLog(writer.path, averages=params.method.average == "sma")  # swad has none until its end
                told = replace(around, log=partial(_tell, log, tracking), keep=partial(_keep_state, writer.path))
                history = _train(network, feed, recipe, told, trial, writer.notes_dir, progress)
                _write_cost(writer, history, ranks)
                tracking.finish(_finish(writer, trial, opened_init, init_digest, history, network.statistics_move))


def _train(
    network: "Network",
    feed: "Feed",
    recipe: "Recipe",
    around: "Surroundings",
    trial: Trial,
    notes_dir: Path,
    progress: Progress | None,
) -> "History":
    """Train with checkpoints and a bar: what the first rank does beside what all do."""
    from oodtune.train.checkpoint import Checkpoints
    from oodtune.train.loop import train_network

    with (
        Checkpoints(notes_dir, f"{trial.to_json()} {_platform(around.ranks.device)}", _say) as checkpoints,
        nullcontext(progress) if progress is not None else progress_bar(f"Train {trial.name}") as shown,
    ):
        return train_network(network, feed, recipe, replace(around, progress=shown, checkpoints=checkpoints))


def _follow(network: "Network", feed: "Feed", recipe: "Recipe", around: "Surroundings") -> None:
    """Train as the first rank does, and leave it to say so if a signal ends all."""
    from oodtune.train.loop import train_network

    try:
        train_network(network, feed, recipe, around)
    except Stopped as stopped:
        sys.exit(stopped.exit_code)


def _finish(
    writer: ArtifactWriter,
    trial: Trial,
    opened_init: Artifact,
    init_digest: str,
    history: "History",
    statistics_move: bool,
) -> TrialRecord:
    """Write the weights that the trial keeps; return what it says of itself, which is in the artifact's details."""
    from oodtune.model.initial import InitialStates
    from oodtune.model.weights import save_weights

    kept = history.kept
    assert kept is not None
    save_weights(kept.state, writer.path / WEIGHTS)
    record = TrialRecord(
        trial=trial,
        network=InitialStates.model_validate(opened_init.details).network,
        init_digest=init_digest,
        best_step=kept.step,
        averaged_steps=kept.averaged_steps,
        source_accuracy=kept.source_accuracy,
        trajectory=tuple(sorted(int(path.stem) for path in (writer.path / TRAJECTORY).glob("*.safetensors"))),
        statistics_move=statistics_move,
    )
    writer.details.update(record.model_dump(mode="json"))
    return record


def _write_cost(writer: ArtifactWriter, history: "History", ranks: "Ranks") -> None:
    """Write what the trial took: a measurement, so the manifest does not list it."""
    cost = TrialCost(**asdict(history.spent), device=describe_device(ranks.device), num_processes=ranks.count)
    write_json(writer.path / COST, cost.model_dump(mode="json"))
    writer.unlisted.add(COST)


def _keep_state(directory: Path, step: int, state: "State") -> None:
    """Write the state after a step; a checkpoint of a later step finds it on the disk."""
    from oodtune.model.weights import save_weights
    from oodtune.train.checkpoint import sync

    path = directory / trajectory_file(step)
    save_weights(state, path)
    sync(path)
    sync(path.parent)


def _tell(log: TrialLog, tracking: Tracking, snapshots: Sequence["Snapshot"]) -> None:
    log.write(snapshots)
    tracking.write(snapshots)


def _platform(device: "torch.device") -> str:
    """Return what, beside the trial, the settings and the inputs, the bits of a trial depend on."""
    import torch

    return f"{device.type} torch {torch.__version__}"


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
