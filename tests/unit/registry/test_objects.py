import time
from typing import Any

import pytest

from oodtune.errors import RegistryError
from oodtune.registry.objects import Objects, Stored, open_objects
from oodtune.registry.place import Place
from tests.fixtures.s3 import BUCKET, S3, free_ports

pytestmark = pytest.mark.xdist_group("s3")


def test_of_two_who_write_a_new_object_the_second_is_refused(objects: Objects) -> None:
    assert objects.write("one", b"first", None)
    assert not objects.write("one", b"second", None)
    assert objects.read("one")[0] == b"first"  # type: ignore[index]


def test_a_write_in_the_place_of_what_is_no_longer_there_is_refused(objects: Objects) -> None:
    objects.write("one", b"first", None)
    seen = objects.read("one")
    assert objects.write("one", b"second", seen)
    assert not objects.write("one", b"third", seen)
    assert not objects.write("another", b"third", seen)


def test_an_update_that_another_overtakes_is_made_again_on_top_of_it(objects: Objects) -> None:
    seen: list[bytes | None] = []

    def change(data: bytes | None) -> bytes:
        seen.append(data)
        if len(seen) < 4:  # somebody else is quicker, three times
            assert objects.write("log", f"{len(seen)}".encode(), objects.read("log"))
        return (data or b"") + b" ours"

    assert objects.update("log", change) == b"3 ours"
    assert seen == [None, b"1", b"2", b"3"]


def test_a_put_whose_answer_was_lost_is_not_made_twice(objects: Objects) -> None:
    calls: list[bytes | None] = []

    def change(data: bytes | None) -> bytes:
        calls.append(data)
        objects.write("log", b"ours", None)  # arrives; the client, which heard nothing, sends it again
        return b"ours"

    assert objects.update("log", change) == b"ours"
    assert calls == [None]


def test_a_service_that_ignores_conditions_is_refused(altered: Objects) -> None:
    def forget(request: Any, **_: Any) -> None:
        for name in ("If-None-Match", "If-Match"):
            del request.headers[name]

    altered.require_conditions()
    altered.require_conditions()
    altered.client.meta.events.register("before-sign.s3.PutObject", forget)
    with pytest.raises(RegistryError, match=r"expected a service that refuses a conditional put[^\n]*$"):
        altered.require_conditions()


def test_a_service_that_ignores_only_if_match_is_refused(altered: Objects) -> None:
    def forget(request: Any, **_: Any) -> None:
        del request.headers["If-Match"]

    altered.client.meta.events.register("before-sign.s3.PutObject", forget)
    with pytest.raises(RegistryError, match="expected a service that refuses a conditional put"):
        altered.require_conditions()


def refusal(objects: Objects) -> str:
    with pytest.raises(RegistryError) as caught:
        objects.read("one")
    (line,) = str(caught.value).splitlines()
    return line


def test_a_bucket_that_is_missing_is_named(s3: S3) -> None:
    objects = open_objects(Place("elsewhere", "name"), s3.endpoint_url)
    assert "expected the bucket 'elsewhere', found none; create it" in refusal(objects)
    with pytest.raises(RegistryError, match="expected the bucket 'elsewhere'"):
        objects.list("versions/")


def test_credentials_that_are_missing_or_wrong_are_said_so(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(BUCKET, "name")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    line = refusal(open_objects(place, s3.endpoint_url))
    assert "access denied" in line
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in line
    with pytest.raises(RegistryError, match="access denied"):
        open_objects(place, s3.endpoint_url).write("one", b"", Stored(b"", '"0"'))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    assert "expected credentials of S3, found none that work" in refusal(open_objects(place, s3.endpoint_url))
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(RegistryError, match=r"expected credentials of S3.*nobody"):
        open_objects(place, s3.endpoint_url)


def test_an_endpoint_that_does_not_answer_is_said_so_within_seconds(s3: S3) -> None:
    (port,) = free_ports(1)
    begun = time.monotonic()
    assert "expected an S3 service, none answers" in refusal(
        open_objects(Place(BUCKET, "n"), f"http://127.0.0.1:{port}")
    )
    assert time.monotonic() - begun < 15


def test_an_endpoint_that_is_no_address_is_said_so() -> None:
    with pytest.raises(RegistryError, match="nowhere: expected the address of an S3 service"):
        open_objects(Place(BUCKET, "name"), "nowhere")
