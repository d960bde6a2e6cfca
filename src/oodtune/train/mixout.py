"""Mixout, a rival of large dropout: dropout towards the initial weights instead of towards zero.

Lee, Cho and Kang, "Mixout: Effective Regularization to Finetune Large-scale Pretrained Language Models",
arXiv 1909.11299. For a weight w with initial value u and probability p, a step computes with

    ((1 - m) w + m u - p u) / (1 - p) = u + (1 - m) (w - u) / (1 - p),    m ~ Bernoulli(p) per element,

whose expectation is w. Evaluation computes with w itself.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from oodtune.train.update import Forward


def mixed_forward(network: nn.Module, probability: float) -> Forward:
    """Return the training forward pass of `network`, which must be in its initial state now.

    Mixed are the matrices and kernels of the backbone that are trained; not its norms, biases and position
    embeddings, nor the head. Each call draws new masks from torch's generator, so a batch in parts has masks
    for each part. Memory: one copy of those weights always, and in a step one more with a byte per weight.
    With probability 0 it is `network`.
    """
    assert 0.0 <= probability < 1.0
    if probability == 0.0:
        return network
    initial = {name: weight.detach().clone() for name, weight in network.named_parameters() if _is_mixed(name, weight)}

    def forward(pixels: Tensor) -> Tensor:
        trained = dict(network.named_parameters())
        mixed = {name: mix(trained[name], start, probability) for name, start in initial.items()}
        logits: Tensor = functional_call(network, mixed, (pixels,))
        return logits

    return forward


def mix(weight: Tensor, initial: Tensor, probability: float) -> Tensor:
    """Return `weight` with each element put back to `initial` with `probability`, its expectation kept."""
    replaced = torch.empty_like(weight, dtype=torch.bool).bernoulli_(probability)
    return torch.where(replaced, initial, initial + (weight - initial) / (1.0 - probability))


def _is_mixed(name: str, weight: Tensor) -> bool:
    return weight.requires_grad and weight.ndim > 1 and name.startswith("backbone.") and name.endswith(".weight")
