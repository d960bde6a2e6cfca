"""sha256 of files: in parallel, and not again where nothing was touched."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from oodtune.parallel import map_in_threads

_GROUP_BYTES = 4_000_000
"""Small files are handed to a thread together: handing one over costs as much as hashing 50 KB."""


def hash_file(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_files(paths: Iterable[Path]) -> Iterator[str | None]:
    """Yield the sha256 of each file, in order, or None where there is no file. Threads share the work."""
    for group in map_in_threads(_hash_group, _group(paths)):
        yield from group


def check_once(
    directory: Path,
    names: Sequence[str],
    digest: str,
    stamp_path: Path,
    check: Callable[[], None],
    settled_s: float = 2.0,
) -> None:
    """Run `check` of the files `names`, unless it went well before and none was touched since.

    `stamp_path` keeps `digest` and a digest of each file's inode, size and times. Where it cannot be
    written, or a file changed in the last `settled_s` seconds, `check` runs again the next time: within
    one tick of the time stamps a file could change once more.
    """
    before = _describe(directory, names, digest)
    if before is not None and _is_stamped(stamp_path, before.text):
        return
    now_ns = _touch(stamp_path)
    check()
    if before is None or now_ns is None or now_ns - before.newest_ns < settled_s * 1e9:
        return
    if _describe(directory, names, digest) == before:
        with suppress(OSError):
            stamp_path.write_text(before.text, encoding="ascii")


class _State(NamedTuple):
    text: str
    """Changes when a file is touched."""
    newest_ns: int
    """Latest time stamp of any file."""


def _describe(directory: Path, names: Sequence[str], digest: str) -> _State | None:
    """Return the state of the files, or None if one is missing.

    It holds the change time as well: whoever sets the modification time back cannot set that.
    """
    lines, newest_ns = [], 0
    for name in names:
        try:
            stat = (directory / name).stat()
        except OSError:
            return None
        lines.append(f"{name} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}\n")
        newest_ns = max(newest_ns, stat.st_mtime_ns, stat.st_ctime_ns)
    return _State(f"{digest} {hashlib.sha256(''.join(lines).encode()).hexdigest()}\n", newest_ns)


def _is_stamped(stamp_path: Path, text: str) -> bool:
    try:
        return stamp_path.read_text(encoding="ascii") == text
    except (OSError, ValueError):
        return False


def _touch(stamp_path: Path) -> int | None:
    """Empty the stamp; return the time by the clock of its file system, or None if it cannot be written."""
    try:
        stamp_path.write_text("", encoding="ascii")
        return stamp_path.stat().st_mtime_ns
    except OSError:
        return None


def _group(paths: Iterable[Path]) -> Iterator[list[Path]]:
    group: list[Path] = []
    num_bytes = 0
    for path in paths:
        group.append(path)
        num_bytes += path.stat().st_size if path.is_file() else 0
        if num_bytes >= _GROUP_BYTES:
            yield group
            group, num_bytes = [], 0
    if group:
        yield group


def _hash_group(paths: Sequence[Path]) -> list[str | None]:
    return [hash_file(path) if path.is_file() else None for path in paths]
