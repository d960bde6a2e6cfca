"""Which images a step sees: a function of seed and step alone, the same for every method."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from oodtune.data.cache import Examples


def step_seed(seed: int, step: int, purpose: str) -> int:
    """Return the seed of what is random in one step for one purpose, so that a step can be repeated by itself."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{step}/{purpose}".encode()).digest()[:7])


def draw_batch(sources: Sequence[Examples], batch_per_domain: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw `batch_per_domain` examples of every source domain, with replacement.

    Returns images (B, 3, S, S) uint8 and labels (B,), B = domains x batch_per_domain. A generator in
    the same state draws the same batch, so trials that differ in method only are paired.
    """
    images, labels = [], []
    for examples in sources:
        chosen = torch.randint(len(examples.labels), (batch_per_domain,), generator=generator).numpy()
        images.append(torch.from_numpy(examples.images[chosen]))
        labels.append(torch.from_numpy(examples.labels[chosen]))
    return torch.cat(images).permute(0, 3, 1, 2), torch.cat(labels)
