"""DomainBed's augmentation, on a whole batch at once: crop and flip, colour jitter, greyscale; and erasing.

One resampling moves all images, one 3x3 matrix and one offset per image recolour them: brightness,
contrast, saturation, hue and greyscale are affine in RGB, so their product is one multiplication.
Hue turns about the grey axis (in YIQ), where torchvision turns in HSV; and colours are clipped once,
at the end.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from oodtune.config import AugmentConfig

_MAX_ASPECT = 4.0 / 3.0
"""Largest width : height of a crop, and height : width, as in torchvision's RandomResizedCrop."""
_ERASED_AREA = (0.02, 0.33)
"""Smallest and largest share of the image that is erased, as in torchvision's RandomErasing."""
_ERASED_MAX_ASPECT = 3.3
_LUMA = torch.tensor([0.299, 0.587, 0.114])
_RGB_TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def augment(pixels: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Return augmented pixels (B, 3, S, S), float32 in 0..255, of pixels of the same shape and range."""
    moved = crop_and_flip(pixels, config, generator)
    recoloured = recolour(moved, config, generator)
    return erase(recoloured, config, generator) if config.erase_probability > 0.0 else recoloured


def crop_and_flip(pixels: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Crop a random part of each image, resize it to the full size, and flip some left to right."""
    num_images = pixels.shape[0]
    area = _uniform(num_images, config.crop_scale_min, 1.0, generator)
    width, height = _sides(area, _MAX_ASPECT, generator)
    centre_x = _uniform(num_images, -1.0, 1.0, generator) * (1.0 - width)
    centre_y = _uniform(num_images, -1.0, 1.0, generator) * (1.0 - height)
    flip = torch.rand(num_images, generator=generator) < config.flip_probability
    theta = torch.zeros(num_images, 2, 3)
    theta[:, 0, 0] = torch.where(flip, -width, width)
    theta[:, 0, 2] = centre_x
    theta[:, 1, 1] = height
    theta[:, 1, 2] = centre_y
    grid = F.affine_grid(theta.to(pixels.device), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def recolour(pixels: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Change brightness, contrast, saturation and hue of each image, and make some grey."""
    num_images = pixels.shape[0]
    low, high = 1.0 - config.jitter, 1.0 + config.jitter
    brightness = _uniform(num_images, low, high, generator).view(-1, 1, 1)
    contrast = _uniform(num_images, low, high, generator).view(-1, 1, 1)
    saturation = _uniform(num_images, low, high, generator)
    turn = _uniform(num_images, -config.jitter, config.jitter, generator)
    grey = torch.rand(num_images, generator=generator) < config.grayscale_probability
    saturation = torch.where(grey, torch.zeros(()), saturation).view(-1, 1, 1)

    to_grey = _LUMA.expand(3, 3)
    saturate = saturation * torch.eye(3) + (1.0 - saturation) * to_grey  # (B, 3, 3)
    colour = (hue_rotation(turn) @ saturate * brightness * contrast).to(pixels.device)
    # Contrast moves each image's grey mean back to where brightness had put it; greys survive hue and saturation.
    mean_grey = torch.einsum("bchw,c->b", pixels, _LUMA.to(pixels)) / (pixels.shape[2] * pixels.shape[3])
    offset = mean_grey * (brightness * (1.0 - contrast)).view(-1).to(pixels.device)  # (B,)
    recoloured = torch.einsum("bij,bjhw->bihw", colour, pixels) + offset.view(-1, 1, 1, 1)
    return recoloured.clamp_(0.0, 255.0)


def erase(pixels: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Paint a random rectangle of some images in the image's mean colour."""
    num_images, _, num_rows, num_columns = pixels.shape
    erased = torch.rand(num_images, generator=generator) < config.erase_probability
    width, height = _sides(_uniform(num_images, *_ERASED_AREA, generator), _ERASED_MAX_ASPECT, generator)
    across = _inside(num_columns, width, generator).view(-1, 1, 1, num_columns)
    down = _inside(num_rows, height, generator).view(-1, 1, num_rows, 1)
    painted = (across & down & erased.view(-1, 1, 1, 1)).to(pixels.device)  # (B, 1, H, W)
    return torch.where(painted, pixels.mean((2, 3), keepdim=True), pixels)


def hue_rotation(turn: Tensor) -> Tensor:
    """Return the matrices (B, 3, 3) that turn the hue of RGB colours by `turn` (B,), in full circles."""
    angle = 2.0 * math.pi * turn
    rotation = torch.zeros(len(turn), 3, 3)
    rotation[:, 0, 0] = 1.0
    rotation[:, 1, 1] = rotation[:, 2, 2] = angle.cos()
    rotation[:, 1, 2], rotation[:, 2, 1] = -angle.sin(), angle.sin()
    back: Tensor = torch.linalg.inv(_RGB_TO_YIQ)
    return back @ rotation @ _RGB_TO_YIQ


def _sides(area: Tensor, max_aspect: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw width and height (B,) of rectangles that have `area` (B,) and fit; 1 is the whole image."""
    # torchvision draws the aspect again if the rectangle does not fit; these bounds make the first draw fit.
    bound = (-area.log()).clamp(max=math.log(max_aspect))
    aspect = torch.exp(bound * _uniform(len(area), -1.0, 1.0, generator))
    return (area * aspect).sqrt(), (area / aspect).sqrt()


def _inside(num_pixels: int, length: Tensor, generator: torch.Generator) -> Tensor:
    """Return which of a row of pixels (B, num_pixels) are in a stretch of `length` (B,) at a random place."""
    start = torch.rand(len(length), generator=generator) * (1.0 - length)
    place = (torch.arange(num_pixels) + 0.5) / num_pixels
    return (place >= start.view(-1, 1)) & (place < (start + length).view(-1, 1))


def _uniform(num: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(num, generator=generator)
