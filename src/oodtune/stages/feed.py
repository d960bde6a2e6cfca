"""What a trial is fed: batches of its source domains to train on, their out-splits to be measured on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from oodtune.config import AugmentConfig, TrainConfig
from oodtune.data.augment import augment
from oodtune.data.batches import (
    Batches,
    ResidentBatches,
    StreamedBatches,
    count_bytes,
    fits_on_device,
    free_device_bytes,
)
from oodtune.data.cache import Cache, Examples, open_cache
from oodtune.data.sampling import step_seed
from oodtune.evaluate.metrics import accuracy, negative_log_likelihood
from oodtune.model.inference import map_images
from oodtune.train.history import Measurement, State


@dataclass(frozen=True)
class Feed:
    """The source domains of one trial; the target domain is not in it. Close it, or use it as a context."""

    cache: Cache
    batches: Batches
    out_splits: dict[str, Examples]
    augment: AugmentConfig
    seed: int
    device: torch.device

    def draw_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return augmented pixels (B, 3, S, S), float32 in 0..255, and labels (B,), of one step.

        All randomness of the step, the dropout masks included, follows from seed and step.
        """
        torch.manual_seed(step_seed(self.seed, step, "dropout"))
        batch = self.batches.draw(step)
        images = batch.images.to(self.device, non_blocking=True)
        labels = batch.labels.to(self.device, non_blocking=True)
        pixels = images.permute(0, 3, 1, 2).float()  # channels stay last in memory
        augmented = augment(pixels, self.augment, batch.generator)
        return augmented.contiguous(memory_format=torch.channels_last), labels

    def measure(self, network: nn.Module, *others: State) -> list[Measurement]:
        """Measure the network on the out-split of every source domain, then with each of `others` as its state.

        Every image is read once, for all of them. The network is in evaluation mode afterwards.
        """
        network.eval()
        forwards: list[Callable[[Tensor], Tensor]] = [
            network,
            *(partial(functional_call, network, dict(other)) for other in others),
        ]
        accuracies: list[dict[str, float]] = [{} for _ in forwards]
        losses: list[dict[str, float]] = [{} for _ in forwards]
        for domain, examples in self.out_splits.items():
            logits = map_images(partial(_apply_all, forwards), examples.images, self.device).numpy()  # (N, M, K)
            for place in range(len(forwards)):
                accuracies[place][domain] = accuracy(logits[:, place], examples.labels)
                losses[place][domain] = negative_log_likelihood(logits[:, place], examples.labels)
        return [Measurement(*both) for both in zip(accuracies, losses, strict=True)]

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
    device: torch.device,
) -> Feed:
    """Open the source domains of `target_domain`. Raises DataError if the cache has no such domain.

    Small in-splits are moved to a GPU whole; others are streamed. Batches are equal bit for bit.
    """
    cache = open_cache(cache_path)
    domains = cache.source_domains(target_domain)
    in_splits = tuple(cache.examples(domain, "in") for domain in domains)
    resident = fits_on_device(count_bytes(in_splits), free_device_bytes(device))
    return Feed(
        cache=cache,
        batches=(ResidentBatches if resident else StreamedBatches)(
            in_splits, train.batch_per_domain, seed, device, train.replacement
        ),
        out_splits={domain: cache.examples(domain, "out") for domain in domains},
        augment=augment,
        seed=seed,
        device=device,
    )


def _apply_all(forwards: Sequence[Callable[[Tensor], Tensor]], pixels: Tensor) -> Tensor:
    """Return the logits (B, M, K) of M functions of pixels (B, 3, S, S)."""
    return torch.stack([forward(pixels) for forward in forwards], 1)
