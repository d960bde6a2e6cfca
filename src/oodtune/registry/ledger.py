"""`versions.json`: the digest of every bundle that was ever begun here, in the order of their numbers.

One conditional put adds a digest, so that two publishers never get one number, and one bundle never two.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from oodtune.artifact import MANIFEST
from oodtune.config import describe_validation_error
from oodtune.errors import RegistryError
from oodtune.registry.objects import Objects

LEDGER: Final = "versions.json"
FOLDER: Final = "versions"
_DIGITS: Final = 12
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Ledger(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(default=1, alias="schema")
    digests: tuple[Digest, ...] = ()


def read_versions(objects: Objects) -> dict[str, str]:
    """Return version -> digest of its manifest, oldest first. One that was only begun is among them."""
    stored = objects.read(LEDGER)
    return _name_versions(_parse(objects, stored.data if stored is not None else None).digests)


def claim_version(objects: Objects, digest: str) -> str:
    """Return the version of a bundle by the digest of its manifest: the one it has, or else the next."""

    def add(data: bytes | None) -> bytes:
        digests = _parse(objects, data).digests
        return data if data is not None and digest in digests else _render((*digests, digest))

    digests = _parse(objects, objects.update(LEDGER, add)).digests
    return name_version(digests.index(digest) + 1, digest)


def name_version(number: int, digest: str) -> str:
    """Return the name of the version with this number, from 1 on: it sorts by number and says what is in it."""
    return f"{number:06}-{digest[:_DIGITS]}"


def path_of(version: str, name: str = "") -> str:
    """Return the path below the model of a file of a version, or of the version's folder, with a slash at its end."""
    return f"{FOLDER}/{version}/{name}"


class Finished(NamedTuple):
    num_bytes: int
    published: datetime
    """When its manifest was written, by the clock of the service, in UTC."""


def list_finished(objects: Objects) -> dict[str, Finished]:
    """Return version -> facts of every finished version, oldest first."""
    found = objects.list(f"{FOLDER}/")
    num_bytes: dict[str, int] = {}
    for name, listed in found.items():
        version = name.split("/")[1]
        num_bytes[version] = num_bytes.get(version, 0) + listed.size
    return {
        version: Finished(num_bytes[version], found[path_of(version, MANIFEST)].modified)
        for version in read_versions(objects)
        if path_of(version, MANIFEST) in found
    }


def choose_version(objects: Objects, wanted: str, versions: Sequence[str]) -> str:
    """Return the version that `wanted` means: its whole name, or its number.

    Raises RegistryError that lists the newest of `versions` if it is none of them.
    """
    for version in versions:
        number = version.partition("-")[0]
        if wanted == version or (wanted.isdigit() and int(wanted) == int(number)):
            return version
    newest = ", ".join(list(versions)[-10:]) or "none: publish a bundle first"
    raise RegistryError(f"{objects.place.address()}: expected a version, found no {wanted!r}; there are {newest}")


def _name_versions(digests: Sequence[str]) -> dict[str, str]:
    return {name_version(number, digest): digest for number, digest in enumerate(digests, start=1)}


def _parse(objects: Objects, data: bytes | None) -> _Ledger:
    if data is None:
        return _Ledger()
    try:
        return _Ledger.model_validate_json(data)
    except ValidationError as error:
        raise RegistryError(
            f"{objects.place.address(LEDGER)}: expected the versions of a model ({describe_validation_error(error)}); "
            "restore the object, or use another name or folder"
        ) from None


def _render(digests: Sequence[str]) -> bytes:
    return (json.dumps({"schema": 1, "digests": list(digests)}, indent=1) + "\n").encode()
