import numpy as np
import pytest

from oodtune.bundle import Outputs
from oodtune.errors import DataError
from oodtune.stages.export_domains import measure_domains, rank_auroc

SOURCES = ("photo", "sketch")
CLASSES = ("cat", "dog")


def outputs(distances, energy=None):
    distances = np.asarray(distances, np.float32)
    logits = np.stack([distances, -distances], axis=1)
    energy = distances if energy is None else np.asarray(energy, np.float32)
    return Outputs(logits, np.full_like(logits, 0.5), energy, np.stack([distances, distances + 1], axis=1))


def by_split(seed=0):
    generator = np.random.default_rng(seed)
    found = {(domain, "out"): outputs(generator.gamma(9.0, 0.1, 400)) for domain in SOURCES}
    return found | {("clay", "in"): outputs([0.1, 5.0, 5.0]), ("clay", "out"): outputs([5.0])}


def measure(found, false_alarms=0.1):
    return measure_domains(found, SOURCES, "clay", CLASSES, false_alarms)


@pytest.mark.parametrize("false_alarms", [0.05, 0.1, 0.31])
def test_exactly_that_share_of_images_of_the_training_domains_is_a_false_alarm(false_alarms):
    found = by_split()
    scores = measure(found, false_alarms)
    distances = np.concatenate([found[domain, "out"].domain_distances.min(axis=1) for domain in SOURCES])
    flagged = scores.score(distances) > scores.max_score
    assert flagged.mean() == pytest.approx(false_alarms, abs=1.5 / len(distances))


def test_detection_is_that_of_every_image_of_the_target_domain():
    detection = measure(by_split()).detection
    assert (detection["domain"], detection["num_images"]) == ("clay", 4)
    assert detection["distance"] == {"auroc": 0.75, "flagged": 0.75}


def test_the_target_domain_changes_nothing_but_its_detection():
    found = by_split()
    without = {key: value for key, value in found.items() if key[0] != "clay"}
    assert measure(without).model_copy(update={"detection": measure(found).detection}) == measure(found)
    assert measure(without).detection == {}


def test_a_training_domain_without_out_split_is_named():
    found = {key: value for key, value in by_split().items() if key != ("sketch", "out")}
    with pytest.raises(DataError, match=r"found none of sketch; raise data\.out_fraction"):
        measure(found)


def test_auroc_is_the_share_of_pairs_in_order_ties_one_half():
    generator = np.random.default_rng(0)
    ours, theirs = generator.integers(0, 6, 30).astype(np.float32), generator.integers(2, 8, 20).astype(np.float32)
    pairs = theirs[:, None] - ours[None]
    assert rank_auroc(ours, theirs) == pytest.approx((pairs > 0).mean() + (pairs == 0).mean() / 2)
