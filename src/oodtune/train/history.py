"""What was measured along the trajectory, and the weights that the trial keeps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from torch import Tensor

from oodtune.train.energy import NOTHING, Spent

State = Mapping[str, Tensor]
"""A state dict: name -> tensor."""


@dataclass(frozen=True)
class Measurement:
    """One set of weights on the out-split of every source domain. The target domain has no way in."""

    accuracy: dict[str, float]
    """Source domain -> accuracy, 0..1."""
    loss: dict[str, float]
    """Source domain -> mean cross-entropy, nats."""

    @property
    def source_accuracy(self) -> float:
        """Mean over the source domains: what a snapshot is chosen by."""
        return sum(self.accuracy.values()) / len(self.accuracy)

    @property
    def source_loss(self) -> float:
        """Mean over the source domains: what the window of SWAD is chosen by."""
        return sum(self.loss.values()) / len(self.loss)

    def to_json(self) -> dict[str, Any]:
        return {
            "source_accuracy": self.source_accuracy,
            "source_loss": self.source_loss,
            "accuracy": self.accuracy,
            "out_loss": self.loss,
        }

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Self:
        return cls(line["accuracy"], line["out_loss"])


@dataclass(frozen=True)
class Snapshot:
    """What was measured at one step."""

    step: int
    loss: float | None
    """Mean training loss since the last snapshot; None before the first step."""
    live: Measurement
    averaged: Measurement | None = None
    """Of the average of the trajectory up to here, where there is one."""

    @property
    def chosen(self) -> Measurement:
        """Of the weights that the trial would keep from here."""
        return self.averaged or self.live

    def to_json(self) -> dict[str, Any]:
        """Return a line of the log: the live weights' values, and those of the average if there is one."""
        averaged = {} if self.averaged is None else {"averaged": self.averaged.to_json()}
        return {"step": self.step, "loss": self.loss, **self.live.to_json(), **averaged}

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Self:
        averaged = Measurement.from_json(line["averaged"]) if "averaged" in line else None
        return cls(line["step"], line["loss"], Measurement.from_json(line), averaged)


@dataclass(frozen=True)
class Kept:
    """The weights that the trial keeps."""

    step: int
    """Of the snapshot they are from, or the last step of the average."""
    averaged_steps: tuple[int, int] | None
    """First and last step of the states they are the mean of; None: the state at `step` alone."""
    source_accuracy: float
    state: dict[str, Tensor]


@dataclass
class History:
    """Every snapshot's measurements, the weights to keep, and what it took."""

    snapshots: list[Snapshot] = field(default_factory=list)
    kept: Kept | None = None
    spent: Spent = NOTHING

    @property
    def best_accuracy(self) -> float:
        """The highest source accuracy of any snapshot's weights, 0..1."""
        return max(snapshot.chosen.source_accuracy for snapshot in self.snapshots)

    def keep_best(self, snapshot: Snapshot, state: State, averaged_steps: tuple[int, int] | None) -> None:
        """Keep a copy of `state` if it is the first, or better on the source out-splits than what is kept.

        The initial state is measured, but it is no trained model.
        """
        accuracy = snapshot.chosen.source_accuracy
        if snapshot.step > 0 and (self.kept is None or accuracy > self.kept.source_accuracy):
            self.keep(snapshot.step, averaged_steps, accuracy, state)

    def keep(self, step: int, averaged_steps: tuple[int, int] | None, source_accuracy: float, state: State) -> None:
        """Keep a copy of `state`, whatever was kept before."""
        copy = {name: tensor.detach().clone() for name, tensor in state.items()}
        self.kept = Kept(step, averaged_steps, source_accuracy, copy)
