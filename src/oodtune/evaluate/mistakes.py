"""The mistakes that a user would trust: wrong predictions with the highest confidence."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from oodtune.evaluate.outcomes import Outcomes

MOST_TILES = 24
_SIDE = 112
"""Pixels of a tile, at most."""


@dataclass(frozen=True)
class Mistake:
    id: str
    place: int
    """Among the images that were judged."""
    true: str
    predicted: str
    confidence: float
    """0..1."""


@dataclass(frozen=True)
class Tile:
    mistake: Mistake
    jpeg: bytes


def worst_mistakes(outcomes: Outcomes, ids: Sequence[str], classes: Sequence[str], most: int) -> list[Mistake]:
    """Return the most confident wrong predictions, the most confident first; equal ones by id."""
    assert len(ids) == len(outcomes.labels)
    wrong = np.flatnonzero(~outcomes.correct).tolist()
    ordered = sorted(wrong, key=lambda place: (outcomes.doubt[place], ids[place]))
    confidence = outcomes.confidence
    return [
        Mistake(
            id=ids[place],
            place=place,
            true=classes[outcomes.labels[place]],
            predicted=classes[outcomes.predicted[place]],
            confidence=float(confidence[place]),
        )
        for place in ordered[:most]
    ]


def encode_tile(mistake: Mistake, pixels: npt.NDArray[np.uint8]) -> Tile:
    """Return a tile of an image (S, S, 3), scaled down if it is large."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((_SIDE, _SIDE))
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=82, optimize=True)
    return Tile(mistake, stream.getvalue())
