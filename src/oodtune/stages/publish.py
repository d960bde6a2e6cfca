"""A bundle -> an immutable version in the registry."""

from pathlib import Path

from oodtune.artifact import open_artifact
from oodtune.config import StageParams
from oodtune.config.publish import PublishConfig
from oodtune.progress import progress_bar
from oodtune.registry.ledger import path_of
from oodtune.registry.objects import open_objects
from oodtune.registry.place import parse_address
from oodtune.registry.production import promote as promote_version
from oodtune.registry.publish import publish_bundle


class Params(StageParams):
    publish: PublishConfig


def run(bundle: Path | str, params: Params, promote: bool = False) -> str:
    """Publish a bundle and return the version's address, or "" where the settings name no registry.

    With `promote`, the version is in production afterwards. Raises ArtifactError if it is not a whole bundle,
    RegistryError if the registry cannot be used.
    """
    if params.publish.registry is None:
        return ""
    return publish(Path(bundle), params.publish.registry, params.publish.endpoint_url, promote)


def publish(bundle: Path, registry: str, endpoint_url: str | None, promote: bool) -> str:
    """Publish a bundle at the model's address `registry`; return and raise what `run` does."""
    opened = open_artifact(bundle, "bundle")
    objects = open_objects(parse_address(registry)[0], endpoint_url)
    with progress_bar("Publish") as progress:
        version = publish_bundle(objects, opened, progress)
    if promote:
        promote_version(objects, version)
    return objects.place.address(path_of(version))
