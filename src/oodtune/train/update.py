"""One update. With dropout in the network, this is the whole method."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def update(network: nn.Module, optimiser: torch.optim.Optimizer, pixels: Tensor, labels: Tensor) -> Tensor:
    """Take one step down the mean cross-entropy of a batch drawn from every source domain.

    pixels (B, 3, S, S) are augmented, float32 in 0..255; labels (B,). Returns the loss, a scalar tensor.
    """
    loss = F.cross_entropy(network(pixels), labels)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return loss.detach()
