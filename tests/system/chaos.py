"""Real processes, killed at moments that follow from a seed."""

import random
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from tests.system.ledger import BrokenError, Ledger

Victim = Literal["everything", "the newest process", "the first process"]
VICTIMS: tuple[Victim, ...] = ("everything", "the newest process", "the first process")
"""A power cut; what the kernel does when memory is short; what leaves orphans behind that go on."""
LONGEST_S = 900.0


@dataclass(frozen=True)
class Place:
    """Where commands run."""

    directory: Path
    environment: Mapping[str, str]
    logs: Path


@dataclass
class Command:
    """A command that runs, its output in a file."""

    words: Sequence[str]
    process: "subprocess.Popen[bytes]"
    log: Path
    begun_s: float

    @classmethod
    def start(cls, place: Place, words: Sequence[str | Path]) -> "Command":
        place.logs.mkdir(parents=True, exist_ok=True)
        log = place.logs / f"{len(list(place.logs.iterdir())):03}-{Path(words[0]).name}-{words[1]}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                list(map(str, words)),
                cwd=place.directory,
                env=dict(place.environment),
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        return cls(list(map(str, words)), process, log, time.monotonic())

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun_s

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def lines(self) -> list[str]:
        return self.log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()

    def last_line(self) -> str:
        said = [line.strip() for line in self.lines() if line.strip()]
        return said[-1][:80] if said else "it had said nothing yet"

    def finish(self) -> list[str]:
        """Return what it printed. Raises BrokenError if it fails, or takes too long."""
        try:
            code = self.process.wait(LONGEST_S)
        except subprocess.TimeoutExpired:
            self.kill("everything")
            raise BrokenError(f"{self.words[:3]}: no end within {LONGEST_S:.0f} s; see {self.log}") from None
        if code != 0:
            raise BrokenError(f"{' '.join(self.words[:4])}: exit status {code}; {self.last_line()}; see {self.log}")
        return self.lines()

    def kill(self, victim: Victim) -> str:
        """Kill as told; return what was hit."""
        first = psutil.Process(self.process.pid)
        below = sorted(first.children(recursive=True), key=lambda one: one.create_time())
        chosen = {
            "everything": [*below, first],
            "the newest process": below[-1:] or [first],
            "the first process": [first],
        }[victim]
        for one in chosen:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self.process.wait(60)
        return f"{victim} ({len(chosen)} of {len(below) + 1} processes)"


@dataclass
class Chaos:
    """Kills commands while they run, and starts them again."""

    ledger: Ledger
    chance: random.Random
    num_kills: int

    def run(
        self,
        start: Callable[[], Command],
        moments: Callable[[Command], Callable[[], bool]],
        victims: Sequence[Victim] = VICTIMS,
        between: Callable[[], None] = lambda: None,
    ) -> Command:
        """Return the command that came to its end, after `num_kills` that were killed.

        `moments` draws when a command is killed: a function that says whether it is time. One that ends before is no
        kill, and was not undone by those before it. `between` looks at what a kill left.
        """
        for _ in range(self.num_kills):
            command = start()
            is_time = moments(command)
            while command.is_running and not is_time():
                time.sleep(0.005)
            if not command.is_running:
                self.ledger.say(f"   it ended before it was killed, after {command.seconds:.1f} s")
                command.finish()
                return command
            doing, after_s = command.last_line(), command.seconds
            self.ledger.note_kill(command.kill(self.chance.choice(victims)), after_s, doing)
            between()
        command = start()
        command.finish()
        return command

    def after_objects(self, count: Callable[[], int], most: int) -> Callable[[Command], Callable[[], bool]]:
        """Draw how many objects more the command has stored by then, 1 to `most`."""

        def moments(command: Command) -> Callable[[], bool]:
            wanted = count() + self.chance.randint(1, most)
            return lambda: count() >= wanted

        return moments

    def after_lines(self, containing: str, count: int, more_s: float) -> Callable[[Command], Callable[[], bool]]:
        """Draw how many lines with a word the command has said by then, 1 to `count`, and some time after that."""

        def moments(command: Command) -> Callable[[], bool]:
            wanted, pause_s = self.chance.randint(1, count), self.chance.uniform(0.0, more_s)
            seen_s: list[float] = []

            def is_time() -> bool:
                if not seen_s and sum(containing in line for line in command.lines()) >= wanted:
                    seen_s.append(command.seconds)
                return bool(seen_s) and command.seconds >= seen_s[0] + pause_s

            return is_time

        return moments
