"""Addresses: `s3://bucket/folder/name`, with `@version` or `@production` where one version is meant."""

import re
from dataclasses import dataclass
from typing import Final

from oodtune.config.publish import BUCKET, FOLDER
from oodtune.errors import RegistryError

PRODUCTION: Final = "production"
_PUBLISHED: Final = re.compile(r"(?P<model>.+)/versions/(?P<version>[0-9]{6,}-[0-9a-f]{12})/?")
_MODEL: Final = re.compile(rf"s3://(?P<bucket>{BUCKET})/(?P<root>{FOLDER})(?:@(?P<wanted>[A-Za-z0-9-]+))?/?")


@dataclass(frozen=True)
class Place:
    """Where the versions of one model are."""

    bucket: str
    root: str
    """Folder and name of the model, without slashes at the ends."""

    def key(self, name: str) -> str:
        """Return the key of an object from its path below the model."""
        return f"{self.root}/{name}"

    def address(self, name: str = "") -> str:
        """Return the `s3://` address of an object of the model, or of the model."""
        return f"s3://{self.bucket}/{self.key(name)}".rstrip("/")


def parse_address(text: str) -> tuple[Place, str]:
    """Return the model's place, and the wanted version: what follows `@`, or else `production`.

    The address that `oodtune publish` prints, `.../name/versions/VERSION`, is understood as well.
    Raises RegistryError if it is no such address.
    """
    published = _PUBLISHED.fullmatch(text)
    model = _MODEL.fullmatch(published["model"] if published else text)
    if model is None:
        raise RegistryError(
            f"{text}: expected the address of a model, as in s3://bucket/models/name or "
            f"s3://bucket/models/name@production; correct it"
        )
    wanted = published["version"] if published else model["wanted"]
    return Place(model["bucket"], model["root"]), wanted or PRODUCTION
