"""DomainBed's augmentation, and TrivialAugment on top of it, as other libraries do it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Augmentation = Callable[[Tensor], Tensor]
"""Images (B, S, S, 3), uint8 -> pixels (B, 3, S, S), float32 in 0..255, channels last in memory."""


def with_torchvision(size: int, operations: int) -> Augmentation:
    """Return torchvision's transforms, image by image: a whole batch would share one draw of the parameters.

    They work on floats, on which they are faster than on uint8.
    """
    from torchvision.transforms import v2

    steps: list[nn.Module] = [
        v2.RandomResizedCrop(size, scale=(0.7, 1.0), antialias=True),
        v2.RandomHorizontalFlip(),
        v2.ColorJitter(0.3, 0.3, 0.3, 0.3),
        v2.RandomGrayscale(0.1),
        *(v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR) for _ in range(operations)),
    ]
    transform = v2.Compose(steps)

    def augment(images: Tensor) -> Tensor:
        pixels = images.permute(0, 3, 1, 2).float() / 255.0
        changed = torch.stack([transform(image) for image in pixels])
        return (255.0 * changed).contiguous(memory_format=torch.channels_last)

    return augment


def with_kornia(size: int, device: torch.device) -> Augmentation:
    """Return kornia's transforms of a batch, parameters per image. Raises ImportError where it cannot be imported.

    Its TrivialAugment draws one operation for a whole batch, so that there is nothing of it to compare with.
    """
    from kornia import augmentation

    # What it does fastest: to slice, image by image, on a CPU; to resample the batch where slices wait for a GPU.
    cropping = "slice" if device.type == "cpu" else "resample"
    transform = augmentation.AugmentationSequential(
        augmentation.RandomResizedCrop((size, size), scale=(0.7, 1.0), cropping_mode=cropping),
        augmentation.RandomHorizontalFlip(p=0.5),
        augmentation.ColorJitter(0.3, 0.3, 0.3, 0.3, p=1.0),
        augmentation.RandomGrayscale(p=0.1),
        data_keys=["input"],
        same_on_batch=False,
    )

    def augment(images: Tensor) -> Tensor:
        pixels = images.permute(0, 3, 1, 2).float() / 255.0
        augmented: Tensor = 255.0 * transform(pixels)
        return augmented.contiguous(memory_format=torch.channels_last)

    return augment
