"""One update. With dropout in the network, this is the whole method."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from oodtune.config import TrainConfig
from oodtune.errors import ConfigError

Forward = Callable[[Tensor], Tensor]
"""Pixels (B, 3, S, S), float32 in 0..255 -> logits (B, K), in training mode."""


def update(
    forward: Forward,
    optimiser: torch.optim.Optimizer,
    pixels: Tensor,
    labels: Tensor,
    num_parts: int = 1,
    precision: torch.dtype = torch.float32,
) -> Tensor:
    """Take one step down the mean cross-entropy of a batch drawn from every source domain.

    pixels (B, 3, S, S) are augmented, float32 in 0..255; labels (B,). Returns the loss, a scalar tensor.

    The batch is computed in `num_parts` parts, one after the other, each with images of every domain. Their
    gradients add up to that of the undivided batch, but for rounding. What is drawn or measured within the
    network is drawn or measured for each part: dropout masks are others, of the same distribution, and batch
    norm that is not frozen sees the statistics of a part. `precision` is that of activations.
    """
    optimiser.zero_grad(set_to_none=True)
    losses = []
    for part in range(num_parts):
        part_labels = labels[part::num_parts]
        with _gradients_stay_here(forward, is_last=part == num_parts - 1):
            with torch.autocast(pixels.device.type, dtype=precision, enabled=precision != torch.float32):
                loss = F.cross_entropy(forward(pixels[part::num_parts]), part_labels) * (len(part_labels) / len(labels))
            loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
    optimiser.step()
    return torch.stack(losses).sum()


def _gradients_stay_here(forward: Forward, is_last: bool) -> AbstractContextManager[None]:
    """Between processes that train together, gradients are averaged once a step: after the last part."""
    if is_last or not isinstance(forward, DistributedDataParallel):
        return nullcontext()
    return forward.no_sync()


def choose_precision(config: TrainConfig, device: torch.device) -> torch.dtype:
    """Return the type of activations. Raises ConfigError if the device does not compute in it."""
    if config.precision == "float32":
        return torch.float32
    if device.type == "cuda":
        able = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if not able:
        raise ConfigError(
            f"train.precision: expected one that {device.type} computes in, found {config.precision!r}, which this "
            "machine has no instructions for; set float32"
        )
    return torch.bfloat16
