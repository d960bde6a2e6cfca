"""In-split and out-split of each domain: fixed by the seed, not by the order of files."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping

from oodtune.data.index import IndexRow
from oodtune.errors import DataError


def assign_splits(
    image_ids: Iterable[str], out_fraction: float, seed: int, groups: Mapping[str, str] | None = None
) -> list[IndexRow]:
    """Put `out_fraction` of every cell (class of a domain) into the out-split, at least one image.

    Images of a cell with the same value in `groups` (id -> what they share, such as their content) stay on
    one side: an image that was trained on must not choose. A group's rank within its cell is a hash of seed
    and first id, so adding, removing or reordering images of another cell moves nothing here.
    Raises DataError if a cell is one single group.
    """
    cells: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for image_id in sorted(image_ids):
        domain, class_name, _ = image_id.split("/", 2)
        group = image_id if groups is None else groups[image_id]
        cells[domain, class_name][group].append(image_id)
    rows = []
    for (domain, class_name), by_group in cells.items():
        groups_of_cell = list(by_group.values())
        out = _choose_out(groups_of_cell, out_fraction, seed, f"{domain}/{class_name}")
        rows += [
            IndexRow(image_id, domain, class_name, "out" if image_id in out else "in")
            for ids in groups_of_cell
            for image_id in ids
        ]
    return sorted(rows)


def _choose_out(groups: list[list[str]], out_fraction: float, seed: int, cell: str) -> set[str]:
    if len(groups) < 2:
        raise DataError(
            f"{cell}: expected at least 2 different images, one to train on and one to choose by, found "
            f"{sum(map(len, groups))} that are the same; add images"
        )
    wanted = max(1, round(out_fraction * sum(map(len, groups))))
    chosen: set[str] = set()
    for group in sorted(groups, key=lambda ids: _rank(seed, ids[0]))[:-1]:  # the last group is always trained on
        if len(chosen) >= wanted:
            break
        chosen.update(group)
    return chosen


def _rank(seed: int, image_id: str) -> bytes:
    return hashlib.sha256(f"{seed}/{image_id}".encode()).digest()
