"""The drift statistic: quiet on the training domains, loud elsewhere, silent on few images."""

import math

import numpy as np
import pytest

from oodtune.bundle import Outputs, open_bundle
from oodtune.serve.drift import HALF_LIFE, LEAST_IMAGES, DriftMonitor, group_classes
from tests.unit.tiny_bundle import CLASSES, DOMAINS, domain_images, random_images, tiny_bundle

QUANTITIES = ("predicted_class", "confidence", "energy", "distance")


def monitor() -> DriftMonitor:
    return DriftMonitor(open_bundle(tiny_bundle()).domains, CLASSES)


def outputs_of(images) -> Outputs:
    return open_bundle(tiny_bundle()).run(images)


def observe(found: DriftMonitor, outputs: Outputs) -> None:
    for probabilities, energy, distances in zip(*map(np.ndarray.tolist, outputs[1:]), strict=True):
        found.observe(int(np.argmax(probabilities)), max(probabilities), energy, min(distances))


def training_images(count: int, seed: int = 5):
    return np.concatenate([domain_images(domain, count // 2, seed) for domain in DOMAINS])


def test_images_of_the_training_domains_do_not_drift():
    found = monitor()
    observe(found, outputs_of(training_images(600)))
    assert max(found.index(quantity) for quantity in QUANTITIES) < 0.35  # the scale was measured on 48 images


def test_images_from_elsewhere_drift_by_distance():
    found = monitor()
    observe(found, outputs_of(random_images(200)))
    assert found.index("distance") > 2


def test_the_index_is_that_of_its_formula():
    found = monitor()
    scores = open_bundle(tiny_bundle()).domains
    median = np.float32(scores.quantiles["distance"][50])
    ones = np.ones((1000, 1), np.float32)
    observe(found, Outputs(ones, ones, ones[:, 0], ones * median))
    counts = np.full(10, 0.5)
    counts[5] += sum(0.5 ** (age / HALF_LIFE) for age in range(1, 1001))
    if np.searchsorted(np.asarray(scores.quantiles["distance"])[10:100:10], median) == 4:
        counts = np.roll(counts, -1)
    shares = counts / counts.sum()
    expected = ((shares - 0.1) * np.log(shares / 0.1)).sum()
    assert found.index("distance") == pytest.approx(expected)


def test_no_more_than_ten_classes_have_a_bin_each_and_more_fill_ten_evenly():
    assert sorted(group_classes([0.5, 0.2, 0.3])) == [0, 1, 2]
    shares = np.random.default_rng(0).dirichlet(np.ones(345))
    filled = np.bincount(group_classes(shares.tolist()), weights=shares)
    assert len(filled) == 10
    assert filled.min() > 0.099


def test_many_classes_do_not_drift_by_chance_and_do_when_half_of_them_are_gone():
    """345 classes, as DomainNet has, and few images."""
    classes = tuple(str(number) for number in range(345))
    scores = open_bundle(tiny_bundle()).domains.model_copy(
        update={"class_shares": dict.fromkeys(classes, 1 / 345), "num_images": 34_500}
    )
    generator = np.random.default_rng(0)

    def index_of(places) -> float:
        found = DriftMonitor(scores, classes)
        for place in places:
            found.observe(int(place), 0.5, 0.0, 1.0)
        return found.index("predicted_class")

    assert np.mean([index_of(generator.integers(0, 345, 110)) for _ in range(20)]) < 0.15
    bins = np.asarray(group_classes([1 / 345] * 345))
    assert index_of(generator.choice(np.flatnonzero(bins < 5), 300)) > 1


def test_few_images_have_no_index():
    found = monitor()
    observe(found, outputs_of(random_images(LEAST_IMAGES - 1)))
    assert all(math.isnan(found.index(quantity)) for quantity in QUANTITIES)


def test_what_is_long_past_is_forgotten():
    found = monitor()
    observe(found, outputs_of(random_images(200)))
    before = found.index("distance")
    images = training_images(1000)
    for _ in range(4 * HALF_LIFE // 1000 + 1):
        observe(found, outputs_of(images))
    assert found.index("distance") < before / 5
