import pytest

from oodtune.stages.sweep_pace import Forecast, Pace


def told(pace: Pace, name: str, *reports: tuple[float, int]) -> None:
    for now_s, step in reports:
        pace.move(name, step, now_s)


def test_nothing_is_forecast_before_a_trial_told_twice() -> None:
    pace = Pace({"a": 100}, images_per_step=3, concurrency=1)
    assert pace.forecast() is None
    pace.start("a", 0, 0.0)
    told(pace, "a", (7.0, 10))
    assert pace.forecast() is None
    told(pace, "a", (8.0, 20))
    assert pace.forecast() == Forecast(pytest.approx(8.0), pytest.approx(30.0))


def test_trials_to_come_take_as_long_to_start_as_those_before() -> None:
    pace = Pace({"a": 100, "b": 100}, images_per_step=1, concurrency=1)
    pace.start("a", 0, 0.0)
    told(pace, "a", (7.0, 10), (16.0, 100))  # 10 steps/s, so 6 of the 7 s went by before the first step
    pace.end("a")
    forecast = pace.forecast()
    assert forecast is not None
    assert forecast.remaining_s == pytest.approx(6.0 + 10.0)


def test_two_at_once_share_what_is_left_and_the_longest_is_waited_for() -> None:
    pace = Pace({"a": 100, "b": 100, "c": 100, "d": 100}, images_per_step=1, concurrency=2)
    for name in ("a", "b"):
        pace.start(name, 0, 0.0)
        told(pace, name, (1.0, 10), (9.0, 90))
    forecast = pace.forecast()
    assert forecast == Forecast(pytest.approx((1 + 1 + 10 + 10) / 2), pytest.approx(20.0))
    for name in ("a", "b", "c"):
        if name == "c":
            pace.start(name, 0, 9.0)
        pace.end(name)
    last = pace.forecast()
    assert last == Forecast(pytest.approx(10.0), pytest.approx(10.0))


def test_short_trials_are_forecast_from_whole_ones() -> None:
    pace = Pace({"a": 6, "b": 6, "c": 6}, images_per_step=1, concurrency=1)
    pace.start("a", 0, 0.0)
    told(pace, "a", (4.0, 6))
    assert pace.forecast() is None
    pace.end("a")
    assert pace.forecast() == Forecast(pytest.approx(8.0), 0.0)


def test_a_trial_that_goes_on_counts_its_remaining_steps_only() -> None:
    pace = Pace({"a": 20}, images_per_step=1, concurrency=1)
    pace.start("a", 80, 0.0)
    told(pace, "a", (1.0, 90), (2.0, 95))
    forecast = pace.forecast()
    assert forecast is not None
    assert forecast.remaining_s == pytest.approx(1.0)
