import numpy as np
import pytest

from oodtune.evaluate.abstention import risk_coverage
from oodtune.evaluate.confidence import reliability_figure, risk_figure
from oodtune.evaluate.outcomes import judge
from oodtune.evaluate.results import Judged
from tests.fixtures.judged import draw_logits

SPLITS = (("red", "out"), ("green", "out"), ("blue", "all"))


@pytest.fixture
def judged() -> dict[str, Judged]:
    found = {}
    for seed, (domain, split) in enumerate(SPLITS):
        logits, labels = draw_logits(seed)
        assert split in ("out", "all")
        found[domain] = Judged("out" if split == "out" else "all", judge(logits, labels), judge(logits, labels, 2.0))
    return found


def test_source_domains_share_a_panel_and_the_target_has_its_own(judged: dict[str, Judged]):
    figure = reliability_figure(judged, "blue")
    assert [chart.title for chart in figure.charts] == ["source domains", "target domain: blue"]
    counts = [int(mark.description.split(": ")[1].split()[0]) for mark in figure.charts[0].marks]
    assert sum(counts) == 2 * 2 * 600  # two domains, before and after


def test_a_temperature_above_one_makes_every_bin_less_sure(judged: dict[str, Judged]):
    before, after = reliability_figure(judged, "blue").charts[1].lines
    cold, hot = ([float(one.split(",")[0]) for one in line.points.split()] for line in (before, after))
    assert all(less < more for less, more in zip(hot, cold, strict=True))


def test_risk_ends_at_the_error_rate(judged: dict[str, Judged]):
    (chart,) = risk_figure(judged, "blue").charts
    end = chart.frame.place(100.0, 100.0 * (1.0 - judged["blue"].raw.accuracy))
    assert chart.lines[1].points.split()[-1] == f"{end[0]},{end[1]}"


def test_the_curve_is_drawn_from_few_of_many_places(judged: dict[str, Judged]):
    (chart,) = risk_figure(judged, "blue").charts
    places = chart.lines[1].points.split()
    assert 100 < len(places) <= 120 < len(risk_coverage(judged["blue"].calibrated).coverage)


def test_a_single_image_makes_pictures():
    one = judge(np.asarray([[0.0, 1.0]], np.float32), np.asarray([1]))
    judged = {"red": Judged("out", one, one), "blue": Judged("all", one, one)}
    assert len(risk_figure(judged, "blue").charts[0].lines) == 2
    assert len(reliability_figure(judged, "blue").charts[0].marks) == 2
