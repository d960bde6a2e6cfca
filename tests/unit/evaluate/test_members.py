from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from oodtune.combine.members import member_curve
from oodtune.evaluate import members
from oodtune.evaluate.members import MemberCurves, member_curves, member_figure
from oodtune.evaluate.predictions import Model, Predictions, open_predictions
from oodtune.evaluate.results import read_logits, read_truth
from tests.fixtures.reporting import write_inputs


@pytest.fixture(scope="module")
def predictions(tmp_path_factory: pytest.TempPathFactory) -> Predictions:
    directory: Path = tmp_path_factory.mktemp("inputs")
    return open_predictions(write_inputs(directory, ("red", "blue"), num_images=60).predictions)


def make_curves(predictions: Predictions, most: int = 9) -> MemberCurves | None:
    trials: list[Model] = [one for one in predictions.models if (one.kind, one.target_domain) == ("trial", "red")]
    stored = {one.name: read_logits(predictions, one) for one in trials[:most]}
    return member_curves(
        predictions,
        read_truth(predictions),
        "red",
        stored,
        lambda logits, score, num: [(one.size, one.mean) for one in member_curve(logits, score, num, 0)],
    )


def test_one_trial_is_no_curve(predictions: Predictions):
    assert make_curves(predictions, 1) is None
    assert member_figure([]) is None


def test_much_work_is_done_on_every_so_many_th_image(predictions: Predictions, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(members, "_WORK", 2 * members.NUM_SUBSETS * 4 * 30)  # of 12 + 60 images
    curves = make_curves(predictions)
    assert curves is not None
    assert curves.stride == 3
    model = next(one for one in predictions.models if one.target_domain == "red")
    stored = read_logits(predictions, model)
    truth = read_truth(predictions)
    right = [stored[key].argmax(1)[::3] == truth.labels[key][::3] for key in predictions.whole("red")]
    assert 0.0 <= curves.ood[0][1] <= 1.0
    assert np.concatenate(right).size == 20


def test_the_figure_shows_points_above_one_network():
    curves = MemberCurves("red", iid=[(1, 0.8), (2, 0.82)], ood=[(1, 0.5), (2, 0.55)], stride=1)
    figure = member_figure([curves, replace(curves, target="blue")])
    assert figure is not None
    assert [chart.title for chart in figure.charts] == ["red", "blue"]
    chart = figure.charts[0]
    places = {(mark.x, mark.y) for mark in chart.marks}
    assert places == {chart.frame.place(1.0, 0.0), chart.frame.place(2.0, 2.0), chart.frame.place(2.0, 5.0)}
