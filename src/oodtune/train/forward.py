"""The training forward pass: the network itself, or with mixout, compiled, on several ranks."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from oodtune.config import MethodConfig, TrainConfig
from oodtune.errors import ConfigError
from oodtune.train.mixout import mixed_forward
from oodtune.train.ranks import DropoutOfPart, Ranks
from oodtune.train.update import Forward


def create_forward(network: nn.Module, config: TrainConfig, method: MethodConfig, ranks: Ranks) -> Forward:
    """Return what computes logits (B, K) of pixels (B, 3, S, S) in training.

    The network must be in its initial state and in training mode; its parameters stay its own. On several ranks
    its dropout becomes that of a part of the batch, and backward passes average the gradients over the ranks.
    Raises ConfigError if the settings cannot go together.
    """
    _check(network, config, method, ranks)
    forward = _compiled(network, config) if config.compile != "none" else mixed_forward(network, method.mixout)
    if ranks.count == 1:
        return forward
    network.dropout = DropoutOfPart(method.dropout, ranks)
    # Statistics are frozen, so there are no buffers to keep equal.
    return DistributedDataParallel(_Part(network, forward), forward_sync_buffers=False, gradient_as_bucket_view=True)


def _compiled(network: nn.Module, config: TrainConfig) -> Forward:
    """Compile the forward and backward passes (torch.compile); shapes never change, so they are compiled once."""
    mode = "reduce-overhead" if config.compile == "graphs" else "default"
    return cast(Forward, torch.compile(network, mode=mode, dynamic=False))


def _check(network: nn.Module, config: TrainConfig, method: MethodConfig, ranks: Ranks) -> None:
    if config.compile == "graphs" and ranks.device.type != "cuda":
        raise ConfigError(
            f"train.compile: expected none or kernels on {ranks.device.type}, found 'graphs', which are CUDA graphs"
        )
    if config.compile != "none" and method.mixout > 0.0:
        raise ConfigError(
            f"train.compile: expected none with mixout, which gives the network other weights in every step, found "
            f"{config.compile!r}"
        )
    if ranks.count > 1 and any(module.training and "running_var" in module._buffers for module in network.modules()):
        raise ConfigError(
            f"train.freeze_batch_norm: expected true where {ranks.count} processes train together, found false: each "
            "would see the statistics of its own part of a batch"
        )


class _Part(nn.Module):
    """The forward pass as a module, which is what gradients are averaged for."""

    def __init__(self, network: nn.Module, forward: Forward) -> None:
        super().__init__()
        self.network = network
        self._forward = forward

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B, K) of pixels (B, 3, S, S)."""
        return self._forward(pixels)
