"""One S3 service for all tests of the registry; every test has a model of its own in it."""

from collections.abc import Iterator
from typing import Any

import pytest

from oodtune.registry.objects import Objects, open_objects
from oodtune.registry.place import Place
from tests.fixtures.s3 import BUCKET, S3, serve_s3


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with serve_s3(tmp_path_factory.mktemp("registry")) as s3:
        yield s3


@pytest.fixture
def s3(service: S3) -> Iterator[S3]:
    with service.use_here():
        yield service


@pytest.fixture(scope="session")
def client(service: S3) -> Any:
    with service.use_here():
        return open_objects(Place(BUCKET, "any"), service.endpoint_url).client


@pytest.fixture
def objects(s3: S3, client: Any, request: pytest.FixtureRequest) -> Objects:
    """With the client of all tests: one that changes its client opens another, in `altered`."""
    return Objects(client, Place(BUCKET, f"models/{request.node.originalname}"))


@pytest.fixture
def altered(s3: S3, objects: Objects) -> Objects:
    return open_objects(objects.place, s3.endpoint_url)
