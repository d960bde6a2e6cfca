"""A published version takes the place of the one in production."""

from oodtune.config import PublishConfig, StageParams
from oodtune.registry.objects import open_objects
from oodtune.registry.place import parse_address
from oodtune.registry.production import promote


class Params(StageParams):
    publish: PublishConfig


def run(version: str, params: Params) -> str:
    """Put the version at the address `version`, as `publish.run` returns it, into production; return its name.

    Raises RegistryError if there is no such version or the registry cannot be used.
    """
    place, wanted = parse_address(version)
    return promote(open_objects(place, params.publish.endpoint_url), wanted)
