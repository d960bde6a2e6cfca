"""What a trial is fed: batches of its source domains to train on, their out-splits to be measured on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from oodtune.config import AugmentConfig, TrainConfig
from oodtune.data.augment import apply, draw_changes
from oodtune.data.batches import (
    Batches,
    ResidentBatches,
    StreamedBatches,
    count_bytes,
    even_batches,
    fits_on_device,
    free_device_bytes,
)
from oodtune.data.cache import Cache, Examples, open_cache
from oodtune.data.sampling import Sampling, step_seed
from oodtune.errors import ConfigError
from oodtune.evaluate.metrics import accuracy, negative_log_likelihood
from oodtune.model.inference import map_images
from oodtune.model.network import Network
from oodtune.model.statistics import estimate_statistics
from oodtune.pixels import PixelRows, Pixels
from oodtune.train.history import Measurement, State
from oodtune.train.ranks import Ranks


@dataclass(frozen=True)
class Feed:
    """The source domains of one trial; the target domain is not in it. Close it, or use it as a context."""

    cache: Cache
    batches: Batches
    out_splits: dict[str, Examples]
    sampling: Sampling
    augment: AugmentConfig
    ranks: Ranks

    def draw_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return augmented pixels (B, 3, S, S), float32 in 0..255, and labels (B,): this rank's part of a step.

        All randomness of the step, the dropout masks included, follows from seed and step.
        """
        torch.manual_seed(step_seed(self.sampling.seed, step, "dropout"))
        batch = self.batches.draw(step)
        images = batch.images.to(self.ranks.device, non_blocking=True)
        labels = batch.labels.to(self.ranks.device, non_blocking=True)
        pixels = images.permute(0, 3, 1, 2).float()  # channels stay last in memory
        changes = draw_changes(self.sampling.batch_size, self.augment, batch.generator)
        augmented = apply(pixels, changes.part(self.ranks.rank, self.ranks.count))
        return augmented.contiguous(memory_format=torch.channels_last), labels

    def measure(self, network: nn.Module, *others: State) -> list[Measurement]:
        """Measure the network on the out-split of every source domain, then with each of `others` as its state.

        Every image is read once, by one rank, for all of them; every rank returns the same. The network is in
        evaluation mode afterwards.
        """
        network.eval()
        forwards: list[Callable[[Tensor], Tensor]] = [
            network,
            *(partial(functional_call, network, dict(other)) for other in others),
        ]
        accuracies: list[dict[str, float]] = [{} for _ in forwards]
        losses: list[dict[str, float]] = [{} for _ in forwards]
        for domain, examples in self.out_splits.items():
            mine = _part_of(examples.images, self.ranks)
            part = map_images(partial(_apply_all, forwards), mine, self.ranks.device)
            logits = self.ranks.gather(part, len(examples.labels)).numpy()  # (N, M, K)
            for place in range(len(forwards)):
                accuracies[place][domain] = accuracy(logits[:, place], examples.labels)
                losses[place][domain] = negative_log_likelihood(logits[:, place], examples.labels)
        return [Measurement(*both) for both in zip(accuracies, losses, strict=True)]

    def estimate_statistics(self, network: nn.Module) -> None:
        """Set the batch-norm statistics that training moves to those of the source in-splits, not augmented."""
        assert isinstance(network, Network)
        if network.statistics_move:
            sources = [self.cache.examples(domain, "in") for domain in self.out_splits]
            estimate_statistics(network, even_batches(sources, self.ranks.device), network.moving_norms)

    def close(self) -> None:
        """End what runs in the background."""
        self.batches.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_feed(
    cache_path: Path,
    target_domain: str,
    seed: int,
    augment: AugmentConfig,
    train: TrainConfig,
    ranks: Ranks,
) -> Feed:
    """Open the source domains of `target_domain`.

    Small in-splits are moved to a GPU whole; others are streamed. Batches are equal bit for bit.
    Raises DataError if the cache has no such domain, ConfigError if the ranks cannot share a batch evenly.
    """
    cache = open_cache(cache_path)
    domains = cache.source_domains(target_domain)
    in_splits = tuple(cache.examples(domain, "in") for domain in domains)
    sizes = tuple(len(one.labels) for one in in_splits)
    sampling = Sampling(sizes, train.batch_per_domain, seed, train.replacement, ranks.rank, ranks.count)
    if sampling.batch_size % ranks.count:
        raise ConfigError(
            f"train.batch_per_domain: expected a batch that {ranks.count} processes share evenly, found "
            f"{len(domains)} domains of {train.batch_per_domain} images; set a multiple of {ranks.count}"
        )
    resident = fits_on_device(count_bytes(in_splits), free_device_bytes(ranks.device))
    return Feed(
        cache=cache,
        batches=(ResidentBatches if resident else StreamedBatches)(in_splits, sampling, ranks.device),
        out_splits={domain: cache.examples(domain, "out") for domain in domains},
        sampling=sampling,
        augment=augment,
        ranks=ranks,
    )


def _part_of(images: Pixels, ranks: Ranks) -> Pixels:
    """Return this rank's rows of images: rank, rank + count, ...; the first of all if there is none for it."""
    rows = np.arange(ranks.rank, len(images), ranks.count)
    return images if ranks.count == 1 else PixelRows(images, rows if len(rows) else np.arange(1))


def _apply_all(forwards: Sequence[Callable[[Tensor], Tensor]], pixels: Tensor) -> Tensor:
    """Return the logits (B, M, K) of M functions of pixels (B, 3, S, S)."""
    return torch.stack([forward(pixels) for forward in forwards], 1)
