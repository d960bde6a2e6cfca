"""The iid/ood picture (figure 1 of arXiv 2403.00946): a point per model, a panel per target domain."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from oodtune.evaluate.chart import LARGE, SMALL, Area, Chart, Entry, Figure, Frame, Guide, Mark, widen
from oodtune.evaluate.palette import RowStyle
from oodtune.evaluate.scores import Score
from oodtune.evaluate.table import BASELINE, label

MEAN = "mean over target domains"
_LEAST_SPAN = 2.0
"""Points of accuracy: closer models must not look far apart."""
_MARGIN = 0.12


@dataclass(frozen=True)
class Point:
    row: str
    iid: float
    """In percent, like `ood`."""
    ood: float
    name: str = ""


@dataclass(frozen=True)
class Panel:
    title: str
    points: tuple[Point, ...]
    selected: Point | None
    """Where the rule's choice lies; in the panel of the mean, the mean of the choices."""

    @property
    def everything(self) -> list[Point]:
        return [*self.points, *([self.selected] if self.selected else [])]


def scatter_panels(scores: Sequence[Score], picks: Mapping[str, Mapping[str, Any]]) -> list[Panel]:
    """Return a panel of means over targets, if there are two or more, then one per target domain.

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
    means = [
        _mean(row, [_point(s) for s in same], name)
        for (row, name), same in settings.items()
        if len(same) == len(targets)
    ]
    if len(targets) > 1 and means:
        chosen = [panel.selected for panel in panels if panel.selected is not None]
        selected = _mean(chosen[0].row, chosen) if len(chosen) == len(targets) else None
        panels.insert(0, Panel(MEAN, tuple(means), selected))
    return panels


def scatter_figure(
    scores: Sequence[Score], picks: Mapping[str, Mapping[str, Any]], styles: Mapping[str, RowStyle]
) -> Figure:
    """Return `scatter_panels` as charts. Every panel spans as many points of accuracy as the others."""
    panels = scatter_panels(scores, picks)
    assert panels, "nothing was scored"
    span_x, span_y = (
        max(high - low for low, high in (_spread(panel, axis) for panel in panels)) for axis in ("iid", "ood")
    )
    rows = {point.row for panel in panels for point in panel.points}
    legend = [Entry(label(row), style, is_line=False) for row, style in styles.items() if row in rows]
    if picks:
        legend.append(Entry("selected"))
    return Figure("scatter", tuple(_draw(panel, styles, span_x, span_y) for panel in panels), tuple(legend))


def _draw(panel: Panel, styles: Mapping[str, RowStyle], span_x: float, span_y: float) -> Chart:
    frame = Frame(
        widen([point.iid for point in panel.everything], span_x, _MARGIN),
        widen([point.ood for point in panel.everything], span_y, _MARGIN),
        LARGE if panel.title == MEAN else SMALL,
    )
    size = 6.5 if panel.title == MEAN else 4.5
    return Chart(
        title=panel.title,
        description=f"ood accuracy over iid accuracy of {len(panel.points)} models: {panel.title}",
        frame=frame,
        x_label="iid accuracy, %",
        y_label="ood accuracy, %",
        x_ticks=frame.x_ticks(),
        y_ticks=frame.y_ticks(),
        areas=tuple(
            Area(frame.trace(hull), styles[row])
            for row in styles
            if len(hull := convex_hull([(p.iid, p.ood) for p in panel.points if p.row == row])) > 1
        ),
        guides=_baseline(panel, frame),
        marks=tuple(_mark(point, frame, styles[point.row], size) for point in panel.points),
        ring=None if panel.selected is None else frame.place(panel.selected.iid, panel.selected.ood),
    )


def _spread(panel: Panel, axis: str) -> tuple[float, float]:
    return widen([getattr(point, axis) for point in panel.everything], _LEAST_SPAN, _MARGIN)


def convex_hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the corners of the smallest convex polygon around points: Andrew's monotone chain, 1979."""
    ordered = sorted(set(points))
    if len(ordered) < 3:
        return ordered
    return [*_chain(ordered)[:-1], *_chain(ordered[::-1])[:-1]]


def _chain(ordered: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    chain: list[tuple[float, float]] = []
    for x, y in ordered:
        while len(chain) > 1:
            (ax, ay), (bx, by) = chain[-2:]
            if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0.0:
                break
            chain.pop()
        chain.append((x, y))
    return chain


def _baseline(panel: Panel, frame: Frame) -> tuple[Guide, ...]:
    baseline = [point for point in panel.points if point.row == BASELINE]
    if not baseline:
        return ()
    middle = _mean(BASELINE, baseline)
    return frame.upright(middle.iid), frame.across(middle.ood)


def _mark(point: Point, frame: Frame, style: RowStyle, size: float) -> Mark:
    text = f"{label(point.row)} ({point.name}): iid {point.iid:.1f} %, ood {point.ood:.1f} %"
    return frame.mark(point.iid, point.ood, style, text, size)


def _point(score: Score) -> Point:
    return Point(score.model.row, 100.0 * score.iid, 100.0 * score.ood, score.model.name)


def _pick(pick: Mapping[str, Any] | None) -> Point | None:
    return None if pick is None else Point(pick["row"], 100.0 * pick["iid"], 100.0 * pick["ood"], pick["name"])


def _mean(row: str, points: Sequence[Point], name: str = "") -> Point:
    return Point(row, fmean(point.iid for point in points), fmean(point.ood for point in points), name)
