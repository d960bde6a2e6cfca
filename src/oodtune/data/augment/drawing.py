"""Random numbers, drawn on the CPU and sent to where the pixels are."""

import math

import torch
from torch import Tensor


def uniform(num: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Draw (num,) numbers of [low, high)."""
    return low + (high - low) * torch.rand(num, generator=generator)


def sides(area: Tensor, max_aspect: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw width and height (B,) of rectangles that have `area` (B,) and fit; 1 is the whole image."""
    # torchvision draws the aspect again if the rectangle does not fit; these bounds make the first draw fit.
    bound = (-area.log()).clamp(max=math.log(max_aspect))
    aspect = torch.exp(bound * uniform(len(area), -1.0, 1.0, generator))
    return (area * aspect).sqrt(), (area / aspect).sqrt()


def send(drawn: Tensor, pixels: Tensor) -> Tensor:
    """Return `drawn` on the device of `pixels`; numbers with a fraction also in its dtype."""
    values = drawn.to(pixels.dtype) if drawn.is_floating_point() else drawn
    if pixels.device.type != "cuda":
        return values.to(pixels.device)
    return values.pin_memory().to(pixels.device, non_blocking=True)  # from pageable memory it would wait for the GPU
