"""What pictures of several panels share, where they are drawn by matplotlib."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import TYPE_CHECKING

from oodtune.evaluate.palette import INKS, Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROOM = 0.05
"""Free share of the axis above and below the lines."""


@contextmanager
def open_figure(width: float, height: float, theme: Theme) -> Iterator["Figure"]:
    """Yield an empty figure of so many inches, to be drawn and written within the context."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 9.0, "axes.unicode_minus": False}):
        figure = Figure(figsize=(width, height), facecolor=INKS[theme]["ground"], layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def add_panels(figure: "Figure", num_panels: int, columns: int, x_label: str, theme: Theme) -> Iterator["Axes"]:
    """Yield the axes of each panel, row by row, with accuracy in percent upwards; labels stand at the edges."""
    rows, soft = ceil(num_panels / columns), INKS[theme]["soft"]
    grid = figure.add_gridspec(rows, columns)
    for place in range(num_panels):
        axes = figure.add_subplot(grid[place // columns, place % columns])
        _style(axes, theme)
        yield axes
        if place + columns >= num_panels:
            axes.set_xlabel(x_label, color=soft, fontsize=8)
        if place % columns == 0:
            axes.set_ylabel("accuracy, %", color=soft, fontsize=8)


def to_png(figure: "Figure", dpi: int) -> bytes:
    """Return the figure as a PNG that names no program: equal figures give equal bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()


def with_room(low: float, high: float) -> tuple[float, float]:
    """Return the range of an axis in percent that shows `low` to `high` with some room around."""
    room = max(1.0, _ROOM * (high - low))
    return low - room, high + room


def _style(axes: "Axes", theme: Theme) -> None:
    inks = INKS[theme]
    axes.set_facecolor(inks["ground"])
    axes.grid(color=inks["grid"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=inks["soft"], length=0, labelsize=7.5)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(inks["grid"])
