"""Where images come from. A new source is one module with one function, and one line in SOURCES."""

from collections.abc import Callable
from pathlib import Path

from oodtune.config import DataConfig
from oodtune.data.listing import Listing, SourceImage
from oodtune.data.origin import Origin
from oodtune.data.sources.dvc_repo import list_dvc
from oodtune.data.sources.emoji import write_emoji_domains
from oodtune.data.sources.folder import list_folder
from oodtune.data.sources.synthetic import write_synthetic
from oodtune.data.sources.table import list_table
from oodtune.progress import Progress, silent

__all__ = ["SOURCES", "Listing", "Origin", "Source", "SourceImage", "list_images"]

Source = Callable[[DataConfig, Path, Path, Progress], Listing]
"""Called with (config, work_dir, downloads_dir, progress); see `list_images`."""

SOURCES: dict[str, Source] = {
    "csv": list_table,
    "dvc": list_dvc,
    "emoji-domains": write_emoji_domains,
    "folder": list_folder,
    "parquet": list_table,
    "synthetic": write_synthetic,
}


def list_images(config: DataConfig, work_dir: Path, downloads_dir: Path, progress: Progress = silent) -> Listing:
    """Return what `config.source` offers, sorted by id and by domain; files are named, not yet looked into.

    A source that draws its images writes them to `work_dir/<id>`; others name files where they lie. At most
    `config.limit_per_cell` images of each class of each domain are listed. Downloads are kept in
    `downloads_dir` and used again. Raises DataError for unusable data and UserError for a missing tool or network.
    """
    listing = SOURCES[config.source](config, work_dir, downloads_dir, progress)
    return Listing(
        images=tuple(sorted(listing.images, key=lambda image: image.id)),
        origins=tuple(sorted(listing.origins, key=lambda origin: origin.domain)),
    )
