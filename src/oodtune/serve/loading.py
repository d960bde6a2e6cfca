"""From a bundle on disk to a model that is warm: opened, proven, measured."""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from oodtune.bundle import Bundle, open_bundle
from oodtune.golden import check_golden
from oodtune.serve.served_model import ServedModel
from oodtune.serve.settings import ServeSettings
from oodtune.serve.sources import DIGEST_DIGITS

_BATCHES: Final = {"cpu": (1, 2, 4, 8), "cuda": (1, 2, 4, 8, 16, 32), "tensorrt": (1, 2, 4, 8, 16, 32)}
_ROUNDS: Final = 6
_LEAST_ROUNDS: Final = 2
"""After the first, for which there must be time."""
_LONGEST_WARM_UP_S: Final = 1.0
_CACHED_PIXELS: Final = 2**17
"""In one batch on a CPU: what more takes leaves the cache, costs more an image, and its memory is kept."""
_WORTH: Final = 0.9
"""Batches must cost at most this share of one image's time, for an image: else requests only wait for each other."""
_AS_GOOD: Final = 1.03
"""Of those that cost at most so much of the cheapest one's time, the largest is taken: beside the model, a batch costs
the server the same whatever its size, and what disturbs a measurement is no less than this."""


def load_model(path: Path, version: str | None, settings: ServeSettings) -> ServedModel:
    """Open the bundle at `path`, let it prove itself and warm it up.

    Raises as `open_bundle` does, and ArtifactError if the graph does not answer here as it did at its export.
    """
    bundle = open_bundle(path, settings.provider, 1, settings.variant, settings.allow_cpu)
    check_golden(bundle)
    max_batch, image_s = measure_batches(bundle, settings.max_batch)
    return ServedModel(
        name=settings.name,
        version=version or bundle.digest[:DIGEST_DIGITS],
        bundle=bundle,
        max_batch=settings.max_batch or max_batch,
        image_s=image_s,
    )


def measure_batches(bundle: Bundle, max_batch: int | None = None) -> tuple[int, float]:
    """Return how many images to run at once, and the seconds that one then takes; this warms the session up, too.

    Nothing over `max_batch` is run (None: the provider's largest), and nothing that would take the whole of it longer
    than about a second.
    """
    size = bundle.preprocess.size
    sizes: tuple[int, ...] = _BATCHES[bundle.provider]
    if bundle.provider == "cpu":
        sizes = tuple(batch for batch in sizes if batch == 1 or batch * size**2 <= _CACHED_PIXELS)
    if max_batch is not None:
        sizes = (*(one for one in sizes if one < max_batch), max_batch)
    rounds = _time_batches(bundle, sizes)
    smallest = min(rounds[0])
    # A machine's speed changes within a second: only times of one round can be compared.
    costs = {batch: statistics.median(one[batch] / one[smallest] for one in rounds) for batch in rounds[0]}
    if min(costs.values()) > _WORTH:
        chosen = smallest
    else:
        chosen = max(batch for batch in costs if costs[batch] <= _AS_GOOD * min(costs.values()))
    return chosen, min(one[chosen] for one in rounds)


def _time_batches(bundle: Bundle, sizes: Sequence[int]) -> list[dict[int, float]]:
    """Return, of each round, seconds of an image in batches of those of `sizes`, the smallest first, that there is
    time to run."""
    until_s = time.perf_counter() + _LONGEST_WARM_UP_S
    first_s: dict[int, float] = {}
    for batch in sizes:
        rounds_s = _LEAST_ROUNDS * sum(known * first_s[known] for known in first_s)
        ahead_s = rounds_s + (1 + _LEAST_ROUNDS) * batch * min(first_s.values(), default=0.0)
        if time.perf_counter() + ahead_s > until_s:
            break
        _time(bundle, batch)  # the first run in a size takes memory
        first_s[batch] = _time(bundle, batch)
    rounds: list[dict[int, float]] = []
    round_s = sum(batch * first_s[batch] for batch in first_s)
    while len(rounds) < _ROUNDS and time.perf_counter() + round_s <= until_s:
        rounds.append({batch: _time(bundle, batch) for batch in first_s})
    return rounds or [first_s]


def _time(bundle: Bundle, batch: int) -> float:
    """Return seconds for an image of a batch."""
    size = bundle.preprocess.size
    images = np.zeros((batch, size, size, 3), np.uint8)
    begun_s = time.perf_counter()
    bundle.run(images)
    return (time.perf_counter() - begun_s) / batch
