"""Linear probe: the head that fits frozen penultimate features best.

Starting fine-tuning from a probed head keeps the pretrained features from being distorted by a random
one (Kumar et al., "Fine-Tuning can Distort Pretrained Features", arXiv 2202.10054).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oodtune.config import ProbeConfig


def fit_probe(features: Tensor, labels: Tensor, num_classes: int, config: ProbeConfig) -> nn.Linear:
    """Fit a linear head to features (N, D) and labels (N,): mean cross-entropy + L2 on the weights.

    Features are standardised while fitting, so that L-BFGS converges and the penalty means the same
    for every backbone; the returned head takes the features as they are. The problem is convex and
    starts from zero: equal inputs give equal heads.
    """
    mean, std = features.mean(0), features.std(0).clamp_min(1e-6)
    standardised = (features - mean) / std
    weight = torch.zeros(num_classes, features.shape[1], requires_grad=True)
    bias = torch.zeros(num_classes, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=config.max_iterations, line_search_fn="strong_wolfe", tolerance_grad=1e-5
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        penalty = config.weight_decay * weight.square().sum()
        loss = F.cross_entropy(F.linear(standardised, weight, bias), labels) + penalty
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return _fold_standardisation(weight.detach(), bias.detach(), mean, std)


def _fold_standardisation(weight: Tensor, bias: Tensor, mean: Tensor, std: Tensor) -> nn.Linear:
    head = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        head.weight.copy_(weight / std)
        head.bias.copy_(bias - (weight / std) @ mean)
    return head
