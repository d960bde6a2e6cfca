"""Optimiser and learning-rate schedule."""

import math

import torch
from torch import nn

from oodtune.config import TrainConfig


def create_optimiser(
    network: nn.Module, config: TrainConfig, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Return the optimiser of all trainable parameters; weight decay is on every one, as in the paper's code."""
    if config.optimiser == "sgd":
        return torch.optim.SGD(
            network.parameters(), lr=learning_rate, momentum=config.momentum, weight_decay=weight_decay
        )
    return torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)


def learning_rate_factor(config: TrainConfig, step: int) -> float:
    """Return what the learning rate is multiplied by in `step`, 0 <= step < config.steps."""
    match config.schedule:
        case "constant":
            return 1.0
        case "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * step / config.steps))
        case "multistep":
            return 1.0 if step < config.steps // 2 else 0.1


def create_schedule(optimiser: torch.optim.Optimizer, config: TrainConfig) -> torch.optim.lr_scheduler.LambdaLR:
    return torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: learning_rate_factor(config, step))
