import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from oodtune.artifact import open_artifact
from oodtune.errors import ArtifactError, RegistryError, UserError
from oodtune.serve.sources import find_bundle, find_source
from tests.unit.registry.small_bundles import write_bundle


@pytest.mark.parametrize("layout", ["", "birds", "versions/000001-0123456789ab"])
def test_a_directory_may_be_a_bundle_or_hold_one_as_mounts_and_registries_do(tmp_path: Path, layout: str) -> None:
    bundle = write_bundle(tmp_path / "mount" / layout)
    source = find_source(tmp_path / "mount")
    assert source.find_version() == bundle.digest[:12]
    assert source.fetch(source.find_version()) == bundle.path
    assert not source.moves


def test_what_is_unfinished_hidden_or_no_bundle_is_no_choice(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    shutil.copytree(bundle.path, tmp_path / ".bundle.partial")
    (tmp_path / "notes").mkdir()
    assert find_bundle(tmp_path) == bundle.path


def test_two_bundles_in_a_directory_are_named_and_none_is_guessed(tmp_path: Path) -> None:
    write_bundle(tmp_path / "new", 1)
    write_bundle(tmp_path / "old", 2)
    with pytest.raises(ArtifactError, match="found new, old; choose one"):
        find_source(tmp_path).find_version()


@pytest.mark.parametrize("name", ["", "nothing"])
def test_where_no_bundle_is_the_error_names_the_command_that_makes_one(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match="make it with `oodtune export`"):
        find_source(tmp_path / name).find_version()


def test_without_a_name_the_mount_is_served_and_without_a_mount_the_error_teaches(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "models")
    assert find_source(None, mount=tmp_path / "models").find_version() == bundle.digest[:12]
    with pytest.raises(UserError, match=r"run `oodtune serve BUNDLE` .* or set OODTUNE_BUNDLE"):
        find_source(None, mount=tmp_path / "nothing")


@pytest.mark.parametrize(
    ("address", "moves"),
    [("s3://bucket/models/birds", True), ("s3://bucket/models/birds@production", True), ("s3://bucket/birds@3", False)],
)
def test_only_what_is_in_production_can_move(address: str, moves: bool) -> None:
    assert find_source(address).moves is moves


def test_other_protocols_are_refused_with_what_is_understood() -> None:
    with pytest.raises(UserError, match="as s3://bucket/models/name, found another protocol"):
        find_source("gs://bucket/birds")
    with pytest.raises(RegistryError, match="expected the address of a model"):
        find_source("s3://bucket")


def test_a_directory_replaced_by_export_is_another_version(tmp_path: Path) -> None:
    source = find_source(write_bundle(tmp_path / "bundle", 1).path)
    first = source.find_version()
    second = write_bundle(tmp_path / "bundle", 2)
    assert source.find_version() == second.digest[:12] != first
    assert open_artifact(source.fetch(second.digest[:12]), "bundle").digest == second.digest


def test_a_directory_is_served_without_the_client_of_s3(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    code = (
        "import sys; from oodtune.serve.sources import find_source; find_source(sys.argv[1]).find_version(); "
        "print([name for name in ('boto3', 'botocore', 'onnxruntime') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code, bundle.path], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
