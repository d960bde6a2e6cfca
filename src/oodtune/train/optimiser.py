"""Optimiser and learning-rate schedule."""

import math
from collections import defaultdict

import torch
from torch import nn

from oodtune.config import TrainConfig

_HEAD = "head."
"""How the names of the head's parameters begin."""


def create_optimiser(
    network: nn.Module,
    config: TrainConfig,
    learning_rate: float,
    weight_decay: float,
    head_rate_factor: float = 1.0,
) -> torch.optim.Optimizer:
    """Return the optimiser of every parameter that is trained; frozen ones are in no group.

    The head's learning rate is `head_rate_factor` times the backbone's. With `config.decay` of `matrices`,
    weight decay leaves out what has one dimension: biases, and the scales and shifts of norms.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        factor = head_rate_factor if name.startswith(_HEAD) else 1.0
        decays = config.decay == "all" or parameter.ndim > 1
        groups[factor * learning_rate, weight_decay if decays else 0.0].append(parameter)
    settings = [{"params": group, "lr": rate, "weight_decay": decay} for (rate, decay), group in groups.items()]
    if config.optimiser == "sgd":
        return torch.optim.SGD(settings, momentum=config.momentum)
    return torch.optim.AdamW(settings)


def learning_rate_factor(config: TrainConfig, step: int) -> float:
    """Return what the learning rate is multiplied by in `step`, 0 <= step <= config.steps.

    In the warm-up it rises by equal parts and is whole in step `warmup_steps`; the cosine falls from there
    to the end of training, and milestones are shares of all steps. It depends on the step alone, so a
    schedule has no state to resume.
    """
    warmup = config.warmup_steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    match config.schedule:
        case "constant":
            return 1.0
        case "cosine":
            progress = (step - warmup) / max(config.steps - warmup, 1)
            return 0.5 * (1.0 + math.cos(math.pi * progress))
        case "multistep":
            passed = sum(step >= milestone for milestone in milestone_steps(config))
            return float(0.1**passed)


def milestone_steps(config: TrainConfig) -> tuple[int, ...]:
    """Return the first step at each lower rate of `multistep`."""
    return tuple(math.floor(round(share * config.steps, 6)) for share in config.milestones)  # 0.29 * 100 is 28.99...


def create_schedule(
    optimiser: torch.optim.Optimizer, config: TrainConfig, first_step: int = 0
) -> torch.optim.lr_scheduler.LambdaLR:
    """Return the schedule that sets the rates of `first_step` now and those of the next step at each `step()`."""
    for group in optimiser.param_groups:
        group.setdefault("initial_lr", group["lr"])  # torch asks for it where a schedule does not begin at 0
    return torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: learning_rate_factor(config, step), last_epoch=first_step - 1
    )
