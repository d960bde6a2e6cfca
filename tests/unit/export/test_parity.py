import numpy as np
import pytest

from oodtune.bundle import Outputs, open_bundle
from oodtune.errors import ParityError
from oodtune.export.parity import BATCH, Parity, check_outputs, check_parity, merge_parities, run_in_batches
from tests.unit.tiny_bundle import random_images, tiny_bundle, tiny_network, torch_logits

IMAGES = random_images(BATCH + 3)
"""More than one batch."""


@pytest.fixture(scope="module")
def found() -> Outputs:
    return run_in_batches(open_bundle(tiny_bundle()).run, IMAGES)


def test_an_exported_network_is_on_par_with_itself(found):
    parity = check_parity(found.logits, torch_logits(tiny_network(0), IMAGES), 1e-4)
    assert parity.num_images == len(IMAGES)
    assert parity.top1_agreement == 1.0
    assert 0 <= parity.max_abs_difference <= 1e-4


def test_batches_give_the_outputs_of_all_images_in_order(found):
    assert np.array_equal(found.logits, open_bundle(tiny_bundle()).run(IMAGES).logits)
    assert found.energy.shape == (len(IMAGES),)


def test_altered_weights_are_refused_with_the_numbers(found):
    altered = tiny_network(0)
    altered.classify.bias.data += 0.1
    with pytest.raises(ParityError, match=r"within 0\.0\d+ .* all 35 images, found a difference of 0\.1"):
        check_parity(found.logits, torch_logits(altered, IMAGES), 1e-4)


def test_another_class_is_refused_however_small_the_difference():
    expected = np.array([[1.0, 1.0 + 1e-6]], np.float32)
    with pytest.raises(ParityError, match=r"0\.00% agreement"):
        check_parity(expected[:, ::-1], expected, 1e-4)


def test_a_tie_decided_otherwise_is_a_disagreement():
    expected = np.array([[1.0, 1.0]], np.float32)
    found = np.array([[1.0, 1.0 + 1e-6]], np.float32)
    with pytest.raises(ParityError, match=r"0\.00% agreement"):
        check_parity(found, expected, 1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_refused_even_where_both_models_give_them(value):
    logits = np.array([[value, 0.0]], np.float32)
    with np.errstate(invalid="ignore"), pytest.raises(ParityError):
        check_parity(logits, logits, 1e-4)


def test_the_tolerance_grows_with_the_spread_of_logits_but_does_not_shrink_with_it():
    expected = np.array([[300.0, -300.0], [-300.0, 300.0]], np.float32)  # standard deviation 300
    assert check_parity(expected + np.float32(0.02), expected, 1e-4).allowed == pytest.approx(0.03)
    with pytest.raises(ParityError, match=r"within 0\.03 "):
        check_parity(expected + np.float32(0.04), expected, 1e-4)
    assert check_parity(expected / 3e6, expected / 3e6, 1e-4).allowed == 1e-4


@pytest.mark.parametrize("name", Outputs._fields)
def test_each_output_of_the_graph_is_compared_with_that_of_torch(found, name):
    assert check_outputs(found, found, 1e-4)[name].max_abs_difference == 0.0
    spread = max(1.0, float(getattr(found, name).std()))
    altered = found._replace(**{name: getattr(found, name) + np.float32(0.002 * spread)})
    with pytest.raises(ParityError, match=f"expected {name} within"):
        check_outputs(altered, found, 1e-4)


def test_energy_may_differ_by_as_much_as_the_logits_that_it_is_made_of() -> None:
    logits = np.array([[300.0, -300.0], [-300.0, 300.0]], np.float32)  # energy is -300 for both: no spread of its own
    expected = Outputs(logits, np.eye(2, dtype=np.float32), np.float32([-300, -300]), np.ones((2, 1), np.float32))
    moved = expected._replace(logits=logits + np.float32(0.02), energy=expected.energy - np.float32(0.02))
    closeness = check_outputs(moved, expected, 1e-4)
    assert closeness["energy"].allowed == closeness["logits"].allowed == pytest.approx(0.03)
    with pytest.raises(ParityError, match=r"expected energy within 0\.03 "):
        check_outputs(expected._replace(energy=expected.energy - np.float32(0.04)), expected, 1e-4)


def test_merged_parity_is_that_of_all_images():
    merged = merge_parities([Parity(30, 1e-6, 1e-4, 1.0), Parity(10, 2e-6, 1e-4, 0.5)])
    assert merged == {"num_images": 40, "max_abs_difference": 2e-6, "top1_agreement": 0.875}
