"""A cell is one class of one domain; `limit_per_cell` says how many of its images are taken."""

import hashlib
from collections.abc import Iterable


def limit_cell(names: Iterable[str], limit: int | None) -> list[str]:
    """Return `limit` of the names (all if None), sorted.

    Which ones depends on the names alone, not on their order; a larger limit keeps a smaller one's choice.
    """
    return sorted(sorted(names, key=_rank)[:limit])


def _rank(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
