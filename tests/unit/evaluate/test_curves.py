import pytest

from oodtune.evaluate.curves import Curve, curve_panels, tick_values


def curve(target: str, *snapshots: tuple[int, float], best_step: int = 10) -> Curve:
    return Curve(f"{target}-plain", target, "plain", best_step, snapshots)


def test_the_dot_lies_on_the_snapshot_that_was_kept():
    (panel,) = curve_panels([curve("a", (0, 0.5), (10, 0.8), (20, 0.7))])
    (line,) = panel.lines
    assert line.best is not None
    assert line.points.split()[1] == f"{line.best[0]},{line.best[1]}"
    assert "80.0 % at step 10" in line.description


def test_curves_stay_inside_their_panel():
    panels = curve_panels([curve("a", (0, 0.1), (10, 0.9)), curve("b", (0, 0.5), (30, 0.95))])
    for panel in panels:
        for point in panel.lines[0].points.split():
            x, y = map(float, point.split(","))
            assert panel.left <= x <= panel.right
            assert panel.top <= y <= panel.bottom


def test_a_single_snapshot_is_a_point_and_no_snapshot_is_no_panel():
    assert len(curve_panels([curve("a", (10, 0.5))])[0].lines) == 1
    assert curve_panels([curve("a")]) == []


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (64.3, 66.2), (0.0, 150.0), (0.0, 10_000.0), (49.5, 50.5)])
def test_ticks_are_few_round_and_inside(low: float, high: float):
    ticks = tick_values(low, high)
    assert 2 <= len(ticks) <= 6
    assert low <= ticks[0] < ticks[-1] <= high
