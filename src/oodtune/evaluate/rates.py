"""Accuracy against the dropout rate, over methods that differ in nothing else."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from oodtune.evaluate.chart import LARGE, SMALL, Area, Chart, Entry, Figure, Frame, Line, Tick, widen
from oodtune.evaluate.palette import KNOWN, UNSEEN, RowStyle
from oodtune.evaluate.scatter import MEAN
from oodtune.evaluate.scores import Score
from oodtune.evaluate.table import by_seed
from oodtune.evaluate.uncertainty import Estimate, estimate

LEAST_RATES = 3
_AXES = (("iid", KNOWN), ("ood", UNSEEN))
BySeed = dict[int, float]


def rates_of(methods: Mapping[str, Mapping[str, object]]) -> dict[str, float]:
    """Return method -> dropout rate of the methods that differ in that rate alone, by growing rate.

    `methods`: name -> its settings. Of several such families, the one with the most rates; of methods of equal
    settings, the first. Empty if there are fewer than three rates.
    """
    families: dict[str, dict[float, str]] = {}
    for name, settings in methods.items():
        family = repr(sorted((key, value) for key, value in settings.items() if key != "dropout"))
        rate = settings.get("dropout")
        if isinstance(rate, int | float):
            families.setdefault(family, {}).setdefault(float(rate), name)
    largest = max(families.values(), key=len, default={})
    return {largest[rate]: rate for rate in sorted(largest)} if len(largest) >= LEAST_RATES else {}


def rate_figure(scores: Sequence[Score], rates: Mapping[str, float]) -> Figure | None:
    """Return a panel of the mean over target domains and one for each: points gained over the lowest rate.

    Within seeds, so that what a seed does to all rates drops out. A seed that misses a rate is left out.
    """
    if not rates:
        return None
    targets = list(dict.fromkeys(score.model.target_domain for score in scores))
    panels = {target: _gains([s for s in scores if s.model.target_domain == target], rates) for target in targets}
    panels = {target: gains for target, gains in panels.items() if gains}
    if not panels:
        return None
    if len(panels) == len(targets) > 1 and (mean := _mean_over(list(panels.values()))):
        panels = {MEAN: mean, **panels}
    shown = {title: _summaries(gains) for title, gains in panels.items()}
    ends = [
        one.mean + sign * (one.standard_error or 0.0)
        for axes in shown.values()
        for summaries in axes.values()
        for one in summaries
        for sign in (-1.0, 1.0)
    ]
    x, y = (0.0, float(len(rates) - 1)), widen(ends, 1.0)
    charts = tuple(
        _panel(title, axes, list(rates.values()), Frame(x, y, LARGE if title == MEAN else SMALL))
        for title, axes in shown.items()
    )
    return Figure("dropout", charts, (Entry("ood: target domain", UNSEEN), Entry("iid: source domains", KNOWN)))


def _gains(scores: Sequence[Score], rates: Mapping[str, float]) -> dict[str, list[BySeed]]:
    """Return axis -> for each rate, seed -> points above the lowest rate; empty if no seed has all rates."""
    gains: dict[str, list[BySeed]] = {}
    for axis, _ in _AXES:
        columns = [
            by_seed((one.model.seed, getattr(one, axis)) for one in scores if one.model.row == row) for row in rates
        ]
        seeds = [seed for seed in columns[0] if seed is not None and all(seed in column for column in columns)]
        if not seeds:
            return {}
        gains[axis] = [{seed: column[seed] - columns[0][seed] for seed in seeds} for column in columns]
    return gains


def _mean_over(panels: Sequence[dict[str, list[BySeed]]]) -> dict[str, list[BySeed]]:
    """Return the mean over targets of every seed that all of them have."""
    seeds = [seed for seed in panels[0]["ood"][0] if all(seed in panel["ood"][0] for panel in panels)]
    if not seeds:
        return {}
    return {
        axis: [
            {seed: fmean(panel[axis][place][seed] for panel in panels) for seed in seeds}
            for place in range(len(panels[0][axis]))
        ]
        for axis, _ in _AXES
    }


def _summaries(gains: Mapping[str, Sequence[BySeed]]) -> dict[str, list[Estimate]]:
    return {axis: [estimate(list(by_rate.values())) for by_rate in column] for axis, column in gains.items()}


def _panel(title: str, axes: Mapping[str, Sequence[Estimate]], rates: Sequence[float], frame: Frame) -> Chart:
    ticks = tuple(Tick(frame.place(place, frame.y[0])[0], f"{rate:g}") for place, rate in enumerate(rates))
    return Chart(
        title=title,
        description=f"Points of accuracy above dropout {rates[0]:g} by dropout rate: {title}",
        frame=frame,
        x_label="dropout rate",
        y_label="points gained",
        x_ticks=ticks,
        y_ticks=frame.y_ticks(),
        areas=tuple(_band(axes[axis], frame, style) for axis, style in _AXES if axes[axis][0].n > 1),
        guides=(frame.across(0.0),),
        lines=tuple(
            Line(frame.trace((place, one.mean) for place, one in enumerate(axes[axis])), style) for axis, style in _AXES
        ),
        marks=tuple(
            frame.mark(place, one.mean, style, f"{axis} at {rates[place]:g}: {one.mean:+.1f} points, n = {one.n}")
            for axis, style in _AXES
            for place, one in enumerate(axes[axis])
        ),
    )


def _band(summaries: Sequence[Estimate], frame: Frame, style: RowStyle) -> Area:
    """Return one standard error above and below the mean."""
    errors = [one.standard_error or 0.0 for one in summaries]
    upper = [(place, one.mean + error) for place, (one, error) in enumerate(zip(summaries, errors, strict=True))]
    lower = [(place, one.mean - error) for place, (one, error) in enumerate(zip(summaries, errors, strict=True))]
    return Area(frame.trace([*upper, *reversed(lower)]), style)
