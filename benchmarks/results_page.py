"""The page of all figures, made from their JSON files and from what is known of the targets that were missed."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.growth import draw
from benchmarks.plan import RUNS, Run

PAGE = "RESULTS.md"
REASONS = Path(__file__).with_name("misses.toml")
Figures = Mapping[str, Any]
HEAD = """\
# Results of the benchmarks

`make bench` measured all of this and wrote this page; edit `misses.toml` or the benchmarks, not the page. A ratio is
of two things measured by turns in one run: median (lowest to highest, number of pairs). Weights are random and images
drawn, all from seed 0. What each benchmark compares: [README.md](README.md).
"""


@dataclass(frozen=True)
class Reason:
    """What limits a figure that misses its target."""

    benchmark: str
    figure: str
    """A regular expression for the whole of the figure's name."""
    why: str

    def explains(self, benchmark: str, figure: str) -> bool:
        return self.benchmark == benchmark and re.fullmatch(self.figure, figure) is not None


@dataclass(frozen=True)
class Miss:
    benchmark: str
    figure: str
    found: str
    wanted: str
    reason: str | None
    """None: nobody has said."""


def load_all(results: Path) -> dict[str, Figures]:
    """Return name of a run -> its figures, of those runs that have any."""
    paths = {run.name: results / f"{run.name}.json" for run in RUNS}
    return {name: json.loads(path.read_bytes()) for name, path in paths.items() if path.exists()}


def load_reasons() -> list[Reason]:
    return [Reason(**one) for one in tomllib.loads(REASONS.read_text(encoding="utf-8"))["miss"]]


def find_misses(found: Mapping[str, Figures]) -> list[Miss]:
    """Return every figure that misses its target, in the order of the runs."""
    reasons = load_reasons()
    return [
        Miss(name, figure, value, wanted, next((one.why for one in reasons if one.explains(name, figure)), None))
        for name, figures in found.items()
        for figure, value, wanted, met in _judged(figures)
        if not met
    ]


def count_targets(found: Mapping[str, Figures]) -> int:
    return sum(len(list(_judged(figures))) for figures in found.values())


def render(found: Mapping[str, Figures]) -> str:
    """Return the page in Markdown."""
    misses = find_misses(found)
    parts = [HEAD, f"## {len(misses)} of {count_targets(found)} targets missed\n", _render_misses(misses)]
    parts += [_render_run(run, found[run.name]) for run in RUNS if run.name in found]
    return "\n".join(parts)


def _judged(figures: Figures) -> Iterator[tuple[str, str, str, bool]]:
    """Yield name, value, target and whether it is met of every figure that has a target."""
    for one in figures["ratios"]:
        yield _ratio_name(one), _ratio(one), f"{one['target']:.2f}", one["met"]
    for one in figures.get("bounds", []):
        yield one["name"], f"{one['value']:.3g} {one['unit']}", f"≤ {one['most']:g} {one['unit']}", one["met"]


def _ratio_name(one: Figures) -> str:
    return f"{one['name']}: {one['ours']} / {one['theirs']}"


def _ratio(one: Figures) -> str:
    return f"{one['ratio']:.2f} ({one['lowest']:.2f} to {one['highest']:.2f}, {one['repeats']})"


def _render_misses(misses: Sequence[Miss]) -> str:
    if not misses:
        return ""
    rows = [[one.benchmark, one.figure, one.found, one.wanted, one.reason or "**not known**"] for one in misses]
    return _table(["benchmark", "figure", "found", "wanted", "what limits it"], rows)


def _render_run(run: Run, figures: Figures) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in figures["machine"].items())
    command = " ".join(["python -m", run.module, *run.arguments])
    rows = [[name, value, wanted if met else f"{wanted} **missed**"] for name, value, wanted, met in _judged(figures)]
    parts = [f"## {run.title}\n", f"`{command}`; {machine}\n"]
    if rows:
        parts.append(_table(["figure", "found", "wanted"], rows))
    if "growth" in figures:
        parts += [f"![{run.title}](results/{run.name}.svg)\n", _render_growth(figures["growth"])]
    return "\n".join(parts)


def _render_growth(growth: Figures) -> str:
    """Return a table: a row for each size, a column for each curve."""
    curves = growth["curves"]
    head = [growth["of"], *(f"{curve['name']}, {curve['unit']}" for curve in curves)]
    rows = [
        [f"{size:,}", *(f"{curve['values'][place]:.3g}" for curve in curves)]
        for place, size in enumerate(growth["sizes"])
    ]
    return _table(head, rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def write_page(directory: Path) -> None:
    """Write the page, and the pictures of growth, from the figures in `directory/results`."""
    found = load_all(directory / "results")
    for name, figures in found.items():
        if "growth" in figures:
            draw(figures["growth"], directory / "results" / f"{name}.svg")
    (directory / PAGE).write_text(render(found), encoding="utf-8")
