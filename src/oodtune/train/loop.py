"""The training loop: steps, snapshots, and checkpoints from which the same command goes on, bit for bit."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from signal import Signals
from time import perf_counter
from typing import Protocol

import torch
from torch import Tensor, nn

from oodtune.config import MethodConfig, TrainConfig
from oodtune.errors import DataError, Stopped, TrainingError
from oodtune.progress import Progress, silent
from oodtune.train.averages import Mean, create_average
from oodtune.train.checkpoint import Checkpoints
from oodtune.train.energy import Meter, open_counter
from oodtune.train.forward import create_forward
from oodtune.train.history import History, Measurement, Snapshot, State
from oodtune.train.optimiser import create_optimiser, create_schedule
from oodtune.train.ranks import Ranks
from oodtune.train.run import Run
from oodtune.train.stop import StopRequest
from oodtune.train.update import choose_precision, update

_LOOK_EVERY = 10
"""Steps between looks at the loss: each look waits for the device."""


class Source(Protocol):
    """Images of the source domains; the target domain has no way in."""

    def draw_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return augmented pixels (B, 3, S, S) and labels (B,) of a step, on the network's device.

        All randomness of the step follows from it: afterwards, torch's generator is in a state of that step.
        """

    def measure(self, network: nn.Module, *others: State) -> list[Measurement]:
        """Measure the network in evaluation mode, then with each of the `others` as its state; one pass."""

    def estimate_statistics(self, network: nn.Module) -> None:
        """Set the batch-norm statistics that training moves to those of the images it is trained on."""


@dataclass(frozen=True)
class Recipe:
    """How one trial is trained."""

    train: TrainConfig
    method: MethodConfig
    learning_rate: float
    weight_decay: float


@dataclass(frozen=True)
class Surroundings:
    """What a trial tells, and how it survives."""

    progress: Progress = silent
    log: Callable[[list[Snapshot]], None] = lambda snapshots: None
    """Called with all snapshots: at the start, and whenever there is a new one."""
    checkpoints: Checkpoints | None = None
    stop: StopRequest = field(default_factory=StopRequest)
    keep: Callable[[int, State], None] = lambda step, state: None
    """Called with a step and the state after it, where `train.keep_every` asks for it."""
    ranks: Ranks = field(default_factory=lambda: Ranks(torch.device("cpu")))
    """Of several, only the first has anything to tell and checkpoints; signals may reach any."""


def train_network(network: nn.Module, source: Source, recipe: Recipe, around: Surroundings) -> History:
    """Train `network`, which is in its initial state, in place; returns what was measured and what is kept.

    Goes on from the newest checkpoint, if there is one. Raises TrainingError if the loss is found not to be
    finite or memory is short, and Stopped, after writing a checkpoint, if a signal asked for an end.
    """
    config = recipe.train
    precision = choose_precision(config, next(network.parameters()).device)
    forward = create_forward(network.train(), config, recipe.method, around.ranks)
    run, meter = _begin(network, source, recipe, around)
    schedule = create_schedule(run.optimiser, config, run.step)
    pace = _Pace(run, config, around.progress)
    rhythm = (_LOOK_EVERY, config.snapshot_every, config.checkpoint_every)
    state = network.state_dict()  # the network's own tensors, which every step changes in place
    network.train()
    for step in range(run.step, config.steps):
        with _explained(step, recipe):
            batch = source.draw_batch(step)
            run.losses.append(update(forward, run.optimiser, *batch, config.accumulate, precision))
        run.step = step + 1
        schedule.step()
        run.average.add(run.step, state)
        meter.add_images(len(batch[1]) * around.ranks.count)

        looks = any(_falls_on(run.step, every, config) for every in rhythm)
        if looks:
            run.losses = list(around.ranks.mean(torch.stack(run.losses)))
            meter.look()
            pace.show(_finite_loss(run, recipe), len(batch[1]) * around.ranks.count)
        if config.keep_every is not None and run.step % config.keep_every == 0:
            around.keep(run.step, state)
        if _falls_on(run.step, config.snapshot_every, config):
            _take_snapshot(run, source, recipe, around)
            network.train()
        if run.average.closed:
            break
        _survive(run, config, around, looks, meter)
    _keep_last(run, source, recipe)
    run.history.spent = meter.read()
    return run.history


def _begin(network: nn.Module, source: Source, recipe: Recipe, around: Surroundings) -> tuple[Run, Meter]:
    """Return the trial as its newest checkpoint has it, or at step 0, where the initial state is measured."""
    optimiser = create_optimiser(
        network, recipe.train, recipe.learning_rate, recipe.weight_decay, recipe.method.head_rate_factor
    )
    run = Run(network, optimiser, create_average(recipe.method, network.state_dict()))
    checkpoint = around.ranks.share(None if around.checkpoints is None else around.checkpoints.newest())
    if checkpoint is not None:
        run.restore(checkpoint)
    meter = Meter(run.history.spent, around.ranks, open_counter(around.ranks))
    if checkpoint is None:
        run.history.snapshots.append(Snapshot(0, None, *_measure(run, source, recipe)))
    around.log(run.history.snapshots)
    return run, meter


def _take_snapshot(run: Run, source: Source, recipe: Recipe, around: Surroundings) -> None:
    """Measure the live weights and the average, if there is one, and keep the better ones."""
    average = run.average.at_snapshot()
    states: list[State] = [] if average is None else [average.value()]
    loss = float(torch.stack(run.losses).mean())
    snapshot = Snapshot(run.step, loss, *_measure(run, source, recipe, *states))
    run.losses.clear()
    run.history.snapshots.append(snapshot)
    if run.average.keeps_best:
        state = states[0] if states else run.network.state_dict()
        run.history.keep_best(snapshot, state, None if average is None else average.steps)
    run.average.end_segment(snapshot.live.source_loss)
    around.log(run.history.snapshots)


def _keep_last(run: Run, source: Source, recipe: Recipe) -> None:
    """Keep the average that is known at the end only; the last state if it came to nothing."""
    if run.average.keeps_best:
        return
    average: Mean | None = run.average.at_end()
    if average is not None:
        run.network.load_state_dict(average.value())
        source.estimate_statistics(run.network)
    (measured,) = _measure(run, source, recipe)
    step, steps = (run.step, None) if average is None else (average.last_step, average.steps)
    run.history.keep(step, steps, measured.source_accuracy, run.network.state_dict())


def _measure(run: Run, source: Source, recipe: Recipe, *others: State) -> list[Measurement]:
    with _explained(run.step, recipe):
        return source.measure(run.network, *others)


def _survive(run: Run, config: TrainConfig, around: Surroundings, looks: bool, meter: Meter) -> None:
    """Write a checkpoint if one is due. Raises Stopped if a signal asked for an end.

    Several ranks must end after the same step: they ask each other where they look at the loss anyway.
    """
    stopped_by = around.stop.signal
    if around.ranks.count > 1:
        number = around.ranks.highest(stopped_by or 0) if looks else 0
        stopped_by = Signals(number) if number else None
    if stopped_by is not None or run.step % config.checkpoint_every == 0:
        run.history.spent = meter.read()
        if around.checkpoints is not None:
            around.checkpoints.save(run.checkpoint())
    if stopped_by is None:
        return
    written = around.checkpoints is not None and around.checkpoints.wait()
    state = "a checkpoint is written, and the same command goes on from it" if written else "without a new checkpoint"
    raise Stopped(f"{stopped_by.name} after step {run.step} of {config.steps}; {state}", stopped_by)


def _falls_on(step: int, every: int, config: TrainConfig) -> bool:
    return step % every == 0 or step == config.steps


def _finite_loss(run: Run, recipe: Recipe) -> float:
    """Return the mean of the latest losses. Raises TrainingError if it is not finite."""
    loss = float(torch.stack(run.losses[-_LOOK_EVERY:]).mean())
    if not math.isfinite(loss):
        raise TrainingError(
            f"step {run.step}: expected a finite loss, found {loss}; lower the learning rate (it is "
            f"{recipe.learning_rate:g}) or check the pretrained weights: the same command would end here again"
        )
    return loss


@contextmanager
def _explained(step: int, recipe: Recipe) -> Iterator[None]:
    """Turn what the device or the disk refuse in a step into one line."""
    config = recipe.train
    try:
        yield
    except OSError as error:
        raise DataError(
            f"step {step}: expected to read images of the cache, found: {error}; make it again with `oodtune cache`"
        ) from None
    except RuntimeError as error:
        if not (isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)):
            raise
        raise TrainingError(
            f"step {step}: expected memory for a batch in {config.accumulate} parts, found: "
            f"{str(error).splitlines()[0]}; raise train.accumulate (it is {config.accumulate}) or lower "
            f"train.batch_per_domain (it is {config.batch_per_domain})"
        ) from None


class _Pace:
    """Shows how training goes on, and how fast."""

    def __init__(self, run: Run, config: TrainConfig, progress: Progress) -> None:
        self._run = run
        self._config = config
        self._progress = progress
        self._step = run.step
        self._time_s = perf_counter()

    def show(self, loss: float, batch_size: int) -> None:
        """Show the loss; images/s since the last time, evaluation included; iid accuracy, the latest and best."""
        now_s = perf_counter()
        images_per_s = (self._run.step - self._step) * batch_size / (now_s - self._time_s)
        history = self._run.history
        latest = history.snapshots[-1].chosen.source_accuracy
        what = f"loss {loss:.3f}, {images_per_s:.0f} images/s, iid {latest:.1%}, best {history.best_accuracy:.1%}"
        self._progress(self._run.step, self._config.steps, what)
        self._step, self._time_s = self._run.step, now_s
