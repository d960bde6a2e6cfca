import pytest
import torch
from torch import Tensor

from oodtune.config import AugmentConfig
from oodtune.data.augment import augment, erase, hue_rotation
from oodtune.data.augment.erasing import draw_boxes

OFF = AugmentConfig(crop_scale_min=1.0, flip_probability=0.0, jitter=0.0, grayscale_probability=0.0)

RECORDED = [
    (
        AugmentConfig(),
        [172.291, 115.443, 177.047, 74.914, 154.414, 224.066, 40.070, 185.896, 209.241, 79.515, 149.442, 225.132],
        1809378383,
    ),
    (
        AugmentConfig(erase_probability=0.5),
        [172.291, 115.443, 177.047, 74.914, 154.414, 224.066, 40.070, 162.937, 209.241, 79.515, 133.778, 225.132],
        520902904,
    ),
    (
        AugmentConfig(crop_scale_min=0.3, jitter=0.5, flip_probability=0.2),
        [197.092, 125.521, 185.257, 115.614, 165.479, 222.242, 70.091, 197.916, 212.701, 111.306, 160.781, 199.720],
        1809378383,
    ),
]
"""Settings, twelve levels of a drawn image, and what the generator gives next: of oodtune 0.1 at commit 2aef505."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def pixels() -> Tensor:
    """Return pixels (6, 3, 24, 24) in 0..255."""
    return torch.rand(6, 3, 24, 24, generator=generator(7)) * 255


def test_augmented_pixels_keep_shape_and_range(pixels: Tensor) -> None:
    changed = augment(pixels, AugmentConfig(), generator())
    assert changed.shape == pixels.shape
    assert 0 <= changed.min() <= changed.max() <= 255
    assert not torch.allclose(changed, pixels, atol=1.0)


def test_the_same_generator_state_gives_the_same_pixels(pixels: Tensor) -> None:
    assert torch.equal(augment(pixels, AugmentConfig(), generator(3)), augment(pixels, AugmentConfig(), generator(3)))


def test_each_image_of_a_batch_is_changed_differently(pixels: Tensor) -> None:
    copies = pixels[:1].expand(6, -1, -1, -1).contiguous()
    changed = augment(copies, AugmentConfig(), generator())
    assert all(not torch.allclose(changed[0], other, atol=1.0) for other in changed[1:])


def test_no_jitter_and_no_grey_changes_no_colour(pixels: Tensor) -> None:
    assert torch.allclose(augment(pixels, OFF, generator()), pixels, atol=2e-2)


def test_a_certain_flip_of_the_whole_image_mirrors_it(pixels: Tensor) -> None:
    flipped = augment(pixels, OFF.model_copy(update={"flip_probability": 1.0}), generator())
    assert torch.allclose(flipped, pixels.flip(3), atol=2e-2)


def test_a_crop_shows_a_part_of_the_image() -> None:
    ramp = torch.arange(64.0).view(1, 1, 1, 64).expand(50, 3, 64, 64).contiguous()
    cropped = augment(ramp, OFF.model_copy(update={"crop_scale_min": 0.5}), generator())
    spans = cropped[:, 0, 0, -1] - cropped[:, 0, 0, 0]
    assert (spans < 63.5).all()
    assert spans.min() < 50


def test_certain_greyscale_leaves_no_colour(pixels: Tensor) -> None:
    grey = augment(pixels, AugmentConfig(grayscale_probability=1.0), generator())
    assert torch.allclose(grey[:, 0], grey[:, 1], atol=0.1)
    assert torch.allclose(grey[:, 1], grey[:, 2], atol=0.1)


def test_grey_pixels_keep_their_hue_and_brightness_changes_them_by_at_most_the_jitter() -> None:
    grey = torch.full((200, 3, 2, 2), 100.0)
    changed = augment(grey, AugmentConfig(), generator())
    assert torch.allclose(changed[:, 0], changed[:, 2], atol=0.5)
    assert 70 - 0.5 <= changed.min() <= changed.max() <= 130 + 0.5
    assert changed.max() - changed.min() > 40


def test_a_full_turn_of_the_hue_changes_nothing_and_a_half_turn_does() -> None:
    turns = hue_rotation(torch.tensor([1.0, 0.5]))
    assert torch.allclose(turns[0], torch.eye(3), atol=1e-4)
    assert not torch.allclose(turns[1], torch.eye(3), atol=0.1)


def test_turning_the_hue_keeps_luma() -> None:
    luma = torch.tensor([0.299, 0.587, 0.114])
    assert torch.allclose(luma @ hue_rotation(torch.tensor([0.3]))[0], luma, atol=1e-4)


def test_erasing_paints_one_rectangle_in_the_mean_colour() -> None:
    images = 255 * torch.rand(200, 3, 40, 40, generator=generator(1))
    boxes = draw_boxes(200, AugmentConfig(erase_probability=1.0), generator())
    erased = erase(images, boxes)
    painted = (erased != images).all(1)  # (200, 40, 40)
    for image, mean, area in zip(erased, images.mean((2, 3)), painted, strict=True):
        down, across = area.any(1), area.any(0)
        assert torch.equal(area, down.view(-1, 1) & across.view(1, -1))
        assert torch.allclose(image[:, area], mean.view(3, 1))
        for side in (down, across):
            (places,) = torch.where(side)
            assert len(places) == places[-1] - places[0] + 1
    shares = painted.float().mean((1, 2))
    assert 0.0 < shares.min() < 0.05
    assert 0.3 < shares.max() < 0.4


def test_erasing_hits_every_part_of_the_image_and_its_share_of_images() -> None:
    images = 255 * torch.rand(1000, 3, 8, 8, generator=generator(1))
    boxes = draw_boxes(1000, AugmentConfig(erase_probability=0.25), generator())
    painted = (erase(images, boxes) != images).all(1)
    assert painted.any(0).all()
    assert painted.any(2).any(1).float().mean().item() == pytest.approx(0.25, abs=0.055)  # four standard deviations


@pytest.mark.parametrize(("config", "expected", "next_number"), RECORDED)
def test_the_same_seed_gives_what_it_gave_before_there_were_operations(
    config: AugmentConfig, expected: list[float], next_number: int
) -> None:
    across, down = torch.arange(32.0).view(1, 1, 1, 32), torch.arange(32.0).view(1, 1, 32, 1)
    channel, image = torch.arange(3.0).view(1, 3, 1, 1), torch.arange(4.0).view(4, 1, 1, 1)
    drawing = generator(11)
    changed = augment(4 * across + 3 * down + 15 * channel + 2 * image, config, drawing)
    assert changed[:, [0, 1, 2], [5, 16, 28], [3, 20, 25]].flatten().tolist() == pytest.approx(expected, abs=2e-3)
    assert int(torch.randint(2**31, (), generator=drawing)) == next_number
