"""How long a sweep still takes, from what its trials took so far."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Forecast:
    """What is to be expected of the rest of a sweep."""

    remaining_s: float
    images_per_s: float
    """Of all trials at once, evaluation included, start-up not; 0 if no trial has told twice."""


@dataclass
class _Run:
    """What one trial told last."""

    time_s: float
    step: int
    told: bool = False


class Pace:
    """Watches trials; times are of one clock, in seconds.

    A trial takes some time until it first tells of its steps (a process, the images, the first measurement), and
    then a time for every step, evaluation and checkpoints included. Both are means over the trials so far.
    """

    def __init__(self, num_steps: Mapping[str, int], images_per_step: int, concurrency: int) -> None:
        """`num_steps`: name of each trial -> steps to train."""
        self._left = dict(num_steps)
        self._images_per_step = images_per_step
        self._concurrency = concurrency
        self._running: dict[str, _Run] = {}
        self._num_begun, self._begun_s, self._begun_steps = 0, 0.0, 0
        self._stepping_s, self._num_steps = 0.0, 0
        self._any_ended = False

    def start(self, name: str, step: int, now_s: float) -> None:
        """A trial is started, and has `step` steps behind it."""
        self._running[name] = _Run(now_s, step)

    def move(self, name: str, step: int, now_s: float) -> None:
        """A trial has `step` steps behind it."""
        run = self._running[name]
        passed_s, passed = now_s - run.time_s, max(0, step - run.step)
        if run.told:
            self._stepping_s += passed_s
            self._num_steps += passed
        else:
            self._num_begun += 1
            self._begun_s += passed_s
            self._begun_steps += passed
        self._left[name] = max(0, self._left[name] - passed)
        self._running[name] = _Run(now_s, step, told=True)

    def end(self, name: str) -> None:
        """A trial has ended, well or not."""
        del self._running[name]
        del self._left[name]
        self._any_ended = True

    def forecast(self) -> Forecast | None:
        """Return what is to be expected; None before any trial told twice, or told once and ended."""
        if not (self._num_steps or (self._any_ended and self._num_begun)):
            return None
        step_s = self._stepping_s / self._num_steps if self._num_steps else 0.0
        start_s = max(0.0, (self._begun_s - self._begun_steps * step_s) / max(1, self._num_begun))
        untold = {name for name in self._left if name not in self._running or not self._running[name].told}
        times = [steps * step_s + start_s * (name in untold) for name, steps in self._left.items()]
        at_once = min(self._concurrency, len(times))
        remaining_s = max(sum(times) / at_once, *times) if times else 0.0
        return Forecast(remaining_s, at_once * self._images_per_step / step_s if step_s else 0.0)
