import io
from pathlib import Path

import pytest
from rich.console import Console

from oodtune.cli.sweep import MAX_ROWS, describe_bytes, describe_duration, describe_end, render_plan
from oodtune.cli.sweep_view import BarView, make_bars, show_sweep
from oodtune.stages.sweep import Outcome
from oodtune.stages.sweep_pace import Forecast
from oodtune.stages.sweep_plan import Cost, Standing, State
from oodtune.stages.sweep_worker import Message
from oodtune.stages.train import Params
from oodtune.trial import Trial
from tests.fixtures.tiny_sweep import tiny_config

STATES: tuple[State, ...] = ("done", "missing", "begun")
COST = Cost(num_steps=1200, num_images=28_800, weights_bytes=3_000_000, checkpoint_bytes=10**9, free_bytes=2 * 10**9)


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Params:
    config = tiny_config(tmp_path_factory.mktemp("weights"), train={"steps": 100})
    return Params(augment=config.augment, train=config.train, method=config.methods["plain"])


def trial(seed: int = 0) -> Trial:
    return Trial(target_domain="ink", method="plain", learning_rate=0.1, weight_decay=0.0, seed=seed)


def standing(params: Params, state: State, step: int = 0, reason: str = "", seed: int = 0) -> Standing:
    return Standing(trial(seed), params, Path("trials") / trial(seed).name, state, step, reason)


def printed(standings: list[Standing], cost: Cost = COST, concurrency: int = 2) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(render_plan(standings, cost, concurrency))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_short_sweep_is_listed_with_the_reasons(params: Params) -> None:
    text = printed([standing(params, "done", 100), standing(params, "begun", 40, "other cache", seed=1)])
    assert trial(1).name in text
    assert "begun, at step 40" in text
    assert "other cache" in text
    assert "2 trials: 1 done, 1 to go on with, 0 to begin" in text
    assert "28,800 images in 1,200 steps, 2 at once" in text
    assert "3.0 MB for weights" in text
    assert "warning" not in text


def test_a_long_sweep_is_counted(params: Params) -> None:
    standings = [standing(params, "missing", seed=seed) for seed in range(MAX_ROWS)]
    text = printed([*standings, standing(params, "missing", reason="other init", seed=99)])
    assert trial(3).name not in text
    assert "3,000" in text
    assert "other init" in text


def test_a_disk_that_is_too_small_is_said_before(params: Params) -> None:
    small = Cost(1, 1, 10**9, 10**9, free_bytes=10**9)
    assert "warning: the disk may be too small" in printed([standing(params, "missing")], small)


def test_a_done_sweep_has_no_cost(params: Params) -> None:
    text = printed([standing(params, "done", 100)])
    assert "all 1 trials are done" in text
    assert "to train on" not in text


def test_the_end_names_what_failed(params: Params) -> None:
    standings = [
        standing(params, "done", 100),
        standing(params, "missing", seed=1),
        standing(params, "missing", seed=2),
    ]
    good, bad = Outcome(trial(1).name, "finished"), Outcome(trial(2).name, "failed", "why")
    assert describe_end(standings, [good, bad]) == (
        f"2 of 3 trials are done; failed: {trial(2).name}; the same command tries them again"
    )
    assert describe_end(standings[:2], [good]) == "2 of 2 trials are done"


def test_times_and_sizes_are_said_in_the_unit_that_fits() -> None:
    assert [describe_duration(time_s) for time_s in (0.4, 59.4, 90, 3500, 3600, 12_000)] == [
        "0 s",
        "59 s",
        "2 min",
        "58 min",
        "1 h 0 min",
        "3 h 20 min",
    ]
    assert [describe_bytes(size) for size in (1_500_000, 2_500_000_000)] == ["1.5 MB", "2.5 GB"]


def shown(params: Params, console: Console) -> str:
    """Show two trials, of which one fails; return what was printed."""
    begun, missing = standing(params, "begun", 40), standing(params, "missing", seed=1)
    forecast = Forecast(100.0, 50.0)
    with show_sweep([begun, missing], console) as view:
        view.started(begun)
        view.started(missing)
        for done in (50, 60):
            message = Message(state="running", done=done, total=100, text="loss 0.123, [iid] 50.0%")
            view.moved(begun.trial.name, message, None if done == 50 else forecast)
        view.said(begun.trial.name, "warning: [disk]")
        view.ended(Outcome(begun.trial.name, "finished"), forecast)
        view.ended(Outcome(missing.trial.name, "failed", "expected a finite loss"), None)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_a_terminal_there_is_a_line_for_every_event(params: Params) -> None:
    first, second = trial().name, trial(1).name
    assert shown(params, Console(file=io.StringIO(), width=20)).splitlines() == [
        f"{first}: goes on after step 40",
        f"{second}: begins",
        "sweep: about 2 min left at 50 images/s",
        f"{first}: warning: [disk]",
        f"{first}: finished (1 of 2 trials are done; about 2 min left at 50 images/s)",
        f"{second}: failed: expected a finite loss",
    ]


def test_on_a_terminal_bars_show_loss_and_time_left(params: Params) -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    begun, bars = standing(params, "begun", 40), make_bars(console)
    view = BarView([begun, standing(params, "missing", seed=1)], bars)
    view.started(begun)
    view.moved(begun.trial.name, Message(state="running", done=60, total=100, text="loss 0.1"), Forecast(100.0, 50.0))
    with console.capture() as drawn:
        console.print(bars.get_renderable())
    sweep, one, *_ = drawn.get().splitlines()
    assert "20/160" in sweep
    assert "about 2 min left at 50 images" in sweep
    assert "60/100" in one
    assert "loss 0.1" in one


def test_on_a_terminal_what_ended_stays_above_the_bars(params: Params) -> None:
    text = shown(params, Console(file=io.StringIO(), width=160, force_terminal=True, color_system=None))
    assert "160/160" in text
    assert f"{trial(1).name}: failed: expected a finite loss" in text
