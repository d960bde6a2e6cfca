"""Does the chosen model know when it is wrong: reliability before and after its temperature, risk by coverage."""

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np

from oodtune.evaluate.abstention import risk_coverage
from oodtune.evaluate.calibration import reliability
from oodtune.evaluate.chart import Chart, Entry, Figure, Frame, Line, Mark
from oodtune.evaluate.outcomes import Outcomes
from oodtune.evaluate.palette import KNOWN, UNSEEN, RowStyle
from oodtune.evaluate.results import Judged, pool

_BINS = 10
"""Of equally many images: fewer and fuller than the bins of the error, so that a point is no accident."""
_POINTS = 120
"""Of a risk-coverage curve."""
_SIZES = (0.0, 1.0)


def reliability_figure(judged: Mapping[str, Judged], target: str) -> Figure:
    """Return a panel of all source domains together and one of the target domain, before and after."""
    sources = [one for domain, one in judged.items() if domain != target]
    charts = (
        _reliability("source domains", pool(o.raw for o in sources), pool(o.calibrated for o in sources)),
        _reliability(f"target domain: {target}", judged[target].raw, judged[target].calibrated),
    )
    return Figure("reliability", charts, (Entry("as served: temperature", UNSEEN), Entry("before", KNOWN)))


def _reliability(title: str, raw: Outcomes, calibrated: Outcomes) -> Chart:
    frame = Frame(_SIZES, _SIZES)
    lines: list[Line] = []
    marks: list[Mark] = []
    for name, outcomes, style in (("before", raw, KNOWN), ("as served", calibrated, UNSEEN)):
        bins = reliability(outcomes, _BINS, equal_mass=True)
        points = [
            (confidence, accuracy, count)
            for confidence, accuracy, count in zip(
                bins.confidence.tolist(), bins.accuracy.tolist(), bins.counts.tolist(), strict=True
            )
            if count
        ]
        lines.append(Line(frame.trace((x, y) for x, y, _ in points), style))
        marks += [
            frame.mark(x, y, style, f"{name}: {count} images, confidence {x:.2f}, accuracy {y:.2f}", 4.0)
            for x, y, count in points
        ]
    return Chart(
        title=title,
        description=f"Accuracy over confidence, {title}",
        frame=frame,
        x_label="confidence",
        y_label="accuracy",
        x_ticks=frame.x_ticks(),
        y_ticks=frame.y_ticks(),
        guides=(frame.guide(0.0, 0.0, 1.0, 1.0),),
        lines=tuple(lines),
        marks=tuple(marks),
    )


def risk_figure(judged: Mapping[str, Judged], target: str) -> Figure:
    """Return the error rate of the answers by the share of images that is answered, source domains and target."""
    parts: list[tuple[str, RowStyle, Outcomes]] = [
        ("source domains", KNOWN, pool(one.calibrated for domain, one in judged.items() if domain != target)),
        (f"target domain: {target}", UNSEEN, judged[target].calibrated),
    ]
    curves = [list(_thinned(outcomes)) for _, _, outcomes in parts]
    highest = max(0.05, *(risk for curve in curves for _, risk in curve))
    frame = Frame((0.0, 100.0), (0.0, 105.0 * highest))
    chart = Chart(
        title="risk by coverage",
        description="Error rate of the most confident answers by the share that is answered",
        frame=frame,
        x_label="answered, %",
        y_label="wrong answers, %",
        x_ticks=frame.x_ticks(),
        y_ticks=frame.y_ticks(),
        lines=tuple(
            Line(frame.trace((100.0 * x, 100.0 * y) for x, y in curve), style, name)
            for (name, style, _), curve in zip(parts, curves, strict=True)
        ),
    )
    return Figure("risk", (chart,), tuple(Entry(name, style) for name, style, _ in reversed(parts)))


def _thinned(outcomes: Outcomes) -> Iterator[tuple[float, float]]:
    """Yield (coverage, risk) at evenly spaced places; the first percent, which is noise, is left out."""
    curve = risk_coverage(outcomes)
    count = len(curve.coverage)
    places = np.linspace(max(0, round(0.01 * count) - 1), count - 1, min(count, _POINTS)).round().astype(int)
    for before, place in pairwise([-1, *places.tolist()]):
        if place != before:
            yield float(curve.coverage[place]), float(curve.risk[place])
