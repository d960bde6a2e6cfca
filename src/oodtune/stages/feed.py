"""What a trial is fed: batches of its source domains to train on, their out-splits to be measured on."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from oodtune.config import AugmentConfig, TrainConfig
from oodtune.data.augment import augment
from oodtune.data.cache import Cache, Examples, open_cache
from oodtune.data.sampling import draw_batch, step_seed
from oodtune.evaluate.logits import compute_logits
from oodtune.evaluate.metrics import accuracy


@dataclass(frozen=True)
class Feed:
    """The source domains of one trial; the target domain is not in it."""

    cache: Cache
    in_splits: tuple[Examples, ...]
    out_splits: dict[str, Examples]
    augment: AugmentConfig
    train: TrainConfig
    seed: int
    device: torch.device

    def draw_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return augmented pixels (B, 3, S, S), float32 in 0..255, and labels (B,), of one step.

        All randomness of the step, the dropout masks included, follows from seed and step.
        """
        torch.manual_seed(step_seed(self.seed, step, "dropout"))
        generator = torch.Generator().manual_seed(step_seed(self.seed, step, "data"))
        images, labels = draw_batch(self.in_splits, self.train.batch_per_domain, generator)
        pixels = images.to(self.device).float()
        augmented = augment(pixels, self.augment, generator)
        return augmented.contiguous(memory_format=torch.channels_last), labels.to(self.device)

    def measure(self, network: nn.Module) -> dict[str, float]:
        """Return the accuracy, 0..1, on the out-split of every source domain."""
        return {
            domain: accuracy(compute_logits(network, examples.images, self.device), examples.labels)
            for domain, examples in self.out_splits.items()
        }


def open_feed(
    cache_path: Path,
    target_domain: str,
    seed: int,
    augment: AugmentConfig,
    train: TrainConfig,
    device: torch.device,
) -> Feed:
    """Open the source domains of `target_domain`. Raises DataError if the cache has no such domain."""
    cache = open_cache(cache_path)
    domains = cache.source_domains(target_domain)
    return Feed(
        cache=cache,
        in_splits=tuple(cache.examples(domain, "in") for domain in domains),
        out_splits={domain: cache.examples(domain, "out") for domain in domains},
        augment=augment,
        train=train,
        seed=seed,
        device=device,
    )
