"""The mean of states, one after the other."""

from collections.abc import Iterator

import torch
from torch import Tensor

from oodtune.combine.alike import Pattern, State, Statistics

CHUNK = 2**17
"""Numbers taken to float64 at a time: they stay in the CPU's cache, and no tensor needs a second copy of its size."""


class Sums:
    """Sums of states in float64, tensor by tensor: as large as two float32 states, however many are added.

    The mean is then exact but for the last bit of its type, in whatever order the states came. Weights are
    averaged; what `Pattern` calls fixed is that of the first state, and must be the same in all.
    """

    def __init__(self, action: str, statistics: Statistics = "equal") -> None:
        """`action` is what error messages call this, "soup" for example."""
        self.count = 0
        self._action = action
        self._statistics = statistics
        self._pattern: Pattern | None = None
        self._sums: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, owner: str, state: State) -> None:
        """Add the state of the trial `owner`. Raises ArtifactError if it is not like those before it."""
        pattern = self._require_alike(owner, state)
        if not self.count:
            self._sums = {name: _copy(state[name]) for name in pattern.averaged}
        else:
            for name, total in self._sums.items():
                for running, part in chunks(total, state[name]):
                    running.add_(part)
        self.count += 1

    @torch.no_grad()
    def mean_with(self, owner: str, state: State) -> dict[str, Tensor]:
        """Return the mean as if `state` had been added. Raises ArtifactError like `add`."""
        pattern = self._require_alike(owner, state)
        if not self.count:
            return dict(state)
        means = {name: torch.empty_like(state[name], memory_format=torch.contiguous_format) for name in self._sums}
        for name, mean in means.items():
            for target, running, part in chunks(mean, self._sums[name], state[name]):
                target.copy_((running + part).div_(self.count + 1))
        return {**pattern.fixed, **means}

    @torch.no_grad()
    def take_mean(self) -> dict[str, Tensor]:
        """Return the mean of what was added, of which there must be something, and let go of the sums."""
        assert self.count > 0
        assert self._pattern is not None
        means = {name: self._sums.pop(name).div_(self.count).to(dtype) for name, dtype in self._pattern.dtypes.items()}
        self.count = 0
        return {**self._pattern.fixed, **means}

    def _require_alike(self, owner: str, state: State) -> Pattern:
        if self._pattern is None:
            self._pattern = Pattern(owner, state, self._statistics)
        else:
            self._pattern.require(owner, state, self._action)
        return self._pattern


def chunks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the same piece of each of several tensors of one shape, flattened; of contiguous ones it is a view."""
    return zip(*(torch.split(tensor.flatten(), CHUNK) for tensor in tensors), strict=True)


def _copy(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float64, copy=True, memory_format=torch.contiguous_format)
