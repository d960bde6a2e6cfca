"""Charts as SVG: what is drawn, and where. `chart.svg.j2` draws it, in the page and into files of their own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from oodtune.evaluate.palette import RowStyle

SMALL = (272, 224)
"""Width and height of a panel in SVG units: pixels, where there is room."""
LARGE = (564, 500)
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 12, 40
"""Margins."""
_LARGE_LEFT = 66
"""On a phone, a large panel has larger letters."""

Place = tuple[float, float]


@dataclass(frozen=True)
class Tick:
    at: float
    """Place in SVG units."""
    text: str


@dataclass(frozen=True)
class Line:
    points: str
    """For `<polyline points>`."""
    style: RowStyle
    description: str = ""


@dataclass(frozen=True)
class Area:
    points: str
    """For `<polygon points>`."""
    style: RowStyle


@dataclass(frozen=True)
class Mark:
    x: float
    y: float
    style: RowStyle
    description: str = ""
    size: float = 4.5
    """Half the width."""


@dataclass(frozen=True)
class Guide:
    """A thin dashed line."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True)
class Frame:
    """The plane of one chart: values, and where they lie in SVG units."""

    x: tuple[float, float]
    """The lowest and the highest value; they differ."""
    y: tuple[float, float]
    size: tuple[int, int] = SMALL

    @property
    def left(self) -> int:
        return _LARGE_LEFT if self.size == LARGE else _LEFT

    @property
    def right(self) -> int:
        return self.size[0] - _RIGHT

    @property
    def top(self) -> int:
        return _TOP

    @property
    def bottom(self) -> int:
        return self.size[1] - _BOTTOM

    def place(self, x: float, y: float) -> Place:
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return round(self.left + (self.right - self.left) * across, 1), round(
            self.bottom - (self.bottom - _TOP) * up, 1
        )

    def trace(self, values: Iterable[Place]) -> str:
        """Return `points` of a polyline or polygon through (x, y)."""
        return " ".join(f"{x},{y}" for x, y in (self.place(*one) for one in values))

    def mark(self, x: float, y: float, style: RowStyle, description: str = "", size: float = 4.5) -> Mark:
        return Mark(*self.place(x, y), style, description, size)

    def guide(self, x1: float, y1: float, x2: float, y2: float) -> Guide:
        return Guide(*self.place(x1, y1), *self.place(x2, y2))

    def across(self, y: float) -> Guide:
        return self.guide(self.x[0], y, self.x[1], y)

    def upright(self, x: float) -> Guide:
        return self.guide(x, self.y[0], x, self.y[1])

    def x_ticks(self, values: Iterable[float] | None = None) -> tuple[Tick, ...]:
        chosen = tick_values(*self.x) if values is None else values
        return tuple(Tick(self.place(value, self.y[0])[0], f"{value:g}") for value in chosen)

    def y_ticks(self) -> tuple[Tick, ...]:
        return tuple(Tick(self.place(self.x[0], value)[1], _text(value)) for value in tick_values(*self.y))


@dataclass(frozen=True)
class Chart:
    title: str
    description: str
    """For those who do not see it."""
    frame: Frame
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    areas: tuple[Area, ...] = ()
    guides: tuple[Guide, ...] = ()
    lines: tuple[Line, ...] = ()
    marks: tuple[Mark, ...] = ()
    ring: Place | None = None

    @property
    def is_large(self) -> bool:
        return self.frame.size == LARGE


@dataclass(frozen=True)
class Entry:
    """One line of a legend."""

    text: str
    style: RowStyle | None = None
    """None for the ring."""
    is_line: bool = True
    """A line is shown with the mark, or the mark alone."""


@dataclass(frozen=True)
class Figure:
    """Charts that share a legend."""

    name: str
    """Of its file, without `.svg`."""
    charts: tuple[Chart, ...]
    legend: tuple[Entry, ...]


def lay_out(charts: Sequence[Chart], gap: int = 20, heading: int = 22) -> tuple[list[Place], int, int]:
    """Return the upper left corner of every chart on one sheet, its width and its height.

    A large chart, which comes first, has two rows of two small ones beside it.
    """
    width, height = SMALL
    columns = min(4, len(charts) + (3 if charts[0].is_large else 0))
    slots = [
        (column * (width + gap), row * (height + gap + heading) + heading)
        for row in range(len(charts) + 2)
        for column in range(columns)
        if not (charts[0].is_large and row < 2 and column < 2)
    ]
    places: list[Place] = [(0, heading), *slots] if charts[0].is_large else [*slots]
    used = places[: len(charts)]
    bottom = max(y + chart.frame.size[1] for (_, y), chart in zip(used, charts, strict=True))
    right = max(x + chart.frame.size[0] for (x, _), chart in zip(used, charts, strict=True))
    return used, round(right), round(bottom)


def widen(values: Sequence[float], least: float, margin: float = 0.08) -> tuple[float, float]:
    """Return the span of `values` with a margin on each side, at least `least` wide."""
    low, high = min(values), max(values)
    half = max(least, (high - low) * (1.0 + 2.0 * margin)) / 2.0
    middle = (low + high) / 2.0
    return middle - half, middle + half


def tick_values(low: float, high: float) -> list[float]:
    """Return two to six round, evenly spaced values between `low` and `high`, which must differ."""
    rough = (high - low) / 5.0
    power = 10.0 ** floor(log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    return [round(index * step, 10) for index in range(ceil(low / step), floor(high / step) + 1)]


def _text(value: float) -> str:
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")
