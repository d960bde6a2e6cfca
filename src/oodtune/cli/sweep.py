"""`oodtune sweep`, and what it prints."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from oodtune.cli.stages import DEFAULT_PARAMS, CachePath, Device, ParamsPath

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType
    from rich.table import Table

    from oodtune.stages.sweep import Outcome
    from oodtune.stages.sweep_pace import Forecast
    from oodtune.stages.sweep_plan import Cost, Standing

PANEL = "A sweep"
MAX_ROWS: Final = 30
"""A longer sweep is counted, not listed."""
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600


def add_commands(app: typer.Typer) -> None:
    app.command(rich_help_panel=PANEL)(sweep)


def sweep(
    cache: CachePath,
    init: Annotated[Path, typer.Option(help="An `init` artifact, from `oodtune init`.")],
    out: Annotated[Path, typer.Option(help="The directory of the trials; each has one of its name in it.")],
    params: ParamsPath = DEFAULT_PARAMS,
    concurrency: Annotated[
        int, typer.Option(min=1, help="Trials at once: on a GPU they share it, on the CPU each has its part.")
    ] = 1,
    device: Device = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is missing and what it costs; stop.")] = False,
) -> None:
    """Train what is missing of the sweep: a `trial` each. Uses `augment`, `train`, `methods`, `sweep`.

    A trial that is there counts if its settings, its inputs and the version are still these; one that was
    interrupted goes on from its newest checkpoint. Says first what the rest costs.

    Exits with 1 if a trial failed: the others are trained all the same, and the same command tries it again. Exits
    with 143 after SIGTERM and with 130 after SIGINT (Ctrl-C), when every trial under way has written a checkpoint;
    with 2 if the settings or the inputs are at fault. With one trial at a time, each is what `oodtune train` makes,
    bit for bit; another number of threads, as several at once have on the CPU, can change the last bits.
    """
    from rich.console import Console

    from oodtune.cli.sweep_view import show_sweep
    from oodtune.config import load_config
    from oodtune.stages import sweep as stage
    from oodtune.stages import sweep_plan

    config = load_config(params)
    inputs = sweep_plan.open_inputs(cache, init, config)
    standings = sweep_plan.look_at_trials(config, inputs, out)
    console = Console()
    console.print(render_plan(standings, sweep_plan.estimate_cost(standings, inputs, concurrency), concurrency))
    if dry_run or all(one.state == "done" for one in standings):
        return
    with show_sweep(standings) as view:
        outcomes = stage.run(standings, inputs, view, concurrency, device)
    console.print(describe_end(standings, outcomes), highlight=False, soft_wrap=True)
    if any(outcome.state == "failed" for outcome in outcomes):
        raise typer.Exit(1)


def render_plan(standings: "Sequence[Standing]", cost: "Cost", concurrency: int) -> "RenderableType":
    """Return where the trials stand, one a line if they are few, and what is still to pay."""
    from rich.console import Group
    from rich.text import Text

    lines = [
        Text(line, "bold" if place == 0 else "") for place, line in enumerate(_costs(standings, cost, concurrency))
    ]
    return Group(_list(standings) if len(standings) <= MAX_ROWS else _count(standings), *lines)


def describe_end(standings: "Sequence[Standing]", outcomes: "Sequence[Outcome]") -> str:
    """Return how many trials are there now, and which failed."""
    failed = [outcome.name for outcome in outcomes if outcome.state == "failed"]
    done = f"{len(standings) - len(failed)} of {len(standings)} trials are done"
    return f"{done}; failed: {', '.join(failed)}; the same command tries them again" if failed else done


def describe_forecast(forecast: "Forecast") -> str:
    """Return what is left of a sweep, and its speed if that is known."""
    speed = f" at {forecast.images_per_s:,.0f} images/s" if forecast.images_per_s else ""
    return f"about {describe_duration(forecast.remaining_s)} left{speed}"


def describe_duration(duration_s: float) -> str:
    """Return a time as one would say it: `40 s`, `12 min`, `3 h 20 min`."""
    if duration_s < _MINUTE_S:
        return f"{duration_s:.0f} s"
    minutes = round(duration_s / _MINUTE_S)
    return f"{minutes} min" if duration_s < _HOUR_S else f"{minutes // 60} h {minutes % 60} min"


def describe_bytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.1f} MB"


def _costs(standings: "Sequence[Standing]", cost: "Cost", concurrency: int) -> "Iterator[str]":
    states, num_trials = Counter(one.state for one in standings), len(standings)
    if states["done"] == num_trials:
        yield f"all {num_trials} trials are done: nothing to train"
        return
    yield f"{num_trials} trials: {states['done']} done, {states['begun']} to go on with, {states['missing']} to begin"
    at_once = "one at a time" if concurrency == 1 else f"{concurrency} at once"
    yield f"to train on: {cost.num_images:,} images in {cost.num_steps:,} steps, {at_once}"
    yield (
        f"disk: {describe_bytes(cost.weights_bytes)} for weights and, while they are trained, up to "
        f"{describe_bytes(cost.checkpoint_bytes)} for checkpoints; {describe_bytes(cost.free_bytes)} are free"
    )
    if not cost.fits:
        yield "warning: the disk may be too small; free space or pass another --out"
    yield "time: said as soon as the first steps are measured"


def _list(standings: "Sequence[Standing]") -> "Table":
    table = _table("trial", "is", "steps left", "why")
    for one in standings:
        left = "" if one.state == "done" else f"{one.num_steps:,}"
        table.add_row(one.trial.name, describe_state(one), left, one.reason)
    return table


def _count(standings: "Sequence[Standing]") -> "Table":
    table = _table("trials", "are", "steps left", "why")
    groups: dict[tuple[str, str], list[Standing]] = {}
    for one in standings:
        groups.setdefault((one.state, one.reason), []).append(one)
    for (state, reason), members in groups.items():
        left = sum(one.num_steps for one in members)
        table.add_row(f"{len(members):,}", state, "" if state == "done" else f"{left:,}", reason)
    return table


def describe_state(standing: "Standing") -> str:
    return f"begun, at step {standing.step:,}" if standing.state == "begun" else standing.state


def _table(*headings: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if heading == "steps left" else "left", overflow="fold")
    return table
