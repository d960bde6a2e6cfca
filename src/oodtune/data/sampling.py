"""Which images a step sees: a function of seed and step alone, the same for every method."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from oodtune.pixels import Places

_REMEMBERED_ORDERS = 16
"""Orders kept in memory, of one epoch of one domain each: a long one takes milliseconds to shuffle."""


def step_seed(seed: int, step: int, purpose: str) -> int:
    """Return the seed of what is random in one step for one purpose, so that a step can be repeated by itself."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{step}/{purpose}".encode()).digest()[:7])


def data_generator(seed: int, step: int) -> torch.Generator:
    """Return what is random in the batch of one step: first which images, then how they are augmented."""
    return torch.Generator().manual_seed(step_seed(seed, step, "data"))


@dataclass(frozen=True)
class Sampling:
    """How a trial draws its images from source domains of `sizes` images."""

    sizes: tuple[int, ...]
    batch_per_domain: int
    seed: int
    replacement: bool = True
    rank: int = 0
    num_ranks: int = 1
    """Image i of a batch is in the part of rank i modulo the number of ranks."""

    @property
    def batch_size(self) -> int:
        """Images of a whole batch, of all ranks."""
        return len(self.sizes) * self.batch_per_domain

    @property
    def part_size(self) -> int:
        """Images of this rank's part."""
        return len(range(self.rank, self.batch_size, self.num_ranks))

    def draw(self, step: int) -> tuple[list[Places], torch.Generator]:
        """Return the places in every domain that `step` sees, and where the randomness of the step goes on.

        Every rank draws the whole batch and keeps its part.
        """
        generator = data_generator(self.seed, step)
        if self.replacement:
            places = draw_places(self.sizes, self.batch_per_domain, generator)
        else:
            places = walk_places(self.sizes, self.batch_per_domain, self.seed, step)
        firsts = range(self.rank, self.rank - self.batch_size, -self.batch_per_domain)
        return [
            one[first % self.num_ranks :: self.num_ranks] for one, first in zip(places, firsts, strict=True)
        ], generator


def draw_places(sizes: Sequence[int], batch_per_domain: int, generator: torch.Generator) -> list[Places]:
    """Draw `batch_per_domain` places in every source domain, with replacement, from domains of `sizes` images.

    A generator in the same state draws the same places, so trials that differ in method only are paired.
    """
    return [np.asarray(torch.randint(size, (batch_per_domain,), generator=generator)) for size in sizes]


def walk_places(sizes: Sequence[int], batch_per_domain: int, seed: int, step: int) -> list[Places]:
    """Return the places of one step in every source domain, without replacement.

    Each domain has an endless sequence of its own: epoch after epoch, all its images in a new order. Step k
    takes the k-th `batch_per_domain` of it, so every image comes once before any comes again, and a domain
    with few images has more epochs. Nothing is remembered from step to step.
    """
    positions = range(step * batch_per_domain, (step + 1) * batch_per_domain)
    return [_walk(size, positions, seed, domain) for domain, size in enumerate(sizes)]


def _walk(size: int, positions: range, seed: int, domain: int) -> Places:
    epochs = range(positions[0] // size, positions[-1] // size + 1)
    orders = np.concatenate([_order(size, seed, domain, epoch) for epoch in epochs])
    first = positions[0] - epochs[0] * size
    return orders[first : first + len(positions)]


@lru_cache(maxsize=_REMEMBERED_ORDERS)
def _order(size: int, seed: int, domain: int, epoch: int) -> Places:
    """Return all places 0..size-1 in the order of one epoch."""
    generator = torch.Generator().manual_seed(step_seed(seed, epoch, f"order of domain {domain}"))
    return np.asarray(torch.randperm(size, generator=generator))
