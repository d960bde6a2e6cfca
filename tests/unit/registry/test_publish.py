from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from oodtune.errors import RegistryError
from oodtune.registry.ledger import claim_version, list_finished, read_versions
from oodtune.registry.objects import Objects, open_objects
from oodtune.registry.publish import publish_bundle
from tests.fixtures.s3 import S3
from tests.unit.registry.small_bundles import SEVERAL_PARTS, publish_new, write_bundle

pytestmark = pytest.mark.xdist_group("s3")


def count_requests(objects: Objects, operation: str) -> list[str]:
    """Return a list to which the key of every request of this kind is added from now on."""
    keys: list[str] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        keys.append(params["Key"].removeprefix(objects.place.key("")))

    objects.client.meta.events.register(f"provide-client-params.s3.{operation}", note)
    return keys


def test_a_bundle_published_twice_is_one_version(altered: Objects, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    version = publish_bundle(altered, bundle)
    writes = count_requests(altered, "PutObject")
    assert publish_bundle(altered, bundle) == version == f"000001-{bundle.digest[:12]}"
    assert writes == []
    assert list(list_finished(altered)) == [version]


def test_versions_are_numbered_in_the_order_they_were_published(objects: Objects, tmp_path: Path) -> None:
    versions = publish_new(objects, tmp_path, range(3))
    assert [version[:6] for version in versions] == ["000001", "000002", "000003"]
    assert list(list_finished(objects)) == list(read_versions(objects)) == versions


def test_publishers_of_one_bundle_at_once_get_one_version(objects: Objects, s3: S3, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", num_bytes=SEVERAL_PARTS)
    clients = [open_objects(objects.place, s3.endpoint_url) for _ in range(2)]
    with ThreadPoolExecutor() as pool:
        versions = list(pool.map(lambda client: publish_bundle(client, bundle), clients))
    assert versions == [f"000001-{bundle.digest[:12]}"] * 2


def test_claims_at_once_get_different_numbers(objects: Objects, s3: S3) -> None:
    digests = [f"{n:064x}" for n in range(4)]
    clients = [open_objects(objects.place, s3.endpoint_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        versions = list(pool.map(claim_version, clients, digests))
    assert sorted(version[:6] for version in versions) == [f"{n:06}" for n in range(1, 5)]
    assert read_versions(objects) == dict(sorted(zip(versions, digests, strict=True)))


def test_every_object_carries_the_sha256_of_its_file(objects: Objects, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", num_bytes=SEVERAL_PARTS)
    version = publish_bundle(objects, bundle)
    for name, sha256 in bundle.manifest.files.items():
        size = (bundle.path / name).stat().st_size
        assert objects.find_sha256(f"versions/{version}/{name}") == (size, sha256)


@pytest.mark.parametrize("num_bytes", [1000, SEVERAL_PARTS, 8 * 1024 * 1024])
def test_a_file_that_changed_since_it_was_hashed_is_not_published(
    objects: Objects, tmp_path: Path, num_bytes: int
) -> None:
    bundle = write_bundle(tmp_path / "bundle", seed=num_bytes, num_bytes=num_bytes)
    with (bundle.path / "model.onnx").open("r+b") as stream:
        stream.write(b"altered")
    with pytest.raises(RegistryError, match=r"model\.onnx: changed while it was published"):
        publish_bundle(objects, bundle)
    assert f"000001-{bundle.digest[:12]}" not in list_finished(objects)
    assert not [name for name in objects.list("versions/") if name.endswith(f"{bundle.digest[:12]}/model.onnx")]


def test_publishing_again_brings_only_what_is_missing_and_the_manifest_last(altered: Objects, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    version = publish_bundle(altered, bundle)
    folder = f"versions/{version}"
    for name in ("manifest.json", "labels.json"):  # as if it had been killed before these
        altered.client.delete_object(Bucket=altered.place.bucket, Key=altered.place.key(f"{folder}/{name}"))
    assert list_finished(altered) == {}
    writes = count_requests(altered, "PutObject")
    assert publish_bundle(altered, bundle) == version
    assert [name for name in writes if name != "conditions"] == [f"{folder}/labels.json", f"{folder}/manifest.json"]


def test_progress_ends_at_all_of_it(objects: Objects, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    bundle = write_bundle(tmp_path / "bundle", num_bytes=SEVERAL_PARTS)
    publish_bundle(objects, bundle, lambda done, total, what: seen.append((done, total)))
    assert seen[0] == (0, 9)
    assert seen[-1] == (9, 9)


def test_a_ledger_that_is_none_is_refused(objects: Objects, tmp_path: Path) -> None:
    objects.write("versions.json", b'{"digests": ["x"]}', None)
    with pytest.raises(RegistryError, match=r"versions\.json: expected the versions of a model"):
        publish_bundle(objects, write_bundle(tmp_path / "bundle"))
