"""`data.source: dvc` against a real S3 service: the right bytes, or one line and exit code 2."""

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
from tests.fixtures.s3 import BIN, BUCKET, S3, free_ports, make_repository, serve_s3

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("s3")]

COUNT = 25  # images of each class of each domain
SETTINGS = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Remote:
    s3: S3
    repository: Path


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    directory = tmp_path_factory.mktemp("s3")
    with serve_s3(directory) as s3:
        make_repository(directory / "repository", s3, COUNT)
        yield Remote(s3, directory / "repository")


def prepare(project: Path, remote: Remote, dvc: dict[str, object], **environment: str) -> "subprocess.Popen[str]":
    """Start `oodtune prepare` on a revision of the repository."""
    where = {"url": f"file://{remote.repository}", "rev": "v1", "path": "data", **dvc}
    settings = {**SETTINGS, "data": {**SETTINGS["data"], "source": "dvc", "dvc": where}}
    settings["sweep"] = {**settings["sweep"], "target_domains": ["ink", "oil"]}
    settings["select"] = {**settings["select"], "target_domain": "ink"}
    (project / "params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return subprocess.Popen(
        [BIN / "oodtune", "prepare", "--out", "dataset"],
        cwd=project,
        env={**remote.s3.environment, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def succeed(project: Path, remote: Remote, dvc: dict[str, object], **environment: str) -> None:
    process = prepare(project, remote, dvc, **environment)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr


def fail(project: Path, remote: Remote, dvc: dict[str, object], **environment: str) -> str:
    process = prepare(project, remote, dvc, **environment)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 2, stderr
    assert stdout == ""
    assert not (project / "dataset").exists()
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
    succeed(tmp_path, remote, {"rev": "v1"})
    first = open_artifact(tmp_path / "dataset", "dataset")
    assert md5s_below(tmp_path / "dataset/images") == expected_md5s(remote, "v1")
    for origin in first.manifest.details["origins"]:
        assert origin["version"] == git(remote, "rev-parse", "v1")
        assert origin["integrity"] == f"md5-dir:{dir_hash(remote, 'v1', origin['domain'])}"
        assert origin["source"] == "dvc repository data"
    succeed(tmp_path, remote, {"rev": "v2"})
    assert md5s_below(tmp_path / "dataset/images") == expected_md5s(remote, "v2")
    assert expected_md5s(remote, "v1") != expected_md5s(remote, "v2")


def test_what_is_in_the_store_is_not_asked_for_again_unless_it_is_damaged(remote: Remote, tmp_path: Path) -> None:
    succeed(tmp_path, remote, {})
    (closed,) = free_ports(1)
    succeed(tmp_path, remote, {"endpoint_url": f"http://127.0.0.1:{closed}"}, AWS_SECRET_ACCESS_KEY="wrong")
    assert md5s_below(tmp_path / "dataset/images") == expected_md5s(remote, "v1")
    stored(tmp_path)[7].write_bytes(b"damaged")
    succeed(tmp_path, remote, {})
    assert md5s_below(tmp_path / "dataset/images") == expected_md5s(remote, "v1")


def test_a_killed_fetch_is_completed_by_the_next_run(remote: Remote, tmp_path: Path) -> None:
    process = prepare(tmp_path, remote, {})
    while len(stored(tmp_path)) < 12:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not (tmp_path / "dataset").exists()
    kept = {path: path.stat().st_mtime_ns for path in stored(tmp_path)}
    assert 12 <= len(kept) < 4 * COUNT
    succeed(tmp_path, remote, {})
    assert md5s_below(tmp_path / "dataset/images") == expected_md5s(remote, "v1")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_limit_per_cell_limits_what_is_fetched(remote: Remote, tmp_path: Path) -> None:
    settings = {**SETTINGS["data"], "limit_per_cell": 5}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SETTINGS, "data", settings)
        succeed(tmp_path, remote, {})
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
        line = fail(tmp_path, remote, {})
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
        assert "ink/dog/011.png: expected the object" in fail(tmp_path, remote, {})
    finally:
        client.put_object(Bucket=BUCKET, Key=key, Body=right)


def test_wrong_credentials(remote: Remote, tmp_path: Path) -> None:
    assert "refuses these credentials" in fail(tmp_path, remote, {}, AWS_SECRET_ACCESS_KEY="wrong")


def test_a_missing_bucket(remote: Remote, tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "-q", remote.repository, tmp_path / "clone"], check=True, env=remote.s3.environment)
    config = tmp_path / "clone/.dvc/config"
    config.write_text(config.read_text().replace(f"s3://{BUCKET}", "s3://no-such-bucket"))
    identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    subprocess.run(["git", *identity, "commit", "-qam", "elsewhere"], check=True, cwd=tmp_path / "clone")
    line = fail(tmp_path, remote, {"url": f"file://{tmp_path / 'clone'}", "rev": "main"})
    assert "bucket" in line


def test_an_unknown_revision(remote: Remote, tmp_path: Path) -> None:
    assert "v99" in fail(tmp_path, remote, {"rev": "v99"})


def test_a_path_that_is_not_in_the_repository(remote: Remote, tmp_path: Path) -> None:
    assert "pictures" in fail(tmp_path, remote, {"path": "pictures"})


def test_an_unknown_remote(remote: Remote, tmp_path: Path) -> None:
    assert "attic" in fail(tmp_path, remote, {"remote": "attic"})


def test_no_repository_there(remote: Remote, tmp_path: Path) -> None:
    assert "nowhere" in fail(tmp_path, remote, {"url": f"file://{tmp_path / 'nowhere'}"})


def test_an_endpoint_that_does_not_answer_is_found_out_in_seconds(remote: Remote, tmp_path: Path) -> None:
    (closed,) = free_ports(1)
    start = time.monotonic()
    line = fail(tmp_path, remote, {"endpoint_url": f"http://127.0.0.1:{closed}"})
    assert f"http://127.0.0.1:{closed}: expected an S3 service" in line
    assert time.monotonic() - start < 10
