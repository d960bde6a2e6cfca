"""Images that are the same file under several names."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from oodtune.artifact import hash_file


def hash_images(images_dir: Path, image_ids: Sequence[str]) -> dict[str, str]:
    """Return id -> sha256 of the file: equal hashes are exact duplicates."""
    return {image_id: hash_file(images_dir / image_id) for image_id in image_ids}


def count_duplicates(hashes: Mapping[str, str]) -> dict[str, int]:
    """Return domain -> number of images that another image of the domain already is; domains without are left out."""
    copies = Counter((image_id.split("/", 1)[0], digest) for image_id, digest in hashes.items())
    surplus: Counter[str] = Counter()
    for (domain, _), count in copies.items():
        surplus[domain] += count - 1
    return {domain: count for domain, count in sorted(surplus.items()) if count}
