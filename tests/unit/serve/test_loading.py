import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from oodtune.bundle import GOLDEN, open_bundle
from oodtune.errors import ArtifactError
from oodtune.serve.loading import load_model, measure_batches
from oodtune.serve.settings import ServeSettings
from tests.unit.serve.running import copy_bundle
from tests.unit.tiny_bundle import tiny_bundle


class Noting:
    """A session that notes the size of each batch, and takes `image_s` more for each image."""

    def __init__(self, image_s: float = 0.0, call_s: float = 0.0) -> None:
        self.session = open_bundle(tiny_bundle(), num_threads=1).session
        self.image_s, self.call_s = image_s, call_s
        self.batches: list[int] = []

    def run(self, names, feed):
        self.batches.append(len(feed["images"]))
        time.sleep(self.call_s + self.image_s * len(feed["images"]))
        return self.session.run(names, feed)


def measure(session: Noting, max_batch: int | None = None) -> tuple[int, float]:
    return measure_batches(replace(open_bundle(tiny_bundle()), session=session), max_batch)


def test_a_batch_is_chosen_if_it_makes_images_cheaper_and_not_if_it_does_not():
    assert measure(Noting(call_s=0.02))[0] == 8
    assert measure(Noting(image_s=0.05))[0] == 1


@pytest.mark.parametrize(
    ("run_s", "chosen"),
    [
        ({1: 0.020, 2: 0.024, 4: 0.024, 8: 0.024}, 8),
        ({1: 0.020, 2: 0.020, 4: 0.020, 8: 0.060}, 4),
        ({1: 0.020, 2: 0.039, 4: 0.077, 8: 0.153}, 1),
    ],
    ids=["the larger the better", "the cheapest", "what saves little only makes requests wait"],
)
def test_the_batch_is_the_one_that_is_worth_its_wait(run_s, chosen):
    class Timed(Noting):
        def run(self, names, feed):
            self.call_s = run_s[len(feed["images"])]
            return super().run(names, feed)

    assert measure(Timed())[0] == chosen


def test_the_time_of_an_image_is_the_one_in_the_chosen_batch():
    batch, image_s = measure(Noting(call_s=0.02))
    assert 0.02 / batch <= image_s < 0.02


@pytest.mark.parametrize("max_batch", [1, 3, 8])
def test_the_warm_up_runs_what_will_be_run_and_nothing_larger(max_batch):
    session = Noting()
    measure(session, max_batch)
    assert max(session.batches) == max_batch


def test_the_warm_up_of_a_slow_model_ends_in_about_a_second():
    begun_s = time.monotonic()
    session = Noting(image_s=0.1)
    measure(session)
    assert time.monotonic() - begun_s < 1.5
    assert set(session.batches) == {1}  # a batch of two would have taken 0.8 s more


def test_a_model_is_named_by_its_registry_or_by_its_digest():
    bundle = open_bundle(tiny_bundle())
    assert load_model(tiny_bundle(), None, ServeSettings()).version == bundle.digest[:12]
    model = load_model(tiny_bundle(), "000007-0123456789ab", ServeSettings(name="birds", max_batch=2))
    assert (model.version, model.name, model.max_batch) == ("000007-0123456789ab", "birds", 2)


def test_a_bundle_whose_graph_answers_otherwise_than_at_its_export_is_refused(tmp_path: Path):
    bundle = copy_bundle(tiny_bundle(), tmp_path / "bundle", "altered", change={GOLDEN: other_logits})
    with pytest.raises(ArtifactError, match="logits of the golden images"):
        load_model(bundle, None, ServeSettings())


def other_logits(path: Path) -> None:
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **{**arrays, "fp32/logits": arrays["fp32/logits"] + 1})
