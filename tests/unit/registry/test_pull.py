import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from oodtune.artifact import MANIFEST, Artifact, open_artifact
from oodtune.errors import RegistryError
from oodtune.registry.ledger import claim_version
from oodtune.registry.objects import Objects
from oodtune.registry.production import promote
from oodtune.registry.publish import publish_bundle
from oodtune.registry.pull import fetch_bundle, find_version, read_file
from tests.fixtures.s3 import S3
from tests.unit.registry.small_bundles import SEVERAL_PARTS, publish_new, read_all, write_bundle

pytestmark = pytest.mark.xdist_group("s3")


def overwrite(objects: Objects, name: str, data: bytes) -> None:
    objects.client.put_object(Bucket=objects.place.bucket, Key=objects.place.key(name), Body=data)


def fetch(objects: Objects, folder: Path, wanted: str = "1") -> Path:
    address = f"{objects.place.address()}@{wanted}"
    return fetch_bundle(address, folder, objects.client.meta.endpoint_url)


def test_what_is_pulled_is_what_was_published_byte_for_byte(objects: Objects, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", num_bytes=SEVERAL_PARTS)
    version = publish_bundle(objects, bundle)
    pulled = fetch(objects, tmp_path / "out", version)
    assert pulled == tmp_path / "out" / version
    assert read_all(pulled) == read_all(bundle.path)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {version, ".lock"}


def test_without_a_version_the_one_in_production_is_pulled(objects: Objects, s3: S3, tmp_path: Path) -> None:
    versions = publish_new(objects, tmp_path, range(3))
    promote(objects, versions[1])
    address = objects.place.address()
    assert find_version(address, s3.endpoint_url) == versions[1]
    assert fetch_bundle(address, tmp_path / "out", s3.endpoint_url).name == versions[1]


def test_a_version_that_is_here_is_kept(objects: Objects, tmp_path: Path) -> None:
    publish_bundle(objects, write_bundle(tmp_path / "bundle"))
    first = fetch(objects, tmp_path / "out").stat().st_ino
    assert fetch(objects, tmp_path / "out").stat().st_ino == first


def test_a_version_that_was_damaged_here_is_brought_again(objects: Objects, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    publish_bundle(objects, bundle)
    (fetch(objects, tmp_path / "out") / "model.onnx").write_bytes(b"damaged")
    assert read_all(fetch(objects, tmp_path / "out")) == read_all(bundle.path)


def test_pulls_at_once_both_get_the_whole_version(objects: Objects, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", num_bytes=SEVERAL_PARTS)
    publish_bundle(objects, bundle)
    with ThreadPoolExecutor() as pool:
        paths = list(pool.map(lambda _: fetch(objects, tmp_path / "out"), range(2)))
    assert len(set(paths)) == 1
    assert open_artifact(paths[0], "bundle").digest == bundle.digest


def publish_altered(objects: Objects, folder: Path) -> tuple[Artifact, str]:
    """Publish a bundle and exchange its model for other bytes of the same size; return it and the object's path."""
    bundle = write_bundle(folder / "bundle", num_bytes=SEVERAL_PARTS)
    name = f"versions/{publish_bundle(objects, bundle)}/model.onnx"
    overwrite(objects, name, b"x" * SEVERAL_PARTS)
    return bundle, name


def test_an_altered_object_is_named_and_nothing_appears(objects: Objects, tmp_path: Path) -> None:
    _, name = publish_altered(objects, tmp_path)
    with pytest.raises(RegistryError, match=f"{objects.place.address(name)}: checksum mismatch") as caught:
        fetch(objects, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert [path for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")] == []


def test_a_pull_goes_on_where_the_last_one_ended(objects: Objects, tmp_path: Path) -> None:
    bundle, name = publish_altered(objects, tmp_path)
    with pytest.raises(RegistryError, match="checksum mismatch"):
        fetch(objects, tmp_path / "out")
    overwrite(objects, name, (bundle.path / "model.onnx").read_bytes())
    kept = read_all(next((tmp_path / "out").glob(".*.partial/files")))
    assert set(kept) >= {"NOTICE", "labels.json"}
    overwrite(objects, name.replace("model.onnx", "labels.json"), b"not asked for again")
    assert read_all(fetch(objects, tmp_path / "out")) == read_all(bundle.path)


def test_an_object_that_is_gone_is_named(objects: Objects, tmp_path: Path) -> None:
    version = publish_bundle(objects, write_bundle(tmp_path / "bundle"))
    key = objects.place.key(f"versions/{version}/labels.json")
    objects.client.delete_object(Bucket=objects.place.bucket, Key=key)
    with pytest.raises(RegistryError, match=f"{key}: expected a file of the version, found no object"):
        fetch(objects, tmp_path / "out")


def test_one_file_is_read_by_itself_and_refused_if_it_was_altered_or_is_gone(objects: Objects, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    version = publish_bundle(objects, bundle)
    given = f"{objects.place.address()}@{version}", "labels.json", objects.client.meta.endpoint_url
    assert read_file(*given) == (bundle.path / "labels.json").read_bytes()
    overwrite(objects, f"versions/{version}/labels.json", b"[]")
    with pytest.raises(RegistryError, match=r"labels\.json: checksum mismatch"):
        read_file(*given)
    key = objects.place.key(f"versions/{version}/labels.json")
    objects.client.delete_object(Bucket=objects.place.bucket, Key=key)
    with pytest.raises(RegistryError, match=r"labels\.json: expected a file of the version, found no object"):
        read_file(*given)


def test_an_altered_manifest_is_refused(objects: Objects, tmp_path: Path) -> None:
    version = publish_bundle(objects, write_bundle(tmp_path / "bundle"))
    overwrite(objects, f"versions/{version}/{MANIFEST}", b"{}")
    with pytest.raises(RegistryError, match=rf"{MANIFEST}: checksum mismatch"):
        fetch(objects, tmp_path / "out")
    with pytest.raises(RegistryError, match="expected the manifest that was published"):
        publish_bundle(objects, open_artifact(tmp_path / "bundle", "bundle"))


def test_a_manifest_that_leads_out_of_the_bundle_is_refused(objects: Objects, tmp_path: Path) -> None:
    content = json.loads((write_bundle(tmp_path / "bundle").path / MANIFEST).read_text())
    for name in ("../escaped", "/tmp/escaped", "a/../../escaped", "a\\..\\escaped", ".", MANIFEST):
        data = json.dumps({**content, "files": {name: "0" * 64}}).encode()
        version = claim_version(objects, hashlib.sha256(data).hexdigest())
        overwrite(objects, f"versions/{version}/{MANIFEST}", data)
        with pytest.raises(RegistryError, match="expected files inside of the bundle"):
            fetch(objects, tmp_path / "out", version)


def test_a_version_that_was_only_begun_is_refused(objects: Objects, tmp_path: Path) -> None:
    claim_version(objects, "0" * 64)
    with pytest.raises(RegistryError, match="expected a finished version"):
        fetch(objects, tmp_path / "out")


def test_an_unknown_version_is_answered_with_those_that_are_there(objects: Objects, tmp_path: Path) -> None:
    versions = publish_new(objects, tmp_path, range(2))
    with pytest.raises(RegistryError, match=f"found no '7'; there are {', '.join(versions)}$"):
        fetch(objects, tmp_path / "out", "7")


def test_a_model_without_a_version_in_production_says_what_to_do(objects: Objects, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="expected a version in production, found none; publish a bundle"):
        fetch(objects, tmp_path / "out", "production")


def test_a_full_or_forbidden_disk_is_one_line(objects: Objects, tmp_path: Path) -> None:
    publish_bundle(objects, write_bundle(tmp_path / "bundle"))
    (tmp_path / "out").write_text("a file where a folder should be")
    with pytest.raises(RegistryError, match=r"could not finish \([^\n]*$"):
        fetch(objects, tmp_path / "out")
