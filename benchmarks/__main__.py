"""Run all benchmarks, write their figures and the page that shows them, say which targets are missed.

    python -m benchmarks                        all, about an hour on 2 cores that nobody else uses
    python -m benchmarks --only serve combine   some; the others' figures stay as they are
    python -m benchmarks --quick                each as short as can be, into artifacts/bench: shows that it runs
    python -m benchmarks --page                 only the page again, from the figures that are there

A benchmark that breaks leaves its last figures as they were. Exits with 1 if one broke or a target is missed.
"""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.plan import RUNS, Run, choose
from benchmarks.results_page import PAGE, find_misses, load_all, write_page

PROJECT_DIR = Path(__file__).parents[1]


@dataclass(frozen=True)
class Ended:
    run: Run
    seconds: float
    trouble: str | None
    """Why there are no new figures."""


def main() -> int:
    options = parse()
    try:
        runs = [] if options.page else choose(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    directory = PROJECT_DIR / ("artifacts/bench" if options.quick else "benchmarks")
    results = directory / "results"
    results.mkdir(parents=True, exist_ok=True)
    warn_of_others()
    ended = [carry_out(run, results, place, len(runs), quick=options.quick) for place, run in enumerate(runs, 1)]
    write_page(directory)
    return conclude(ended, directory)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="\n".join(
            ["only if named:", *(f"  {run.name}: needs {run.only_named}" for run in RUNS if run.only_named)]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ", ".join(run.name for run in RUNS)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help=f"of {names}")
    parser.add_argument("--quick", action="store_true", help="as short as can be; proves no figure")
    parser.add_argument("--page", action="store_true", help="run nothing")
    return parser.parse_args()


def warn_of_others() -> None:
    """Say so if the machine is busy: ratios stand it, latencies and memory do not."""
    load = os.getloadavg()[0]
    if load > 0.5 * (os.cpu_count() or 1):
        print(f"the machine is busy: {load:.1f} processes on average in the last minute", flush=True)


def carry_out(run: Run, results: Path, place: int, count: int, *, quick: bool) -> Ended:
    """Run one benchmark in a process of its own; its figures take their place only when it has come to its end."""
    expected = "" if quick else f", about {run.minutes:g} min"
    print(f"[{place}/{count}] {run.name}: {run.title}{expected}", flush=True)
    if missing := run.missing():
        return Ended(run, 0.0, f"needs {', '.join(missing)}, which is not installed")
    unfinished = results / f".{run.name}.unfinished"
    unfinished.unlink(missing_ok=True)
    begun_s = time.perf_counter()
    status = subprocess.run(
        [sys.executable, *run.command(unfinished, quick=quick)], cwd=PROJECT_DIR, check=False
    ).returncode
    seconds = time.perf_counter() - begun_s
    if not unfinished.exists():
        return Ended(run, seconds, f"broke with exit status {status}")
    unfinished.rename(results / f"{run.name}.json")
    return Ended(run, seconds, None)


def conclude(ended: list[Ended], directory: Path) -> int:
    """Print how long each took, what broke, and every miss with what is known about it; return the exit status."""
    for one in ended:
        print(f"{one.run.name:20} {one.seconds:6.0f} s" + (f"  {one.trouble}" if one.trouble else ""))
    misses = find_misses(load_all(directory / "results"))
    for miss in misses:
        reason = miss.reason or "nobody has said why: benchmarks/misses.toml is the place"
        print(f"MISSED {miss.benchmark}: {miss.figure}: {miss.found}, wanted {miss.wanted}\n    {reason}")
    print(f"{len(misses)} targets missed; all figures are in {directory.name}/{PAGE}")
    return 1 if misses or any(one.trouble for one in ended) else 0


if __name__ == "__main__":
    sys.exit(main())
