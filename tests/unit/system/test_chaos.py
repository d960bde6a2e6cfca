"""Commands are killed when and as the seed says, and their end is looked at."""

import os
import random
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.system.chaos import Chaos, Command, Place, Victim
from tests.system.ledger import BrokenError, Ledger

FAMILY = """
import subprocess, sys, time
print("line one", flush=True)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("child", child.pid, flush=True)
sys.exit(child.wait() and 3)
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, os.environ, tmp_path / "logs")


def family(place: Place) -> tuple[Command, int]:
    command = Command.start(place, [sys.executable, "-c", FAMILY])
    while len(command.lines()) < 2:
        time.sleep(0.01)
    return command, int(command.lines()[1].split()[1])


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("victim", "child_lives", "code"),
    [("everything", False, -9), ("the first process", True, -9), ("the newest process", False, 3)],
)
def test_a_kill_hits_whom_it_should(place: Place, victim: Victim, child_lives: bool, code: int) -> None:
    command, child = family(place)
    assert command.kill(victim).startswith(victim)
    assert command.process.returncode == code
    deadline_s = time.monotonic() + 10
    while is_alive(child) is not child_lives:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    if child_lives:
        psutil.Process(child).kill()


def test_a_command_is_killed_so_often_and_then_comes_to_its_end(place: Place) -> None:
    chaos = Chaos(Ledger(), random.Random(0), 2)
    looks: list[int] = []
    ended = chaos.run(
        lambda: Command.start(place, [sys.executable, "-c", "import time; print('go', flush=True); time.sleep(0.4)"]),
        chaos.after_lines("go", 1, 0.0),
        between=lambda: looks.append(1),
    )
    assert ended.process.returncode == 0
    assert len(looks) == len(chaos.ledger.injections) == 2
    assert {one.doing for one in chaos.ledger.injections} == {"go"}


def test_one_that_ends_before_it_is_killed_is_no_kill(place: Place) -> None:
    chaos = Chaos(Ledger(), random.Random(0), 2)
    ended = chaos.run(lambda: Command.start(place, [sys.executable, "-c", ""]), chaos.after_objects(lambda: 0, 5))
    assert ended.process.returncode == 0
    assert chaos.ledger.injections == []


def test_a_command_that_fails_by_itself_breaks_the_story(place: Place) -> None:
    command = Command.start(place, [sys.executable, "-c", "raise SystemExit('error: no data')"])
    with pytest.raises(BrokenError, match="exit status 1; error: no data"):
        command.finish()


def test_equal_seeds_draw_equal_moments(place: Place) -> None:
    def draw(seed: int) -> list[bool]:
        chaos = Chaos(Ledger(), random.Random(seed), 1)
        stored = [0]
        command = Command.start(place, [sys.executable, "-c", ""])
        is_time = chaos.after_objects(lambda: stored[0], 50)(command)
        command.finish()
        found = []
        for stored[0] in range(60):
            found.append(is_time())
        return found

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
