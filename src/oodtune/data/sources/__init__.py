"""Where images come from. A new source is one module with one function, and one line in SOURCES."""

from collections.abc import Callable
from pathlib import Path

from oodtune.config import DataConfig
from oodtune.data.sources.dvc_repo import write_dvc
from oodtune.data.sources.emoji import write_emoji_domains
from oodtune.data.sources.folder import write_folder
from oodtune.data.sources.origin import Origin
from oodtune.data.sources.synthetic import write_synthetic
from oodtune.progress import Progress, silent

__all__ = ["SOURCES", "Origin", "Source", "write_images"]

Source = Callable[[DataConfig, Path, Path, Progress], list[Origin]]
"""Called with (config, images_dir, downloads_dir, progress); see `write_images`."""

SOURCES: dict[str, Source] = {
    "dvc": write_dvc,
    "emoji-domains": write_emoji_domains,
    "folder": write_folder,
    "synthetic": write_synthetic,
}


def write_images(
    config: DataConfig, images_dir: Path, downloads_dir: Path, progress: Progress = silent
) -> list[Origin]:
    """Write `images_dir/<domain>/<class>/<image>` from `config.source`; return one Origin a domain, sorted.

    At most `config.limit_per_cell` images of each class of each domain are written. Downloads are kept
    in `downloads_dir` and used again. Raises DataError for unusable data and UserError for a missing tool
    or network.
    """
    images_dir.mkdir(parents=True, exist_ok=True)
    origins = SOURCES[config.source](config, images_dir, downloads_dir, progress)
    return sorted(origins, key=lambda origin: origin.domain)
