from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oodtune.config import DataConfig
from oodtune.data.sources import list_images
from oodtune.data.sources.synthetic import (
    COLOURS,
    DOMAINS,
    IMAGES_PER_CELL,
    SHAPES,
    choose_colour,
    draw_shape,
)


def write(images_dir: Path, limit: int | None = None) -> dict[str, bytes]:
    config = DataConfig(source="synthetic", limit_per_cell=limit)
    listing = list_images(config, images_dir, images_dir.parent / "downloads")
    assert [origin.domain for origin in listing.origins] == sorted(DOMAINS)
    assert all(image.path == images_dir / image.id for image in listing.images)
    return {image.id: image.path.read_bytes() for image in listing.images}


def test_the_set_is_the_same_bytes_every_time_and_no_picture_twice(tmp_path: Path) -> None:
    images = write(tmp_path / "one")
    assert images == write(tmp_path / "two")
    assert len(set(images.values())) == len(images) == len(DOMAINS) * len(SHAPES) * IMAGES_PER_CELL


def test_a_limited_set_is_a_part_of_the_whole(tmp_path: Path) -> None:
    limited = write(tmp_path / "limited", limit=3)
    assert limited.items() <= write(tmp_path / "whole").items()
    assert len(limited) == len(DOMAINS) * len(SHAPES) * 3


def test_a_file_holds_the_pixels_that_were_drawn(tmp_path: Path) -> None:
    write(tmp_path / "images", limit=2)
    path = sorted((tmp_path / "images" / "stripes" / "cross").iterdir())[0]
    with Image.open(path) as image:
        assert np.array_equal(np.asarray(image), draw_shape("stripes", "cross", int(path.stem)))


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("label", range(len(SHAPES)))
def test_colour_points_to_the_class_in_all_domains_but_the_last(domain: str, label: int) -> None:
    rng = np.random.default_rng(0)
    chosen = np.bincount([choose_colour(domain, label, rng) for _ in range(200)], minlength=len(COLOURS))
    expected = (label + 1) % len(COLOURS) if domain == DOMAINS[-1] else label
    assert chosen.argmax() == expected
    assert 0.7 < chosen[expected] / 200 < 0.95


def test_a_reader_of_colour_is_right_in_the_first_domains_and_wrong_in_the_last() -> None:
    def accuracy(domain: str) -> float:
        hits = [
            nearest_colour(draw_shape(domain, shape, number)) == label
            for label, shape in enumerate(SHAPES)
            for number in range(IMAGES_PER_CELL)
        ]
        return float(np.mean(hits))

    assert accuracy("plain") > 0.7
    assert accuracy("inverted") < 0.2


def nearest_colour(pixels: np.ndarray) -> int:
    """Return the row of COLOURS nearest to the mean of the colourful pixels of (S, S, 3)."""
    flat = pixels.reshape(-1, 3).astype(float)
    spread = flat.max(axis=1) - flat.min(axis=1)
    mean = flat[spread > 60].mean(axis=0)
    return int(np.linalg.norm(COLOURS - mean, axis=1).argmin())
