"""All that is affine in RGB: brightness, contrast, saturation, hue and greyscale are one 3x3 matrix and one offset.

Hue turns about the grey axis (in YIQ), where torchvision turns in HSV; and colours are clipped once, at the end.
"""

import math

import torch
from torch import Tensor

from oodtune.config import AugmentConfig
from oodtune.data.augment.drawing import send, uniform
from oodtune.data.augment.operations import Operation

_LUMA = torch.tensor([0.299, 0.587, 0.114])
_RGB_TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def draw_colours(num_images: int, config: AugmentConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw brightness, contrast, saturation and hue of each image, and which become grey.

    Returns matrices (B, 3, 3) that multiply colours, and lifts (B,): what is then added, per mean grey of the image.
    """
    low, high = 1.0 - config.jitter, 1.0 + config.jitter
    brightness = uniform(num_images, low, high, generator)
    contrast = uniform(num_images, low, high, generator)
    saturation = uniform(num_images, low, high, generator)
    turn = uniform(num_images, -config.jitter, config.jitter, generator)
    grey = torch.rand(num_images, generator=generator) < config.grayscale_probability
    saturate = _saturation(torch.where(grey, torch.zeros(()), saturation))
    colour = hue_rotation(turn) @ saturate * brightness.view(-1, 1, 1) * contrast.view(-1, 1, 1)
    # Contrast moves each image's grey mean back to where brightness had put it; greys survive hue and saturation.
    return colour, brightness * (1.0 - contrast)


def add_tints(colour: Tensor, lift: Tensor, operations: Tensor, strengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return matrices and lifts that do what the given ones do, then what `operations` (B, N) say of colours."""
    for operation, strength in zip(operations.unbind(1), strengths.unbind(1), strict=True):
        brightness, saturation, contrast = (
            torch.where(operation == wanted, 1.0 + strength, 1.0)
            for wanted in (Operation.BRIGHTNESS, Operation.COLOUR, Operation.CONTRAST)
        )
        mean_grey = colour.sum(2).mean(1) + lift  # (B,), per mean grey of the image: what contrast has to keep
        lift = brightness * contrast * lift + (1.0 - contrast) * mean_grey
        colour = _saturation(saturation) @ colour * (brightness * contrast).view(-1, 1, 1)
    return colour, lift


def recolour(pixels: Tensor, colour: Tensor, lift: Tensor) -> Tensor:
    """Return pixels (B, 3, H, W) whose colours were multiplied by `colour` (B, 3, 3) and lifted by `lift` (B,)."""
    mean_grey = torch.einsum("bchw,c->b", pixels, send(_LUMA, pixels)) / (pixels.shape[2] * pixels.shape[3])
    offset = mean_grey * send(lift, pixels)  # (B,)
    recoloured = torch.einsum("bij,bjhw->bihw", send(colour, pixels), pixels) + offset.view(-1, 1, 1, 1)
    return recoloured.clamp_(0.0, 255.0)


def hue_rotation(turn: Tensor) -> Tensor:
    """Return the matrices (B, 3, 3) that turn the hue of RGB colours by `turn` (B,), in full circles."""
    angle = 2.0 * math.pi * turn
    rotation = torch.zeros(len(turn), 3, 3)
    rotation[:, 0, 0] = 1.0
    rotation[:, 1, 1] = rotation[:, 2, 2] = angle.cos()
    rotation[:, 1, 2], rotation[:, 2, 1] = -angle.sin(), angle.sin()
    back: Tensor = torch.linalg.inv(_RGB_TO_YIQ)
    return back @ rotation @ _RGB_TO_YIQ


def _saturation(factor: Tensor) -> Tensor:
    """Return the matrices (B, 3, 3) that mix `factor` (B,) of a colour with the rest of its grey."""
    share = factor.view(-1, 1, 1)
    return share * torch.eye(3) + (1.0 - share) * _LUMA.expand(3, 3)
