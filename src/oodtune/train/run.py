"""All that changes while a trial is trained, and how it goes into a checkpoint and back."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from oodtune.train.averages import Mean, NoAverage
from oodtune.train.checkpoint import Checkpoint
from oodtune.train.energy import Spent
from oodtune.train.history import History, Kept, Snapshot


@dataclass
class Run:
    """A trial after `step` steps.

    Randomness is no part of it: that of a step follows from the seed and the step. Nor is the schedule, for
    the same reason.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    average: NoAverage
    history: History = field(default_factory=History)
    losses: list[Tensor] = field(default_factory=list)
    """Of the steps since the last snapshot, scalars on the network's device."""
    step: int = 0

    def checkpoint(self) -> Checkpoint:
        """Return all of it, not copied."""
        tensors = _prefixed("network.", self.network.state_dict())
        for place, state in self.optimiser.state_dict()["state"].items():
            tensors |= _prefixed(f"optimiser.{place}.", {name: one for name, one in state.items() if one is not None})
        for name, mean in self.average.means().items():
            tensors |= _prefixed(f"average.{name}.", mean.sums)
        kept = self.history.kept
        if kept is not None:
            tensors |= _prefixed("kept.", kept.state)
        if self.losses:
            tensors["losses"] = torch.stack(self.losses)
        return Checkpoint(self.step, tensors, self._notes())

    def restore(self, checkpoint: Checkpoint) -> None:
        """Become what the run was that made `checkpoint`, in the same layout of memory: kernels depend on it."""
        notes, tensors = checkpoint.notes, checkpoint.tensors
        self.step = checkpoint.step
        self.network.load_state_dict(_part(tensors, "network."))
        self._restore_optimiser(_part(tensors, "optimiser."))
        self.average.restore(notes["average"])
        for name, mean in self.average.means().items():
            mean.count, mean.first_step, mean.last_step = notes["means"][name]
            for key, saved in _part(tensors, f"average.{name}.").items():
                mean.sums[key].copy_(saved)
        self.history.snapshots = [Snapshot.from_json(line) for line in notes["snapshots"]]
        self.history.spent = Spent(*notes["spent"])
        self.history.kept = self._restore_kept(notes["kept"], _part(tensors, "kept."))
        device = next(self.network.parameters()).device
        self.losses = list(tensors["losses"].to(device)) if "losses" in tensors else []

    def _notes(self) -> dict[str, Any]:
        kept = self.history.kept
        return {
            "average": self.average.notes(),
            "means": {name: _counts(mean) for name, mean in self.average.means().items()},
            "snapshots": [snapshot.to_json() for snapshot in self.history.snapshots],
            "spent": astuple(self.history.spent),
            "kept": None if kept is None else [kept.step, kept.averaged_steps, kept.source_accuracy],
        }

    def _restore_optimiser(self, saved: Mapping[str, Tensor]) -> None:
        parameters = [one for group in self.optimiser.param_groups for one in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in saved.items():
            place, _, name = key.partition(".")
            state.setdefault(int(place), {})[name] = _laid_out_as(parameters[int(place)], tensor)
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})

    def _restore_kept(self, notes: list[Any] | None, saved: Mapping[str, Tensor]) -> Kept | None:
        if notes is None:
            return None
        step, averaged_steps, source_accuracy = notes
        live = self.network.state_dict()
        state = {name: torch.empty_like(live[name]).copy_(tensor) for name, tensor in saved.items()}
        return Kept(step, None if averaged_steps is None else tuple(averaged_steps), source_accuracy, state)


def _counts(mean: Mean) -> tuple[int, int, int]:
    return mean.count, mean.first_step, mean.last_step


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _laid_out_as(parameter: Tensor, tensor: Tensor) -> Tensor:
    """Return `tensor` in the layout of `parameter` if it has its shape (a counter of steps has not)."""
    if tensor.shape != parameter.shape:
        return tensor
    return torch.empty_like(parameter, dtype=tensor.dtype, device=tensor.device).copy_(tensor)
