"""`cache` + `init` -> every `trial` of a sweep that is not there yet, several at once on one device."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from time import monotonic
from typing import Literal, Protocol

from oodtune.cpus import count_cpus
from oodtune.errors import Stopped
from oodtune.stages.sweep_crew import Crew
from oodtune.stages.sweep_pace import Forecast, Pace
from oodtune.stages.sweep_plan import Inputs, Standing
from oodtune.stages.sweep_worker import Message, Task
from oodtune.train.stop import listen_for_stop

_LISTEN_S = 0.2
"""A signal that asks for an end is noticed after so long."""


@dataclass(frozen=True)
class Outcome:
    """How one trial ended."""

    name: str
    state: Literal["finished", "failed", "stopped"]
    text: str = ""
    """Of a failure: one line with what to do."""


class View(Protocol):
    """Who is shown how a sweep goes on."""

    def started(self, standing: Standing) -> None: ...
    def moved(self, name: str, message: Message, forecast: Forecast | None) -> None: ...
    def said(self, name: str, text: str) -> None: ...
    def ended(self, outcome: Outcome, forecast: Forecast | None) -> None: ...


def run(
    standings: Sequence[Standing], inputs: Inputs, view: View, concurrency: int = 1, device: str = "auto"
) -> list[Outcome]:
    """Train the trials that are not done, `concurrency` at once, each in a process; returns how each ended.

    One that fails does not keep the others from being trained. Raises ConfigError if there is no such device, and
    Stopped if SIGTERM or SIGINT asked for an end and trials are left: each of them has written a checkpoint then.

    Alone, a trial is what `oodtune train` makes of it, bit for bit. Of several at once each has its share of the
    CPUs as threads. On the CPU the number of threads can change the order in which floats are added, and with it
    the last bits of the weights: for equal bits, keep `concurrency` and the number of CPUs, or set OMP_NUM_THREADS=1.
    """
    _check_device(device)
    waiting = deque(sorted((one for one in standings if one.state != "done"), key=lambda one: one.state != "begun"))
    floor = _Floor(waiting, inputs, view, concurrency)
    num_threads = share_cpus(concurrency)
    outcomes: list[Outcome] = []
    with listen_for_stop() as stop, Crew(concurrency) as crew:
        while crew.num_busy or (waiting and stop.signal is None):
            while waiting and crew.has_room and stop.signal is None:
                standing = waiting.popleft()
                crew.give(make_task(standing, inputs, device, num_threads))
                floor.start(standing)
            if stop.signal is not None:
                crew.ask_to_stop()
            heard = crew.listen(_LISTEN_S)
            outcome = None if heard is None else floor.hear(*heard)
            if outcome is not None:
                outcomes.append(outcome)
    num_stopped = sum(outcome.state == "stopped" for outcome in outcomes)
    if stop.signal is not None and (waiting or num_stopped):
        raise Stopped(f"{stop.signal.name}; {_describe_rest(standings, outcomes)}", stop.signal)
    return outcomes


def share_cpus(concurrency: int) -> int | None:
    """Return the CPU threads of each of several trials; None for one alone, which takes what `oodtune train` takes."""
    return None if concurrency == 1 else max(1, count_cpus() // concurrency)


def make_task(standing: Standing, inputs: Inputs, device: str, num_threads: int | None) -> Task:
    """Return what a process needs to know to train one trial with so many CPU threads at most (see `share_cpus`)."""
    return Task(
        cache=inputs.cache.path,
        init=inputs.init.path,
        out=standing.out,
        trial=standing.trial,
        params=standing.params,
        device=device,
        num_threads=num_threads,
    )


class _Floor:
    """Keeps the pace of the trials that are under way, and shows them."""

    def __init__(self, waiting: Sequence[Standing], inputs: Inputs, view: View, concurrency: int) -> None:
        self._view = view
        sizes = [one.params.train.batch_per_domain * inputs.num_sources(one.trial) for one in waiting]
        images_per_step = round(fmean(sizes)) if sizes else 0  # a pair of held-out domains makes them smaller
        self._pace = Pace({one.trial.name: one.num_steps for one in waiting}, images_per_step, concurrency)

    def start(self, standing: Standing) -> None:
        self._pace.start(standing.trial.name, standing.step, monotonic())
        self._view.started(standing)

    def hear(self, task: Task, message: Message) -> Outcome | None:
        """Show a message; returns the trial's outcome if it is the last."""
        name = task.trial.name
        if message.state == "running":
            self._pace.move(name, message.done, monotonic())
            self._view.moved(name, message, self._pace.forecast())
            return None
        if message.state == "said":
            self._view.said(name, message.text)
            return None
        self._pace.end(name)
        outcome = Outcome(name, message.state, message.text)
        self._view.ended(outcome, self._pace.forecast())
        return outcome


def _check_device(name: str) -> None:
    """Raises ConfigError if there is no such device. Does not load torch for those that every machine has."""
    if name not in ("auto", "cpu"):
        from oodtune.model.device import choose_device

        choose_device(name)


def _describe_rest(standings: Sequence[Standing], outcomes: Sequence[Outcome]) -> str:
    """Return how far a sweep is that was stopped."""
    ended = Counter(outcome.state for outcome in outcomes)
    num_done = sum(one.state == "done" for one in standings) + ended["finished"]
    failed = f", {ended['failed']} failed" if ended["failed"] else ""
    return (
        f"{num_done} of {len(standings)} trials are done{failed}, {ended['stopped']} stopped under way; "
        "the same command goes on from there"
    )
