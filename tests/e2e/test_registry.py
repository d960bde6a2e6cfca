"""The registry as processes use it: at the same time, killed, and from the command line."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from oodtune.artifact import Artifact, open_artifact
from oodtune.cli import registry
from oodtune.config.publish import PublishConfig
from oodtune.errors import ArtifactError, UserError
from oodtune.registry.ledger import list_finished
from oodtune.registry.objects import Objects, open_objects
from oodtune.registry.place import parse_address
from oodtune.registry.pull import fetch_bundle
from oodtune.stages import publish
from tests.fixtures.s3 import BUCKET, S3, serve_s3
from tests.unit.registry.small_bundles import read_all, write_bundle

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("s3")]

PUBLISH = """
import sys
from oodtune.stages import publish
print(publish.run(bundle=sys.argv[1], params=publish.Params.from_json(sys.argv[2])))
"""


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with serve_s3(tmp_path_factory.mktemp("s3")) as service, service.use_here():
        yield service


def settings(s3: S3, name: str) -> publish.Params:
    return publish.Params(publish=PublishConfig(url=f"s3://{BUCKET}/models", endpoint_url=s3.endpoint_url, name=name))


def objects_of(s3: S3, name: str) -> Objects:
    return open_objects(parse_address(f"s3://{BUCKET}/models/{name}")[0], s3.endpoint_url)


def start(bundle: Artifact, params: publish.Params) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", PUBLISH, str(bundle.path), params.to_json()]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: "subprocess.Popen[str]") -> str:
    stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stderr) == (0, "")
    return stdout.strip()


def test_publishers_of_different_bundles_at_once_each_get_a_whole_version(s3: S3, tmp_path: Path) -> None:
    bundles = [write_bundle(tmp_path / str(seed), seed, num_bytes=10_000_000) for seed in range(2)]
    processes = [start(bundle, settings(s3, "at-once")) for bundle in bundles]
    addresses = [finish(process) for process in processes]
    assert sorted(address.rpartition("/")[2][:6] for address in addresses) == ["000001", "000002"]
    for bundle, address in zip(bundles, addresses, strict=True):
        assert read_all(fetch_bundle(address, tmp_path / "out", s3.endpoint_url)) == read_all(bundle.path)


def test_a_killed_publisher_leaves_nothing_visible_and_the_next_one_goes_on(s3: S3, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", num_bytes=40_000_000)
    objects, params = objects_of(s3, "killed"), settings(s3, "killed")
    process = start(bundle, params)
    deadline = time.monotonic() + 60
    while not objects.client.list_multipart_uploads(Bucket=BUCKET, Prefix="models/killed").get("Uploads"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert process.returncode == -9
    assert list_finished(objects) == {}
    with pytest.raises(UserError, match="expected a finished version"):
        fetch_bundle(f"s3://{BUCKET}/models/killed@1", tmp_path / "out", s3.endpoint_url)
    address = publish.run(bundle.path, params)
    assert address == f"s3://{BUCKET}/models/killed/versions/000001-{bundle.digest[:12]}"
    assert read_all(fetch_bundle(address, tmp_path / "out", s3.endpoint_url)) == read_all(bundle.path)


def test_a_killed_pull_leaves_nothing_visible_and_the_next_one_goes_on(s3: S3, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", num_bytes=40_000_000)
    address = publish.run(bundle.path, settings(s3, "pulled"))
    code = (
        "import sys; from pathlib import Path; from oodtune.registry.pull import fetch_bundle; "
        "fetch_bundle(sys.argv[1], Path(sys.argv[2]), sys.argv[3])"
    )
    process = subprocess.Popen([sys.executable, "-c", code, address, str(tmp_path / "out"), s3.endpoint_url])
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob(".*.partial/incoming/*")):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -9
    assert not list((tmp_path / "out").glob("0*"))
    assert read_all(fetch_bundle(address, tmp_path / "out", s3.endpoint_url)) == read_all(bundle.path)


def test_the_stage_publishes_nothing_unless_told_where(tmp_path: Path) -> None:
    assert publish.run(tmp_path / "nothing", publish.Params(publish=PublishConfig())) == ""


def test_the_stage_publishes_only_whole_bundles(s3: S3, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    (bundle.path / "labels.json").write_text("[]")
    with pytest.raises(ArtifactError, match=r"labels\.json is not the file that was written"):
        publish.run(bundle.path, settings(s3, "damaged"))
    assert objects_of(s3, "damaged").list("") == {}


def test_the_commands_publish_promote_roll_back_list_and_pull(s3: S3, tmp_path: Path) -> None:
    app = typer.Typer()
    registry.add_commands(app)
    model = f"s3://{BUCKET}/models/commands"
    where = ["--registry", model, "--endpoint-url", s3.endpoint_url]

    def say(*arguments: str) -> list[str]:
        result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout.splitlines()

    bundles = [write_bundle(tmp_path / str(seed), seed) for seed in range(2)]
    names = [f"{number:06}-{bundle.digest[:12]}" for number, bundle in enumerate(bundles, start=1)]
    assert say("publish", str(bundles[0].path), *where, "--promote") == [f"{model}/versions/{names[0]}"]
    assert say("publish", str(bundles[1].path), *where) == [f"{model}/versions/{names[1]}"]
    assert say("promote", "2", *where) == [f"in production: {names[1]}"]
    assert say("rollback", *where) == [f"in production: {names[0]}"]
    first, second = say("versions", *where)
    assert first.startswith(names[0])
    assert first.endswith("0.0 MB  production")
    assert second.startswith(names[1])
    assert second.endswith("MB")
    assert [line.split() for line in say("versions", "--history", *where)] == [
        ["1", "promote", names[0]],
        ["2", "promote", names[1]],
        ["3", "rollback", names[0]],
    ]
    out = ["--out-dir", str(tmp_path / "out"), "--endpoint-url", s3.endpoint_url]
    (path,) = say("pull", model, *out)
    assert open_artifact(Path(path), "bundle").digest == bundles[0].digest
