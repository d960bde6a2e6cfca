"""Facts of connections to a real server that does not wait long, seen from raw sockets."""

import json
import re
import resource
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from oodtune.serve.slow_clients import Limits, limited_protocol
from tests.unit.tiny_bundle import encode, random_images, tiny_bundle

HEAD_TIMEOUT_S = 1.0
MAX_CONNECTIONS = 250
PROGRAM = f"""
import socket, sys
from pathlib import Path
import uvicorn
from oodtune.config import ServeConfig
from oodtune.serve import read_settings
from oodtune.serve.app import create_app
from oodtune.serve.parts import create_parts
from oodtune.serve.loading import load_model
from oodtune.serve.slow_clients import Limits, limited_protocol
settings = read_settings(ServeConfig(), {{"workers": 1}}, environ={{}})
parts = create_parts(settings)
parts.served.replace(load_model(Path(sys.argv[1]), None, settings))
limits = Limits({HEAD_TIMEOUT_S}, 1.0, max_small_pieces=20_000, max_connections={MAX_CONNECTIONS})
listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
print(listener.getsockname()[1], flush=True)
config = uvicorn.Config(
    create_app(parts), http=limited_protocol(parts.metrics.reject, limits), ws="none", lifespan="on",
    access_log=False, log_level="error", timeout_keep_alive=30,
)
uvicorn.Server(config).run(sockets=[listener])
"""


class Server:
    def __init__(self, process: subprocess.Popen, port: int):
        self.process, self.port = process, port
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20)

    def connect(self, data: bytes = b"") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection.sendall(data)
        return connection

    def exchange(self, *parts: bytes) -> bytes:
        """Send the parts, a little apart, and return what comes until the server closes."""
        with self.connect() as connection:
            try:
                for part in parts:
                    connection.sendall(part)
            except OSError:  # closed in the middle, as it should be
                pass
            return read_all(connection)

    def rss_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024

    def rejected(self, reason: str) -> float:
        text = self.client.get("/metrics").text
        return float(re.search(rf'oodtune_rejected_total{{reason="{reason}"}} (\S+)', text)[1])

    def is_well(self) -> bool:
        answer = self.client.post("/v1/classify", content=encode(random_images(1)[0]))
        return answer.status_code == 200


@pytest.fixture(scope="module")
def server():
    command = [sys.executable, "-c", PROGRAM, str(tiny_bundle())]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        server = Server(process, int(process.stdout.readline()))
        with server.client:
            assert server.is_well()
            yield server
    finally:
        process.kill()
        process.communicate()


def read_all(connection: socket.socket) -> bytes:
    with connection:
        try:
            return b"".join(iter(lambda: connection.recv(65536), b""))
        except ConnectionResetError:
            return b""


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def error_of(answer: bytes) -> str:
    return json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]


def test_200_half_sent_heads_are_answered_408_and_closed_while_the_server_serves_on(server):
    before, begun_s = server.rejected("timeout"), time.monotonic()
    connections = [server.connect(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nX-") for _ in range(200)]
    assert server.is_well()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(read_all, connections))
    assert {status_of(answer) for answer in answers} == {408}
    assert HEAD_TIMEOUT_S * 0.9 < time.monotonic() - begun_s < HEAD_TIMEOUT_S + 5
    assert server.rejected("timeout") == before + 200


@pytest.mark.parametrize("drop", [b"X-A: b\r\n", b"\r\n"], ids=["headers", "empty lines"])
def test_a_client_that_trickles_is_closed_as_well(server, drop):
    begun_s = time.monotonic()
    first = b"" if drop == b"\r\n" else b"GET /healthz HTTP/1.1\r\n"
    with server.connect(first) as connection, pytest.raises(OSError):
        while time.monotonic() - begun_s < 5:
            connection.sendall(drop)
            time.sleep(0.1)
    assert time.monotonic() - begun_s < HEAD_TIMEOUT_S + 2


def test_a_connection_that_says_nothing_is_closed(server):
    begun_s = time.monotonic()
    assert status_of(server.exchange()) == 408
    assert time.monotonic() - begun_s < HEAD_TIMEOUT_S + 2


def test_an_idle_connection_between_requests_is_kept(server):
    request = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    with server.connect(request) as connection:
        assert read_answer(connection).startswith(b"HTTP/1.1 200")
        time.sleep(HEAD_TIMEOUT_S * 1.5)
        connection.sendall(request)
        assert read_answer(connection).startswith(b"HTTP/1.1 200")


def read_answer(connection) -> bytes:
    """Read to the end of a body of JSON, which comes apart from the head."""
    answer = b""
    while not answer.endswith(b"}"):
        part = connection.recv(65536)
        assert part, answer
        answer += part
    return answer


def test_an_answered_request_whose_body_trickles_on_is_closed(server):
    begun_s = time.monotonic()
    with server.connect(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n") as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 404")
        with pytest.raises(OSError):
            while time.monotonic() - begun_s < 5:
                connection.sendall(b"x")
                time.sleep(0.1)
    assert time.monotonic() - begun_s < HEAD_TIMEOUT_S + 2


def test_a_body_that_is_slower_than_a_head_may_be_is_served(server):
    body = encode(random_images(1)[0])
    head = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    with server.connect(head + body[:10]) as connection:
        time.sleep(HEAD_TIMEOUT_S * 1.3)
        connection.sendall(body[10:])
        assert status_of(read_all(connection)) == 200


@pytest.mark.parametrize(
    "parts",
    [
        [b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 12_000 + b"\r\n"],
        [b"GET / HTTP/1.1\r\nA: " + b"b" * 40_000 + b"\r\n\r\n"],
        [b"GET /" + b"b" * 40_000 + b" HTTP/1.1\r\n\r\n"],
        [b"GET / HTTP/1.1\r\n", *[b"A: " + b"b" * 60_000] * 500],
        [b"GET /", *[b"b" * 60_000] * 500],
        [b"G" * 100_000],
    ],
    ids=["many", "long", "long path", "endless header", "endless path", "endless method"],
)
def test_heads_that_are_too_large_are_refused_in_constant_memory(server, parts):
    before_mb = server.rss_mb()
    answer = server.exchange(*parts)
    if answer:  # what was sent after the refusal may have reset the connection before it was read
        assert status_of(answer) in (400, 431)
        assert error_of(answer).startswith("expected")
    assert server.is_well()
    assert server.rss_mb() < before_mb + 8


def test_trailers_are_no_headers_and_are_bounded(server):
    body = encode(random_images(1)[0])
    head = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%s\r\n0\r\n" % (len(body), body)
    assert status_of(server.exchange(head, chunk, b"Content-Encoding: gzip\r\n\r\n")) == 200
    before_mb = server.rss_mb()
    server.exchange(head, chunk, *[b"A: " + b"b" * 60_000] * 500)
    assert server.is_well()
    assert server.rss_mb() < before_mb + 8


def test_a_body_in_very_many_tiny_chunks_is_refused_and_one_in_some_is_served(server):
    body = encode(random_images(1)[0])
    head = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    assert status_of(server.exchange(head, chunks, b"0\r\n\r\n")) == 200
    before_mb = server.rss_mb()
    answer = server.exchange(head, *[b"1\r\nx\r\n" * 10_000] * 100)
    if answer:
        assert status_of(answer) == 400
        assert error_of(answer) == "expected a body in chunks of 1 KiB and more; send larger ones"
    assert server.is_well()
    assert server.rss_mb() < before_mb + 8


def test_pipelined_requests_are_answered_in_order_up_to_a_limit(server):
    one = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = server.exchange(one * 20 + last)
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200"] * 20 + [b"404"]
    before_mb = server.rss_mb()
    for _ in range(20):
        server.exchange(one * 6_000)
    assert server.is_well()
    assert server.rss_mb() < before_mb + 12


def test_a_client_that_reads_no_answers_is_closed(server):
    one = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(20)
    connection.connect(("127.0.0.1", server.port))
    begun_s = time.monotonic()
    with connection, pytest.raises(OSError):
        while time.monotonic() - begun_s < 15:
            connection.sendall(one * 10)
            time.sleep(0.005)
    assert time.monotonic() - begun_s < 14
    assert server.is_well()


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET \xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -3\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n",
        bytes(range(256)),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    ],
)
def test_what_is_no_http_is_a_json_error_in_400s(server, request_):
    answer = server.exchange(request_)
    assert 400 <= status_of(answer) < 500
    assert error_of(answer)
    assert server.is_well()


def test_an_upgrade_that_is_not_offered_is_served_as_http(server):
    head = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    with server.connect(head) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    assert server.is_well()


def test_connections_over_the_limit_are_closed_at_once(server):
    before = server.rejected("overloaded")
    connections = [server.connect() for _ in range(MAX_CONNECTIONS + 50)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(read_all, connections))
    assert answers.count(b"") >= 50
    assert all(status_of(answer) == 408 for answer in answers if answer)
    assert server.is_well()
    assert server.rejected("overloaded") >= before + 50


def test_the_number_of_connections_is_below_that_of_files_a_process_may_open():
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert 0 < limited_protocol(lambda reason: None).limits.max_connections < files
    assert limited_protocol(lambda reason: None, Limits(max_connections=3)).limits.max_connections == 3
