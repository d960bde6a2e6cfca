"""What states must share before their weights may be averaged."""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from oodtune.errors import ArtifactError

State = Mapping[str, Tensor]
Ingredients = Mapping[str, Callable[[], State]]
"""Name of a trial -> function that loads its state dict."""
Statistics = Literal["equal", "average"]
"""Batch-norm statistics were frozen in training and must be `equal`, or moved: then the `average` of them is only a
place holder, to be estimated anew."""

_STATISTICS = ("running_mean", "running_var")
_COUNTER = "num_batches_tracked"


class Pattern:
    """Names, shapes, types and fixed tensors of a state, without its weights."""

    def __init__(self, owner: str, state: State, statistics: Statistics = "equal") -> None:
        self.averaged = tuple(name for name, tensor in state.items() if _is_averaged(name, tensor, statistics))
        self.dtypes = {name: state[name].dtype for name in self.averaged}
        self.fixed = {name: tensor.clone() for name, tensor in state.items() if name not in self.dtypes}
        """Frozen statistics, and integers: they cannot be averaged."""
        self._owner = owner
        self._kinds = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in state.items()}
        self._statistics = statistics

    def require(self, owner: str, state: State, action: str) -> None:
        """Raise ArtifactError unless `state` has this pattern; `action` says what both are wanted for.

        Where statistics are averaged, the counters of batches may differ: they say nothing about the weights.
        """
        for name in sorted(self._kinds.keys() | state.keys()):
            problem = self._problem(name, owner, state)
            if problem:
                raise ArtifactError(
                    f"{action} of {self._owner} and {owner}: expected {problem}; "
                    f"combine only trials of one network and one initial state"
                )

    def _problem(self, name: str, owner: str, state: State) -> str:
        if name not in state or name not in self._kinds:
            lacking = self._owner if name in state else owner
            return f"equal names, found no {name!r} in {lacking}"
        expected, found = self._kinds[name], (tuple(state[name].shape), state[name].dtype)
        if found != expected:
            return f"{name!r} of {expected[0]} {expected[1]} in both, found {found[0]} {found[1]} in {owner}"
        if name not in self.fixed or (self._statistics == "average" and _last(name) == _COUNTER):
            return ""
        if torch.equal(self.fixed[name], state[name]):
            return ""
        if _last(name) in (*_STATISTICS, _COUNTER):
            return f"equal frozen statistics, found {name!r} to differ, which has to be averaged and estimated anew"
        return f"equal values of {name!r}, which cannot be averaged, found others in {owner}"


def _is_averaged(name: str, tensor: Tensor, statistics: Statistics) -> bool:
    return tensor.is_floating_point() and (statistics == "average" or _last(name) not in _STATISTICS)


def _last(name: str) -> str:
    return name.rpartition(".")[2]
