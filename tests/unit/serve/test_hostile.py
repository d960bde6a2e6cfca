"""Hostile requests to the real server, a process of its own: each is a precise 4xx, and costs little."""

import gzip
import json
import os
import re
import socket
import subprocess
import sys
import zlib
from pathlib import Path

import httpx
import pytest

from tests.unit.hostile_images import COSTLY, HARMLESS
from tests.unit.tiny_bundle import SIZE, encode, random_images, tiny_bundle

MAX_BODY_BYTES = 8_000_000
OODTUNE = str(Path(sys.executable).parent / "oodtune")
INFER = "/v2/models/model/infer"
PIXELS = [1, SIZE, SIZE, 3]
NUM_BYTES = SIZE * SIZE * 3
GROWTH_MB = 64


class Server:
    def __init__(self, process: subprocess.Popen, address: str, log: Path):
        self.process, self.log = process, log
        self.client = httpx.Client(base_url=address, timeout=30)

    def rss_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024

    def is_well(self) -> bool:
        served = self.client.post("/v1/classify", content=encode(random_images(1)[0])).status_code
        return (
            served == self.client.get("/v2/health/ready").status_code == self.client.get("/healthz").status_code == 200
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    log = tmp_path_factory.mktemp("hostile") / "stderr"
    settings = {"OODTUNE_MAX_BODY_BYTES": str(MAX_BODY_BYTES), "OODTUNE_WORKERS": "2"}
    command = [OODTUNE, "serve", str(tiny_bundle()), "--port", "0"]
    environ = {**os.environ, **settings, "PYTHONUNBUFFERED": "1"}
    with log.open("w") as stderr:  # not a pipe: nobody reads it, and a full pipe would stop the server
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environ)
    try:
        line = process.stdout.readline()
        match = re.search(r"http://\S+", line)
        assert match, line + log.read_text()
        server = Server(process, match[0], log)
        with server.client:
            assert server.is_well()
            yield server
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", COSTLY)
def test_a_costly_image_is_400(server, name):
    before_mb = server.rss_mb()
    answer = server.client.post("/v1/classify", content=COSTLY[name]())
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("image: expected")
    assert server.is_well()
    assert server.rss_mb() < before_mb + GROWTH_MB


@pytest.mark.parametrize("name", HARMLESS)
def test_an_odd_image_is_served(server, name):
    assert server.client.post("/v1/classify", content=HARMLESS[name]()).status_code == 200


def infer(**changes: object) -> bytes:
    """The body of a request whose only input is changed; None leaves a field out."""
    whole = {"name": "images", "datatype": "UINT8", "shape": PIXELS, "data": [0] * NUM_BYTES}
    return json.dumps({"inputs": [{k: v for k, v in {**whole, **changes}.items() if v is not None}]}).encode()


JSON_BODIES = {
    "nothing": b"",
    "a number": b"7",
    "a list": b"[]",
    "no inputs": b"{}",
    "empty inputs": b'{"inputs":[]}',
    "inputs are text": b'{"inputs":"images"}',
    "half of it": infer()[:-10],
    "more than it": infer() + b"}",
    "two of it": infer() * 2,
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "deep and whole": b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep data": b'{"inputs":[{"name":"images","datatype":"UINT8","shape":[1,32,32,3],"data":'
    + b"[" * 100_000
    + b"]" * 100_000
    + b"}]}",
    "no unicode": b'{"inputs":"\xff\xfe"}',
    "half a character": b'{"inputs":"\\ud800"}',
    "NaN": infer().replace(b"[0, 0", b"[NaN, 0"),
    "Infinity": infer().replace(b"[0, 0", b"[Infinity, 0"),
    "1e999": infer().replace(b"[0, 0", b"[1e999, 0"),
    "another name": infer(name="image"),
    "no name": infer(name=None),
    "a name that is no text": infer(name=["images"]),
    "another datatype": infer(datatype="FP32"),
    "an unknown datatype": infer(datatype="UINT7"),
    "no datatype": infer(datatype=None),
    "no shape": infer(shape=None),
    "a shape of text": infer(shape="1"),
    "a flat shape": infer(shape=[NUM_BYTES]),
    "a shape of -1": infer(shape=[-1, SIZE, SIZE, 3]),
    "a shape of 0": infer(shape=[0, SIZE, SIZE, 3], data=[]),
    "a shape of fractions": infer(shape=[1.5, SIZE, SIZE, 3]),
    "a shape of truths": infer(shape=[True, SIZE, SIZE, 3]),
    "a shape of 2**40": infer(shape=[2**40, SIZE, SIZE, 3]),
    "a shape of 2**64 in all": infer(shape=[2**62, 2, 2, 1]),
    "a shape of 10**30": infer(shape=[10**30, SIZE, SIZE, 3]),
    "a shape of very many": infer(shape=[1] * 100_000),
    "too many images": infer(shape=[100_000, SIZE, SIZE, 3]),
    "too few values": infer(data=[0]),
    "too many values": infer(data=[0] * (NUM_BYTES + 1)),
    "no values": infer(data=None),
    "values of text": infer(data=["0"] * NUM_BYTES),
    "values of truth": infer(data=[True] * NUM_BYTES),
    "fractions": infer(data=[0.5] * NUM_BYTES),
    "256": infer(data=[256] * NUM_BYTES),
    "-1": infer(data=[-1] * NUM_BYTES),
    "10**400": infer(data=[0] * (NUM_BYTES - 1)).replace(b"]}]}", b", 1" + b"0" * 400 + b"]}]}"),
    "the same input twice": json.dumps({"inputs": json.loads(infer())["inputs"] * 2}).encode(),
    "very many inputs": json.dumps({"inputs": [{"name": "images"}] * 50_000}).encode(),
    "an unknown output": infer()[:-1] + b',"outputs":[{"name":"../../etc/passwd"}]}',
    "very many outputs": infer()[:-1] + b',"outputs":[' + b'{"name":"logits"},' * 50_000 + b'{"name":"logits"}]}',
    "outputs of text": infer()[:-1] + b',"outputs":"logits"}',
    "a negative classification": infer()[:-1] + b',"outputs":[{"name":"logits","parameters":{"classification":-1}}]}',
    "shared memory": infer(data=None, parameters={"shared_memory_region": "x", "shared_memory_byte_size": NUM_BYTES}),
    "no base64": infer(name="encoded", datatype="BYTES", shape=[1], data=["#"]),
    "base64 of no image": infer(name="encoded", datatype="BYTES", shape=[1], data=["AAAA"]),
    "a negative timeout": infer()[:-1] + b',"parameters":{"timeout":-5}}',
    "a timeout of text": infer()[:-1] + b',"parameters":{"timeout":"soon"}}',
}


@pytest.mark.parametrize("name", JSON_BODIES)
def test_a_wrong_tensor_in_json_is_400(server, name):
    before_mb = server.rss_mb()
    answer = server.client.post(INFER, content=JSON_BODIES[name])
    assert answer.status_code == 400, answer.text[:300]
    assert list(answer.json()) == ["error"]
    assert len(answer.content) < 1000
    assert server.is_well()
    assert server.rss_mb() < before_mb + GROWTH_MB


STATED = {"name": "images", "datatype": "UINT8", "shape": PIXELS, "parameters": {"binary_data_size": NUM_BYTES}}
HEADER = json.dumps({"inputs": [STATED]}).encode()


def sized(size: object, **changes: object) -> bytes:
    tensor = {**STATED, "parameters": {"binary_data_size": size}, **changes}
    return json.dumps({"inputs": [tensor]}).encode()


ENCODED = {"name": "encoded", "datatype": "BYTES", "shape": [1]}
BINARY = {
    "no data": (HEADER, b"", None),
    "short": (HEADER, bytes(NUM_BYTES - 1), None),
    "long": (HEADER, bytes(NUM_BYTES + 1), None),
    "negative size": (sized(-1), bytes(NUM_BYTES), None),
    "huge size": (sized(2**63), bytes(NUM_BYTES), None),
    "size of text": (sized("3072"), bytes(NUM_BYTES), None),
    "size of a fraction": (sized(3072.5), bytes(NUM_BYTES), None),
    "header beyond the body": (HEADER, bytes(NUM_BYTES), "999999"),
    "negative header": (HEADER, bytes(NUM_BYTES), "-1"),
    "header of text": (HEADER, bytes(NUM_BYTES), "many"),
    "header of very many digits": (HEADER, bytes(NUM_BYTES), "9" * 5000),
    "header in the middle": (HEADER, bytes(NUM_BYTES), "10"),
    "string beyond the data": (sized(8, **ENCODED), b"\xff\xff\xff\xff" + bytes(4), None),
    "string without a length": (sized(2, **ENCODED), b"\x01\x00", None),
    "more strings than stated": (sized(10, **ENCODED), b"\x01\x00\x00\x00a" * 2, None),
    "fewer strings than stated": (sized(5, **{**ENCODED, "shape": [2]}), b"\x01\x00\x00\x00a", None),
    "2**40 strings": (sized(5, **{**ENCODED, "shape": [2**40]}), b"\x01\x00\x00\x00a", None),
    "empty string": (sized(4, **ENCODED), bytes(4), None),
    "raw file that is none": (b"", b"no image", "0"),
}


@pytest.mark.parametrize("name", BINARY)
def test_a_wrong_tensor_in_binary_is_400(server, name):
    header, data, length = BINARY[name]
    headers = {"Inference-Header-Content-Length": str(len(header)) if length is None else length}
    answer = server.client.post(INFER, content=header + data, headers=headers)
    assert answer.status_code == 400, answer.text[:300]
    assert list(answer.json()) == ["error"]
    assert server.is_well()


def test_a_body_over_the_limit_is_413_in_constant_memory(server):
    before_mb = server.rss_mb()
    for path in ("/v1/classify", INFER):
        answer = server.client.post(path, content=iter([bytes(1_000_000)] * 9))
        assert answer.status_code == 413
    assert server.is_well()
    assert server.rss_mb() < before_mb + GROWTH_MB


def test_a_stated_length_over_the_limit_is_413_before_the_body(server):
    host, port = server.client.base_url.host, server.client.base_url.port
    with socket.create_connection((host, port), timeout=20) as connection:
        connection.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_body_that_inflates_over_the_limit_is_413_in_constant_memory(server, coding):
    pack = gzip.compress if coding == "gzip" else zlib.compress
    before_mb = server.rss_mb()
    answer = server.client.post(INFER, content=pack(bytes(100_000_000)), headers={"Content-Encoding": coding})
    assert answer.status_code == 413
    assert server.is_well()
    assert server.rss_mb() < before_mb + GROWTH_MB


@pytest.mark.parametrize(
    "path",
    [
        *("/v2/models/other/infer", "/v2/models/model/versions/999/infer", "/v2/models/%2e%2e/infer"),
        *("/v2/models/..%2f..%2fetc%2fpasswd/infer", "/v2/models/model%00/infer", "/v2/models/MODEL/infer"),
        *(
            "/v2/models//infer",
            "/v2/models/model/versions//infer",
            "/v2//models/model/infer",
            "/v2/models/model/infer/",
        ),
        *("/v2/models/" + "x" * 20_000 + "/infer", "/v2/models/%ff%fe/infer", "/v2/repository/models/model/load"),
        *("/v2/systemsharedmemory/region/x/register", "/v2/../v1/classify/x", "/v1/classify/..%2f", "/.git/config"),
    ],
)
def test_an_unknown_model_version_or_path_is_404(server, path):
    answer = server.client.post(path, content=infer())
    assert answer.status_code == 404
    assert list(answer.json()) == ["error"]
    assert len(answer.content) < 500
    assert server.is_well()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "GET"])
def test_a_wrong_method_is_405(server, method):
    answer = server.client.request(method, INFER)
    assert answer.status_code == 405
    assert list(answer.json()) == ["error"]


def test_nothing_of_all_this_was_a_bug_of_the_server(server):
    server.client.post("/v1/classify", content=b"x")
    assert "Traceback" not in server.log.read_text()
    metrics = server.client.get("/metrics").text
    assert not re.findall(r'^oodtune_requests_total\{code="5.*', metrics, re.MULTILINE)
