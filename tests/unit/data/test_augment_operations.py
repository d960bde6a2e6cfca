"""The operations against torchvision's, one by one and as they are drawn."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, TrivialAugmentWide
from torchvision.transforms.v2 import functional as reference

from oodtune.config import AugmentConfig
from oodtune.data.augment import Changes, Operation, apply, draw_changes
from oodtune.data.augment.colour import add_tints
from oodtune.data.augment.operations import draw_operations

SIZE = 40


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Return images (4, 3, 40, 40), uint8: soft colours, a hard edge, noise, and channels of different range."""
    soft = F.interpolate(torch.rand(4, 3, 5, 5, generator=generator(1)), (SIZE, SIZE), mode="bicubic") * 200 + 30
    soft[:, :, 8:20, 10:30] *= 0.4
    soft += 10 * torch.randn(soft.shape, generator=generator(2))
    soft[:, 2] = 0.5 * soft[:, 2] + 40
    return soft.clamp(0, 255).round().to(torch.uint8)


def only(num_images: int, *steps: tuple[Operation, float]) -> Changes:
    """Return changes that are these operations and nothing else."""
    operations = torch.tensor([operation for operation, _ in steps]).expand(num_images, -1)
    strengths = torch.tensor([strength for _, strength in steps]).expand(num_images, -1)
    identity = torch.eye(3).expand(num_images, 3, 3)
    colour, lift = add_tints(identity, torch.zeros(num_images), operations, strengths)
    return Changes(identity[:, :2], colour, lift, torch.zeros(num_images, 4), operations, strengths)


def changed(images: Tensor, *steps: tuple[Operation, float]) -> Tensor:
    return apply(images.float(), only(len(images), *steps))


def expected(images: Tensor, operation: Operation, strength: float) -> Tensor:
    """Return what torchvision makes of images: of uint8 where a step hangs on the level, else of floats."""
    on_floats = {
        Operation.BRIGHTNESS: lambda pixels: reference.adjust_brightness(pixels, 1 + strength),
        Operation.COLOUR: lambda pixels: reference.adjust_saturation(pixels, 1 + strength),
        Operation.CONTRAST: lambda pixels: reference.adjust_contrast(pixels, 1 + strength),
        Operation.SHARPNESS: lambda pixels: reference.adjust_sharpness(pixels, 1 + strength),
        Operation.AUTOCONTRAST: reference.autocontrast,
    }
    if operation in on_floats:
        return 255 * on_floats[operation](images.float() / 255)
    on_levels = {
        Operation.POSTERIZE: lambda levels: reference.posterize(levels, int(strength)),
        Operation.SOLARIZE: lambda levels: reference.solarize(levels, strength),
        Operation.EQUALIZE: reference.equalize,
    }
    return on_levels[operation](images.to(torch.uint8)).float()


def expected_move(pixels: Tensor, operation: Operation, strength: float) -> Tensor:
    if operation == Operation.ROTATE:
        return reference.rotate(pixels, strength, InterpolationMode.BILINEAR)
    angle = math.degrees(math.atan(strength))
    across = int(strength) * (operation == Operation.TRANSLATE_X)
    down = int(strength) * (operation == Operation.TRANSLATE_Y)
    shear = [angle * (operation == Operation.SHEAR_X), angle * (operation == Operation.SHEAR_Y)]
    return reference.affine(
        pixels, 0.0, [across, down], 1.0, shear, InterpolationMode.BILINEAR, center=[0, 0] if any(shear) else None
    )


@pytest.mark.parametrize("strength", [-0.99, -0.4, 0.0, 0.7, 0.99])
@pytest.mark.parametrize(
    "operation", [Operation.BRIGHTNESS, Operation.COLOUR, Operation.CONTRAST, Operation.SHARPNESS], ids=lambda o: o.name
)
def test_colour_and_sharpness_are_torchvisions(images: Tensor, operation: Operation, strength: float) -> None:
    difference = changed(images, (operation, strength)) - expected(images, operation, strength)
    assert difference.abs().max() < 0.05  # its luma has 0.2989 for red


@pytest.mark.parametrize("bits", range(2, 9))
def test_posterizing_is_torchvisions_to_the_bit(images: Tensor, bits: int) -> None:
    step = (Operation.POSTERIZE, float(bits))
    assert torch.equal(changed(images, step), expected(images, *step))


@pytest.mark.parametrize("threshold", [0.0, 100.5, 127.0, 255.0])
def test_solarizing_is_torchvisions(images: Tensor, threshold: float) -> None:
    step = (Operation.SOLARIZE, threshold)
    assert (changed(images, step) - expected(images, *step)).abs().max() < 0.01


def test_equalizing_is_torchvisions_also_of_few_levels_and_of_one(images: Tensor) -> None:
    poor = images.clone()
    poor[0] = (poor[0] // 128) * 128
    poor[1, 0], poor[1, 1] = 77, 0
    difference = changed(poor, (Operation.EQUALIZE, 0.0)) - expected(poor, Operation.EQUALIZE, 0.0)
    assert difference.abs().max() < 1e-4


def test_autocontrast_is_torchvisions_also_of_a_channel_of_one_level(images: Tensor) -> None:
    flat = images.clone()
    flat[1, 0] = 77
    difference = changed(flat, (Operation.AUTOCONTRAST, 0.0)) - expected(flat, Operation.AUTOCONTRAST, 0.0)
    assert difference.abs().max() < 0.02


@pytest.mark.parametrize(
    ("operation", "strengths"),
    [
        (Operation.SHEAR_X, (-0.99, -0.3, 0.5)),
        (Operation.SHEAR_Y, (-0.99, -0.3, 0.5)),
        (Operation.TRANSLATE_X, (-32.0, 7.0)),
        (Operation.TRANSLATE_Y, (-7.0, 32.0)),
        (Operation.ROTATE, (-135.0, -20.0, 4.5, 90.0)),
    ],
    ids=lambda value: value.name if isinstance(value, Operation) else "",
)
def test_moves_are_torchvisions_where_the_image_is(
    images: Tensor, operation: Operation, strengths: tuple[float, ...]
) -> None:
    for strength in strengths:
        inside = expected_move(torch.ones(1, 1, SIZE, SIZE), operation, strength)[0, 0] > 0.9999
        assert inside.float().mean() > 0.15
        difference = changed(images, (operation, strength)) - expected_move(images.float(), operation, strength)
        assert difference[..., inside].abs().max() < 0.1


def test_what_a_move_brings_in_from_outside_is_the_image_mirrored(images: Tensor) -> None:
    moved = changed(images, (Operation.TRANSLATE_X, 5.0))
    assert torch.allclose(moved[..., :5], images[..., :5].flip(3).float(), atol=0.1)


def test_moves_come_after_the_flip_and_in_the_order_they_were_drawn(images: Tensor) -> None:
    changes = only(len(images), (Operation.TRANSLATE_X, 6.0), (Operation.ROTATE, 90.0))
    flip = torch.tensor([-1.0, 1.0, 1.0]).view(1, 1, 3)
    both = replace(changes, theta=changes.theta * flip)
    shifted = images.flip(3).float()[..., :-6]
    assert torch.allclose(apply(images.float(), both)[..., :-6, :], torch.rot90(shifted, 1, (2, 3)), atol=0.1)


def test_tints_are_applied_in_the_order_they_were_drawn(images: Tensor) -> None:
    soft = images // 4 + 90  # nothing is clipped on the way
    steps = [(Operation.CONTRAST, 0.3), (Operation.BRIGHTNESS, -0.4)]
    for first, second in (steps, steps[::-1], [(Operation.COLOUR, 0.5), (Operation.CONTRAST, -0.6)]):
        once = expected(soft, *first)
        twice = expected(once, *second)
        assert (changed(soft, first, second) - twice).abs().max() < 0.1


def test_contrast_on_top_of_the_jitter_keeps_the_mean_grey_of_the_jittered_image(images: Tensor) -> None:
    soft = (images // 4 + 90).float()
    jitter = AugmentConfig(crop_scale_min=1.0, flip_probability=0.0)
    jittered = draw_changes(len(soft), jitter, generator(5))
    operations, strengths = torch.full((4, 1), int(Operation.CONTRAST)), torch.full((4, 1), -0.8)
    colour, lift = add_tints(jittered.colour, jittered.lift, operations, strengths)
    both = replace(jittered, colour=colour, lift=lift, operations=operations, strengths=strengths)
    wanted = 255 * reference.adjust_contrast(apply(soft, jittered) / 255.0, 0.2)
    assert (apply(soft, both) - wanted).abs().max() < 0.1


def test_operations_and_strengths_are_those_of_torchvisions_trivial_augment_wide() -> None:
    operations, strengths = draw_operations(40_000, 1, generator())
    names = {name.casefold(): entry for name, entry in TrivialAugmentWide._AUGMENTATION_SPACE.items()}
    names["colour"] = names.pop("color")
    assert names.keys() == {operation.name.replace("_", "").casefold() for operation in Operation}
    for operation in Operation:
        magnitudes_of, signed = names[operation.name.replace("_", "").casefold()]
        magnitudes = magnitudes_of(31, 224, 224)
        wanted = torch.zeros(1) if magnitudes is None else magnitudes.float()
        if operation.name.startswith("TRANSLATE"):
            wanted = (wanted + 1e-4).trunc()  # torch.linspace gives 15.99999 for 16
        wanted = wanted * 255.0 if operation == Operation.SOLARIZE else wanted
        wanted = torch.cat([wanted, -wanted]) if signed else wanted
        drawn = strengths[operations == operation]
        distances = (drawn.unique().view(-1, 1) - wanted.unique()).abs()
        assert distances.min(0).values.max() < 1e-4, f"{operation.name}: a strength is never drawn"
        assert distances.min(1).values.max() < 1e-4, f"{operation.name}: a strength is not torchvision's"
        share = len(drawn) / len(strengths)
        assert share == pytest.approx(1 / 14, abs=0.0052), operation.name  # four standard deviations
