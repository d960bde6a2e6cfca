from pathlib import Path

import pytest

from oodtune.artifact import create_artifact
from oodtune.config import PublishConfig
from oodtune.errors import RegistryError
from oodtune.registry.objects import open_objects
from oodtune.registry.place import parse_address
from oodtune.registry.production import read_production
from oodtune.stages import promote, publish

pytestmark = pytest.mark.xdist_group("s3")


def put(registry: PublishConfig, directory: Path, text: str) -> str:
    with create_artifact(directory / text, "bundle") as writer:
        (writer.path / "content").write_text(text)
    return publish.run(directory / text, publish.Params(publish=registry))


def in_production(registry: PublishConfig) -> str | None:
    assert registry.registry is not None
    return read_production(open_objects(parse_address(registry.registry)[0], registry.endpoint_url)).version


def test_the_version_that_publish_names_is_in_production_afterwards(registry: PublishConfig, tmp_path: Path) -> None:
    old, new = (put(registry, tmp_path, text) for text in ("old", "new"))
    assert in_production(registry) is None
    for address in (old, new, old):
        name = promote.run(address, promote.Params(publish=registry))
        assert address.endswith(f"/versions/{name}")
        assert in_production(registry) == name


def test_a_version_that_is_not_there_is_refused_and_changes_nothing(registry: PublishConfig, tmp_path: Path) -> None:
    address = put(registry, tmp_path, "made")
    name = promote.run(address, promote.Params(publish=registry))
    other = address.replace(name, f"000009-{'0' * 12}")
    for wrong in (other, ""):
        with pytest.raises(RegistryError) as caught:
            promote.run(wrong, promote.Params(publish=registry))
        assert "\n" not in str(caught.value)
    assert in_production(registry) == name
