"""Two things timed against each other in one run: their ratio is what a claim of speed may rest on."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """How often ours does what theirs does once. Above 1, ours is faster."""

    name: str
    ours: str
    theirs: str
    per_second_ours: float
    """Median over the repeats."""
    per_second_theirs: float
    ratio: float
    """Median of the ratios, each of two runs one after the other."""
    lowest: float
    highest: float
    repeats: int
    target: float
    """The ratio that is wanted at least."""

    @property
    def met(self) -> bool:
        return self.ratio >= self.target

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.ratio:.2f} ({self.lowest:.2f} to {self.highest:.2f}, {self.repeats} repeats; wanted "
            f"{self.target:g}: {'met' if self.met else 'MISSED'})\n"
            f"    {_rate(self.per_second_ours):>8}/s {self.ours}\n"
            f"    {_rate(self.per_second_theirs):>8}/s {self.theirs}"
        )


@dataclass(frozen=True)
class Bound:
    """A figure that must not be exceeded."""

    name: str
    value: float
    most: float
    unit: str

    @property
    def met(self) -> bool:
        return self.value <= self.most

    def __str__(self) -> str:
        verdict = "met" if self.met else "MISSED"
        return f"{self.name}: {self.value:.3g} {self.unit} (wanted at most {self.most:g}: {verdict})"


def _rate(per_second: float) -> str:
    return f"{per_second:.0f}" if per_second >= 100.0 else f"{per_second:.3g}"


@dataclass(frozen=True)
class Contest:
    """What is compared: both functions do the work on `count` items once."""

    name: str
    ours: tuple[str, Callable[[], object]]
    theirs: tuple[str, Callable[[], object]]
    count: int
    target: float


def measure(contest: Contest, repeats: int) -> Ratio:
    """Run theirs and ours by turns, after one unmeasured turn of each that fills the page cache."""
    contest.theirs[1]()
    contest.ours[1]()
    pairs = [(_seconds(contest.ours[1]), _seconds(contest.theirs[1])) for _ in range(repeats)]
    return ratio_of_pairs(contest.name, contest.ours[0], contest.theirs[0], pairs, contest.target, contest.count)


def ratio_of_pairs(
    name: str, ours: str, theirs: str, pairs: Sequence[tuple[float, float]], target: float, count: int = 1
) -> Ratio:
    """Return the ratio of pairs of seconds, ours and theirs, in which each does `count` items."""
    ratios = [theirs_s / ours_s for ours_s, theirs_s in pairs]
    return Ratio(
        name=name,
        ours=ours,
        theirs=theirs,
        per_second_ours=count / statistics.median(ours_s for ours_s, _ in pairs),
        per_second_theirs=count / statistics.median(theirs_s for _, theirs_s in pairs),
        ratio=statistics.median(ratios),
        lowest=min(ratios),
        highest=max(ratios),
        repeats=len(pairs),
        target=target,
    )


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
