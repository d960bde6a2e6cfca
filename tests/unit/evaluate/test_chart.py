import re
from xml.etree import ElementTree

import pytest

from oodtune.evaluate.chart import LARGE, SMALL, Chart, Entry, Figure, Frame, Line, lay_out, tick_values, widen
from oodtune.evaluate.page import render_figure
from oodtune.evaluate.palette import KNOWN


def chart(size: tuple[int, int] = SMALL, title: str = "a panel") -> Chart:
    frame = Frame((0.0, 1.0), (0.0, 1.0), size)
    line = Line(frame.trace([(0.0, 0.0), (1.0, 1.0)]), KNOWN, "from <0> to 1")
    return Chart(title, "a description", frame, "x", "y", frame.x_ticks(), frame.y_ticks(), lines=(line,))


def test_the_corners_of_the_plane_are_the_corners_of_the_frame():
    frame = Frame((2.0, 4.0), (-1.0, 1.0))
    assert frame.place(2.0, -1.0) == (frame.left, frame.bottom)
    assert frame.place(4.0, 1.0) == (frame.right, frame.top)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (64.3, 66.2), (0.0, 150.0), (0.0, 10_000.0), (49.5, 50.5)])
def test_ticks_are_few_round_and_inside(low: float, high: float):
    ticks = tick_values(low, high)
    assert 2 <= len(ticks) <= 6
    assert low <= ticks[0] < ticks[-1] <= high


def test_a_span_is_never_narrower_than_the_least():
    assert widen([3.0], 2.0) == (2.0, 4.0)
    low, high = widen([0.0, 10.0], 2.0)
    assert low < 0.0
    assert high > 10.0


@pytest.mark.parametrize("num_small", [0, 1, 4, 9])
@pytest.mark.parametrize("large", [True, False])
def test_panels_on_a_sheet_do_not_overlap(num_small: int, large: bool):
    charts = [*([chart(LARGE)] if large else []), *(chart() for _ in range(num_small + 1))]
    places, width, height = lay_out(charts)
    boxes = [(x, y, x + one.frame.size[0], y + one.frame.size[1]) for (x, y), one in zip(places, charts, strict=True)]
    for place, (left, top, right, bottom) in enumerate(boxes):
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        for other in boxes[:place]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_a_figure_is_a_picture_of_its_own_for_light_and_dark():
    svg = render_figure(Figure("f", (chart(), chart(title="<b>&")), (Entry("known", KNOWN), Entry("selected"))), {})
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    texts = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"a panel", "<b>&", "known", "selected", "x", "y"} <= texts
    assert "prefers-color-scheme: dark" in svg
    assert set(re.findall(r"--c: (#\w+)", svg)) >= {KNOWN.light, KNOWN.dark}
    assert "url(" not in svg
