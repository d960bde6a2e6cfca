"""`data.source: dvc` against a real S3 service: the right bytes, or one line and exit code 2.

What a process of its own adds (exit code, stderr, being killed) is tested in one. The rest runs here, because most of
such a process is its start; but not what changes credentials: DVC keeps a file system, with its own, while it lives.
"""

import gc
import hashlib
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from oodtune.artifact import open_artifact
from oodtune.config import DataConfig
from oodtune.errors import UserError
from oodtune.stages import prepare
from tests.fixtures.s3 import BUCKET, S3, free_ports, make_repository, serve_s3
from tests.fixtures.warm.process import warm_bin

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.xdist_group("s3"),
    # DVC's own: what a library of it deprecates, and clones that it forgets to close.
    pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*unclosed [pP]ack:ResourceWarning"),
]

COUNT = 25  # images of each class of each domain
SETTINGS = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Remote:
    s3: S3
    repository: Path

    def settings(self, **dvc: str) -> dict[str, str]:
        return {"url": f"file://{self.repository}", "rev": "v1", "path": "data", **dvc}


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    directory = tmp_path_factory.mktemp("s3")
    with serve_s3(directory) as s3, s3.use_here():
        make_repository(directory / "repository", s3, COUNT)
        yield Remote(s3, directory / "repository")
        gc.collect()  # so that what DVC forgot to close is not said in a later test


def succeed(project: Path, place: Remote, limit: int | None = None, **dvc: str) -> None:
    """Prepare `project/dataset` from a revision of the repository."""
    data = DataConfig.model_validate({"source": "dvc", "dvc": place.settings(**dvc), "limit_per_cell": limit})
    prepare.run(project / "dataset", prepare.Params(data=data), project / ".oodtune/downloads")


def fail(project: Path, place: Remote, **dvc: str) -> str:
    """Return the one line that says why nothing could be prepared; nothing else was said, nothing half-made is left."""
    with pytest.raises(UserError) as caught:
        succeed(project, place, **dvc)
    assert not list(project.glob("*dataset*"))
    (line,) = str(caught.value).splitlines()
    return line


def start(project: Path, place: Remote, **dvc: str) -> "subprocess.Popen[str]":
    """Start `oodtune prepare` on a revision of the repository."""
    settings = {**SETTINGS, "data": {**SETTINGS["data"], "source": "dvc", "dvc": place.settings(**dvc)}}
    settings["sweep"] = {**settings["sweep"], "target_domains": ["ink", "oil"]}
    settings["select"] = {**settings["select"], "target_domain": "ink"}
    (project / "params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = [warm_bin() / "oodtune", "prepare", "--out", "dataset"]
    return subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def fail_in_a_process(project: Path, place: Remote, **dvc: str) -> str:
    process = start(project, place, **dvc)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 2, stderr
    assert stdout == ""
    assert not list(project.glob("*dataset*"))
    (line,) = stderr.splitlines()
    assert line.startswith("error: ")
    return line


def md5s_below(directory: Path) -> dict[str, str]:
    """Return domain/class/file -> md5 of the images below a folder."""
    return {
        path.relative_to(directory).as_posix(): hashlib.md5(path.read_bytes()).hexdigest()
        for path in directory.rglob("*.png")
    }


def expected_md5s(remote: Remote, tag: str) -> dict[str, str]:
    """Return what DVC itself recorded for a tag, read from its cache in the repository."""
    expected = {}
    for domain in ("ink", "oil"):
        oid = dir_hash(remote, tag, domain)
        listing = remote.repository / f".dvc/cache/files/md5/{oid[:2]}/{oid[2:]}.dir"
        entries = json.loads(listing.read_text(encoding="utf-8"))
        expected |= {f"{domain}/{entry['relpath']}": entry["md5"] for entry in entries}
    assert len(expected) == 4 * COUNT
    return expected


def dir_hash(remote: Remote, tag: str, domain: str) -> str:
    text = git(remote, "show", f"{tag}:data/{domain}.dvc")
    return str(yaml.safe_load(text)["outs"][0]["md5"]).removesuffix(".dir")


def git(remote: Remote, *arguments: str) -> str:
    result = subprocess.run(["git", *arguments], cwd=remote.repository, check=True, capture_output=True, text=True)
    return result.stdout.strip()


def stored(project: Path) -> list[Path]:
    return [path for path in (project / ".oodtune/downloads/dvc").glob("??/*") if path.is_file()]


def test_the_dataset_is_the_tagged_revision_and_says_so(remote: Remote, tmp_path: Path) -> None:
    succeed(tmp_path, remote, rev="v1")
    first = open_artifact(tmp_path / "dataset", "dataset")
    assert md5s_below(tmp_path / "dataset/images") == expected_md5s(remote, "v1")
    for origin in first.manifest.details["origins"]:
        assert origin["version"] == git(remote, "rev-parse", "v1")
        assert origin["integrity"] == f"md5-dir:{dir_hash(remote, 'v1', origin['domain'])}"
        assert origin["source"] == "dvc repository data"
    succeed(tmp_path, remote, rev="v2")
    assert md5s_below(tmp_path / "dataset/images") == expected_md5s(remote, "v2")
    assert expected_md5s(remote, "v1") != expected_md5s(remote, "v2")


def test_what_is_in_the_store_is_not_asked_for_again_unless_it_is_damaged(remote: Remote, tmp_path: Path) -> None:
    succeed(tmp_path, remote)
    (closed,) = free_ports(1)
    succeed(tmp_path, remote, endpoint_url=f"http://127.0.0.1:{closed}")
    assert md5s_below(tmp_path / "dataset/images") == expected_md5s(remote, "v1")
    stored(tmp_path)[7].write_bytes(b"damaged")
    succeed(tmp_path, remote)
    assert md5s_below(tmp_path / "dataset/images") == expected_md5s(remote, "v1")


def test_a_killed_fetch_is_completed_by_the_next_run(remote: Remote, tmp_path: Path) -> None:
    process = start(tmp_path, remote)
    while len(stored(tmp_path)) < 12:
        assert process.poll() is None
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert not (tmp_path / "dataset").exists()
    kept = {path: path.stat().st_mtime_ns for path in stored(tmp_path)}
    assert 12 <= len(kept) < 4 * COUNT
    assert list((tmp_path / ".oodtune/downloads/dvc").glob("partial-*"))
    succeed(tmp_path, remote)
    assert md5s_below(tmp_path / "dataset/images") == expected_md5s(remote, "v1")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert not list((tmp_path / ".oodtune/downloads/dvc").glob("partial-*"))


def test_limit_per_cell_limits_what_is_fetched(remote: Remote, tmp_path: Path) -> None:
    succeed(tmp_path, remote, limit=5)
    assert len(md5s_below(tmp_path / "dataset/images")) == 4 * 5
    assert len(stored(tmp_path)) == 4 * 5 + 2  # and two listings


@pytest.mark.parametrize("oid_of", ["an image", "a listing"])
def test_an_altered_object_is_refused(remote: Remote, tmp_path: Path, oid_of: str) -> None:
    image = "oil/cat/003.png"
    oid = expected_md5s(remote, "v1")[image] if oid_of == "an image" else f"{dir_hash(remote, 'v1', 'oil')}.dir"
    key = f"store/files/md5/{oid[:2]}/{oid[2:]}"
    client = remote.s3.client()
    right = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    client.put_object(Bucket=BUCKET, Key=key, Body=right.replace(b"0", b"1") + b" ")
    try:
        line = fail(tmp_path, remote)
    finally:
        client.put_object(Bucket=BUCKET, Key=key, Body=right)
    assert "altered" in line
    assert (image if oid_of == "an image" else "data/oil") in line


def test_a_missing_object_is_named(remote: Remote, tmp_path: Path) -> None:
    oid = expected_md5s(remote, "v1")["ink/dog/011.png"]
    key = f"store/files/md5/{oid[:2]}/{oid[2:]}"
    client = remote.s3.client()
    right = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    client.delete_object(Bucket=BUCKET, Key=key)
    try:
        assert "ink/dog/011.png: expected the object" in fail(tmp_path, remote)
    finally:
        client.put_object(Bucket=BUCKET, Key=key, Body=right)


def test_wrong_credentials(remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert "refuses these credentials" in fail_in_a_process(tmp_path, remote)


def test_a_missing_bucket(remote: Remote, tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "-q", remote.repository, tmp_path / "clone"], check=True)
    config = tmp_path / "clone/.dvc/config"
    config.write_text(config.read_text().replace(f"s3://{BUCKET}", "s3://no-such-bucket"))
    identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    subprocess.run(["git", *identity, "commit", "-qam", "elsewhere"], check=True, cwd=tmp_path / "clone")
    line = fail(tmp_path, remote, url=f"file://{tmp_path / 'clone'}", rev="main")
    assert "bucket" in line


def test_an_unknown_revision(remote: Remote, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "v99" in fail(tmp_path, remote, rev="v99")
    assert capfd.readouterr() == ("", "")


def test_a_path_that_is_not_in_the_repository(
    remote: Remote, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "pictures" in fail(tmp_path, remote, path="pictures")
    assert capfd.readouterr() == ("", "")


def test_an_unknown_remote(remote: Remote, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "attic" in fail(tmp_path, remote, remote="attic")
    assert capfd.readouterr() == ("", "")


def test_no_repository_there(remote: Remote, tmp_path: Path) -> None:
    assert "nowhere" in fail_in_a_process(tmp_path, remote, url=f"file://{tmp_path / 'nowhere'}")


def test_an_endpoint_that_does_not_answer_is_found_out_in_seconds(remote: Remote, tmp_path: Path) -> None:
    (closed,) = free_ports(1)
    begin = time.monotonic()
    line = fail_in_a_process(tmp_path, remote, endpoint_url=f"http://127.0.0.1:{closed}")
    assert f"http://127.0.0.1:{closed}: expected an S3 service" in line
    assert time.monotonic() - begin < 10
