"""Backbone, dropout, head: the network of every trial.

The method is the middle line of `Network.forward`: dropout, very large for `large_dropout`, between the
penultimate features and a linear head, and nowhere else (Zhang & Bottou, arXiv 2403.00946, section 3).
"""

from typing import Self

import torch
from torch import Tensor, nn

from oodtune.errors import ConfigError
from oodtune.model.backbone import count_features, create_backbone, pixel_statistics, stage_parameters
from oodtune.trial import NetworkSpec


class Normalise(nn.Module):
    """Map pixels (B, 3, H, W) in 0..255 to what the backbone was pretrained on."""

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        mean_, std_ = torch.tensor(mean).view(1, -1, 1, 1), torch.tensor(std).view(1, -1, 1, 1)
        self.register_buffer("scale", 1.0 / (255.0 * std_))
        self.register_buffer("shift", -mean_ / std_)

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels * self.scale + self.shift


class Network(nn.Module):
    """An image classifier of which everything is trained but the batch-norm statistics, unless `freeze` says so."""

    def __init__(self, normalise: Normalise, backbone: nn.Module, head: nn.Linear, dropout: float) -> None:
        super().__init__()
        self.normalise = normalise
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = head
        self._trainable = {name for name, weight in backbone.named_parameters() if weight.requires_grad}
        self._moving_norms: list[nn.Module] = []

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B, K) of pixels (B, 3, H, W), float32 in 0..255."""
        features = self.features(pixels)  # (B, D)
        features = self.dropout(features)
        return self.classify(features)  # (B, K)

    def features(self, pixels: Tensor) -> Tensor:
        """Return penultimate features (B, D) of pixels (B, 3, H, W), float32 in 0..255."""
        features: Tensor = self.backbone(self.normalise(pixels))
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Return logits (B, K) of penultimate features (B, D)."""
        logits: Tensor = self.head(features)
        return logits

    def freeze(self, trained_stages: int | None = None, batch_norm: bool = True) -> Self:
        """Choose what is trained: the last `trained_stages` of the backbone (None: all of it), and the head.

        With `batch_norm`, statistics stay those of the pretrained backbone, and only scale and shift are
        trained; without, the statistics of trained stages are those of the batch, and move with it.
        Raises ConfigError if the backbone has fewer stages.
        """
        trained = self._trainable & _last_stages(self.backbone, trained_stages)
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad_(name in trained)
        norms = [module for module in self.backbone.modules() if _has_statistics(module) and _is_trained(module)]
        self._moving_norms = [] if batch_norm else norms
        return self.train(self.training)

    @property
    def statistics_move(self) -> bool:
        """True if training changes batch-norm statistics: averaged weights then need them estimated anew."""
        return bool(self._moving_norms)

    @property
    def moving_norms(self) -> list[str]:
        """Names of the norms whose statistics training changes."""
        return [name for name, module in self.named_modules() if any(module is norm for norm in self._moving_norms)]

    def train(self, mode: bool = True) -> Self:
        """Switch training mode on or off: dropout, and the batch norm that `freeze` does not keep as it was."""
        super().train(mode)
        for module in self.backbone.modules():
            if _has_statistics(module):
                module.eval()
        for norm in self._moving_norms:
            norm.train(mode)
        return self


def build_network(spec: NetworkSpec, dropout: float = 0.0) -> Network:
    """Build the network of `spec` with random weights; load a trial's or soup's weights into it.

    `dropout` is the probability of zeroing a penultimate feature, 0 <= dropout < 1.
    Raises ConfigError if timm has no such backbone, or none for images of this size.
    """
    backbone = create_backbone(spec.backbone, spec.preprocess.size)
    mean, std = pixel_statistics(backbone)
    head = nn.Linear(count_features(backbone), len(spec.classes))
    network = Network(Normalise(mean, std), backbone, head, dropout)
    return network.to(memory_format=torch.channels_last)  # convolutions are several times faster in it


def _last_stages(backbone: nn.Module, count: int | None) -> set[str]:
    """Return the names of the parameters of the last `count` stages. Raises ConfigError if there are fewer."""
    if count is None:
        return {name for name, _ in backbone.named_parameters()}
    if count == 0:
        return set()
    stages = stage_parameters(backbone)
    if count > len(stages):
        raise ConfigError(
            f"train.trained_stages: expected at most {len(stages)}, which is what this backbone has with its stem, "
            f"found {count}; lower it, or set null for everything"
        )
    return {name for stage in stages[-count:] for name in stage}


def _has_statistics(module: nn.Module) -> bool:
    """True for batch norms of every kind: timm's EvoNorm has statistics, too, and is no subclass of torch's."""
    return "running_var" in module._buffers


def _is_trained(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters(recurse=False))
