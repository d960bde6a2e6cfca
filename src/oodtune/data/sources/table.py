"""Images that a table lists, one a row: camera traps, hospitals, whatever keeps its labels in a metadata file."""

import hashlib
import os
import posixpath
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from oodtune.config import DataConfig, TableConfig
from oodtune.data.listing import Listing, SourceImage
from oodtune.data.origin import Origin
from oodtune.data.sources.cell import limit_cell
from oodtune.data.sources.layout import check_domain_name, is_visible
from oodtune.data.sources.table_file import Columns, drop_point_zero, read_csv, read_parquet
from oodtune.errors import DataError
from oodtune.progress import Progress, silent

_READERS: dict[str, Callable[[Path, Sequence[str]], Columns]] = {"csv": read_csv, "parquet": read_parquet}
_MAX_NAME_BYTES = 255
_SHOWN = 5
_THREADS = 16


class _Row(NamedTuple):
    path: str
    """As `os.path.normpath` writes it: relative to the root, or absolute where the root is no part of it."""
    class_name: str
    domain: str
    group: str


def list_table(config: DataConfig, _work_dir: Path, _downloads_dir: Path, progress: Progress = silent) -> Listing:
    """List the images that `config.table` names, where they lie.

    An id is `<domain>/<class>/<path>`, with `__` for each `/` of the path relative to `config.root` (the table's
    folder if that is null); a path that leaves the root keeps its file's name and a hash of the path.
    Raises DataError for a table that cannot be used and for images that are not there.
    """
    settings = config.table
    assert settings is not None
    root = config.root if config.root is not None else settings.file.parent
    rows = _read_rows(config.source, settings, root)
    images = _take(rows, root, config.limit_per_cell, settings.file)
    _check_files(images, root, settings.file, progress)
    domains = sorted({image.id.partition("/")[0] for image in images})
    origins = [Origin(domain=domain, title=domain, source=config.source) for domain in domains]
    return Listing(tuple(images), tuple(origins))


def _read_rows(source: str, settings: TableConfig, root: Path) -> list[_Row]:
    """Return every row once, checked."""
    names = [settings.path, settings.label, settings.domain, *([settings.group] if settings.group is not None else [])]
    table = _READERS[source](settings.file, names)
    paths, labels, domains = (table.values[name] for name in names[:3])
    for name in names[:3]:
        _check_present(settings.file, table, name)
    labels, domains = drop_point_zero(labels), drop_point_zero(domains)
    _check_names(settings.file, table, labels, domains)
    groups = table.values[settings.group] if settings.group is not None else [""] * len(paths)
    absolute_root = os.path.normpath(root.absolute())
    rows: dict[str, tuple[int, _Row]] = {}
    for number, path, *rest in zip(table.numbers, paths, labels, domains, groups, strict=True):
        row = _Row(_normalise(path, absolute_root), *rest)
        first_number, first = rows.setdefault(row.path, (number, row))
        if first != row:
            raise DataError(
                f"{settings.file}: expected one row an image, found {path!r} in rows {first_number} and {number} "
                f"({table.first}) with different values; remove one of them"
            )
    return [row for _, row in rows.values()]


def _check_present(file: Path, table: Columns, name: str) -> None:
    missing = [number for number, value in zip(table.numbers, table.values[name], strict=True) if not value]
    if missing:
        raise DataError(
            f"{file}: expected a value in column {name!r} of every row, found none in {_enumerate_rows(missing)} "
            f"({table.first}); fill it in, or remove the row"
        )


def _check_names(file: Path, table: Columns, labels: Sequence[str], domains: Sequence[str]) -> None:
    """Raise DataError for the first label or domain that cannot name a folder."""

    def place(number: int) -> str:
        return f"{file}: row {number} ({table.first})"

    for label, number in _first_rows(labels, table.numbers).items():
        if not _can_be_folder(label):
            raise DataError(
                f"{place(number)}: expected a class name that can be a folder's: no slash, no dot at its beginning, "
                f"at most {_MAX_NAME_BYTES} bytes, found {label!r}; rename the class"
            )
    for domain, number in _first_rows(domains, table.numbers).items():
        check_domain_name(place(number), domain)


def _first_rows(values: Sequence[str], numbers: Sequence[int]) -> dict[str, int]:
    return dict(zip(reversed(values), reversed(numbers), strict=True))


def _can_be_folder(name: str) -> bool:
    is_plain = not any(letter in "/\\" or ord(letter) < ord(" ") for letter in name)
    return is_plain and is_visible(name) and len(name.encode()) <= _MAX_NAME_BYTES


def _normalise(path: str, absolute_root: str) -> str:
    """Return `path` relative to the root if it is inside; absolute or beginning with `..` otherwise."""
    path = os.path.normpath(path)
    if path.startswith("/"):
        return path.removeprefix(absolute_root.rstrip("/") + "/")
    return path


def _take(rows: Iterable[_Row], root: Path, limit: int | None, file: Path) -> list[SourceImage]:
    """Return at most `limit` images of each cell, sorted by id."""
    cells: dict[str, dict[str, _Row]] = defaultdict(dict)
    for row in rows:
        cell, name = f"{row.domain}/{row.class_name}", _name_image(row.path)
        other = cells[cell].setdefault(name, row)
        if other is not row:
            raise DataError(
                f"{file}: {other.path!r} and {row.path!r} would both be {cell}/{name} in the dataset; rename one"
            )
    return [
        SourceImage(f"{cell}/{name}", root / cells[cell][name].path, cells[cell][name].group)
        for cell in sorted(cells)
        for name in limit_cell(cells[cell], limit)
    ]


def _name_image(path: str) -> str:
    """Return the name of an image in the dataset: its path in one word, or its file's name with a hash."""
    name = path.replace("/", "__")
    if not path.startswith(("/", "../")) and len(name.encode()) <= _MAX_NAME_BYTES:
        return name
    stem, suffix = posixpath.splitext(posixpath.basename(path))
    return f"{stem[:40]}_{hashlib.sha256(path.encode()).hexdigest()[:8]}{suffix[:10]}"


def _check_files(images: Sequence[SourceImage], root: Path, file: Path, progress: Progress) -> None:
    """Raise DataError that names images whose file is not there."""
    folders: dict[str, set[str]] = defaultdict(set)
    for image in images:
        folder, name = posixpath.split(str(image.path))
        folders[folder].add(name)
    missing: list[str] = []
    done = 0
    # One listing a folder: asking for every file takes minutes on a network file system.
    with ThreadPoolExecutor(_THREADS) as pool:
        for folder, absent in zip(folders, pool.map(_find_absent, folders, folders.values()), strict=True):
            missing += [posixpath.join(folder, name) for name in sorted(absent)]
            done += len(folders[folder])
            progress(done, len(images), "found")
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (f" and {len(missing) - _SHOWN:,} more" * (len(missing) > _SHOWN))
        raise DataError(
            f"{file}: expected {len(images):,} image files, {len(missing):,} are not there: {shown}; paths are "
            f"relative to {root}: set data.root, or correct the column"
        )


def _find_absent(folder: str, names: Collection[str]) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return set(names) - {entry.name for entry in entries if entry.name in names and entry.is_file()}
    except (OSError, ValueError):  # no such folder; or no name that a folder can have
        return set(names)


def _enumerate_rows(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:_SHOWN])
    more = f" and {len(numbers) - _SHOWN:,} more" if len(numbers) > _SHOWN else ""
    return f"row{'s' * (len(numbers) > 1)} {shown}{more}"
