"""Facts of the server that runs as a process of its own, seen by a client."""

import io
import math
import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from oodtune.bundle import open_bundle
from oodtune.config import ServeConfig
from oodtune.errors import UserError
from oodtune.golden import draw_golden
from oodtune.preprocess import decode_image, decode_own_image, decode_with_facts, preprocess
from oodtune.serve import read_settings, run_server
from oodtune.serve.metrics import Metrics
from tests.unit.serve.running import process, sample, wait_until
from tests.unit.tiny_bundle import CLASSES, encode, random_images, tiny_bundle

MAX_BODY_BYTES = 50_000
PROGRAM = f"""
import sys
from pathlib import Path
from oodtune.config import ServeConfig
from oodtune.serve import read_settings, run_server
settings = read_settings(ServeConfig(port=0, max_body_bytes={MAX_BODY_BYTES}), {{"workers": 2}})
run_server(Path(sys.argv[1]), settings)
print([name for name in ("torch", "timm", "kfp", "dvc") if name in sys.modules])
"""


@contextmanager
def running_server():
    """Yield the process and its address."""
    command = [sys.executable, "-u", "-c", PROGRAM, str(tiny_bundle())]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        match = re.search(r"http://\S+", line)
        assert match, line + process.stderr.read()
        yield process, match[0]
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def client():
    with running_server() as (_, address), httpx.Client(base_url=address, timeout=10) as client:
        yield client


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_served_probabilities_are_those_of_the_bundle_bit_for_bit(client, kind):
    bundle = open_bundle(tiny_bundle())
    for seed in range(3):
        body = encode(random_images(1, seed)[0], kind)
        answer = client.post("/v1/classify", content=body).json()
        expected = bundle.classify([decode_image(body)])[0]
        served = {one["label"]: np.float32(one["probability"]) for one in answer["classes"]}
        assert served == dict(zip(CLASSES, expected, strict=True))
        assert answer["model"] == bundle.digest


@pytest.mark.parametrize("place", range(len(draw_golden())))
def test_a_file_of_any_kind_is_served_as_it_is_evaluated(client, tmp_path, place):
    """JPEG, PNG, greyscale, alpha, CMYK, EXIF-rotated, WebP, palette: as `predict` and the cache do, and as a body."""
    body = draw_golden()[place]
    (tmp_path / "image").write_bytes(body)
    bundle = open_bundle(tiny_bundle())
    pixels = preprocess(decode_own_image(body, "image"), bundle.preprocess)  # as the cache does
    for image in (decode_image(body), decode_with_facts(tmp_path / "image").image):
        assert np.array_equal(preprocess(image, bundle.preprocess), pixels)
    expected = bundle.run(pixels[None]).probabilities[0]
    answer = client.post("/v1/classify", content=body).json()
    served = {one["label"]: np.float32(one["probability"]) for one in answer["classes"]}
    assert served == dict(zip(CLASSES, expected, strict=True))


def test_top_k_answers_the_k_most_probable_classes_best_first(client):
    body = encode(random_images(1)[0])
    everything = client.post("/v1/classify", content=body).json()["classes"]
    assert [one["probability"] for one in everything] == sorted(
        (one["probability"] for one in everything), reverse=True
    )
    assert client.post("/v1/classify?top_k=2", content=body).json()["classes"] == everything[:2]


@pytest.mark.parametrize("top_k", ["0", "4", "-1", "x", "1.0", "²", "9" * 5000])
def test_a_wrong_top_k_is_400_and_names_what_was_expected(client, top_k):
    answer = client.post("/v1/classify", params={"top_k": top_k}, content=encode(random_images(1)[0]))
    assert answer.status_code == 400
    assert answer.json() == {"error": "top_k: expected a whole number from 1 to 3, the number of classes"}


def bomb() -> bytes:
    """A PNG of 10 KB that claims 9000 x 9000 pixels."""
    stream = io.BytesIO()
    Image.new("1", (9000, 9000)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "expected an image"),
        (b"only text\n", "expected an image"),
        (encode(random_images(1)[0])[:-500], "expected a whole, readable image"),
        (encode(random_images(1)[0], "JPEG")[:-300], "expected a whole, readable image"),
        (bomb(), "expected at most 25,000,000 pixels, found 9000x9000"),
    ],
    ids=["nothing", "text", "truncated PNG", "truncated JPEG", "bomb"],
)
def test_what_is_no_whole_image_is_400(client, body, expected):
    before = sample(client, "oodtune_rejected_total", reason="bad_image")
    answer = client.post("/v1/classify", content=body)
    assert answer.status_code == 400
    assert expected in answer.json()["error"]
    assert sample(client, "oodtune_rejected_total", reason="bad_image") == before + 1


def test_a_body_over_the_limit_is_413_whether_or_not_it_names_its_length(client):
    body = bytes(MAX_BODY_BYTES + 1)
    for content in (body, iter([body[:30_000], body[30_000:]])):
        answer = client.post("/v1/classify", content=content)
        assert answer.status_code == 413
        assert f"expected a body of at most {MAX_BODY_BYTES} bytes" in answer.json()["error"]


def test_a_body_without_length_is_served_too(client):
    body = encode(random_images(1)[0])
    assert client.post("/v1/classify", content=iter([body[:100], body[100:]])).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", "/v1/classify", 405), ("POST", "/healthz", 405), ("GET", "/healthz/", 404)],
)
def test_unknown_routes_and_methods_are_json_errors(client, method, path, status):
    answer = client.request(method, path)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]


def test_health_is_200_and_tells_of_the_workers(client):
    answer = client.get("/healthz")
    assert answer.status_code == 200
    digest = open_bundle(tiny_bundle()).digest
    assert answer.json() == {"healthy": True, "workers": 2, "workers_expected": 2, "model": digest}


def test_exposed_metrics_are_the_declared_ones(client):
    families = text_string_to_metric_families(client.get("/metrics").text)
    exposed = {one.name + ("_total" if one.type == "counter" else "") for one in families}
    exposed = {name for name in exposed if not name.endswith("_created")}  # added to every counter by the library
    assert exposed == Metrics().names()
    assert all(name.startswith(("oodtune_", "process_")) for name in exposed)


def test_every_image_is_counted_once_in_every_metric(client):
    names = ["oodtune_decode_seconds_count", "oodtune_inference_seconds_count", "oodtune_queue_seconds_count"]
    before = [sample(client, name) for name in names]
    answered = sample(client, "oodtune_requests_total", route="/v1/classify", code="200")
    predicted = [sample(client, "oodtune_predicted_class_total", **{"class": label}) for label in CLASSES]
    for seed in range(4):
        client.post("/v1/classify", content=encode(random_images(1, seed)[0]))
    assert [sample(client, name) - old for name, old in zip(names, before, strict=True)] == [4, 4, 4]
    assert sample(client, "oodtune_requests_total", route="/v1/classify", code="200") == answered + 4
    assert sample(client, "oodtune_request_seconds_count", route="/v1/classify") >= answered + 4
    assert sample(client, "oodtune_request_seconds_sum", route="/v1/classify") > 0
    assert math.isnan(sample(client, "oodtune_model_published_timestamp_seconds"))  # a directory
    assert sample(client, "process_resident_memory_bytes") > 1e7
    now = [sample(client, "oodtune_predicted_class_total", **{"class": label}) for label in CLASSES]
    assert sum(now) == sum(predicted) + 4


def test_no_client_can_add_a_label_value(client):
    client.get("/a-path-of-the-clients-choice")
    assert "clients-choice" not in client.get("/metrics").text
    assert sample(client, "oodtune_requests_total", route="other", code="404") >= 1


def test_sigterm_loses_no_request_in_flight_and_exits_with_0():
    body = encode(random_images(1)[0])
    head = f"POST /v1/classify HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with running_server() as (process, address):
        place = (httpx.URL(address).host, httpx.URL(address).port)
        connections = [socket.create_connection(place, timeout=20) for _ in range(16)]
        for connection in connections:
            connection.sendall(head + body[:100])
        with httpx.Client(base_url=address) as client:
            wait_until(lambda: sample(client, "oodtune_in_flight") == 16 + 1)  # and the question itself
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: refuses_connections(place))
        for connection in connections:
            connection.sendall(body[100:])
        answers = [read_all(connection) for connection in connections]
        assert [answer.split(b"\r\n")[0] for answer in answers] == [b"HTTP/1.1 200 OK"] * 16
        assert process.wait(timeout=20) == 0
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize("headers", [{}, {"connection": "close"}], ids=["kept connections", "new connections"])
def test_sigterm_under_load_resets_no_connection(headers):
    body = encode(random_images(1)[0])
    answered = Counter()

    def ask_until_refused(address: str) -> None:
        with httpx.Client(base_url=address, headers=headers, timeout=20) as client:
            while True:
                try:
                    answered[client.post("/v1/classify", content=body).status_code] += 1
                except httpx.ConnectError:
                    return  # nothing was sent

    with running_server() as (process, address), ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(ask_until_refused, address) for _ in range(8)]
        wait_until(lambda: answered[200] >= 50)
        process.send_signal(signal.SIGTERM)
        for client in clients:
            client.result(timeout=30)  # raises what a lost request raised
        assert set(answered) == {200}
        assert process.wait(timeout=20) == 0


def refuses_connections(place: tuple[str, int]) -> bool:
    try:
        socket.create_connection(place, timeout=1).close()
    except OSError:
        return True
    return False


def read_all(connection: socket.socket) -> bytes:
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_taken_port_is_a_users_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = read_settings(ServeConfig(), {"port": port}, environ={})
        with pytest.raises(UserError, match=f"127.0.0.1:{port}: expected a free address of this machine"):
            run_server(tiny_bundle(), settings)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nothing-here"], "nothing-here: expected a 'bundle' artifact, found nothing; make it with `oodtune export`"),
        (["a bundle", "--variant", "int8"], "expected a bundle with variant 'int8', found ['fp32']"),
        (["a bundle", "--provider", "cuda"], "expected CUDAExecutionProvider for provider 'cuda'"),
    ],
    ids=["no bundle", "no such variant", "no such provider"],
)
def test_what_cannot_be_served_ends_the_process_with_one_line_and_exit_code_2(arguments, expected):
    named = [str(tiny_bundle()) if one == "a bundle" else one for one in arguments]
    with process(*named, "--port", "0") as server:
        said = server.communicate(timeout=30)
        assert server.returncode == 2
    assert said[0] == ""
    assert re.fullmatch(f"error: .*{re.escape(expected)}.*\n", said[1])


def test_metrics_may_have_a_port_of_their_own():
    with process(
        str(tiny_bundle()), "--port", "0", environ={**os.environ, "OODTUNE_LISTEN_METRICS_PORT": "0"}
    ) as server:
        main, metrics = re.findall(r"http://\S+", server.stdout.readline())
        assert httpx.post(f"{main}/v1/classify", content=encode(random_images(1)[0])).status_code == 200
        counted = 'oodtune_requests_total{code="200",route="/v1/classify"} 1.0'
        assert counted in httpx.get(f"{metrics}/metrics").text
