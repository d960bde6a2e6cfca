"""Facts of a server that follows a registry, or is told to look again."""

import gc
import json
import logging
import signal
import socket
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from oodtune.artifact import open_artifact
from oodtune.bundle import model_path, open_bundle
from oodtune.errors import RegistryError
from oodtune.preprocess import decode_image
from oodtune.registry.objects import Objects, open_objects
from oodtune.registry.place import Place
from oodtune.registry.production import promote, rollback
from oodtune.registry.publish import publish_bundle
from oodtune.serve.loading import load_model
from oodtune.serve.reload import Outcome, Reloader
from oodtune.serve.served_model import Served
from oodtune.serve.settings import ServeSettings
from oodtune.serve.sources import find_source
from tests.fixtures.s3 import BUCKET, S3, serve_s3
from tests.unit.serve.running import copy_bundle, process, running, sample, wait_until
from tests.unit.tiny_bundle import encode, random_images, tiny_bundle, tiny_ensemble

pytestmark = pytest.mark.xdist_group("s3")
BODY = encode(random_images(1)[0])


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with serve_s3(tmp_path_factory.mktemp("reload")) as service, service.use_here():
        yield service


@pytest.fixture
def objects(s3: S3, request: pytest.FixtureRequest) -> Objects:
    return open_objects(Place(BUCKET, f"models/{request.node.originalname}"), s3.endpoint_url)


def publish(objects: Objects, bundle: Path) -> str:
    return publish_bundle(objects, open_artifact(bundle, "bundle"))


def damage(objects: Objects, version: str) -> None:
    """Exchange the graph of a published version for other bytes."""
    key = objects.place.key(f"versions/{version}/{model_path()}")
    objects.client.put_object(Bucket=objects.place.bucket, Key=key, Body=b"x" * 100)


@contextmanager
def following(objects: Objects, s3: S3, tmp_path: Path):
    """Yield a server of what is in production, which looks ten times a second; its process and a client."""
    environ = {**s3.environment, "OODTUNE_ENDPOINT_URL": s3.endpoint_url, "OODTUNE_RELOAD_S": "0.1"}
    with (
        running(objects.place.address(), environ={**environ, "TMPDIR": str(tmp_path)}) as (server, address),
        httpx.Client(base_url=address, timeout=20) as client,
    ):
        yield server, client


def version_of(client: httpx.Client) -> str:
    return client.post("/v1/classify", content=BODY).json()["model_version"]


def expected_answer(bundle: Path) -> dict[str, np.float32]:
    opened = open_bundle(bundle)
    (probabilities,) = opened.classify([decode_image(BODY)])
    return dict(zip(opened.classes, probabilities, strict=True))


def test_a_promotion_and_a_rollback_under_load_lose_no_request_and_mix_no_answer(objects, s3, tmp_path):
    bundles = {publish(objects, bundle): bundle for bundle in (tiny_bundle(), tiny_ensemble())}
    old, new = bundles
    expected = {version: expected_answer(bundle) for version, bundle in bundles.items()}
    promote(objects, old)
    answered, ended = Counter(), threading.Event()

    def ask_until_ended(address: httpx.URL) -> None:
        with httpx.Client(base_url=address, timeout=20) as client:
            while not ended.is_set():
                answer = client.post("/v1/classify", content=BODY)
                assert answer.status_code == 200
                found = answer.json()
                served = {one["label"]: np.float32(one["probability"]) for one in found["classes"]}
                assert served == expected[found["model_version"]]
                answered[found["model_version"]] += 1

    with following(objects, s3, tmp_path) as (server, client), ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(ask_until_ended, client.base_url) for _ in range(4)]
        try:
            wait_until(lambda: answered[old] >= 20)
            promote(objects, new)
            wait_until(lambda: answered[new] >= 20)
            assert rollback(objects) == old
            before = answered[old]
            wait_until(lambda: answered[old] >= before + 20)
        finally:
            ended.set()
        for one in clients:
            one.result(timeout=30)  # raises what a lost request raised
        assert sample(client, "oodtune_reloads_total", outcome="replaced") == 2
        assert sample(client, "oodtune_requests_total", route="/v1/classify", code="200") == sum(answered.values())
        (cache_dir,) = tmp_path.glob("oodtune-serve-*")
        assert [path.name for path in cache_dir.iterdir() if path.is_dir()] == [old]
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=20) == 0
        assert not cache_dir.exists()


def test_a_version_that_was_altered_in_the_bucket_is_refused_and_the_next_good_one_is_served(objects, s3, tmp_path):
    good = publish(objects, tiny_bundle())
    bad = publish(objects, copy_bundle(tiny_bundle(), tmp_path / "bad", "bad"))
    damage(objects, bad)
    promote(objects, good)
    (tmp_path / "cache").mkdir()
    with following(objects, s3, tmp_path / "cache") as (server, client):
        promote(objects, bad)
        wait_until(lambda: sample(client, "oodtune_reloads_total", outcome="refused") >= 2)
        assert version_of(client) == good
        assert client.get("/v2/health/ready").status_code == 200
        better = publish(objects, copy_bundle(tiny_bundle(), tmp_path / "better", "better"))
        promote(objects, better)
        wait_until(lambda: version_of(client) == better)
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=20) == 0
        said = server.stderr.read()
    assert said.count("is refused") == 1  # however often it was tried
    assert "checksum mismatch" in said


def test_metrics_say_when_the_served_version_was_published_and_when_it_took_over(objects, s3, tmp_path):
    begun_s = time.time()
    promote(objects, publish(objects, tiny_bundle()))
    with following(objects, s3, tmp_path) as (_, client):
        published_s = sample(client, "oodtune_model_published_timestamp_seconds")
        loaded_s = sample(client, "oodtune_model_loaded_timestamp_seconds")
    assert begun_s - 1 <= published_s <= loaded_s <= time.time()  # the registry's clock has whole seconds


def test_sighup_serves_what_export_has_put_in_the_place_of_the_bundle(tmp_path):
    bundle = copy_bundle(tiny_bundle(), tmp_path / "bundle", "first")
    with running(str(bundle)) as (server, address), httpx.Client(base_url=address, timeout=20) as client:
        first = version_of(client)
        copy_bundle(tiny_bundle(), bundle, "second")
        assert version_of(client) == first
        server.send_signal(signal.SIGHUP)
        second = open_artifact(bundle, "bundle").digest[:12]
        wait_until(lambda: version_of(client) == second)
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=20) == 0


class Followed:
    """A reloader of the tiny bundle in this process, which looks when it is told to."""

    def __init__(self, source) -> None:
        self.served, self.outcomes, self.ready = Served("model"), Counter[Outcome](), threading.Event()
        self.reloader = Reloader(source, self.load, self.served, self.count, None)

    def load(self, path: Path, version: str):
        return load_model(path, version, ServeSettings())

    def count(self, outcome: Outcome) -> None:
        self.outcomes[outcome] += 1

    def __enter__(self):
        self.reloader.start(self.ready.set, self.ready.set)
        assert self.ready.wait(30)
        return self

    def __exit__(self, *_) -> None:
        self.reloader.stop(10)


def test_a_registry_that_does_not_answer_is_counted_each_time_and_logged_once(objects, s3, tmp_path, caplog):
    promote(objects, publish(objects, tiny_bundle()))
    source = find_source(objects.place.address(), s3.endpoint_url)
    with Followed(source) as followed, caplog.at_level(logging.WARNING):
        version = followed.served.current.version
        find_version, source.find_version = source.find_version, refuse
        for _ in range(3):
            followed.reloader.look()
        assert followed.outcomes == {"unreachable": 3}
        assert followed.served.current.version == version
        assert len(caplog.records) == 1
        source.find_version = find_version
        followed.reloader.look()
        source.find_version = refuse
        followed.reloader.look()
        assert len(caplog.records) == 2  # it was there in between


def refuse() -> str:
    raise RegistryError("expected an S3 service, none answers")


def test_a_replaced_model_is_freed(tmp_path):
    bundle = copy_bundle(tiny_bundle(), tmp_path / "bundle", "first")
    with Followed(find_source(bundle)) as followed:
        first = weakref.ref(followed.served.current)
        copy_bundle(tiny_bundle(), bundle, "second")
        followed.reloader.look()
        gc.collect()
        assert first() is None
        assert followed.outcomes == {"replaced": 1}


def test_a_version_that_does_not_load_is_tried_again_after_pauses_or_when_asked(tmp_path):
    bundle = copy_bundle(tiny_bundle(), tmp_path / "bundle", "first")
    with Followed(find_source(bundle)) as followed:
        followed.reloader._interval_s = 60  # the thread waits already, without one
        copy_bundle(tiny_bundle(), bundle, "bad", {model_path(): lambda path: path.write_bytes(b"no graph")})
        for _ in range(3):
            followed.reloader.look()
        assert followed.outcomes == {"refused": 1}
        followed.reloader.look(asked=True)
        assert followed.outcomes == {"refused": 2}


def test_sigterm_ends_a_server_that_is_still_fetching(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environ = {
            "PATH": "/usr/bin",
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "OODTUNE_ENDPOINT_URL": address,
        }
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with process("s3://bucket/models/birds", "--port", str(port), environ=environ) as server:
            client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)
            wait_until(lambda: answers(client))
            assert json.loads(client.get("/v2/health/live").content) == {"live": True}
            found = [client.get(path).status_code for path in ("/v2/health/ready", "/healthz")]
            refused = client.post("/v1/classify", content=BODY)
            assert [*found, refused.status_code] == [503, 503, 503]
            assert refused.headers["retry-after"] == "2"
            client.close()
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=20) == 0
            said = server.communicate()
            assert said[0] == ""  # it was never ready
            assert "Traceback" not in said[1]


def answers(client: httpx.Client) -> bool:
    try:
        client.get("/v2/health/live")
    except httpx.TransportError:
        return False
    return True
