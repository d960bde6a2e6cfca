"""What was injected, and what survived it: the table at the end of the whole-system test."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Injection:
    """One process that was killed."""

    step: str
    victim: str
    after_s: float
    """Since the step's command began."""
    doing: str
    """What it said last, or what is known of it."""
    survived: str = ""
    """What was found afterwards. Empty: nobody has looked, which is a failure."""


@dataclass(frozen=True)
class Check:
    step: str
    what: str
    found: str


class BrokenError(Exception):
    """Something did not survive, or did not happen."""


@dataclass
class Ledger:
    """Keeps what happened. Everything is said as it happens, too."""

    injections: list[Injection] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    step: str = ""
    _begun_s: float = field(default_factory=time.monotonic)

    def begin(self, step: str) -> None:
        self.step = step
        self.say(f"== {step}")

    def say(self, line: str) -> None:
        print(f"{time.monotonic() - self._begun_s:6.1f} s  {line}", flush=True)

    def note_kill(self, victim: str, after_s: float, doing: str) -> None:
        self.injections.append(Injection(self.step, victim, after_s, doing))
        self.say(f"   kill -9 {victim} after {after_s:.1f} s: {doing}")

    def survived(self, what: str) -> None:
        """Note what was found intact after all kills of this step that nobody has judged yet."""
        for one in self.injections:
            if one.step == self.step and not one.survived:
                one.survived = what
        self.say(f"   survived: {what}")

    def expect(self, is_so: bool, what: str, found: object = "") -> None:
        """Note that something is so. Raises BrokenError if it is not."""
        if not is_so:
            raise BrokenError(f"{self.step}: expected {what}, found {found}")
        self.checks.append(Check(self.step, what, str(found)))
        self.say(f"   {what}" + (f": {found}" if found != "" else ""))

    def unjudged(self) -> list[Injection]:
        return [one for one in self.injections if not one.survived]

    def table(self) -> str:
        """Return the injections as a Markdown table."""
        rows = [
            [one.step, f"`kill -9`: {one.victim}", f"{one.after_s:.1f}", one.doing, one.survived or "**not known**"]
            for one in self.injections
        ]
        return _table(["step", "injected", "after, s", "while", "what survived"], rows)

    def write(self, path: Path, seed: int, trouble: str | None) -> None:
        found = {
            "seed": seed,
            "seconds": time.monotonic() - self._begun_s,
            "python": sys.version.split()[0],
            "trouble": trouble,
            "injections": [asdict(one) for one in self.injections],
            "checks": [asdict(one) for one in self.checks],
        }
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)
