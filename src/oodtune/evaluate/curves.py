"""Training curves as inline SVG: source accuracy by step, a panel per target domain, a line per trial."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

WIDTH, HEIGHT = 300, 204
"""Size of a panel in SVG units."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 292, 10, 166


@dataclass(frozen=True)
class Curve:
    """What one trial logged."""

    trial: str
    target_domain: str
    row: str
    best_step: int
    snapshots: tuple[tuple[int, float], ...]
    """(step, mean source out-split accuracy, 0..1) of every snapshot that has one."""


@dataclass(frozen=True)
class Tick:
    at: float
    """Place in SVG units."""
    text: str


@dataclass(frozen=True)
class Line:
    row: str
    description: str
    points: str
    """For `<polyline points>`."""
    best: tuple[float, float] | None
    """Place of the snapshot that was kept."""


@dataclass(frozen=True)
class CurvePanel:
    title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    left: int = _LEFT
    right: int = _RIGHT
    top: int = _TOP
    bottom: int = _BOTTOM
    width: int = WIDTH
    height: int = HEIGHT


def curve_panels(curves: Sequence[Curve]) -> list[CurvePanel]:
    """Return one panel per target domain, all on the same axes. Empty if no snapshot was logged."""
    steps = [step for curve in curves for step, _ in curve.snapshots]
    if not steps:
        return []
    percents = [100.0 * accuracy for curve in curves for _, accuracy in curve.snapshots]
    longest = float(max(*steps, 1))
    margin = max(0.5, 0.06 * (max(percents) - min(percents)))
    low, high = min(percents) - margin, max(percents) + margin

    def place(step: float, percent: float) -> tuple[float, float]:
        x = _LEFT + (_RIGHT - _LEFT) * step / longest
        y = _BOTTOM - (_BOTTOM - _TOP) * (percent - low) / (high - low)
        return round(x, 1), round(y, 1)

    def line(curve: Curve) -> Line:
        places = {step: place(step, 100.0 * accuracy) for step, accuracy in curve.snapshots}
        reached = dict(curve.snapshots).get(curve.best_step)
        kept = "" if reached is None else f": {100.0 * reached:.1f} % at step {curve.best_step}, the snapshot kept"
        points = " ".join(f"{x},{y}" for x, y in places.values())
        return Line(curve.row, curve.trial + kept, points, places.get(curve.best_step))

    targets = dict.fromkeys(curve.target_domain for curve in curves)
    x_ticks = tuple(Tick(place(value, low)[0], f"{value:g}") for value in tick_values(0.0, longest))
    y_ticks = tuple(Tick(place(0.0, value)[1], f"{value:g}") for value in tick_values(low, high))
    return [
        CurvePanel(target, tuple(line(curve) for curve in curves if curve.target_domain == target), x_ticks, y_ticks)
        for target in targets
    ]


def tick_values(low: float, high: float) -> list[float]:
    """Return two to six round, evenly spaced values between `low` and `high`, which must differ."""
    rough = (high - low) / 5.0
    power = 10.0 ** floor(log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [round(index * step, 10) for index in range(ceil(low / step), floor(high / step) + 1)]
