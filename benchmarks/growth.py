"""How cost grows with the size of the work: curves, their exponents, their picture."""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import describe_machine, write_figures
from benchmarks.memory import OODTUNE, watch
from benchmarks.ratio import Bound

LINEAR = 1.1
"""The most exponent of what looks at everything: linear, and a tenth for chance."""
SLOW = 0.5
"""The most exponent of memory: far below linear."""


@dataclass
class Curve:
    """One cost at every size."""

    name: str
    unit: str
    values: list[float] = field(default_factory=list)
    most_exponent: float | None = None
    """Of growth from the second largest size to the largest; None: no target."""

    def exponent(self, sizes: Sequence[int]) -> float:
        """Return p of cost ~ size^p over the last two sizes: 1 is linear, 0 is constant."""
        (before, last), (small, large) = self.values[-2:], sizes[-2:]
        return math.log(last / before) / math.log(large / small)


@dataclass
class Growth:
    of: str
    """What there is more and more of."""
    sizes: list[int]
    curves: list[Curve]

    def bounds(self) -> list[Bound]:
        """Return what the exponents may be at the most; nothing if there is one size only."""
        if len(self.sizes) < 2:
            return []
        pair = f"from {self.sizes[-2]:,} to {self.sizes[-1]:,} {self.of}"
        return [
            Bound(
                f"growth of {curve.name}, {curve.unit}, {pair}",
                curve.exponent(self.sizes),
                curve.most_exponent,
                "exponent",
            )
            for curve in self.curves
            if curve.most_exponent is not None
        ]


def time_commands(commands: Mapping[str, Sequence[str]], directory: Path) -> dict[str, float]:
    """Run commands of `oodtune` one after another; return name -> seconds, and "NAME memory" -> MB of its own."""
    found = {}
    for name, words in commands.items():
        peak = watch([OODTUNE, *words], directory)
        found[name] = peak.seconds
        found[f"{name} memory"] = peak.megabytes["RssAnon"]
    return found


def add(curves: Mapping[str, Curve], size: int, found: Mapping[str, float]) -> None:
    """Add what was found at a size to the curves of those names, and print it."""
    print(f"{size:,}: " + ", ".join(f"{what} {value:.3g}" for what, value in found.items()), flush=True)
    for what, value in found.items():
        curves[what].values.append(value)


def parser(description: str | None, of: str, sizes: Sequence[int]) -> argparse.ArgumentParser:
    """Return a parser that knows the sizes and where the figures go."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        f"--{of}", type=int, nargs="+", default=list(sizes), dest="sizes", help=f"default: {' '.join(map(str, sizes))}"
    )
    made.add_argument("--out", type=Path, help="a JSON file for the figures")
    return made


def conclude(options: argparse.Namespace, growth: Growth, *packages: str, bounds: Sequence[Bound] = ()) -> int:
    """Print and write what was found, further `bounds` included; return the exit status."""
    bounds = [*growth.bounds(), *bounds]
    print(*bounds, sep="\n", flush=True)
    write_figures(options, describe_machine("oodtune", *packages), (), bounds, growth=asdict(growth))
    return 0 if all(one.met for one in bounds) else 1


def draw(growth: Mapping[str, Any], picture: Path) -> None:
    """Write the curves as SVG: sizes to the right, cost upwards, both logarithmic."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    curves, sizes = growth["curves"], growth["sizes"]
    units = list(dict.fromkeys(curve["unit"] for curve in curves))
    with mpl.rc_context({"svg.hashsalt": "growth", "font.size": 9.0}):
        figure = Figure(figsize=(4.2 * len(units), 3.2), layout="constrained")
        FigureCanvasSVG(figure)
        for place, unit in enumerate(units):
            axes = figure.add_subplot(1, len(units), place + 1)
            own = [curve for curve in curves if curve["unit"] == unit]
            for curve, marker in zip(own, "os^vDPX*", strict=False):
                axes.plot(sizes, curve["values"], marker=marker, markersize=4, label=curve["name"])
            axes.set(xscale="log", yscale="log", xlabel=growth["of"], ylabel=unit)
            axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
            axes.minorticks_off()
            axes.grid(alpha=0.3)
            axes.legend(fontsize=7, frameon=False)
        figure.savefig(picture, format="svg", metadata={"Date": None, "Creator": None})
