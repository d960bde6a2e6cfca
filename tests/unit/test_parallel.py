import os
import signal
import threading
import time

import pytest

from oodtune.cpus import count_cpus
from oodtune.errors import UserError
from oodtune.parallel import Prefetcher, map_in_processes, map_in_threads


def test_results_come_in_the_order_of_the_items() -> None:
    def wait(n: int) -> int:
        time.sleep(0.02 if n % 3 == 0 else 0)
        return n

    assert list(map_in_threads(wait, range(30))) == list(range(30))


def test_items_are_taken_only_a_few_ahead_of_the_results() -> None:
    taken = []

    def items():  # type: ignore[no-untyped-def]
        for n in range(1000):
            taken.append(n)
            yield n

    for done, _ in enumerate(map_in_threads(str, items()), start=1):
        assert len(taken) <= done + 2 * count_cpus()


def kill_at_700(n: int) -> int:
    if n == 700:
        os.kill(os.getpid(), signal.SIGKILL)
    return n


def test_a_process_that_is_killed_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oodtune.parallel.count_cpus", lambda: 2)
    with (
        pytest.raises(UserError, match=r"expected 2 processes to work on 1,000 items, .*want of memory; free some"),
        map_in_processes(kill_at_700, range(1000)) as results,
    ):
        list(results)


def test_the_first_exception_in_order_is_raised_and_the_rest_is_not_begun() -> None:
    begun = []

    def fail_late(n: int) -> int:
        begun.append(n)
        if n in (3, 4):
            time.sleep(0.05 if n == 3 else 0)
            raise RuntimeError(n)
        return n

    with pytest.raises(RuntimeError, match="3"):
        list(map_in_threads(fail_late, range(1000)))
    assert len(begun) <= 4 + 2 * count_cpus()


@pytest.mark.parametrize("steps", [[0, 1, 2, 3], [7, 8, 9], [5, 6, 0, 1, 1, 4]])
def test_any_step_can_be_asked_for(steps: list[int]) -> None:
    with Prefetcher(lambda step: step * step) as ahead:
        assert [ahead.get(step) for step in steps] == [step * step for step in steps]


def test_steps_are_made_while_nobody_waits_and_no_more_than_the_depth() -> None:
    made = []
    with Prefetcher(made.append, depth=2) as ahead:
        ahead.get(10)
        time.sleep(0.1)
        assert made == [10, 11, 12]


def test_an_exception_is_raised_at_its_own_step() -> None:
    with Prefetcher(lambda step: 1 / (step - 2)) as ahead:
        assert [ahead.get(0), ahead.get(1)] == [-0.5, -1.0]
        with pytest.raises(ZeroDivisionError):
            ahead.get(2)
        assert ahead.get(3) == 1.0


def test_a_closed_prefetcher_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with Prefetcher(lambda step: time.sleep(0.02)) as ahead:
        ahead.get(0)
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
