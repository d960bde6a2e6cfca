"""The training loop: steps, snapshots, and the best of them by source out-split accuracy."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from oodtune.config import TrainConfig
from oodtune.errors import TrainingError
from oodtune.progress import Progress, silent
from oodtune.train.optimiser import create_optimiser, create_schedule
from oodtune.train.update import update

DrawBatch = Callable[[int], tuple[Tensor, Tensor]]
"""Step -> augmented pixels (B, 3, S, S) and labels (B,) of that step, on the network's device."""
_CHECK_EVERY = 10
"""Steps between looks at the loss: each look waits for the device."""


@dataclass(frozen=True)
class Snapshot:
    """What was measured at one step."""

    step: int
    loss: float | None
    """Mean training loss since the last snapshot; None before the first step."""
    accuracy: dict[str, float]
    """Source domain -> out-split accuracy, 0..1."""

    @property
    def source_accuracy(self) -> float:
        """Mean over the source domains: what the snapshot is chosen by."""
        return sum(self.accuracy.values()) / len(self.accuracy)


@dataclass
class History:
    """Every snapshot's measurements, and the weights of the best trained one."""

    snapshots: list[Snapshot] = field(default_factory=list)
    best: Snapshot | None = None
    best_state: dict[str, Tensor] = field(default_factory=dict)

    def add(self, snapshot: Snapshot, network: nn.Module) -> None:
        self.snapshots.append(snapshot)
        if snapshot.step == 0:
            return  # the initial state is measured, but it is no trained model
        if self.best is None or snapshot.source_accuracy > self.best.source_accuracy:
            self.best = snapshot
            self.best_state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def train_network(
    network: nn.Module,
    draw_batch: DrawBatch,
    measure: Callable[[], dict[str, float]],
    config: TrainConfig,
    learning_rate: float,
    weight_decay: float,
    progress: Progress = silent,
) -> History:
    """Train `network` in place for `config.steps` steps.

    `measure` returns the accuracy on each source out-split; the target domain has no way in.
    Raises TrainingError as soon as the loss is found not to be finite.
    """
    optimiser = create_optimiser(network, config, learning_rate, weight_decay)
    schedule = create_schedule(optimiser, config)
    history = History()
    history.add(Snapshot(0, None, measure()), network)
    for first, last in _stretches(config):
        network.train()
        losses = []
        for step in range(first, last):
            losses.append(update(network, optimiser, *draw_batch(step)))
            schedule.step()
            if (step + 1) % _CHECK_EVERY == 0 or step + 1 == last:
                loss = _finite_loss(losses[-_CHECK_EVERY:], step + 1, learning_rate)
                progress(step + 1, config.steps, f"loss {loss:.3f}")
        network.eval()
        history.add(Snapshot(last, float(torch.stack(losses).mean()), measure()), network)
    return history


def _stretches(config: TrainConfig) -> Iterator[tuple[int, int]]:
    """Yield the first and one-past-last step of each stretch that ends in a snapshot."""
    for first in range(0, config.steps, config.snapshot_every):
        yield first, min(first + config.snapshot_every, config.steps)


def _finite_loss(losses: list[Tensor], step: int, learning_rate: float) -> float:
    loss = float(torch.stack(losses).mean())
    if not math.isfinite(loss):
        raise TrainingError(
            f"step {step}: expected a finite loss, found {loss}; lower the learning rate (it is {learning_rate:g}) "
            "or check the pretrained weights"
        )
    return loss
