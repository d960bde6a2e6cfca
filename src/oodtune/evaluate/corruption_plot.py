"""The picture of corruptions: accuracy by severity, of every model."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from oodtune.evaluate.corruption import Accuracies, CorruptedModel, Corruptions
from oodtune.evaluate.palette import INKS, RowStyle, Theme
from oodtune.evaluate.png_panels import add_panels, open_figure, to_png, with_room

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

MEAN = "mean of all"

_STYLES = (
    RowStyle("#0b6e5b", "#5fd0b5", "o"),
    RowStyle("#d55e00", "#ff9b57", "s"),
    RowStyle("#0072b2", "#56b4e9", "^"),
    RowStyle("#7a5195", "#c3a1e0", "D"),
    RowStyle("#8c6d00", "#e6c34a", "v"),
    RowStyle("#b3477d", "#f08bbd", "P"),
)
"""In the order of the models; a seventh looks like the first."""
_DPI = 160
_COLUMNS = 4


@dataclass(frozen=True)
class Panel:
    title: str
    lines: tuple[tuple[Accuracies, ...], ...]
    """Model -> clean, then by severity."""


def corruption_panels(found: Corruptions) -> list[Panel]:
    """Return a panel for the mean of all corruptions, if there are several, and one for each."""
    panels = [
        Panel(name.replace("_", " "), tuple((model.clean, *model.corrupted[name]) for model in found.models))
        for name in found.corruptions
    ]
    if len(panels) == 1:
        return panels
    return [Panel(MEAN, tuple((model.clean, *_mean_by_severity(model)) for model in found.models)), *panels]


def draw_corruptions(found: Corruptions, theme: Theme = "light") -> bytes:
    """Return a PNG of `corruption_panels`. Equal input gives equal bytes (of one matplotlib version)."""
    panels = corruption_panels(found)
    columns = min(_COLUMNS, len(panels))
    width, height = max(2, columns) * 2.7, ceil(len(panels) / columns) * 2.1 + 0.3 * (len(found.models) + 1)
    with open_figure(width, height, theme) as figure:
        limits = _limits(panels)
        for place, axes in enumerate(add_panels(figure, len(panels), columns, "severity", theme)):
            _draw_panel(axes, panels[place], found.severities, theme)
            axes.set_ylim(*limits)
            axes.tick_params(labelleft=place % columns == 0, labelbottom=place + columns >= len(panels))
        _draw_legend(figure, found, theme)
        return to_png(figure, _DPI)


def _mean_by_severity(model: CorruptedModel) -> tuple[Accuracies, ...]:
    return tuple(Accuracies.mean(values) for values in zip(*model.corrupted.values(), strict=True))


def _limits(panels: Sequence[Panel]) -> tuple[float, float]:
    """Return the range of accuracy, in percent, that all panels share."""
    points = [point for panel in panels for line in panel.lines for point in line]
    low = 100.0 * min(min(point.iid, point.ood) for point in points)
    high = 100.0 * max(max(point.iid, point.ood) for point in points)
    return with_room(low, high)


def _draw_panel(axes: "Axes", panel: Panel, severities: Sequence[int], theme: Theme) -> None:
    inks, x = INKS[theme], (0, *severities)
    weight = "bold" if panel.title == MEAN else "normal"
    axes.set_title(panel.title, loc="left", color=inks["ink"], fontsize=9, fontweight=weight)
    for place, line in reversed(list(enumerate(panel.lines))):  # the selected model lies on top
        style = _STYLES[place % len(_STYLES)]
        colour = getattr(style, theme)
        axes.plot(x, [100.0 * point.iid for point in line], color=colour, linewidth=1.0, dashes=(4, 2), alpha=0.8)
        axes.plot(
            x, [100.0 * point.ood for point in line], color=colour, linewidth=1.7, marker=style.marker, markersize=3.5,
            markeredgewidth=0.0,
        )  # fmt: skip
    axes.set_xticks(x, ["clean", *map(str, severities)])


def _draw_legend(figure: "Figure", found: Corruptions, theme: Theme) -> None:
    """Name the models one below the other, because their names are long, and what the dashes say."""
    inks = INKS[theme]
    handles = [
        _sample(getattr(style, theme), marker=style.marker, markersize=4.0, markeredgewidth=0.0, linewidth=1.7)
        for place in range(len(found.models))
        for style in [_STYLES[place % len(_STYLES)]]
    ]
    names = [f"{model.name}: ood ({found.target_domain})" for model in found.models]
    handles.append(_sample(inks["soft"], linewidth=1.0, dashes=(4, 2)))
    figure.legend(
        handles, [*names, "dashed, without marks: iid"], loc="outside lower center", ncols=1, frameon=False,
        labelcolor=inks["ink"], fontsize=8, handletextpad=0.5,
    )  # fmt: skip


def _sample(colour: str, **line: object) -> "Line2D":
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, **line)  # type: ignore[arg-type]
