"""In-split and out-split of each domain: fixed by the seed, not by the order of files."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable

from oodtune.data.index import IndexRow


def assign_splits(image_ids: Iterable[str], out_fraction: float, seed: int) -> list[IndexRow]:
    """Put `out_fraction` of every cell (class of a domain) into the out-split, at least one image.

    An image's rank within its cell is a hash of seed and id, so that adding, removing or reordering
    images of another cell moves nothing here. Every cell keeps at least one image in its in-split.
    """
    cells: dict[tuple[str, str], list[str]] = defaultdict(list)
    for image_id in image_ids:
        domain, class_name, _ = image_id.split("/", 2)
        cells[domain, class_name].append(image_id)
    rows = []
    for (domain, class_name), ids in sorted(cells.items()):
        num_out = min(max(1, round(out_fraction * len(ids))), len(ids) - 1)
        for rank, image_id in enumerate(sorted(ids, key=lambda one: _rank(seed, one))):
            rows.append(IndexRow(image_id, domain, class_name, "out" if rank < num_out else "in"))
    return sorted(rows)


def _rank(seed: int, image_id: str) -> bytes:
    return hashlib.sha256(f"{seed}/{image_id}".encode()).digest()
