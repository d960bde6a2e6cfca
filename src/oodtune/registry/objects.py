"""Small objects of one model in its bucket: read, listed, and written only if nobody else has."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from oodtune.errors import RegistryError
from oodtune.registry.errors import explain, status_of
from oodtune.registry.place import Place

_LOST: Final = (404, 409, 412)
"""What a conditional put is answered when the object is gone, is being written, or is another than expected."""
_NOT_IMPLEMENTED: Final = 501
_ROUNDS: Final = 60
_NO_SUCH_ETAG: Final = f'"{"0" * 32}"'


class Stored(NamedTuple):
    data: bytes
    etag: str


class Listed(NamedTuple):
    size: int
    modified: datetime
    """By the clock of the service, in UTC."""


@dataclass(frozen=True)
class Objects:
    """The objects of one model. Every method raises RegistryError if the service cannot be used."""

    client: Any
    place: Place

    def read(self, name: str) -> Stored | None:
        """Return a whole object, or None if there is none."""
        from botocore.exceptions import ClientError

        with explain(self.place.address(name)):
            try:
                answer = self.client.get_object(Bucket=self.place.bucket, Key=self.place.key(name))
                return Stored(answer["Body"].read(), answer["ETag"])
            except ClientError as error:
                if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                    return None
                raise

    def write(self, name: str, data: bytes, instead_of: Stored | None) -> bool:
        """Write an object in the place of `instead_of`, None being no object; return False if another is there."""
        from botocore.exceptions import ClientError

        condition = {"IfNoneMatch": "*"} if instead_of is None else {"IfMatch": instead_of.etag}
        with explain(self.place.address(name)):
            try:
                self.client.put_object(
                    Bucket=self.place.bucket,
                    Key=self.place.key(name),
                    Body=data,
                    ChecksumAlgorithm="SHA256",
                    ContentType="application/json",
                    **condition,
                )
            except ClientError as error:
                if error.response["Error"]["Code"] != "NoSuchBucket" and status_of(error) in _LOST:
                    return False
                if status_of(error) == _NOT_IMPLEMENTED:
                    raise RegistryError(_without_conditions(self.place)) from None
                raise
        return True

    def find_sha256(self, name: str) -> tuple[int, str] | None:
        """Return an object's size, and the sha256 that was stored with it ("" if none was); None without an object."""
        from botocore.exceptions import ClientError

        with explain(self.place.address(name)):
            try:
                answer = self.client.head_object(Bucket=self.place.bucket, Key=self.place.key(name))
            except ClientError as error:
                if status_of(error) == 404:
                    return None
                raise
        return int(answer["ContentLength"]), str(answer["Metadata"].get("sha256", ""))

    def list(self, folder: str) -> dict[str, Listed]:
        """Return path below the model -> facts, of every object whose path begins with `folder`."""
        found: dict[str, Listed] = {}
        with explain(self.place.address(folder)):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.place.bucket, Prefix=self.place.key(folder)
            )
            for page in pages:
                for entry in page.get("Contents", []):
                    name = entry["Key"].removeprefix(self.place.key(""))
                    found[name] = Listed(int(entry["Size"]), entry["LastModified"].astimezone(UTC))
        return found

    def update(self, name: str, change: Callable[[bytes | None], bytes]) -> bytes:
        """Replace an object by `change` of it (None: there is none), again and again until nobody wrote in between.

        `change` returns what it was given where there is nothing to do. Returns what the object holds now.
        """
        wanted: bytes | None = None
        for round_number in range(_ROUNDS):
            stored = self.read(name)
            # A put whose answer was lost is repeated by the client, and then refused because of itself.
            if stored is not None and stored.data == wanted:
                return stored.data
            wanted = change(stored.data if stored is not None else None)
            if stored is not None and stored.data == wanted:
                return wanted
            if self.write(name, wanted, stored):
                return wanted
            time.sleep(random.uniform(0.0, min(1.0, 0.02 * 2**round_number)))  # noqa: S311  (no secret)
        raise RegistryError(f"{self.place.address(name)}: others wrote it {_ROUNDS} times meanwhile; run again later")

    def require_conditions(self) -> None:
        """Raise RegistryError unless the service refuses a put whose condition is false.

        Where it does not, publishers at the same time would overwrite one another's entries.
        """
        name = "conditions"
        created_twice = self.write(name, b"", None) and self.write(name, b"", None)
        if created_twice or self.write(name, b"", Stored(b"", _NO_SUCH_ETAG)):
            raise RegistryError(_without_conditions(self.place))


def open_objects(place: Place, endpoint_url: str | None) -> Objects:
    """Return the objects of a model. Raises RegistryError without boto3 or with settings that cannot be right."""
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise RegistryError(
            f'expected boto3, which speaks S3, found none ({error}); pip install "oodtune[registry]"'
        ) from None
    config = Config(
        connect_timeout=5,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": 4},
        max_pool_connections=16,
    )
    with explain(place.address()):
        try:
            # A session of its own: the default one keeps the credentials it first found.
            return Objects(boto3.session.Session().client("s3", endpoint_url=endpoint_url, config=config), place)
        except ValueError as error:
            raise RegistryError(
                f"{endpoint_url}: expected the address of an S3 service ({error}); correct it"
            ) from None


def _without_conditions(place: Place) -> str:
    return (
        f"{place.address()}: expected a service that refuses a conditional put whose condition is false, found one "
        "that does not: publishers at the same time would overwrite one another; use another S3 service"
    )
