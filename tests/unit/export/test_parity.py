import numpy as np
import pytest

from oodtune.bundle import open_bundle
from oodtune.errors import ParityError
from oodtune.export.parity import BATCH, Parity, check_parity, merge_parities
from tests.unit.tiny_bundle import random_images, tiny_bundle, tiny_network, torch_logits

IMAGES = random_images(BATCH + 3)
"""More than one batch."""


def by_onnx(images):
    return open_bundle(tiny_bundle()).run(images)[0]


def test_an_exported_network_is_on_par_with_itself():
    parity = check_parity(by_onnx, torch_logits(tiny_network(0), IMAGES), IMAGES, 1e-4)
    assert parity.num_images == len(IMAGES)
    assert parity.top1_agreement == 1.0
    assert 0 <= parity.max_abs_difference <= 1e-4


def test_altered_weights_are_refused_with_the_numbers():
    altered = tiny_network(0)
    altered[-1].bias.data += 0.001
    with pytest.raises(ParityError, match=r"within 0\.0001 .* all 35 images, found a difference of 0\.001"):
        check_parity(by_onnx, torch_logits(altered, IMAGES), IMAGES, 1e-4)


def test_another_class_is_refused_however_small_the_difference():
    expected = np.array([[1.0, 1.0 + 1e-6]], np.float32)
    with pytest.raises(ParityError, match=r"0\.00% agreement"):
        check_parity(lambda images: expected[:, ::-1], expected, IMAGES[:1], 1e-4)


def test_a_tie_decided_otherwise_is_a_disagreement():
    expected = np.array([[1.0, 1.0]], np.float32)
    found = np.array([[1.0, 1.0 + 1e-6]], np.float32)
    with pytest.raises(ParityError, match=r"0\.00% agreement"):
        check_parity(lambda images: found, expected, IMAGES[:1], 1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_refused_even_where_both_models_give_them(value):
    logits = np.array([[value, 0.0]], np.float32)
    with np.errstate(invalid="ignore"), pytest.raises(ParityError):
        check_parity(lambda images: logits, logits, IMAGES[:1], 1e-4)


def test_merged_parity_is_that_of_all_images():
    merged = merge_parities([Parity(30, 1e-6, 1.0), Parity(10, 2e-6, 0.5)])
    assert merged == Parity(40, 2e-6, 0.875)
