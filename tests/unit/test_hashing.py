import hashlib
import os
import time
from pathlib import Path

import pytest

from oodtune.hashing import check_once, hash_files


def test_hashes_are_in_the_order_of_the_files_and_none_for_a_missing_one(tmp_path: Path) -> None:
    paths = [tmp_path / str(n) for n in range(300)]
    for n, path in enumerate(paths):
        if n != 7:
            path.write_bytes(bytes([n % 256]) * n * 100)
    expected = [hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None for path in paths]
    assert list(hash_files(paths)) == expected


class Checked:
    """Two files, and how often they were checked."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.stamp_path = directory.with_name(".files.verified")
        self.times = 0
        directory.mkdir()
        for name in ("a", "b"):
            (directory / name).write_text(name)

    def check(self, digest: str = "d", settled_s: float = 0.0) -> int:
        check_once(self.directory, ["a", "b"], digest, self.stamp_path, self._count, settled_s)
        return self.times

    def _count(self) -> None:
        self.times += 1


@pytest.fixture
def files(tmp_path: Path) -> Checked:
    return Checked(tmp_path / "files")


def test_untouched_files_are_checked_once(files: Checked) -> None:
    assert [files.check() for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("keeps_time", [True, False])
def test_an_altered_file_of_the_same_size_is_checked_again(files: Checked, keeps_time: bool) -> None:
    files.check()
    time.sleep(0.02)  # older kernels tell time in ticks of 4 to 10 ms
    path = files.directory / "b"
    stat = path.stat()
    path.write_text("c")
    if keeps_time:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert files.check() == 2


def test_a_replaced_file_is_checked_again(files: Checked) -> None:
    files.check()
    (files.directory / "new").write_text("c")
    (files.directory / "new").replace(files.directory / "b")
    assert files.check() == 2


def test_another_digest_is_checked_by_itself(files: Checked) -> None:
    assert [files.check("d"), files.check("e"), files.check("e")] == [1, 2, 2]


def test_files_changed_a_moment_ago_are_checked_again(files: Checked) -> None:
    assert [files.check(settled_s=60.0) for _ in range(2)] == [1, 2]


def test_a_missing_file_is_left_to_the_check(files: Checked) -> None:
    files.check()
    (files.directory / "b").unlink()
    assert files.check() == 2


def test_a_check_that_fails_leaves_nothing_known(files: Checked) -> None:
    def fail() -> None:
        raise ValueError

    with pytest.raises(ValueError):
        check_once(files.directory, ["a", "b"], "d", files.stamp_path, fail, 0.0)
    assert files.check() == 1


def test_where_no_stamp_can_be_written_files_are_checked_every_time(files: Checked) -> None:
    files.stamp_path = files.directory / "no" / "such" / "place"
    assert [files.check() for _ in range(2)] == [1, 2]
