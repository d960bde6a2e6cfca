"""What the demonstration sends: images of the training domains, and images of none of them."""

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from oodtune.artifact import open_artifact
from oodtune.bundle import DOMAINS
from oodtune.data.index import read_index
from oodtune.domain_scores import DomainScores
from oodtune.errors import UserError

MOST_IMAGES: Final = 500
"""Of a stream: they are held in memory, and sent in a round."""
_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
_BOTH: Final = "give --images DIRECTORY (of the training domains) and --drifted DIRECTORY (of none of them)"


class Streams(NamedTuple):
    """Image files of the training domains, and of none of them; each of many classes from the first image on."""

    in_domain: tuple[bytes, ...]
    drifted: tuple[bytes, ...]


def read_streams(images: Path | None, drifted: Path | None, dataset: Path, bundle: Path) -> Streams:
    """Return images of two directories, or else of `dataset`. Raises UserError if there are none."""
    if images is not None and drifted is not None:
        return Streams(_read(_list_images(images)), _read(_list_images(drifted)))
    if images is not None or drifted is not None:
        raise UserError(f"expected two directories of images, found one; {_BOTH}")
    if not dataset.exists():
        raise UserError(f"expected the dataset that the bundle was made from, found no {dataset}; {_BOTH}")
    return _read_dataset(dataset, bundle)


def _read_dataset(dataset: Path, bundle: Path) -> Streams:
    """Return the out-splits of the bundle's training domains, and all of the domains that it does not know."""
    open_artifact(dataset, "dataset")
    known = _training_domains(bundle)
    rows = read_index(dataset / "index.csv")
    in_domain = [dataset / "images" / row.id for row in rows if row.domain in known and row.split == "out"]
    drifted = [dataset / "images" / row.id for row in rows if row.domain not in known]
    if not in_domain or not drifted:
        found = sorted({row.domain for row in rows})
        raise UserError(
            f"{dataset}: expected domains of the bundle, {sorted(known)}, and one or more others, found {found}; "
            f"{_BOTH}"
        )
    return Streams(_read(in_domain), _read(drifted))


def _training_domains(bundle: Path) -> frozenset[str]:
    open_artifact(bundle, "bundle")
    return frozenset(DomainScores.model_validate_json((bundle / DOMAINS).read_text(encoding="utf-8")).domains)


def _list_images(directory: Path) -> list[Path]:
    found = [path for path in directory.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file()]
    if not found:
        raise UserError(f"{directory}: expected a directory with images ({', '.join(sorted(_SUFFIXES))}), found none")
    return found


def _read(paths: Iterable[Path]) -> tuple[bytes, ...]:
    """Read at most MOST_IMAGES, drawn from all: a round must not begin with one class."""
    ordered = sorted(paths)
    random.Random(0).shuffle(ordered)  # noqa: S311  no secret
    return tuple(path.read_bytes() for path in ordered[:MOST_IMAGES])
