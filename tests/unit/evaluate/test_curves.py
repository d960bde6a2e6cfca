from collections.abc import Sequence

from oodtune.evaluate.chart import Chart
from oodtune.evaluate.curves import Curve, curve_figure
from oodtune.evaluate.palette import row_styles
from tests.fixtures.reporting import make_scores

STYLES = row_styles(make_scores())


def curve(target: str, *snapshots: tuple[int, float], best_step: int = 10) -> Curve:
    return Curve(f"{target}-plain", target, "plain", best_step, snapshots)


def charts(curves: Sequence[Curve]) -> tuple[Chart, ...]:
    figure = curve_figure(curves, STYLES)
    assert figure is not None
    return figure.charts


def test_the_mark_lies_on_the_snapshot_that_was_kept():
    (panel,) = charts([curve("a", (0, 0.5), (10, 0.8), (20, 0.7))])
    (mark,) = panel.marks
    assert panel.lines[0].points.split()[1] == f"{mark.x},{mark.y}"
    assert "80.0 % at step 10" in mark.description


def test_curves_stay_inside_their_panel():
    for panel in charts([curve("a", (0, 0.1), (10, 0.9)), curve("b", (0, 0.5), (30, 0.95))]):
        for point in panel.lines[0].points.split():
            x, y = map(float, point.split(","))
            assert panel.frame.left <= x <= panel.frame.right
            assert panel.frame.top <= y <= panel.frame.bottom


def test_a_single_snapshot_is_a_point_and_no_snapshot_is_no_figure():
    assert len(charts([curve("a", (10, 0.5))])[0].lines) == 1
    assert curve_figure([curve("a")], STYLES) is None
