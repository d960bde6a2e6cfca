"""The operations that are neither a resampling nor affine in RGB, each on the images that drew it.

Levels are rounded where a step or a stretch hangs on them: resampling makes 127.9999 of 128, and of a channel of
one level a channel of many.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from oodtune.data.augment.drawing import send
from oodtune.data.augment.operations import Operation

_NUM_LEVELS = 256
_BLUR = 9.0 / 13.0
"""Weight of the 3x3 mean in PIL's SMOOTH filter; the rest is the pixel itself."""


def retouch(pixels: Tensor, operations: Tensor, strengths: Tensor) -> Tensor:
    """Return pixels (B, 3, H, W), 0..255, sharpened, posterized, solarized, stretched or equalized, in place.

    operations and strengths are (B, N), on the CPU: what no image drew costs nothing, and no GPU is waited for.
    """
    for operation, strength in zip(operations.unbind(1), strengths.unbind(1), strict=True):
        for wanted, change in _CHANGES.items():
            (rows,) = torch.where(operation == wanted)
            if len(rows):
                places = send(rows, pixels)
                pixels[places] = change(pixels[places], send(strength[rows], pixels).view(-1, 1, 1, 1))
    return pixels


def _sharpen(pixels: Tensor, strength: Tensor) -> Tensor:
    inner = pixels[:, :, 1:-1, 1:-1]  # the outermost pixels have no neighbours on one side, and stay
    of_three = pixels[:, :, :-2] + pixels[:, :, 1:-1] + pixels[:, :, 2:]
    of_nine = of_three[..., :-2] + of_three[..., 1:-1] + of_three[..., 2:]
    inner += strength * _BLUR * (inner - of_nine / 9.0)
    return pixels.clamp_(0.0, 255.0)


def _posterize(pixels: Tensor, bits: Tensor) -> Tensor:
    step = torch.bitwise_left_shift(1, 8 - bits.long())
    return torch.floor(pixels.round() / step) * step


def _solarize(pixels: Tensor, threshold: Tensor) -> Tensor:
    return torch.where(pixels.round() >= threshold, 255.0 - pixels, pixels)


def _stretch(pixels: Tensor, _: Tensor) -> Tensor:
    """Stretch every channel of every image to 0..255; a channel of one level stays as it is."""
    levels = pixels.round()
    lowest, highest = levels.amin((2, 3), keepdim=True), levels.amax((2, 3), keepdim=True)
    stretched = ((pixels - lowest) * (255.0 / (highest - lowest))).clamp_(0.0, 255.0)
    return torch.where(highest > lowest, stretched, pixels)


def _equalize(pixels: Tensor, _: Tensor) -> Tensor:
    """Make the levels of every channel of every image equally frequent, by PIL's integer rule."""
    levels = pixels.round().long().flatten(2)  # (n, 3, H x W)
    counts = levels.new_zeros(*levels.shape[:2], _NUM_LEVELS)
    counts.scatter_add_(2, levels, torch.ones_like(levels))
    below = counts.cumsum(2) - counts
    brightest = counts.gather(2, levels.amax(2, keepdim=True))
    step = (levels.shape[2] - brightest) // (_NUM_LEVELS - 1)  # (n, 3, 1) pixels for one level of the result
    table = ((below + step // 2) // step.clamp(min=1)).clamp(max=_NUM_LEVELS - 1)
    equalized = table.gather(2, levels).view(pixels.shape).to(pixels.dtype)
    return torch.where(step.unsqueeze(3) > 0, equalized, pixels)


_CHANGES: dict[Operation, Callable[[Tensor, Tensor], Tensor]] = {
    Operation.SHARPNESS: _sharpen,
    Operation.POSTERIZE: _posterize,
    Operation.SOLARIZE: _solarize,
    Operation.AUTOCONTRAST: _stretch,
    Operation.EQUALIZE: _equalize,
}
"""Of some images (n, 3, H, W) that are a copy, and the strengths (n, 1, 1, 1)."""
