import io

import numpy as np
from PIL import Image

from oodtune.evaluate.mistakes import Mistake, encode_tile, worst_mistakes
from tests.fixtures.judged import outcomes_of

IDS = ("e", "d", "c", "b", "a")


def test_the_surest_wrong_answers_come_first_and_right_ones_never():
    outcomes = outcomes_of([0.6, 0.9, 0.99, 0.7, 0.9], [False, False, True, False, False])
    found = worst_mistakes(outcomes, IDS, ("cat", "dog"), 3)
    assert [one.id for one in found] == ["a", "d", "b"]  # equally sure ones by id
    assert [one.place for one in found] == [4, 1, 3]
    assert (found[0].true, found[0].predicted, round(found[0].confidence, 6)) == ("dog", "cat", 0.9)


def test_no_mistake_is_no_tile():
    assert worst_mistakes(outcomes_of([0.9, 0.8], [True, True]), IDS[:2], ("cat", "dog"), 24) == []


def test_a_large_image_becomes_a_small_tile():
    pixels = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    tile = encode_tile(Mistake("a", 0, "cat", "dog", 0.9), pixels)
    image = Image.open(io.BytesIO(tile.jpeg))
    assert (image.format, image.size) == ("JPEG", (112, 112))
    assert len(tile.jpeg) < 20_000
