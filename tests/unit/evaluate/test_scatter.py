import io

import pytest
from PIL import Image

from oodtune.evaluate.palette import row_styles
from oodtune.evaluate.scatter import MEAN, draw_scatter, scatter_panels
from tests.fixtures.reporting import DOMAINS, make_picks, make_scores


def test_each_target_domain_has_a_panel_with_its_models_and_the_mean_comes_last():
    scores = make_scores(seeds=(0, 1))
    panels = scatter_panels(scores, make_picks(scores))
    assert [panel.title for panel in panels] == [*DOMAINS, MEAN]
    assert {len(panel.points) for panel in panels} == {6}


def test_a_point_of_the_mean_averages_the_same_settings_over_targets():
    scores = make_scores()
    plain = [score for score in scores if score.model.row == "plain"]
    point = next(point for point in scatter_panels(scores, {})[-1].points if point.row == "plain")
    assert point.ood == pytest.approx(100.0 * sum(score.ood for score in plain) / len(plain))


def test_settings_that_miss_a_target_have_no_mean():
    scores = [s for s in make_scores() if (s.model.target_domain, s.model.row) != ("line", "plain")]
    assert "plain" not in {point.row for point in scatter_panels(scores, {})[-1].points}


def test_the_ring_lies_on_the_pick():
    scores = make_scores()
    picks = make_picks(scores)
    selected = scatter_panels(scores, picks)[0].selected
    assert selected is not None
    assert selected.iid == pytest.approx(100.0 * float(str(picks["noto"]["iid"])))


def test_rows_differ_in_shape_and_not_in_colour_alone():
    styles = row_styles(make_scores()).values()
    assert len({style.marker for style in styles}) == len(styles)


def test_equal_scores_give_equal_bytes():
    scores = make_scores()
    assert draw_scatter(scores, make_picks(scores)) == draw_scatter(scores, make_picks(scores))


@pytest.mark.parametrize("num_domains", [1, 2, 3, 8])
def test_one_to_eight_target_domains_with_long_names_make_a_picture(num_domains: int):
    domains = tuple(f"a_domain_with_a_rather_long_name_{number}" for number in range(num_domains))
    scores = make_scores(domains)
    picture = Image.open(io.BytesIO(draw_scatter(scores, make_picks(scores), "dark")))
    assert (picture.format, picture.width) == ("PNG", 2000)


def test_one_model_alone_makes_a_picture():
    assert draw_scatter(make_scores()[:1], {}).startswith(b"\x89PNG")
