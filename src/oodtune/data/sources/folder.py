"""Images of the user's own, already laid out as `root/<domain>/<class>/<image>`."""

from pathlib import Path

from oodtune.config import DataConfig
from oodtune.data.listing import Listing, SourceImage
from oodtune.data.origin import Origin
from oodtune.data.sources.cell import limit_cell
from oodtune.data.sources.layout import LAYOUT, check_domain_name, is_visible
from oodtune.errors import DataError
from oodtune.progress import Progress, silent


def list_folder(config: DataConfig, _work_dir: Path, _downloads_dir: Path, progress: Progress = silent) -> Listing:
    """List the images below `config.root`, where they lie.

    Files that operating systems leave behind, hidden files and loose files in `root` itself are not listed.
    Raises DataError for a missing root, a wrong layout or a domain name that cannot be used.
    """
    assert config.root is not None
    excluded = _read_excluded(config)
    domain_dirs = _find_domains(config.root)
    images: list[SourceImage] = []
    for done, domain_dir in enumerate(domain_dirs, start=1):
        found = _find_images(domain_dir, config.limit_per_cell, excluded)
        images += [SourceImage(path.relative_to(config.root).as_posix(), path) for path in found]
        progress(done, len(domain_dirs), f"listed {domain_dir.name}")
    origins = [Origin(domain=path.name, title=path.name, source="folder") for path in domain_dirs]
    return Listing(tuple(images), tuple(origins))


def _find_domains(root: Path) -> list[Path]:
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise DataError(f"data.root {root}: expected a folder of domains, found {found}; {LAYOUT}")
    domain_dirs = [entry for entry in _visible(root) if entry.is_dir()]
    if not domain_dirs:
        raise DataError(f"data.root {root}: expected a folder for each domain, found none; {LAYOUT}")
    for domain_dir in domain_dirs:
        check_domain_name(str(domain_dir), domain_dir.name)
    return domain_dirs


def _read_excluded(config: DataConfig) -> frozenset[str]:
    """Return the images to leave out. Raises DataError if the list cannot be read or fits no image."""
    if config.exclude is None:
        return frozenset()
    assert config.root is not None
    try:
        lines = config.exclude.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"data.exclude {config.exclude}: expected a readable text file; {error}") from None
    excluded = frozenset(line.strip() for line in lines if line.strip())
    if not any((config.root / name).is_file() for name in excluded):
        example = f", such as {min(excluded)!r}" if excluded else ""
        raise DataError(
            f"data.exclude {config.exclude}: expected images of {config.root}, found {len(excluded)} lines{example}, "
            "that name none of them; write one <domain>/<class>/<file> a line"
        )
    return excluded


def _find_images(domain_dir: Path, limit: int | None, excluded: frozenset[str]) -> list[Path]:
    images: list[Path] = []
    for class_dir in _visible(domain_dir):
        if not class_dir.is_dir():
            raise DataError(f"{class_dir}: expected the folder of a class, found something else; {LAYOUT}")
        entries = _visible(class_dir)
        for entry in entries:
            if not entry.is_file():
                raise DataError(f"{entry}: expected an image, found something else; {LAYOUT}")
        cell = f"{domain_dir.name}/{class_dir.name}"
        names = [entry.name for entry in entries if f"{cell}/{entry.name}" not in excluded]
        images += [class_dir / name for name in limit_cell(names, limit)]
    if not images:
        raise DataError(f"{domain_dir}: expected images, found none; {LAYOUT}, or remove the folder")
    return images


def _visible(directory: Path) -> list[Path]:
    """Return what a folder holds, sorted, without hidden files and what operating systems leave behind."""
    return sorted(entry for entry in directory.iterdir() if is_visible(entry.name))
