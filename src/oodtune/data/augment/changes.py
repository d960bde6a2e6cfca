"""All changes of a batch: drawn first, on the CPU, then applied to all of its images or to a part of them."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from oodtune.config import AugmentConfig
from oodtune.data.augment.colour import add_tints, draw_colours, recolour
from oodtune.data.augment.erasing import draw_boxes, erase
from oodtune.data.augment.geometry import add_moves, crop_and_flip, draw_crops
from oodtune.data.augment.operations import draw_operations
from oodtune.data.augment.retouch import retouch

_PIXELS_AT_ONCE = 2**19
"""What a CPU changes at once: a whole batch of large images would leave its caches between one change and the next."""


@dataclass(frozen=True)
class Changes:
    """What becomes of the images of a batch; all tensors are on the CPU and have B rows."""

    theta: Tensor
    """(B, 2, 3): crop and flip."""
    colour: Tensor
    """(B, 3, 3): all that multiplies colours, the operations' part of it included."""
    lift: Tensor
    """(B,): what is then added, per mean grey of the image."""
    boxes: Tensor
    """(B, 4): what is erased: left, width, top, height in shares of the image."""
    operations: Tensor
    """(B, N), int64: members of Operation."""
    strengths: Tensor
    """(B, N), in the operations' units."""

    def __len__(self) -> int:
        return len(self.theta)

    def part(self, rank: int, count: int) -> "Changes":
        """Return the changes of every `count`-th image from `rank` on: those of images[rank::count]."""
        return self._rows(slice(rank, None, count))

    def _rows(self, rows: slice) -> "Changes":
        return Changes(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def draw_changes(num_images: int, config: AugmentConfig, generator: torch.Generator) -> Changes:
    """Draw all changes of a batch. Operations come last: without them, the rest of the draw is the same."""
    theta = draw_crops(num_images, config, generator)
    colour, lift = draw_colours(num_images, config, generator)
    boxes = draw_boxes(num_images, config, generator)
    operations, strengths = draw_operations(num_images, config.operations, generator)
    colour, lift = add_tints(colour, lift, operations, strengths)
    return Changes(theta, colour, lift, boxes, operations, strengths)


def apply(pixels: Tensor, changes: Changes) -> Tensor:
    """Return changed pixels (B, 3, H, W), 0..255, of pixels of the same shape, range, dtype, device and layout.

    What becomes of an image depends on its own row of `changes` alone, whichever images are beside it.
    """
    assert len(pixels) == len(changes), f"{len(pixels)} images, changes of {len(changes)}"
    changed = torch.empty_like(pixels)
    num_at_once = len(pixels)
    if pixels.device.type == "cpu":
        num_at_once = max(1, _PIXELS_AT_ONCE // (pixels.shape[2] * pixels.shape[3]))
    for first in range(0, len(pixels), max(1, num_at_once)):
        rows = slice(first, first + num_at_once)
        changed[rows] = _apply(pixels[rows], changes._rows(rows))
    return changed


def augment(pixels: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Return augmented pixels (B, 3, S, S), float32 in 0..255, of pixels of the same shape and range."""
    return apply(pixels, draw_changes(len(pixels), config, generator))


def _apply(pixels: Tensor, changes: Changes) -> Tensor:
    operations, strengths = changes.operations, changes.strengths
    moved = crop_and_flip(pixels, add_moves(changes.theta, operations, strengths, *pixels.shape[2:]))
    recoloured = recolour(moved, changes.colour, changes.lift)
    retouched = retouch(recoloured, operations, strengths)
    return erase(retouched, changes.boxes) if changes.boxes.any() else retouched
