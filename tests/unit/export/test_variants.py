import numpy as np
import pytest

from oodtune.bundle import Outputs, model_path, open_session
from oodtune.export.variants import Loss, compare, describe_machine, measure_speed, refusal
from tests.unit.tiny_bundle import SIZE, tiny_bundle, tiny_ensemble

LABELS = np.array([0, 1, 1, 0])


def outputs(*predicted, energy=0.0):
    logits = np.eye(2, dtype=np.float32)[list(predicted)]
    count = len(predicted)
    return Outputs(logits, logits, np.full(count, energy, np.float32), np.ones((count, 2), np.float32))


def loss(points, difference=0.5):
    return Loss(200, 0.9, 0.9 - points / 100, points, 0.99, difference)


def test_what_is_lost_are_points_of_accuracy():
    found = compare(outputs(0, 0, 1, 0), outputs(0, 1, 1, 0), LABELS)
    assert found == Loss(4, 1.0, 0.75, 25.0, 0.75, 1.0)


def test_a_variant_that_is_better_loses_less_than_nothing():
    assert compare(outputs(0, 1, 1, 0), outputs(1, 1, 1, 0), LABELS).loss_points == -25.0


def test_a_graph_loses_nothing_beside_itself():
    assert compare(outputs(0, 1, 0, 0), outputs(0, 1, 0, 0), LABELS) == Loss(4, 0.75, 0.75, 0.0, 1.0, 0.0)


def test_a_loss_on_one_domain_is_not_made_up_by_gains_on_others():
    reason = refusal({"photo": loss(-5.0), "clay": loss(1.5)}, 1.0)
    assert reason is not None
    assert "found 1.5 on clay (90.0% to 88.5% of 200 images)" in reason


def test_the_largest_loss_that_is_allowed_is_accepted():
    assert refusal({"photo": loss(1.0)}, 1.0) is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_not_finite_are_refused_however_right_the_classes_are(value):
    found = compare(outputs(0, 1, 1, 0, energy=value), outputs(0, 1, 1, 0), LABELS)
    assert found.loss_points == 0.0
    assert "finite" in (refusal({"photo": found}, 100.0) or "")


def test_each_graph_is_timed_with_each_batch_beside_fp32():
    sessions = {"fp32": tiny_bundle(), "int8": tiny_ensemble()}
    opened = {name: open_session(path / model_path(), num_threads=1)[0] for name, path in sessions.items()}
    speeds = measure_speed(opened, SIZE, batches=(1, 2), rounds=3)
    assert [(one.variant, one.batch) for one in speeds] == [("fp32", 1), ("int8", 1), ("fp32", 2), ("int8", 2)]
    assert [one.of_fp32 for one in speeds if one.variant == "fp32"] == [1.0, 1.0]
    assert all(one.image_ms > 0 for one in speeds)


def test_times_come_with_the_machine_they_hang_on():
    machine = describe_machine()
    assert machine["cpu"]
    assert machine["num_threads"] == 1
