"""What can be known of the store without an S3 service; the rest is in tests/e2e/test_dvc_source.py."""

import hashlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from oodtune.data.sources import object_store
from oodtune.data.sources.object_store import ObjectStore
from oodtune.errors import UserError
from oodtune.progress import silent

# A fetch that says when it is in the middle of an object, and goes on when it is told to.
WAITING_FETCH = """
import sys
from pathlib import Path
from dvc_data.hashfile.db import HashFileDB
from dvc_objects.fs.local import LocalFileSystem
from oodtune.data.sources.object_store import ObjectStore
from oodtune.progress import silent

class WaitingFileSystem(LocalFileSystem):
    def get_file(self, source, target):
        Path(target).write_bytes(b"half of i")
        print("fetching", flush=True)
        sys.stdin.readline()
        super().get_file(source, target)

store_dir, remote_dir, *oids = sys.argv[1:]
store = ObjectStore(Path(store_dir))
store.attach(lambda: (HashFileDB(WaitingFileSystem(), remote_dir), None), "remote")
store.fetch(dict.fromkeys(oids, "an image"), silent)
"""


def make_remote(directory: Path, count: int) -> list[str]:
    """Write `count` objects to a folder that is a DVC remote; return their md5s."""
    oids = []
    for number in range(count):
        oid = hashlib.md5(f"image {number}".encode()).hexdigest()
        (directory / oid[:2]).mkdir(parents=True, exist_ok=True)
        (directory / oid[:2] / oid[2:]).write_bytes(f"image {number}".encode())
        oids.append(oid)
    return oids


def open_store(store_dir: Path, remote_dir: Path) -> ObjectStore:
    from dvc_data.hashfile.db import HashFileDB
    from dvc_objects.fs.local import LocalFileSystem

    store = ObjectStore(store_dir)
    store.attach(lambda: (HashFileDB(LocalFileSystem(), str(remote_dir)), None), "remote")
    return store


def fetch(store_dir: Path, remote_dir: Path, oids: list[str]) -> None:
    open_store(store_dir, remote_dir).fetch(dict.fromkeys(oids, "an image"), silent)


def objects_in(directory: Path) -> dict[str, bytes]:
    return {path.parent.name + path.name: path.read_bytes() for path in directory.glob("??/*")}


@contextmanager
def fetch_in_the_middle(store_dir: Path, remote_dir: Path, oid: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-c", WAITING_FETCH, store_dir, remote_dir, oid]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"fetching\n"
        yield process
        process.kill()


def test_a_killed_fetch_leaves_nothing_under_a_hash_and_the_next_one_removes_the_rest(tmp_path: Path) -> None:
    oids = make_remote(tmp_path / "remote", 3)
    with fetch_in_the_middle(tmp_path / "store", tmp_path / "remote", oids[0]):
        pass
    assert objects_in(tmp_path / "store") == {}
    assert [path.read_bytes() for path in (tmp_path / "store").glob(f"partial-*/{oids[0]}")] == [b"half of i"]
    fetch(tmp_path / "store", tmp_path / "remote", oids)
    assert objects_in(tmp_path / "store") == objects_in(tmp_path / "remote")
    assert not list((tmp_path / "store").glob("partial-*"))


def test_a_fetch_leaves_what_a_running_one_has_begun(tmp_path: Path) -> None:
    oids = make_remote(tmp_path / "remote", 3)
    with fetch_in_the_middle(tmp_path / "store", tmp_path / "remote", oids[0]) as running:
        fetch(tmp_path / "store", tmp_path / "remote", oids)
        assert len(list((tmp_path / "store").glob(f"partial-*/{oids[0]}"))) == 1
        running.communicate(b"go on\n", timeout=20)
        assert running.returncode == 0
    assert objects_in(tmp_path / "store") == objects_in(tmp_path / "remote")
    assert not list((tmp_path / "store").glob("partial-*"))


def test_fetches_into_one_store_at_the_same_time_all_end_well(tmp_path: Path) -> None:
    oids = make_remote(tmp_path / "remote", 200)
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(fetch, tmp_path / "store", tmp_path / "remote", oids) for _ in range(4)]
    assert [job.result() for job in jobs] == [None] * 4
    assert objects_in(tmp_path / "store") == objects_in(tmp_path / "remote")
    assert not list((tmp_path / "store").glob("partial-*"))


def test_a_fetch_that_fails_keeps_what_came_and_leaves_nothing_else(tmp_path: Path) -> None:
    oids = make_remote(tmp_path / "remote", 3)
    with pytest.raises(UserError, match="an image: expected the object"):
        fetch(tmp_path / "store", tmp_path / "remote", [*oids, "0" * 32])
    assert objects_in(tmp_path / "store").items() <= objects_in(tmp_path / "remote").items()
    assert not list((tmp_path / "store").glob("partial-*"))


def test_an_endpoint_that_listens_but_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "_PROBE_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(UserError, match="expected an S3 service, none answers within"):
            object_store.probe_endpoint(endpoint)
