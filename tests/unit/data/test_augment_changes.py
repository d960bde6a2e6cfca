"""Changes are drawn for a batch and applied to any part of it."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from oodtune.config import AugmentConfig
from oodtune.data.augment import apply, augment, draw_changes

ALL = AugmentConfig(erase_probability=0.5, operations=2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw_pixels(num_images: int, size: int = 24) -> Tensor:
    """Return pixels (B, 3, S, S), float32, channels last in memory, as they come from the cache."""
    images = torch.randint(256, (num_images, size, size, 3), generator=generator(7), dtype=torch.uint8)
    return images.permute(0, 3, 1, 2).float()


@pytest.mark.parametrize("config", [AugmentConfig(), ALL], ids=["domainbed", "all"])
@pytest.mark.parametrize("count", [2, 3, 16])
def test_each_ranks_part_is_the_whole_batchs_to_the_bit(config: AugmentConfig, count: int) -> None:
    pixels = draw_pixels(40)
    whole = augment(pixels, config, generator())
    changes = draw_changes(40, config, generator())
    for rank in range(count):
        assert torch.equal(apply(pixels[rank::count], changes.part(rank, count)), whole[rank::count])


def test_a_part_may_be_empty() -> None:
    assert len(apply(draw_pixels(2)[5::6], draw_changes(2, ALL, generator()).part(5, 6))) == 0


def test_large_batches_are_changed_in_parts_with_the_same_result() -> None:
    pixels = draw_pixels(12, 224)
    changes = draw_changes(12, ALL, generator())
    alone = [apply(pixels[place : place + 1], changes.part(place, 12)) for place in range(12)]
    assert torch.equal(apply(pixels, changes), torch.cat(alone))


def test_an_image_is_changed_alike_whatever_is_beside_it() -> None:
    changes = draw_changes(64, ALL, generator(1))
    pixels = draw_pixels(64)
    others = 255.0 - pixels
    others[10] = pixels[10]
    assert torch.equal(apply(pixels, changes)[10], apply(others, changes)[10])


def test_operations_leave_the_rest_of_the_draw_as_it_is() -> None:
    without, with_one = (
        draw_changes(50, ALL.model_copy(update={"operations": count}), generator()) for count in (0, 1)
    )
    assert torch.equal(without.theta, with_one.theta)
    assert torch.equal(without.boxes, with_one.boxes)
    assert without.operations.shape == (50, 0)


def test_pixels_are_not_written_to() -> None:
    pixels = draw_pixels(64)
    before = pixels.clone()
    augment(pixels, ALL, generator())
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_dtype_and_layout_are_kept_and_the_layout_changes_no_bit(
    dtype: torch.dtype, layout: torch.memory_format
) -> None:
    pixels = draw_pixels(30).to(dtype).contiguous(memory_format=layout)
    changed = augment(pixels, ALL, generator())
    assert changed.dtype == dtype
    assert changed.is_contiguous(memory_format=layout)
    assert torch.equal(changed, augment(draw_pixels(30).to(dtype), ALL, generator()))


def test_results_stay_in_range_and_are_finite() -> None:
    changed = augment(draw_pixels(300), ALL, generator(3))
    assert torch.isfinite(changed).all()
    assert 0 <= changed.min() <= changed.max() <= 255


def test_images_that_are_not_square_keep_their_shape_and_right_angles() -> None:
    changes = draw_changes(1, AugmentConfig(), generator())
    identity = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    turned = replace(
        changes,
        theta=identity,
        colour=torch.eye(3).view(1, 3, 3),
        lift=torch.zeros(1),
        operations=torch.tensor([[5]]),
        strengths=torch.tensor([[90.0]]),
    )
    wide = torch.zeros(1, 3, 20, 40)
    wide[..., 12:16] = 200.0  # a bar that stands, left of the middle
    lying = apply(wide, turned)
    assert lying.shape == wide.shape
    assert (lying[0, 0].mean(1) > 100).nonzero().flatten().tolist() == [14, 15, 16, 17]
