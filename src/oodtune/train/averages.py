"""Averages along the trajectory of one trial: pure functions of its states and losses.

A state is a whole state dict. Floating-point tensors are averaged, batch-norm statistics included; integer
buffers (counters) are those of the latest state.
"""

from collections import deque
from typing import Any, Self

import torch
from torch import Tensor

from oodtune.config import MethodConfig
from oodtune.train.history import State


class Mean:
    """The mean of states, held as sums in float64.

    Sums of thousands of float32 states are then exact but for the last few bits, so the order of adding does
    not show. A running mean in float32 would lose what a late state adds: less than the last bit of the mean.
    """

    def __init__(self, like: State) -> None:
        self.count = 0
        self.first_step = 0
        self.last_step = 0
        self._dtypes = {name: tensor.dtype for name, tensor in like.items()}
        self.sums: dict[str, Tensor] = {name: _zeros(tensor) for name, tensor in like.items()}
        self._floating = [name for name, total in self.sums.items() if total.is_floating_point()]
        self._counters = [name for name, total in self.sums.items() if not total.is_floating_point()]

    @property
    def steps(self) -> tuple[int, int]:
        """First and last step of what was added."""
        return self.first_step, self.last_step

    @torch.no_grad()
    def add(self, step: int, state: State) -> None:
        """Add the state after `step` steps."""
        self._add(state, 1, step, step)

    @torch.no_grad()
    def merge(self, later: Self) -> None:
        """Add all states of another mean, whose steps come after those of this one."""
        self._add(later.sums, later.count, later.first_step, later.last_step)

    @torch.no_grad()
    def value(self) -> dict[str, Tensor]:
        """Return the mean, in the types of the states. At least one state must have been added."""
        assert self.count > 0
        return {
            name: (total / self.count).to(self._dtypes[name]) if total.is_floating_point() else total.clone()
            for name, total in self.sums.items()
        }

    def _add(self, state: State, count: int, first_step: int, last_step: int) -> None:
        summed, added = ([tensors[name] for name in self._floating] for tensors in (self.sums, state))
        torch._foreach_add_(summed, added)
        for name in self._counters:
            self.sums[name].copy_(state[name])
        self.first_step = self.first_step if self.count else first_step
        self.last_step = last_step
        self.count += count


class NoAverage:
    """The trial keeps its best snapshot, and nothing is averaged."""

    keeps_best = True
    """True: the best snapshot is kept (its average, if there is one); False: the weights are known at the end."""
    closed = False
    """True once further steps would change nothing."""

    def add(self, step: int, state: State) -> None:
        """Take in the state after `step` steps."""

    def at_snapshot(self) -> Mean | None:
        """Return the mean up to here, to be measured beside the live weights."""
        return None

    def end_segment(self, loss: float) -> None:
        """Take in the live weights' mean loss on the source out-splits, at a snapshot."""

    def at_end(self) -> Mean | None:
        """Return the mean that the trial keeps, if `keeps_best` is false; None: its last state."""
        return None

    def means(self) -> dict[str, Mean]:
        """Return what a checkpoint holds of the sums, by name."""
        return {}

    def notes(self) -> dict[str, Any]:
        """Return what a checkpoint holds beside the sums."""
        return {}

    def restore(self, notes: dict[str, Any]) -> None:
        """Make ready for the sums of a checkpoint with these `notes`: afterwards `means` has its names."""


class Sma(NoAverage):
    """Simple moving average (Arpit et al., arXiv 2110.10832, section 3.1, eq. 1).

    With theta_t the state after t steps and t0 = `start`, the average is theta_t for t <= t0, and then

        mean_t = (t - t0) / (t - t0 + 1) * mean_{t-1}  +  1 / (t - t0 + 1) * theta_t,

    which is the plain mean of theta_t0 ... theta_t; with `every`, of each `every`-th of them. The trial keeps
    the average whose accuracy on the source out-splits is best.
    """

    def __init__(self, like: State, start: int, every: int) -> None:
        self.start = start
        self.every = every
        self.mean = Mean(like)

    def add(self, step: int, state: State) -> None:
        if step >= self.start and (step - self.start) % self.every == 0:
            self.mean.add(step, state)

    def at_snapshot(self) -> Mean | None:
        return self.mean if self.mean.count else None

    def means(self) -> dict[str, Mean]:
        return {"mean": self.mean}


class Swad(NoAverage):
    """Stochastic weight averaging, densely (Cha et al., arXiv 2102.08604, Algorithm 1).

    The mean of all states from iteration t_s to t_e, found from the losses E_i on the source out-splits:

        t_s: the first i - N_s + 1 with E_{i - N_s + 1} = min(E_{i - N_s + 1} ... E_i);
             the threshold is then (1 + ratio) * mean(E_{i - N_s + 1} ... E_i)         (the paper's r is 1 + ratio)
        t_e: the first i - N_e with min(E_{i - N_e + 1} ... E_i) > threshold, where training ends; else the last.

    As in the authors' code, E is known at snapshots only and a window is made of whole segments: i counts
    snapshots, and the segment of snapshot i is every state after snapshot i - 1 up to it. If t_s is never
    found, the trial keeps its last state. Their code goes beyond Algorithm 1 in two ways that this does not:
    it may move t_s back over snapshots below the threshold, and it leaves out a tail above the threshold that
    is shorter than N_e. Memory: at most max(N_s, N_e) + 2 sums in float64.
    """

    keeps_best = False

    def __init__(self, like: State, converge: int, tolerance: int, ratio: float) -> None:
        self._like = like
        self.converge = converge
        """N_s"""
        self.tolerance = tolerance
        """N_e"""
        self.ratio = ratio
        self.losses: list[float] = []
        self.threshold: float | None = None
        self.window = Mean(like)
        """Segments from t_s on that t_e cannot come before any more."""
        self.waiting: deque[Mean] = deque()
        """Segments after those: t_e may yet come before them, or t_s after."""
        self.segment = Mean(like)

    def add(self, step: int, state: State) -> None:
        self.segment.add(step, state)

    def end_segment(self, loss: float) -> None:
        self.losses.append(loss)
        self.waiting.append(self.segment)
        self.segment = Mean(self._like)
        if self.threshold is None:
            self._look_for_start()
        elif min(self.losses[-self.tolerance :]) > self.threshold:
            self.closed = True
            self.waiting.clear()
        if self.threshold is not None:
            self._fill_window(keep=self.tolerance - 1)

    def at_end(self) -> Mean | None:
        if self.threshold is None:
            return None
        self._fill_window(keep=0)
        return self.window

    def means(self) -> dict[str, Mean]:
        waiting = {f"waiting{place}": mean for place, mean in enumerate(self.waiting)}
        return {"window": self.window, "segment": self.segment, **waiting}

    def notes(self) -> dict[str, Any]:
        return {"losses": self.losses, "threshold": self.threshold, "closed": self.closed, "waiting": len(self.waiting)}

    def restore(self, notes: dict[str, Any]) -> None:
        self.losses, self.threshold, self.closed = list(notes["losses"]), notes["threshold"], notes["closed"]
        self.waiting = deque(Mean(self._like) for _ in range(notes["waiting"]))

    def _look_for_start(self) -> None:
        while len(self.waiting) > self.converge:
            self.waiting.popleft()
        latest = self.losses[-self.converge :]
        if len(latest) == self.converge and latest[0] == min(latest):
            mean = max(sum(latest) / len(latest), latest[0])  # no less than the lowest, though rounding may say so
            self.threshold = (1.0 + self.ratio) * mean

    def _fill_window(self, keep: int) -> None:
        while len(self.waiting) > keep:
            self.window.merge(self.waiting.popleft())


def create_average(method: MethodConfig, like: State) -> NoAverage:
    """Return the average that `method` asks for, of states like `like`."""
    match method.average:
        case "none":
            return NoAverage()
        case "sma":
            return Sma(like, method.average_from, method.average_every)
        case "swad":
            return Swad(like, method.swad_converge, method.swad_tolerance, method.swad_ratio)


def _zeros(tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor, dtype=torch.float64 if tensor.is_floating_point() else tensor.dtype)
