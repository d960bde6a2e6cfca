import io

import pytest
from PIL import Image

from oodtune.evaluate.corruption_plot import MEAN, corruption_panels, draw_corruptions
from tests.fixtures.corrupting import make_corrupted, make_corruptions


def test_lines_begin_at_the_clean_accuracy_and_the_first_panel_is_the_mean():
    panels = corruption_panels(make_corruptions())
    assert [panel.title for panel in panels] == [MEAN, "fog", "frost"]
    assert [point.ood for point in panels[0].lines[1]] == pytest.approx([0.9, 0.7, 0.3])
    assert [point.ood for point in panels[1].lines[1]] == pytest.approx([0.9, 0.8, 0.4])


def test_one_corruption_needs_no_panel_for_the_mean():
    panels = corruption_panels(make_corruptions(make_corrupted("plain", jpeg_compression=(0.8, 0.4))))
    assert [panel.title for panel in panels] == ["jpeg compression"]


@pytest.mark.parametrize("num_models", [1, 8])
@pytest.mark.parametrize("num_corruptions", [1, 19])
def test_few_and_many_panels_make_a_picture(num_models: int, num_corruptions: int):
    values = {f"kind_{place}": (0.5, 0.1) for place in range(num_corruptions)}
    models = [make_corrupted(f"model_{place}", **values) for place in range(num_models)]
    assert Image.open(io.BytesIO(draw_corruptions(make_corruptions(*models), "dark"))).format == "PNG"


def test_equal_results_give_equal_bytes():
    assert draw_corruptions(make_corruptions()) == draw_corruptions(make_corruptions())
