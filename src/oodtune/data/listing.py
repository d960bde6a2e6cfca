"""What a source offers: files, under the names they will have in the dataset."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oodtune.data.origin import Origin


@dataclass(frozen=True)
class SourceImage:
    """One file of a source; nobody has looked into it yet."""

    id: str
    """`<domain>/<class>/<file>`: its name in the dataset, unique."""
    path: Path
    group: str = ""
    """Images of one group never straddle splits; empty if the source knows of none."""


@dataclass(frozen=True)
class Listing:
    """All files of a source, and one Origin a domain."""

    images: tuple[SourceImage, ...]
    origins: tuple[Origin, ...]


def list_directory(directory: Path, origins: Sequence[Origin]) -> Listing:
    """List the files `<domain>/<class>/<file>` that a source has written to `directory`."""
    paths = sorted(path for path in directory.glob("*/*/*") if path.is_file())
    images = [SourceImage(path.relative_to(directory).as_posix(), path) for path in paths]
    return Listing(tuple(images), tuple(origins))
