"""A bundle and image files -> labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from oodtune.bundle import open_bundle
from oodtune.preprocess import decode_with_facts

BATCH: Final = 32
"""Images decoded and run at a time; bounds memory."""

Labels = list[tuple[str, float]]
"""(label, probability), most probable first."""


def classify_files(
    bundle: Path, images: Sequence[Path], top_k: int, provider: str = "cpu"
) -> list[tuple[Path, Labels]]:
    """Return the `top_k` most probable labels of every image file; all of them if there are fewer.

    Raises DataError if a file is not a readable image, ArtifactError if `bundle` is not a whole bundle.
    """
    opened = open_bundle(bundle, provider)
    found: list[tuple[Path, Labels]] = []
    for start in range(0, len(images), BATCH):
        paths = images[start : start + BATCH]
        probabilities = opened.classify([decode_with_facts(path).image for path in paths])  # (N, K)
        found += [(path, opened.rank(row, top_k)) for path, row in zip(paths, probabilities, strict=True)]
    return found
