"""Which operations each image gets, how strong: the space of TrivialAugment (Mueller & Hutter, arXiv 2103.10158).

Operations and strengths are those of torchvision's TrivialAugmentWide.
"""

from enum import IntEnum

import torch
from torch import Tensor

_NUM_LEVELS = 31
"""Strengths of an operation, from nothing to the most."""


class Operation(IntEnum):
    """What can be done to an image; in brackets the unit of its strength."""

    IDENTITY = 0
    SHEAR_X = 1
    """[pixels to the left per row]"""
    SHEAR_Y = 2
    """[pixels up per column]"""
    TRANSLATE_X = 3
    """[pixels to the right]"""
    TRANSLATE_Y = 4
    """[pixels down]"""
    ROTATE = 5
    """[degrees, counter-clockwise]"""
    BRIGHTNESS = 6
    """[factor - 1]"""
    COLOUR = 7
    """Saturation. [factor - 1]"""
    CONTRAST = 8
    """[factor - 1]"""
    SHARPNESS = 9
    """[factor - 1]; -1 blurs, 0 changes nothing"""
    POSTERIZE = 10
    """[bits that are kept]"""
    SOLARIZE = 11
    """[the level from which on colours are inverted]"""
    AUTOCONTRAST = 12
    EQUALIZE = 13


_LARGEST = {
    Operation.SHEAR_X: 0.99,
    Operation.SHEAR_Y: 0.99,
    Operation.TRANSLATE_X: 32.0,
    Operation.TRANSLATE_Y: 32.0,
    Operation.ROTATE: 135.0,
    Operation.BRIGHTNESS: 0.99,
    Operation.COLOUR: 0.99,
    Operation.CONTRAST: 0.99,
    Operation.SHARPNESS: 0.99,
}
"""Of the operations that are as often negative as positive."""
_FEWEST_BITS = 2


def draw_operations(num_images: int, num_each: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw operations (B, N), int64, and their strengths (B, N), float32; all are equally likely."""
    size = (num_images, num_each)
    operations = torch.randint(len(Operation), size, generator=generator)
    levels = torch.randint(_NUM_LEVELS, size, generator=generator) / (_NUM_LEVELS - 1)
    signs = 2 * torch.randint(2, size, generator=generator) - 1
    largest = torch.tensor([_LARGEST.get(operation, 0.0) for operation in Operation])
    strengths = largest[operations] * levels * signs
    whole_pixels = (operations == Operation.TRANSLATE_X) | (operations == Operation.TRANSLATE_Y)
    strengths = torch.where(whole_pixels, strengths.trunc(), strengths)
    bits = 8.0 - (levels * (8 - _FEWEST_BITS)).round()
    strengths = torch.where(operations == Operation.POSTERIZE, bits, strengths)
    return operations, torch.where(operations == Operation.SOLARIZE, 255.0 * (1.0 - levels), strengths)
