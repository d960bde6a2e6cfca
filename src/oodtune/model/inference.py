"""Run a network, or a part of it, over a whole array of images."""

from collections.abc import Callable

import torch
from torch import Tensor

from oodtune.pixels import Pixels
from oodtune.progress import Progress, silent


@torch.inference_mode()
def map_images(
    function: Callable[[Tensor], Tensor],
    images: Pixels,
    device: torch.device,
    batch_size: int = 64,
    progress: Progress = silent,
) -> Tensor:
    """Return `function` of all images (N, S, S, 3), N > 0, on the CPU in float32; a batch is read at a time.

    `function` takes pixels (B, 3, S, S), float32 in 0..255 on `device`, and returns (B, ...): pass a
    network in evaluation mode for logits, or its `features` for penultimate features.
    """
    assert len(images) > 0
    results = []
    for start in range(0, len(images), batch_size):
        batch = torch.from_numpy(images[start : start + batch_size]).to(device)
        pixels = batch.permute(0, 3, 1, 2).float()  # channels stay last in memory
        results.append(function(pixels).float().cpu())
        progress(min(start + batch_size, len(images)), len(images), "images")
    return torch.cat(results)
