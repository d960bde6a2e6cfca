"""The bundle that is in production, brought here."""

from pathlib import Path

from oodtune.config import PublishConfig
from oodtune.errors import ConfigError
from oodtune.registry.objects import open_objects
from oodtune.registry.place import PRODUCTION, parse_address
from oodtune.registry.production import read_production
from oodtune.registry.pull import fetch_bundle


def fetch_production(config: PublishConfig, directory: Path) -> Path | None:
    """Return where in `directory` the bundle in production now is; None if nothing is in production.

    Raises ConfigError if the settings name no registry, RegistryError if it cannot be used.
    """
    if config.registry is None:
        raise ConfigError("publish.url: expected the registry that production is in, found null; set it")
    place, _ = parse_address(config.registry)
    if read_production(open_objects(place, config.endpoint_url)).version is None:
        return None
    return fetch_bundle(f"{config.registry}@{PRODUCTION}", directory, config.endpoint_url)
