"""Batches of raw pixels: read from disk ahead of time, or gathered from a copy on the device."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from oodtune.data.cache import Examples
from oodtune.data.sampling import Sampling
from oodtune.parallel import Prefetcher

_COPY_IMAGES = 256
"""Images moved to the device at once."""
_STATISTICS_IMAGES = 16
"""Of each source domain in a batch that statistics are estimated from."""
_STATISTICS_BATCHES = 200


class Batch(NamedTuple):
    """What one step sees, before augmentation."""

    images: Tensor
    """(B, S, S, 3) uint8, on the device or on the way to it: all images of the step, or this rank's part."""
    labels: Tensor
    """(B,)"""
    generator: torch.Generator
    """Where the randomness of this step goes on."""


class Batches(Protocol):
    """The batch of any step: a function of seed and step alone."""

    def draw(self, step: int) -> Batch: ...
    def close(self) -> None: ...


class StreamedBatches:
    """Batches read in one background thread, two steps ahead; in page-locked memory if they go to a GPU."""

    def __init__(self, sources: Sequence[Examples], sampling: Sampling, device: torch.device) -> None:
        self._sources = sources
        self._sampling = sampling
        self._device = device
        self._ahead = Prefetcher(self._read, depth=2)

    def draw(self, step: int) -> Batch:
        return self._ahead.get(step)

    def close(self) -> None:
        """Leave no thread behind."""
        self._ahead.close()

    def _read(self, step: int) -> Batch:
        places, generator = self._sampling.draw(step)
        images = self._empty(self._sources[0].images.shape[1:], torch.uint8)
        labels = self._empty((), torch.int64)
        # numpy fills them: OpenMP would give torch's work in this thread a second set of threads.
        ends = np.cumsum([len(one) for one in places])[:-1]
        parts = zip(np.split(images.numpy(), ends), np.split(labels.numpy(), ends), strict=True)
        for examples, chosen, (image_part, label_part) in zip(self._sources, places, parts, strict=True):
            image_part[:] = examples.images[chosen]
            label_part[:] = examples.labels[chosen]
        return Batch(images, labels, generator)

    def _empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        size = (self._sampling.part_size, *shape)
        if self._device.type != "cuda":
            return torch.empty(size, dtype=dtype)
        with torch.cuda.device(self._device):  # a new thread would take the first GPU
            return torch.empty(size, dtype=dtype, pin_memory=True)


class ResidentBatches:
    """Batches gathered from a whole copy of the sources on the device."""

    def __init__(self, sources: Sequence[Examples], sampling: Sampling, device: torch.device) -> None:
        self._images = [_copy_images(one, device) for one in sources]
        self._labels = [torch.from_numpy(one.labels).to(device) for one in sources]
        self._sampling = sampling
        self._device = device

    def draw(self, step: int) -> Batch:
        drawn, generator = self._sampling.draw(step)
        places = [torch.from_numpy(one).to(self._device) for one in drawn]
        images = torch.cat([one[chosen] for one, chosen in zip(self._images, places, strict=True)])
        labels = torch.cat([one[chosen] for one, chosen in zip(self._labels, places, strict=True)])
        return Batch(images, labels, generator)

    def close(self) -> None:
        """Let go of the copy."""
        self._images.clear()


def even_batches(sources: Sequence[Examples], device: torch.device) -> Iterator[Tensor]:
    """Yield pixels (B, 3, S, S), float32 in 0..255, of every source in equal shares, as they are: for statistics.

    It ends when the images of the largest source came once, and after 200 batches.
    """
    sampling = Sampling(tuple(len(one.labels) for one in sources), _STATISTICS_IMAGES, seed=0, replacement=False)
    for step in range(min(_STATISTICS_BATCHES, -(-max(sampling.sizes) // _STATISTICS_IMAGES))):
        places, _ = sampling.draw(step)
        images = np.concatenate([one.images[chosen] for one, chosen in zip(sources, places, strict=True)])
        yield torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float()


def count_bytes(sources: Sequence[Examples]) -> int:
    """Return how much memory the pixels of `sources` take."""
    return sum(int(np.prod(one.images.shape)) for one in sources)


def fits_on_device(num_bytes: int, free_bytes: int) -> bool:
    """True if images of `num_bytes` may lie on a device with `free_bytes` of memory of its own: a quarter of it.

    The rest is for the network, its gradients and activations, which are not there yet.
    """
    return 4 * num_bytes <= free_bytes


def free_device_bytes(device: torch.device) -> int:
    """Return the free memory of a GPU, and 0 for the CPU: a copy of the page cache would gain nothing."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def _copy_images(examples: Examples, device: torch.device) -> Tensor:
    """Return all images (N, S, S, 3) on the device; only a few at a time are in the memory of the host."""
    copy = torch.empty(examples.images.shape, dtype=torch.uint8, device=device)
    for first in range(0, len(examples.labels), _COPY_IMAGES):
        part = torch.from_numpy(examples.images[first : first + _COPY_IMAGES])
        copy[first : first + _COPY_IMAGES] = part
    return copy
