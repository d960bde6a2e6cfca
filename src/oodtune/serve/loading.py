"""From a bundle on disk to a model that is warm: opened, proven, measured."""

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
    image_s = _time_batches(bundle, sizes)
    least_s = min(image_s.values())
    if least_s > _WORTH * image_s[min(image_s)]:
        best = min(image_s)
    else:
        best = max(batch for batch in image_s if image_s[batch] <= _AS_GOOD * least_s)
    return best, image_s[best]


def _time_batches(bundle: Bundle, sizes: Sequence[int]) -> dict[int, float]:
    """Return seconds of an image in batches of those of `sizes`, the smallest first, that there is time to run.

    Rounds over all sizes: what disturbs the machine for a while disturbs them all.
    """
    until_s = time.perf_counter() + _LONGEST_WARM_UP_S
    image_s: dict[int, float] = {}
    for batch in sizes:
        rounds_s = _LEAST_ROUNDS * sum(known * image_s[known] for known in image_s)
        ahead_s = rounds_s + (1 + _LEAST_ROUNDS) * batch * min(image_s.values(), default=0.0)
        if time.perf_counter() + ahead_s > until_s:
            break
        _time(bundle, batch)  # the first run in a size takes memory
        image_s[batch] = _time(bundle, batch)
    for _ in range(_ROUNDS):
        if time.perf_counter() + sum(batch * image_s[batch] for batch in image_s) > until_s:
            break
        image_s = {batch: min(known_s, _time(bundle, batch)) for batch, known_s in image_s.items()}
    return image_s


def _time(bundle: Bundle, batch: int) -> float:
    """Return seconds for an image of a batch."""
    size = bundle.preprocess.size
    images = np.zeros((batch, size, size, 3), np.uint8)
    begun_s = time.perf_counter()
    bundle.run(images)
    return (time.perf_counter() - begun_s) / batch
