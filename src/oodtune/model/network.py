"""Backbone, dropout, head: the network of every trial.

The method is the middle line of `Network.forward`: dropout, very large for `large_dropout`, between the
penultimate features and a linear head, and nowhere else (Zhang & Bottou, arXiv 2403.00946, section 3).
"""

from typing import Self

import torch
from torch import Tensor, nn

from oodtune.model.backbone import count_features, create_backbone, pixel_statistics
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
    """An image classifier whose batch-norm statistics stay those of the pretrained backbone."""

    def __init__(self, normalise: Normalise, backbone: nn.Module, head: nn.Linear, dropout: float) -> None:
        super().__init__()
        self.normalise = normalise
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = head

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

    def train(self, mode: bool = True) -> Self:
        """Switch dropout on or off. Batch-norm statistics stay frozen; its affine weights are trained."""
        super().train(mode)
        for module in self.backbone.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
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
