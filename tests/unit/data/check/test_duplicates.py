import numpy as np

from oodtune.data.check.duplicates import cluster, find_copies, find_near_copies
from oodtune.data.check.image import THUMBNAIL, Facts

GREY = bytes([128]) * (THUMBNAIL * THUMBNAIL * 3)


def facts(hash64: int, thumbnail: bytes = GREY, sha256: str | None = None) -> Facts:
    return Facts(sha256=sha256 or str(hash64), hash64=hash64, thumbnail=thumbnail)


def test_clusters_are_those_that_comparing_everything_with_everything_finds() -> None:
    random = np.random.default_rng(0)
    # Few distinct hashes, each with some bits turned: many pairs are at distances around the limit.
    hashes = [int(value) for value in random.integers(0, 2**63, 40)]
    for number in range(300):
        turned = sum(1 << int(bit) for bit in random.choice(64, size=random.integers(2, 6), replace=False))
        hashes.append(hashes[number % 40] ^ turned)
    everything = {f"{number:03}": facts(value) for number, value in enumerate(dict.fromkeys(hashes))}
    ids = sorted(everything)
    links = [
        (first, second)
        for place, first in enumerate(ids)
        for second in ids[place + 1 :]
        if (everything[first].hash64 ^ everything[second].hash64).bit_count() <= 3
    ]
    expected: dict[str, list[str]] = {}
    for image_id, first in cluster(links).items():
        expected.setdefault(first, []).append(image_id)
    assert 20 < len(expected) < len(links)
    assert find_near_copies(everything, max_difference=6.0) == [tuple(found) for found in expected.values()]


def test_equal_hashes_of_unlike_thumbnails_are_no_copies() -> None:
    lighter = bytes([140]) * len(GREY)
    assert find_near_copies({"a": facts(5), "b": facts(5, lighter, "other")}, 11.9) == []
    assert find_near_copies({"a": facts(5), "b": facts(5, lighter, "other")}, 12.0) == [("a", "b")]


def test_copies_of_one_file_are_no_near_copies_but_the_first_may_be() -> None:
    everything = {"a": facts(5), "b": facts(5), "c": facts(4)}
    assert find_copies(everything) == [("a", "b")]
    assert find_near_copies(everything, 6.0) == [("a", "c")]


def test_no_images_have_no_copies() -> None:
    assert find_near_copies({}, 6.0) == []
    assert find_near_copies({"a": facts(1)}, 6.0) == []


def test_a_large_set_of_images_that_are_all_alike_is_one_cluster_and_soon_found() -> None:
    # Compared pair by pair, these would take minutes: the test would run into its timeout.
    everything = {f"{number:05}": facts(5, sha256=str(number)) for number in range(10_000)}
    assert [len(found) for found in find_near_copies(everything, 6.0)] == [10_000]


def test_a_cluster_is_everything_that_links_lead_to() -> None:
    assert cluster([("d", "c"), ("a", "b"), ("b", "c"), ("x", "y")]) == {
        **dict.fromkeys("abcd", "a"),
        **dict.fromkeys("xy", "x"),
    }


def test_a_long_chain_is_one_cluster() -> None:
    links = [(f"{number:05}", f"{number + 1:05}") for number in reversed(range(20_000))]
    assert set(cluster(links).values()) == {"00000"}
