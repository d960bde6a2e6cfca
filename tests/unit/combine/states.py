"""Small states, and a pantry that knows which of them are alive."""

import weakref
from collections.abc import Callable

import torch
from torch import Tensor

State = dict[str, Tensor]


def state_of(seed: int, **changes: Tensor) -> State:
    """Return a state with two weights, frozen statistics and a counter; `changes` replace or add tensors."""
    random = torch.Generator().manual_seed(seed)
    weights = {
        "conv.weight": torch.randn(4, 3, 3, 3, generator=random).to(memory_format=torch.channels_last),
        "head.bias": torch.randn(5, generator=random),
    }
    frozen = {"bn.running_mean": torch.ones(4), "bn.num_batches_tracked": torch.tensor(7)}
    return {**weights, **frozen, **changes}


def loaders(**states: State) -> dict[str, Callable[[], State]]:
    """Return a loader for each of the states."""
    return {name: lambda one=one: one for name, one in states.items()}  # type: ignore[misc]


def equal(first: State, second: State) -> bool:
    """Whether both have the same names, types and values."""
    return first.keys() == second.keys() and all(
        torch.equal(first[name], tensor) and first[name].dtype == tensor.dtype for name, tensor in second.items()
    )


class Pantry:
    """Loads fresh states and notes the most that were in memory at once, counted in tensors of one weight each."""

    def __init__(self, count: int) -> None:
        self.most_alive = 0
        self._alive: list[weakref.ref[Tensor]] = []
        self.ingredients = {f"trial{seed:02}": lambda seed=seed: self._load(seed) for seed in range(count)}

    def _load(self, seed: int) -> State:
        state = state_of(seed)
        self._alive = [one for one in self._alive if one() is not None]
        self._alive.append(weakref.ref(state["conv.weight"]))
        self.most_alive = max(self.most_alive, len(self._alive))
        return state
