"""Logits of a network: computed once per model and split; every metric comes from them."""

import torch
from torch import nn

from oodtune.evaluate.metrics import Logits
from oodtune.model.inference import map_images
from oodtune.pixels import Pixels
from oodtune.progress import Progress, silent


def compute_logits(network: nn.Module, images: Pixels, device: torch.device, progress: Progress = silent) -> Logits:
    """Return the logits (N, K) of images (N, S, S, 3), in evaluation mode and without augmentation."""
    network.eval()
    logits: Logits = map_images(network, images, device, progress=progress).numpy()
    return logits
