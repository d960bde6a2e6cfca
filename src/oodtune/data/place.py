"""Copy what the check kept into the dataset, and see that it is what the check saw."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from oodtune.data.listing import Listing
from oodtune.errors import DataError
from oodtune.parallel import map_in_threads
from oodtune.progress import Progress, silent


def place_images(listing: Listing, hashes: Mapping[str, str], images_dir: Path, progress: Progress = silent) -> None:
    """Make `images_dir` hold the images named in `hashes` (id -> sha256), under their ids, and no others.

    What a source has drawn there stays or goes; the rest is copied byte for byte. Raises DataError if a file
    is no longer what was checked, or cannot be copied.
    """
    for image in listing.images:
        if image.id not in hashes and image.path == images_dir / image.id:
            image.path.unlink()
    wanted = [image for image in listing.images if image.id in hashes and image.path != images_dir / image.id]
    for directory in sorted({(images_dir / image.id).parent for image in wanted}):
        directory.mkdir(parents=True, exist_ok=True)

    copies = map_in_threads(lambda image: _copy(image.path, images_dir / image.id, hashes[image.id]), wanted)
    for done, _ in enumerate(copies, start=1):
        progress(done, len(wanted), "copied")


def _copy(path: Path, copy: Path, sha256: str) -> None:
    try:
        content = path.read_bytes()
        copy.write_bytes(content)
    except OSError as error:
        raise DataError(
            f"{path}: expected a file to copy; {error.strerror}; check its permissions and the disk"
        ) from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(f"{path}: expected the file that was checked, found it changed meanwhile; run again")
