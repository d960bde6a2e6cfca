from pathlib import Path

from oodtune.data.duplicates import count_duplicates, hash_images


def test_equal_files_have_equal_hashes_whatever_their_names(tmp_path: Path) -> None:
    ids = ["ink/cat/a.png", "ink/dog/b.png", "oil/cat/a.png"]
    for one, content in zip(ids, (b"1", b"1", b"2"), strict=True):
        (tmp_path / one).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / one).write_bytes(content)
    hashes = hash_images(tmp_path, ids)
    assert hashes[ids[0]] == hashes[ids[1]] != hashes[ids[2]]


def test_duplicates_are_counted_within_a_domain_without_their_first() -> None:
    hashes = {"ink/a/1": "x", "ink/a/2": "x", "ink/b/3": "x", "ink/b/4": "y", "oil/a/1": "x", "oil/a/2": "z"}
    assert count_duplicates(hashes) == {"ink": 2}
