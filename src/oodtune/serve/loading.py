"""From a bundle on disk to a model that is warm: opened, proven, measured."""

import time
from pathlib import Path
from typing import Final

import numpy as np

from oodtune.bundle import Bundle, open_bundle
from oodtune.golden import check_golden
from oodtune.serve.served_model import ServedModel
from oodtune.serve.settings import ServeSettings
from oodtune.serve.sources import DIGEST_DIGITS

_BATCHES: Final = {"cpu": (1, 2, 4, 8), "cuda": (1, 2, 4, 8, 16, 32), "tensorrt": (1, 2, 4, 8, 16, 32)}
_ROUNDS: Final = 3
_LONGEST_WARM_UP_S: Final = 1.0
_CACHED_PIXELS: Final = 2**17
"""In one batch on a CPU: what more takes leaves the cache, costs more an image, and its memory is kept."""
_WORTH: Final = 0.95
"""A larger batch must cost at most this share of a smaller one's time per image."""


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
    best, best_s = 1, float("inf")
    begun_s = time.perf_counter()
    for batch in sizes:
        ahead_s = (_ROUNDS + 1) * batch * best_s if best_s < float("inf") else 0.0
        if time.perf_counter() - begun_s + ahead_s > _LONGEST_WARM_UP_S:
            break
        images = np.zeros((batch, size, size, 3), np.uint8)
        bundle.run(images)
        image_s = min(_time(bundle, images) for _ in range(_ROUNDS)) / batch
        if image_s < best_s * _WORTH:
            best, best_s = batch, image_s
    return best, best_s


def _time(bundle: Bundle, images: np.ndarray) -> float:
    begun_s = time.perf_counter()
    bundle.run(images)
    return time.perf_counter() - begun_s
