"""Locks on files, which end with the process that holds them, in whatever way it ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

State = Literal["ours", "taken", "unknown"]
"""taken: another process, or another opening in this one, holds it. unknown: there are no locks here."""


@contextmanager
def lock_file(path: Path, wait: bool) -> Iterator[State]:
    """Make `path` and hold a lock on it until the block ends; yield whether that could be done.

    With `wait`, a lock that is taken is waited for.
    """
    with path.open("a") as stream:
        yield _lock(stream.fileno(), wait)


def _lock(descriptor: int, wait: bool) -> State:
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return "taken"
    except (ImportError, OSError):  # no Unix, or a file system that knows no locks
        return "unknown"
    return "ours"
