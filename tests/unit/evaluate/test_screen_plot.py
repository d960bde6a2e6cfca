import io
from itertools import pairwise

import pytest
from PIL import Image

from oodtune.evaluate.screen_plot import draw_screen, rate_positions, screen_panels
from oodtune.evaluate.screening import ALL_TARGETS
from oodtune.stages.screen import RATES
from tests.fixtures.screening import make_backbone, make_screen


def test_one_backbone_has_a_panel_per_target_with_a_line_per_domain_left_out():
    panels = screen_panels(make_screen())
    assert [panel.title for panel in panels] == ["target: d0", "target: d1", "target: d2", ALL_TARGETS]
    assert [name for name, _ in panels[0].parts] == ["d1", "d2"]
    assert [name for name, _ in panels[-1].parts] == ["d0", "d1", "d2"]


def test_several_backbones_have_a_panel_each():
    panels = screen_panels(make_screen(make_backbone("one"), make_backbone("two")))
    assert [panel.title for panel in panels] == ["one", "two"]


def test_rates_lie_in_order_and_apart_on_the_axis_from_0_on():
    places = rate_positions(RATES)
    assert places[0] == 0.0
    assert min(right - left for left, right in pairwise(places)) > 0.05 * places[-1]


@pytest.mark.parametrize("num_domains", [3, 8])
@pytest.mark.parametrize("num_backbones", [1, 4])
def test_few_and_many_panels_make_a_picture(num_domains: int, num_backbones: int):
    backbones = [make_backbone(f"a_backbone_{number}", num_domains=num_domains) for number in range(num_backbones)]
    picture = Image.open(io.BytesIO(draw_screen(make_screen(*backbones), "dark")))
    assert picture.format == "PNG"


def test_equal_screens_give_equal_bytes():
    assert draw_screen(make_screen()) == draw_screen(make_screen())
