"""The picture of a screening: accuracy against dropout rate, with the rate that is suggested."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import asinh, ceil
from typing import TYPE_CHECKING, Any

from oodtune.evaluate.palette import INKS, RowStyle, Theme
from oodtune.evaluate.png_panels import add_panels, open_figure, to_png, with_room
from oodtune.evaluate.screening import ALL_TARGETS, Curve, Screen

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_OOD = RowStyle("#d55e00", "#ff9b57", "o")
_IID = RowStyle("#0072b2", "#56b4e9", "s")
_DPI = 200
_MOST_COLUMNS = 3
_LINEAR_BELOW = 0.1
"""p / (1 - p), the strength of the penalty, is drawn on a logarithmic axis that turns linear here: it has a 0."""
_LEAST_TICK_GAP = 0.06
"""Share of the axis."""
_BAND_MARGIN = 0.25
"""Of the band of rates that are as good, on the axis of `rate_positions`."""
_MARKER_SIZES = {"*": 5.0}
"""In points, where the usual size looks too small."""
_MARKERS = ("^", "v", "D", "*", "P", "X")
"""Of thin lines, a domain each; those of the two means are taken."""


@dataclass(frozen=True)
class Panel:
    title: str
    curve: Curve
    parts: tuple[tuple[str, tuple[float, ...]], ...]
    """(domain, accuracy by rate) of the lines that the ood estimate is the mean of: domains left out, or targets."""


def screen_panels(screen: Screen) -> list[Panel]:
    """Return a panel per backbone; of a single one, a panel per target domain and one for all of them."""
    whole = [
        Panel(one.label, one.curve, tuple((t.target_domain, t.curve.ood) for t in one.targets))
        for one in screen.backbones
    ]
    if len(whole) > 1:
        return whole
    targets = [
        Panel(f"target: {one.target_domain}", one.curve, tuple((f.left_out, f.ood) for f in one.folds))
        for one in screen.backbones[0].targets
    ]
    only = whole[0]
    return [*targets, Panel(ALL_TARGETS, only.curve, only.parts)] if len(targets) > 1 else targets


def draw_screen(screen: Screen, theme: Theme = "light") -> bytes:
    """Return a PNG of `screen_panels`. Equal input gives equal bytes (of one matplotlib version)."""
    panels = screen_panels(screen)
    columns = len(panels) if len(panels) <= _MOST_COLUMNS else ceil(len(panels) / ceil(len(panels) / _MOST_COLUMNS))
    rows = ceil(len(panels) / columns)
    with open_figure(max(2, columns) * 3.6, rows * 3.0 + 0.5, theme) as figure:
        marks, limits = _domain_markers(panels), _limits(panels)
        axis = add_panels(figure, len(panels), columns, "dropout rate p, at p / (1 - p)", theme)
        for panel, axes in zip(panels, axis, strict=True):
            _draw_panel(axes, panel, screen.rates, marks, theme)
            axes.set_ylim(*limits)
        _draw_legend(figure, marks, theme)
        return to_png(figure, _DPI)


def rate_positions(rates: Sequence[float]) -> list[float]:
    """Return where each rate lies on the axis."""
    return [asinh(rate / (1.0 - rate) / _LINEAR_BELOW) for rate in rates]


def _domain_markers(panels: Sequence[Panel]) -> dict[str, str]:
    domains = dict.fromkeys(domain for panel in panels for domain, _ in panel.parts)
    return {domain: _MARKERS[place % len(_MARKERS)] for place, domain in enumerate(domains)}


def _limits(panels: Sequence[Panel]) -> tuple[float, float]:
    """Return the range of accuracy, in percent, that all panels share."""
    lines = [
        line for panel in panels for line in (panel.curve.iid, panel.curve.ood, *(part for _, part in panel.parts))
    ]
    low, high = 100.0 * min(map(min, lines)), 100.0 * max(map(max, lines))
    return with_room(low, high)


def _draw_panel(axes: "Axes", panel: Panel, rates: Sequence[float], marks: Mapping[str, str], theme: Theme) -> None:
    inks, x = INKS[theme], rate_positions(rates)
    axes.set_title(panel.title, loc="left", color=inks["ink"], fontsize=9.5, fontweight="bold")
    for domain, values in panel.parts:
        mark = marks[domain]
        axes.plot(
            x, _percent(values), color=inks["soft"], linewidth=0.7, alpha=0.8, marker=mark,
            markersize=_MARKER_SIZES.get(mark, 3.0), markeredgewidth=0.0, zorder=2,
        )  # fmt: skip
    for values, style, dash in ((panel.curve.iid, _IID, (4, 2)), (panel.curve.ood, _OOD, ())):
        axes.plot(
            x, _percent(values), color=getattr(style, theme), linewidth=1.9, marker=style.marker, markersize=3.5,
            dashes=dash or (None, None), zorder=3,
        )  # fmt: skip
    best = panel.curve.suggestion
    low, high = rate_positions(best.as_good)
    axes.axvspan(low - _BAND_MARGIN, high + _BAND_MARGIN, color=inks["grid"], alpha=0.55, linewidth=0.0, zorder=0)
    ring = {"c": "none", "marker": "o", "edgecolors": inks["ink"], "linewidths": 1.5, "zorder": 4}
    axes.scatter(rate_positions([best.rate]), [100.0 * best.ood], s=110, **ring)  # type: ignore[arg-type]
    _set_ticks(axes, rates, x)


def _set_ticks(axes: "Axes", rates: Sequence[float], x: Sequence[float]) -> None:
    """Label as many rates as fit, the first and the last among them."""
    shown = [0]
    for place in range(1, len(x) - 1):
        if min(x[place] - x[shown[-1]], x[-1] - x[place]) >= _LEAST_TICK_GAP * x[-1]:
            shown.append(place)
    shown.append(len(x) - 1)
    axes.set_xticks([x[place] for place in shown], [f"{rates[place]:g}".replace("0.", ".") for place in shown])


def _draw_legend(figure: "Figure", marks: Mapping[str, str], theme: Theme) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    inks = INKS[theme]
    entries: list[tuple[Any, str]] = [
        (_sample(getattr(_OOD, theme), _OOD.marker, linewidth=1.9), "ood estimate, mean of"),
        *((_sample(inks["soft"], mark, linewidth=0.7, alpha=0.8), _shorten(name)) for name, mark in marks.items()),
        (_sample(getattr(_IID, theme), _IID.marker, linewidth=1.9, dashes=(4, 2)), "iid, mean"),
        (Line2D([], [], linestyle="", marker="o", markersize=9, markerfacecolor="none",
                markeredgecolor=inks["ink"], markeredgewidth=1.5), "suggested"),
        (Patch(color=inks["grid"], alpha=0.55, linewidth=0.0), "as good"),
    ]  # fmt: skip
    handles, names = zip(*entries, strict=True)
    width = figure.get_size_inches()[0]
    figure.legend(
        handles, names, loc="outside lower center", ncols=min(len(entries), int(width / 1.25)), frameon=False,
        labelcolor=inks["ink"], fontsize=8, handletextpad=0.5, columnspacing=1.4,
    )  # fmt: skip


def _sample(colour: str, marker: str, **line: Any) -> "Line2D":
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], color=colour, marker=marker, markersize=_MARKER_SIZES.get(marker, 4.0), markeredgewidth=0.0, **line
    )


def _percent(values: Sequence[float]) -> list[float]:
    return [100.0 * value for value in values]


def _shorten(name: str, longest: int = 14) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"
