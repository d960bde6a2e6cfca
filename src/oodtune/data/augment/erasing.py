"""Rectangles painted over (Zhong et al., arXiv 1708.04896)."""

import torch
from torch import Tensor

from oodtune.config import AugmentConfig
from oodtune.data.augment.drawing import send, sides, uniform

_AREA = (0.02, 0.33)
"""Smallest and largest share of the image that is erased, as in torchvision's RandomErasing."""
_MAX_ASPECT = 3.3


def draw_boxes(num_images: int, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Draw what is erased: boxes (B, 4), left, width, top, height in shares of the image; zeros for nothing."""
    if config.erase_probability == 0.0:
        return torch.zeros(num_images, 4)
    erased = torch.rand(num_images, generator=generator) < config.erase_probability
    width, height = sides(uniform(num_images, *_AREA, generator), _MAX_ASPECT, generator)
    left = torch.rand(num_images, generator=generator) * (1.0 - width)
    top = torch.rand(num_images, generator=generator) * (1.0 - height)
    return torch.stack([left, width, top, height], 1) * erased.view(-1, 1)


def erase(pixels: Tensor, boxes: Tensor) -> Tensor:
    """Return pixels (B, 3, H, W) with `boxes` (B, 4) painted in the mean colour of each image."""
    num_rows, num_columns = pixels.shape[2:]
    left, width, top, height = boxes.unbind(1)
    across = send(_inside(num_columns, left, width), pixels).view(-1, 1, 1, num_columns)
    down = send(_inside(num_rows, top, height), pixels).view(-1, 1, num_rows, 1)
    return torch.where(across & down, pixels.mean((2, 3), keepdim=True), pixels)


def _inside(num_pixels: int, start: Tensor, length: Tensor) -> Tensor:
    """Return which of a row of pixels (B, num_pixels) are in the stretch of `length` (B,) from `start` (B,)."""
    place = (torch.arange(num_pixels) + 0.5) / num_pixels
    return (place >= start.view(-1, 1)) & (place < (start + length).view(-1, 1))
