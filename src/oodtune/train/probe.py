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

    Each feature is scaled to a mean square of one, so the penalty is that of dropout: for squared loss,
    dropout p is the penalty p / (1 - p) on weights so scaled (Wager et al., arXiv 1307.1493). A head with
    large weights on small features would fit better and be lost at the first large dropout mask.
    The problem is convex and starts from zero: equal inputs give equal heads.
    """
    scale = features.square().mean(0).sqrt().clamp_min(1e-6)  # (D,)
    scaled = features / scale
    weight = torch.zeros(num_classes, features.shape[1], requires_grad=True)
    bias = torch.zeros(num_classes, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=config.max_iterations, line_search_fn="strong_wolfe", tolerance_grad=1e-5
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        penalty = config.weight_decay * weight.square().sum()
        loss = F.cross_entropy(F.linear(scaled, weight, bias), labels) + penalty
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    head = nn.Linear(features.shape[1], num_classes)
    with torch.no_grad():
        head.weight.copy_(weight / scale)
        head.bias.copy_(bias)
    return head
