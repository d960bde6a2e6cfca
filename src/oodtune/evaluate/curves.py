"""Training curves: source accuracy by step, a panel per target domain, a line per trial."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from oodtune.evaluate.chart import Chart, Entry, Figure, Frame, Line, Mark, widen
from oodtune.evaluate.palette import RowStyle
from oodtune.evaluate.table import label


@dataclass(frozen=True)
class Curve:
    """What one trial logged."""

    trial: str
    target_domain: str
    row: str
    best_step: int
    snapshots: tuple[tuple[int, float], ...]
    """(step, mean source out-split accuracy, 0..1) of every snapshot that has one."""


def curve_figure(curves: Sequence[Curve], styles: Mapping[str, RowStyle]) -> Figure | None:
    """Return one panel per target domain, all on the same axes; None if no snapshot was logged."""
    steps = [step for curve in curves for step, _ in curve.snapshots]
    if not steps:
        return None
    percents = [100.0 * accuracy for curve in curves for _, accuracy in curve.snapshots]
    frame = Frame((0.0, float(max(*steps, 1))), widen(percents, 1.0))
    targets = dict.fromkeys(curve.target_domain for curve in curves)
    rows = dict.fromkeys(curve.row for curve in curves)
    charts = tuple(
        _panel(target, [curve for curve in curves if curve.target_domain == target], frame, styles)
        for target in targets
    )
    return Figure("training", charts, tuple(Entry(label(row), styles[row]) for row in rows))


def _panel(target: str, curves: Sequence[Curve], frame: Frame, styles: Mapping[str, RowStyle]) -> Chart:
    return Chart(
        title=target,
        description=f"Source accuracy by step, trials without {target}",
        frame=frame,
        x_label="step",
        y_label="source accuracy, %",
        x_ticks=frame.x_ticks(),
        y_ticks=frame.y_ticks(),
        lines=tuple(_line(curve, frame, styles[curve.row]) for curve in curves),
        marks=tuple(mark for curve in curves for mark in _kept(curve, frame, styles[curve.row])),
    )


def _line(curve: Curve, frame: Frame, style: RowStyle) -> Line:
    points = frame.trace((step, 100.0 * accuracy) for step, accuracy in curve.snapshots)
    return Line(points, style, curve.trial)


def _kept(curve: Curve, frame: Frame, style: RowStyle) -> list[Mark]:
    """Return the mark of the snapshot that was kept, if it was measured."""
    reached = dict(curve.snapshots).get(curve.best_step)
    if reached is None:
        return []
    text = f"{curve.trial}: {100.0 * reached:.1f} % at step {curve.best_step}, the snapshot kept"
    return [frame.mark(curve.best_step, 100.0 * reached, style, text)]
