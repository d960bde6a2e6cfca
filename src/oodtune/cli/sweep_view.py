"""How a sweep goes on: bars on a terminal, a line for every event elsewhere."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from oodtune.cli.sweep import describe_forecast

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from oodtune.stages.sweep import Outcome, View
    from oodtune.stages.sweep_pace import Forecast
    from oodtune.stages.sweep_plan import Standing
    from oodtune.stages.sweep_worker import Message


@contextmanager
def show_sweep(standings: "Sequence[Standing]", console: "Console | None" = None) -> "Iterator[View]":
    """Yield what shows the trials of a sweep on stderr."""
    from rich.console import Console

    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield LineView(standings, console)
        return
    with make_bars(console) as shown:
        yield BarView(standings, shown)


def make_bars(console: "Console") -> "Progress":
    """Return bars whose counts stand first: of a long name or text, the end gives way."""
    from rich import progress as bars
    from rich.table import Column

    return bars.Progress(
        bars.MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=9, justify="right")),
        bars.BarColumn(12, table_column=Column(min_width=12)),
        bars.TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis")),
        bars.TextColumn("{task.fields[what]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
        console=console,
    )


class LineView:
    """A line when a trial starts, says something or ends, and one when the time is known."""

    def __init__(self, standings: "Sequence[Standing]", console: "Console") -> None:
        self._console = console
        self._num_trials = len(standings)
        self._num_done = sum(one.state == "done" for one in standings)
        self._forecast_shown = False

    def started(self, standing: "Standing") -> None:
        after = f" after step {standing.step}" if standing.state == "begun" else ""
        self._print(f"{standing.trial.name}: {'goes on' if after else 'begins'}{after}")

    def moved(self, name: str, message: "Message", forecast: "Forecast | None") -> None:
        if forecast is not None and not self._forecast_shown:
            self._forecast_shown = True
            self._print(f"sweep: {describe_forecast(forecast)}")

    def said(self, name: str, text: str) -> None:
        self._print(f"{name}: {text}")

    def ended(self, outcome: "Outcome", forecast: "Forecast | None") -> None:
        self._num_done += outcome.state == "finished"
        text = f": {outcome.text}" if outcome.text else ""
        rest = f"; {describe_forecast(forecast)}" if forecast is not None and forecast.remaining_s > 0 else ""
        count = f" ({self._num_done} of {self._num_trials} trials are done{rest})"
        self._print(f"{outcome.name}: {outcome.state}{text}{count if outcome.state == 'finished' else ''}")

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class BarView(LineView):
    """A bar for the sweep, one for every trial under way, and above them a line for each that has ended."""

    def __init__(self, standings: "Sequence[Standing]", shown: "Progress") -> None:
        super().__init__(standings, shown.console)
        self._shown = shown
        left = {one.trial.name: one.num_steps for one in standings if one.state != "done"}
        self._steps_left = dict(left)
        self._num_steps = sum(left.values())
        self._sweep = shown.add_task("sweep", total=self._num_steps, what="")
        self._bars: dict[str, TaskID] = {}

    def started(self, standing: "Standing") -> None:
        name, total = standing.trial.name, standing.params.train.steps
        self._bars[name] = self._shown.add_task(name, total=total, completed=standing.step, what="starts")

    def moved(self, name: str, message: "Message", forecast: "Forecast | None") -> None:
        self._shown.update(self._bars[name], completed=message.done, total=message.total, what=message.text)
        self._steps_left[name] = message.total - message.done
        self._show_all(forecast)

    def ended(self, outcome: "Outcome", forecast: "Forecast | None") -> None:
        self._shown.remove_task(self._bars.pop(outcome.name))
        if outcome.state != "stopped":
            self._steps_left[outcome.name] = 0
        self._show_all(forecast)
        super().ended(outcome, None)

    def _show_all(self, forecast: "Forecast | None") -> None:
        done = self._num_steps - sum(self._steps_left.values())
        what = describe_forecast(forecast) if forecast is not None and forecast.remaining_s > 0 else ""
        self._shown.update(self._sweep, completed=done, what=what)
