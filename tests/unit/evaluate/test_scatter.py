import pytest

from oodtune.evaluate.palette import row_styles
from oodtune.evaluate.scatter import MEAN, convex_hull, scatter_figure, scatter_panels
from tests.fixtures.reporting import DOMAINS, RATES, make_picks, make_scores


def test_the_mean_comes_first_and_each_target_domain_has_a_panel_with_its_models():
    scores = make_scores(seeds=(0, 1))
    panels = scatter_panels(scores, make_picks(scores))
    assert [panel.title for panel in panels] == [MEAN, *DOMAINS]
    assert {len(panel.points) for panel in panels} == {6}


def test_a_point_of_the_mean_averages_the_same_settings_over_targets():
    scores = make_scores()
    plain = [score for score in scores if score.model.row == "plain"]
    point = next(point for point in scatter_panels(scores, {})[0].points if point.row == "plain")
    assert point.ood == pytest.approx(100.0 * sum(score.ood for score in plain) / len(plain))


def test_settings_that_miss_a_target_have_no_mean():
    scores = [s for s in make_scores() if (s.model.target_domain, s.model.row) != ("line", "plain")]
    assert "plain" not in {point.row for point in scatter_panels(scores, {})[0].points}


def test_the_ring_lies_on_the_pick():
    scores = make_scores()
    picks = make_picks(scores)
    figure = scatter_figure(scores, picks, row_styles(scores))
    chart = figure.charts[1]
    place = chart.frame.place(100.0 * float(str(picks["noto"]["iid"])), 100.0 * float(str(picks["noto"]["ood"])))
    assert chart.ring == place
    assert place in {(mark.x, mark.y) for mark in chart.marks}


def test_a_target_without_a_pick_has_no_ring_and_then_the_mean_has_none():
    scores = make_scores()
    picks = make_picks(scores)
    del picks["noto"]
    rings = [chart.ring for chart in scatter_figure(scores, picks, row_styles(scores)).charts]
    assert [ring is None for ring in rings] == [True, True, False, False, False]


def test_every_panel_spans_as_many_points_as_the_others():
    scores = make_scores(seeds=(0, 1, 2), methods=RATES)
    figure = scatter_figure(scores, make_picks(scores), row_styles(scores))
    for axis in ("x", "y"):
        spans = [getattr(chart.frame, axis)[1] - getattr(chart.frame, axis)[0] for chart in figure.charts]
        assert spans == pytest.approx([spans[0]] * len(spans))


def test_points_lie_inside_their_panel():
    scores = make_scores(seeds=(0, 1, 2), methods=RATES)
    for chart in scatter_figure(scores, make_picks(scores), row_styles(scores)).charts:
        for mark in chart.marks:
            assert chart.frame.left < mark.x < chart.frame.right
            assert chart.frame.top < mark.y < chart.frame.bottom


def test_a_hull_keeps_the_corners_and_drops_what_is_inside_or_on_an_edge():
    square = [(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0)]
    hull = convex_hull([*square, (1.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
    assert set(hull) == set(square)
    assert len(hull) == 4
    assert convex_hull([(1.0, 1.0), (1.0, 1.0)]) == [(1.0, 1.0)]
    assert convex_hull([(0.0, 0.0), (1.0, 1.0), (2.0, 2.0)]) == [(0.0, 0.0), (2.0, 2.0)]


def test_one_model_alone_makes_a_picture():
    scores = make_scores()[:1]
    (chart,) = scatter_figure(scores, {}, row_styles(scores)).charts
    assert len(chart.marks) == 1
    assert chart.areas == ()
