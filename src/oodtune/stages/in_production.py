"""The bundle that is in production, brought here, or one file of it."""

from pathlib import Path

from oodtune.config import PublishConfig
from oodtune.errors import ConfigError
from oodtune.registry.objects import open_objects
from oodtune.registry.place import PRODUCTION, parse_address
from oodtune.registry.production import read_production
from oodtune.registry.pull import fetch_bundle, read_file


def fetch_production(config: PublishConfig, directory: Path) -> Path | None:
    """Return where in `directory` the bundle in production now is; None if nothing is in production.

    Raises ConfigError if the settings name no registry, RegistryError if it cannot be used.
    """
    address = _address(config)
    return None if address is None else fetch_bundle(address, directory, config.endpoint_url)


def read_from_production(config: PublishConfig, name: str) -> bytes | None:
    """Return the file `name` of the bundle in production, and bring no other; else as `fetch_production`."""
    address = _address(config)
    return None if address is None else read_file(address, name, config.endpoint_url)


def _address(config: PublishConfig) -> str | None:
    if config.registry is None:
        raise ConfigError("publish.url: expected the registry that production is in, found null; set it")
    place, _ = parse_address(config.registry)
    if read_production(open_objects(place, config.endpoint_url)).version is None:
        return None
    return f"{config.registry}@{PRODUCTION}"
