"""The same updates, fed by worker processes that decode and augment in PIL."""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, RandomSampler
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks.photographs import DOMAINS
from benchmarks.train_bench import Bench, Stepper
from oodtune.cpus import count_cpus

_PREFETCHED = 2
"""Batches that each worker of a DataLoader has ready: torch's default."""
_PATIENCE_S = 300.0


class Counted(Dataset[Any]):
    """A dataset that counts, over all processes, how many images were loaded."""

    def __init__(self, images: Any) -> None:
        self.loaded = multiprocessing.Value("q", 0)
        self._images = images

    def __getitem__(self, key: int) -> Any:
        example = self._images[key]
        with self.loaded.get_lock():
            self.loaded.value += 1
        return example

    def __len__(self) -> int:
        return len(self._images)


class Workers:
    """Keeps a turn from living on what its workers loaded before it, while the other side was timed.

    A turn ends with `catch_up`, when the workers have loaded as much as the turn has used.
    """

    def __init__(self, images: Counted, batch_sizes: Sequence[int], count: int) -> None:
        """`batch_sizes` are those of one pass; `count` workers make passes without end."""
        self._images = images
        self._batch_sizes = list(batch_sizes)
        self._num_ahead = _PREFETCHED * count
        self._num_used = 0

    def use(self, num_batches: int) -> None:
        """Note that so many batches were taken."""
        self._num_used += num_batches

    def catch_up(self) -> None:
        """Wait until all that is loaded ahead is loaded again; then the workers rest."""
        passes, more = divmod(self._num_used + self._num_ahead, len(self._batch_sizes))
        wanted = passes * sum(self._batch_sizes) + sum(self._batch_sizes[:more])
        end = time.monotonic() + _PATIENCE_S
        while self._images.loaded.value < wanted:
            assert time.monotonic() < end, f"{self._images.loaded.value} images of {wanted} were loaded"
            time.sleep(0.002)


class FromFiles:
    """Trains a network as `Stepper` does, fed by torchvision's ImageFolder and torch's DataLoader."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._stepper = Stepper(bench)

    def train(self) -> None:
        """Train for one turn."""
        workers, batches = self._loader
        for _ in range(self._bench.steps):
            pixels, labels = next(batches)
            on_device = pixels.to(self._bench.device, memory_format=torch.channels_last).float()
            self._stepper.update(on_device, labels.to(self._bench.device))
        self._bench.synchronise()
        workers.use(self._bench.steps)
        workers.catch_up()

    @cached_property
    def _loader(self) -> tuple[Workers, Iterator[tuple[torch.Tensor, torch.Tensor]]]:
        augment = transforms.Compose(
            [
                transforms.RandomResizedCrop(self._bench.options.size, scale=(0.7, 1.0)),
                transforms.RandomHorizontalFlip(),
                transforms.ColorJitter(0.3, 0.3, 0.3, 0.3),
                transforms.RandomGrayscale(),
                transforms.PILToTensor(),
            ]
        )
        folders = [ImageFolder(str(self._bench.root / "images" / name), augment) for name in DOMAINS[1:]]
        images = Counted(ConcatDataset(folders))
        endless = RandomSampler(images, replacement=True, num_samples=2**40)
        loader = DataLoader(images, self._bench.batch, sampler=endless, num_workers=count_cpus())
        return Workers(images, [self._bench.batch], count_cpus()), iter(loader)
