"""The iid/ood picture (figure 1 of arXiv 2403.00946): a point per model, a panel per target domain."""

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from oodtune.evaluate.palette import INKS, RowStyle, row_styles
from oodtune.evaluate.scores import Score
from oodtune.evaluate.table import BASELINE, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Theme = Literal["light", "dark"]
MEAN = "mean over target domains"

_DPI = 200
_MARGIN = 0.14
"""Free share of a panel's span on each side of its points."""
_LEAST_SPAN = 2.0
"""Points of accuracy: closer models must not look far apart."""


@dataclass(frozen=True)
class Point:
    row: str
    iid: float
    """In percent, like `ood`."""
    ood: float


@dataclass(frozen=True)
class Panel:
    title: str
    points: tuple[Point, ...]
    selected: Point | None
    """Where the rule's choice lies; in the panel of the mean, the mean of the choices."""


def scatter_panels(scores: Sequence[Score], picks: Mapping[str, Mapping[str, Any]]) -> list[Panel]:
    """Return a panel per target domain, then one of means over targets, if there are two or more.

    A model has a mean if the same settings (its name without the target domain) were scored on every target.
    """
    targets = list(dict.fromkeys(score.model.target_domain for score in scores))
    panels = [
        Panel(
            target,
            tuple(_point(s) for s in scores if s.model.target_domain == target),
            _pick(picks.get(target)),
        )
        for target in targets
    ]
    settings: dict[tuple[str, str], list[Score]] = defaultdict(list)
    for score in scores:
        model = score.model
        settings[model.row, model.name.replace(f"{model.target_domain}-", "", 1)].append(score)
    means = [_mean(row, [_point(s) for s in same]) for (row, _), same in settings.items() if len(same) == len(targets)]
    if len(targets) > 1 and means:
        chosen = [panel.selected for panel in panels if panel.selected is not None]
        selected = _mean(chosen[0].row, chosen) if len(chosen) == len(targets) else None
        panels.append(Panel(MEAN, tuple(means), selected))
    return panels


def draw_scatter(scores: Sequence[Score], picks: Mapping[str, Mapping[str, Any]], theme: Theme = "light") -> bytes:
    """Return a PNG of `scatter_panels`. Equal input gives equal bytes (of one matplotlib version)."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = scatter_panels(scores, picks)
    assert panels, "nothing was scored"
    styles, inks = row_styles(scores), INKS[theme]
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 9.0, "axes.unicode_minus": False}):
        figure = Figure(facecolor=inks["ground"], layout="constrained")
        FigureCanvasAgg(figure)
        spans = tuple(
            max(_span([getattr(p, axis) for p in _all(panel)]) for panel in panels) for axis in ("iid", "ood")
        )
        for panel, axes in zip(panels, _lay_out(figure, panels), strict=True):
            _draw_panel(axes, panel, styles, theme, spans)
        _draw_legend(figure, panels, styles, theme)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})
    return stream.getvalue()


def _point(score: Score) -> Point:
    return Point(score.model.row, 100.0 * score.iid, 100.0 * score.ood)


def _pick(pick: Mapping[str, Any] | None) -> Point | None:
    return None if pick is None else Point(pick["row"], 100.0 * pick["iid"], 100.0 * pick["ood"])


def _mean(row: str, points: Sequence[Point]) -> Point:
    return Point(row, fmean(point.iid for point in points), fmean(point.ood for point in points))


def _all(panel: Panel) -> list[Point]:
    return [*panel.points, *([panel.selected] if panel.selected else [])]


def _span(values: Sequence[float]) -> float:
    return max(_LEAST_SPAN, (max(values) - min(values)) * (1.0 + 2.0 * _MARGIN))


def _lay_out(figure: "Figure", panels: Sequence[Panel]) -> list["Axes"]:
    """Give the mean a large square on the left and each target a small one; without a mean, all are equal."""
    figure.set_size_inches(10.0, 5.2)
    if panels[-1].title != MEAN:
        rows = ceil(len(panels) / 4)
        columns = ceil(len(panels) / rows)
        grid = figure.add_gridspec(rows, columns)
        return [figure.add_subplot(grid[place // columns, place % columns]) for place in range(len(panels))]
    targets = len(panels) - 1
    rows = 3 if targets == 3 else 2
    columns = ceil(targets / rows)
    grid = figure.add_gridspec(rows, columns + rows)
    small = [figure.add_subplot(grid[place // columns, rows + place % columns]) for place in range(targets)]
    return [*small, figure.add_subplot(grid[:, :rows])]


def _draw_panel(
    axes: "Axes", panel: Panel, styles: Mapping[str, RowStyle], theme: Theme, spans: tuple[float, ...]
) -> None:
    from matplotlib.ticker import MaxNLocator

    inks, large = INKS[theme], panel.title == MEAN
    axes.set_facecolor(inks["ground"])
    axes.grid(color=inks["grid"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=inks["soft"], length=0, labelsize=8.5 if large else 7.5)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(inks["grid"])
    axes.set_title(
        _shorten(panel.title, 24 if large else 16),
        loc="left",
        color=inks["ink"],
        fontsize=11 if large else 9.5,
        fontweight="bold",
    )
    place = axes.get_subplotspec()
    assert place is not None
    if place.is_last_row():
        axes.set_xlabel("iid accuracy, %", color=inks["soft"], fontsize=9 if large else 8)
    if place.is_first_col():
        axes.set_ylabel("ood accuracy, %", color=inks["soft"], fontsize=9 if large else 8)
    _centre(axes, panel, spans)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=6 if large else 4, steps=[1, 2, 5, 10]))
    baseline = [point for point in panel.points if point.row == BASELINE]
    if baseline:
        middle = _mean(BASELINE, baseline)
        axes.axvline(middle.iid, color=inks["soft"], linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        axes.axhline(middle.ood, color=inks["soft"], linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    for row, style in styles.items():
        points = [point for point in panel.points if point.row == row]
        x, y = [point.iid for point in points], [point.ood for point in points]
        size = (1.7 if large else 1.0) * (95 if style.marker == "*" else 46)
        colour = getattr(style, theme)
        axes.scatter(x, y, s=size, c=colour, marker=style.marker, edgecolors=inks["ground"], linewidths=0.7, zorder=3)
    if panel.selected is not None:
        x, y, size = [panel.selected.iid], [panel.selected.ood], 420 if large else 230
        axes.scatter(x, y, s=size, c="none", marker="o", edgecolors=inks["ink"], linewidths=1.5, zorder=4)


def _centre(axes: "Axes", panel: Panel, spans: tuple[float, ...]) -> None:
    """Every panel spans as many points of accuracy as the others: distances can be compared."""
    limits = []
    for axis, span in zip(("iid", "ood"), spans, strict=True):
        values = [getattr(point, axis) for point in _all(panel)]
        middle = (max(values) + min(values)) / 2.0
        limits.append((middle - span / 2.0, middle + span / 2.0))
    axes.set_xlim(*limits[0])
    axes.set_ylim(*limits[1])


def _draw_legend(figure: "Figure", panels: Sequence[Panel], styles: Mapping[str, RowStyle], theme: Theme) -> None:
    from matplotlib.lines import Line2D

    inks = INKS[theme]
    entries: list[tuple[Any, str]] = [
        (
            Line2D([], [], linestyle="", marker=style.marker, markersize=10 if style.marker == "*" else 7,
                   color=getattr(style, theme), markeredgecolor=inks["ground"], markeredgewidth=0.5),
            label(row),
        )
        for row, style in styles.items()
    ]  # fmt: skip
    if any(panel.selected for panel in panels):
        ring = Line2D(
            [],
            [],
            linestyle="",
            marker="o",
            markersize=11,
            markerfacecolor="none",
            markeredgecolor=inks["ink"],
        )
        entries.append((ring, "selected"))
    if BASELINE in styles:
        dashes = Line2D([], [], color=inks["soft"], linewidth=0.9, linestyle=(0, (4, 3)))
        entries.append((dashes, f"mean of {label(BASELINE)}"))
    handles, names = zip(*entries, strict=True)
    width = figure.get_size_inches()[0]
    figure.legend(
        handles, names, loc="outside lower center", ncols=min(len(entries), int(width / 1.45)), frameon=False,
        labelcolor=inks["ink"], fontsize=9, handletextpad=0.5, columnspacing=1.6,
    )  # fmt: skip


def _shorten(name: str, longest: int) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"
