"""In-split, out-split and test-split of each domain: fixed by the seed, not by the order of files."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from oodtune.data.index import IndexRow, Split


class Shares(NamedTuple):
    """Which part of every cell (class of a domain) goes where; the rest is trained on."""

    out: float
    test: float = 0.0


class _Group(NamedTuple):
    """Images of one domain that stay on one side."""

    ids: tuple[str, ...]
    classes: Counter[str]
    """Class -> number of images."""


def assign_splits(
    image_ids: Iterable[str], shares: Shares, seed: int, groups: Mapping[str, str] | None = None
) -> list[IndexRow]:
    """Put `shares` of every cell into the out-split and the test-split, at least one image each if there is one.

    Images of a domain with the same value in `groups` (id -> what they share; what is missing there is alone)
    stay on one side, over classes, too: an image that was trained on must not choose. Groups are taken in the
    order of a hash of the seed and their first id, so adding, removing or reordering images of another domain
    moves nothing. The last group of a cell is always trained on: a cell of one group is in the in-split alone.
    """
    domains: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for image_id in sorted(image_ids):
        key = (groups or {}).get(image_id, image_id)
        domains[image_id.split("/", 1)[0]][key].append(image_id)
    rows: list[IndexRow] = []
    for domain, by_group in domains.items():
        ranked = [_Group(tuple(ids), Counter(map(class_of, ids))) for ids in by_group.values()]
        ranked.sort(key=lambda group: _rank(seed, group.ids[0]))
        rows += _split_domain(domain, ranked, shares)
    return sorted(rows)


def undivided_cells(rows: Sequence[IndexRow]) -> list[tuple[str, str]]:
    """Return the cells (domain, class) of which the out-split has nothing, sorted."""
    cells = {(row.domain, row.class_name) for row in rows}
    return sorted(cells - {(row.domain, row.class_name) for row in rows if row.split == "out"})


def class_of(image_id: str) -> str:
    return image_id.split("/", 2)[1]


def _split_domain(domain: str, ranked: Sequence[_Group], shares: Shares) -> list[IndexRow]:
    total: Counter[str] = Counter()
    for group in ranked:
        total += group.classes
    splits: dict[int, Split] = {}
    for split, share in (("out", shares.out), ("test", shares.test)):
        if share > 0.0:
            wanted = {name: max(1, round(share * count)) for name, count in total.items()}
            rest = [place for place in range(len(ranked)) if place not in splits]
            for place in _choose(ranked, rest, wanted):
                splits[place] = "out" if split == "out" else "test"
    return [
        IndexRow(image_id, domain, class_of(image_id), splits.get(place, "in"))
        for place, group in enumerate(ranked)
        for image_id in group.ids
    ]


def _choose(ranked: Sequence[_Group], places: Sequence[int], wanted: Mapping[str, int]) -> set[int]:
    """Return the groups among `places` that come closest to `wanted` (class -> images), first come first served."""
    left = Counter(name for place in places for name in ranked[place].classes)  # class -> groups not yet taken
    missing = Counter(wanted)
    chosen: set[int] = set()

    def take(place: int) -> None:
        chosen.add(place)
        left.subtract(ranked[place].classes.keys())
        missing.subtract(ranked[place].classes)

    def may_take(group: _Group) -> bool:
        return all(left[name] > 1 for name in group.classes)

    for place in places:
        if may_take(ranked[place]) and _gain(ranked[place].classes, missing) >= 0:
            take(place)
    # A class whose groups are all too large for its share still needs one to be chosen by: the smallest.
    for name in sorted(wanted):
        if _untouched(name, ranked, chosen):
            fitting = [place for place in places if name in ranked[place].classes and may_take(ranked[place])]
            for place in sorted(fitting, key=lambda place: ranked[place].classes.total())[:1]:
                take(place)
    return chosen


def _gain(classes: Mapping[str, int], missing: Mapping[str, int]) -> int:
    """Return how many wanted images a group brings, less those beyond what is missing; -1 if it brings none."""
    useful = sum(min(count, max(missing[name], 0)) for name, count in classes.items())
    return 2 * useful - sum(classes.values()) if useful else -1


def _untouched(name: str, ranked: Sequence[_Group], chosen: Collection[int]) -> bool:
    return not any(name in ranked[place].classes for place in chosen)


def _rank(seed: int, image_id: str) -> bytes:
    return hashlib.sha256(f"{seed}/{image_id}".encode()).digest()
