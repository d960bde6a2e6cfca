"""Where the pixels of an image come from: one affine map per image, and one resampling of the batch."""

import torch
import torch.nn.functional as F
from torch import Tensor

from oodtune.config import AugmentConfig
from oodtune.data.augment.drawing import send, sides, uniform
from oodtune.data.augment.operations import Operation

_MAX_ASPECT = 4.0 / 3.0
"""Largest width : height of a crop, and height : width, as in torchvision's RandomResizedCrop."""


def draw_crops(num_images: int, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Draw which part of each image is kept, and which are flipped left to right.

    Returns the maps (B, 2, 3) from places of the result to places of the image, both -1..1.
    """
    area = uniform(num_images, config.crop_scale_min, 1.0, generator)
    width, height = sides(area, _MAX_ASPECT, generator)
    centre_x = uniform(num_images, -1.0, 1.0, generator) * (1.0 - width)
    centre_y = uniform(num_images, -1.0, 1.0, generator) * (1.0 - height)
    flip = torch.rand(num_images, generator=generator) < config.flip_probability
    theta = torch.zeros(num_images, 2, 3)
    theta[:, 0, 0] = torch.where(flip, -width, width)
    theta[:, 0, 2] = centre_x
    theta[:, 1, 1] = height
    theta[:, 1, 2] = centre_y
    return theta


def add_moves(theta: Tensor, operations: Tensor, strengths: Tensor, num_rows: int, num_columns: int) -> Tensor:
    """Return maps (B, 2, 3) that do what `theta` does, then shear, shift and turn as `operations` (B, N) say."""
    for operation, strength in zip(operations.unbind(1), strengths.unbind(1), strict=True):
        theta = theta @ _move(operation, strength, num_rows, num_columns)
    return theta


def crop_and_flip(pixels: Tensor, theta: Tensor) -> Tensor:
    """Return pixels (B, 3, H, W) taken from where `theta` (B, 2, 3) says; outside of it, an image is mirrored."""
    grid = _places(send(theta, pixels), *pixels.shape[2:])
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _places(theta: Tensor, num_rows: int, num_columns: int) -> Tensor:
    """Return where `theta` (B, 2, 3) maps the pixels of the result to: (B, H, W, 2), x and y in -1..1."""
    # F.affine_grid's values by its order of rounding, without its matrix product over all pixels (and TF32 in it).
    across = _centres(num_columns, theta).view(1, 1, num_columns)
    down = _centres(num_rows, theta).view(1, num_rows, 1)
    grid = theta.new_empty(len(theta), num_rows, num_columns, 2)
    for axis in (0, 1):
        along_x, along_y, offset = theta[:, axis].view(-1, 3, 1, 1).unbind(1)  # (B, 1, 1) each
        torch.add(along_x * across + offset, along_y * down, out=grid[..., axis])
    return grid


def _centres(num_pixels: int, like: Tensor) -> Tensor:
    """Return the places (num_pixels,) of pixel centres where the image is -1..1."""
    ends = torch.linspace(-1.0, 1.0, num_pixels, dtype=like.dtype, device=like.device)
    return ends * (num_pixels - 1) / num_pixels


def _move(operation: Tensor, strength: Tensor, num_rows: int, num_columns: int) -> Tensor:
    """Return the maps (B, 3, 3) of one operation (B,) each, from the result to the image, both -1..1."""

    def amount(wanted: Operation) -> Tensor:
        return torch.where(operation == wanted, strength, 0.0)

    # Shears keep the upper left corner, as in PIL and torchvision; a turn keeps the centre.
    shear_x = amount(Operation.SHEAR_X) * (num_rows / num_columns)
    shear_y = amount(Operation.SHEAR_Y) * (num_columns / num_rows)
    angle = torch.deg2rad(amount(Operation.ROTATE))
    matrix = torch.zeros(len(operation), 3, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos()
    matrix[:, 0, 1] = shear_x - angle.sin() * (num_rows / num_columns)
    matrix[:, 0, 2] = shear_x - amount(Operation.TRANSLATE_X) * (2.0 / num_columns)
    matrix[:, 1, 0] = shear_y + angle.sin() * (num_columns / num_rows)
    matrix[:, 1, 2] = shear_y - amount(Operation.TRANSLATE_Y) * (2.0 / num_rows)
    matrix[:, 2, 2] = 1.0
    return matrix
