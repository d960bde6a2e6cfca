"""Images that are the same file, or almost the same picture, under several names."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from oodtune.data.check.image import Facts

Places = npt.NDArray[np.intp]

MAX_BITS: Final = 3
"""Largest Hamming distance of the perceptual hashes of near duplicates; `_buckets` relies on it."""
_BLOCK_BITS: Final = 16
_COMPARISONS: Final = 2**20
"""Hashes compared at a time; bounds memory."""
_DIFFERENCES: Final = 2**12
"""Thumbnails compared at a time."""


def find_copies(facts: Mapping[str, Facts]) -> list[tuple[str, ...]]:
    """Return the ids of images that are one file, sorted; files that are there once are not named."""
    by_content: dict[str, list[str]] = defaultdict(list)
    for image_id in sorted(facts):
        by_content[facts[image_id].sha256].append(image_id)
    return sorted(tuple(ids) for ids in by_content.values() if len(ids) > 1)


def find_near_copies(facts: Mapping[str, Facts], max_difference: float) -> list[tuple[str, ...]]:
    """Return the ids of different files that show almost the same picture, sorted, in clusters.

    Two pictures are linked if their perceptual hashes are at most MAX_BITS apart and their thumbnails differ by
    at most `max_difference` levels of 0..255 on the mean over pixels and channels (hashes see neither colour nor
    contrast: all plain areas have one hash). A cluster is what links lead to. A file counts once, by its first id.
    """
    firsts = {facts[image_id].sha256: image_id for image_id in sorted(facts, reverse=True)}
    ids = sorted(firsts.values())
    if len(ids) < 2:
        return []
    hashes = np.asarray([facts[image_id].hash64 for image_id in ids], np.uint64)
    thumbnails = np.frombuffer(b"".join(facts[image_id].thumbnail for image_id in ids), np.uint8).reshape(len(ids), -1)
    clusters = _Clusters(len(ids))
    for bucket in _buckets(hashes):
        for first, second in _close_pairs(hashes, bucket, clusters):
            for start in range(0, len(first), _DIFFERENCES):
                part = slice(start, start + _DIFFERENCES)
                _link_alike(thumbnails, first[part], second[part], max_difference, clusters)
    return clusters.named(ids)


def cluster(links: Iterable[Sequence[str]]) -> dict[str, str]:
    """Return id -> the first id of its cluster, for ids that are linked directly or through others."""
    links = [tuple(link) for link in links]
    ids = sorted({image_id for link in links for image_id in link})
    places = {image_id: place for place, image_id in enumerate(ids)}
    clusters = _Clusters(len(ids))
    for link in links:
        for image_id in link[1:]:
            clusters.join(places[link[0]], places[image_id])
    labels = clusters.labels(np.arange(len(ids)))
    return {image_id: ids[label] for image_id, label in zip(ids, labels.tolist(), strict=True)}


class _Clusters:
    """Disjoint sets of places 0..num-1; a set is labelled by its lowest place."""

    def __init__(self, num: int) -> None:
        self._parents = np.arange(num)

    def labels(self, places: Places) -> Places:
        """Return the label of each place."""
        labels = self._parents[places]
        while not np.array_equal(above := self._parents[labels], labels):
            labels = above
        self._parents[places] = labels  # so that the next look is short
        return labels

    def join(self, first: int, second: int) -> None:
        roots = sorted((self._root(first), self._root(second)))
        self._parents[roots[1]] = roots[0]

    def named(self, ids: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the ids of each set of more than one, sorted."""
        members: dict[int, list[str]] = defaultdict(list)
        for image_id, label in zip(ids, self.labels(np.arange(len(ids))).tolist(), strict=True):
            members[label].append(image_id)
        return [tuple(found) for found in members.values() if len(found) > 1]

    def _root(self, place: int) -> int:
        while (parent := int(self._parents[place])) != place:
            self._parents[place] = self._parents[parent]
            place = parent
        return place


def _buckets(hashes: npt.NDArray[np.uint64]) -> Iterator[Places]:
    """Yield sets of places; two hashes that differ in at most three bits are together in at least one.

    They agree in at least one of four blocks of sixteen bits: a bucket has a block in common.
    """
    for block in range(64 // _BLOCK_BITS):
        keys = (hashes >> np.uint64(block * _BLOCK_BITS)) & np.uint64(2**_BLOCK_BITS - 1)
        order = np.argsort(keys, kind="stable")
        ends = np.flatnonzero(np.diff(keys[order])) + 1
        yield from (bucket for bucket in np.split(order, ends) if len(bucket) > 1)


def _close_pairs(
    hashes: npt.NDArray[np.uint64], bucket: Places, clusters: _Clusters
) -> Iterator[tuple[Places, Places]]:
    """Yield pairs of a bucket whose hashes are close, without those that are in one cluster already.

    So that a bucket of images that are all alike costs little more than one comparison with each.
    """
    step = max(1, _COMPARISONS // len(bucket))
    for start in range(0, len(bucket) - 1, step):
        rows, rest = bucket[start : start + step], bucket[start:]
        apart = clusters.labels(rows)[:, None] != clusters.labels(rest)[None]
        close = np.bitwise_count(hashes[rows, None] ^ hashes[None, rest]) <= MAX_BITS
        row, column = np.nonzero(close & apart)
        later = column > row
        yield rows[row[later]], rest[column[later]]


def _link_alike(
    thumbnails: npt.NDArray[np.uint8], first: Places, second: Places, max_difference: float, clusters: _Clusters
) -> None:
    """Join the pairs (first, second) whose thumbnails are alike."""
    apart = clusters.labels(first) != clusters.labels(second)
    first, second = first[apart], second[apart]
    difference = np.abs(thumbnails[first].astype(np.int16) - thumbnails[second]).mean(axis=1)
    alike = difference <= max_difference
    for one, other in zip(first[alike].tolist(), second[alike].tolist(), strict=True):
        clusters.join(one, other)
